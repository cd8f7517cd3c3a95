"""The checker's side of transfers: what it counts, whatever the provider does."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
import trio

from p2p_node.duties.transferring import (
    BATCH_PIECES,
    FIRST_PIECES,
    MOST_PIECES,
    Pace,
    Questions,
    ask_down,
    ask_up,
    measure_transfers,
    transfer_with,
)
from p2p_node.net.api import RequestStream
from p2p_node.net.errors import StreamEndedError
from protocols.envelopes import open_envelope
from protocols.errors import RemoteError
from protocols.messages import compute_message_digest
from protocols.transfer_messages import TRANSFER_PROTOCOL, TransferReceipt, TransferRequest
from protocols.transfers import (
    PIECE_BYTES,
    compute_piece_digest,
    count_pieces,
    expand_pieces,
    open_receipts,
    sum_receipts,
)
from protocols.types import Digest, Epoch, NodeKey, Seat
from tests.p2p_node.duties.transfer_world import (
    EPOCH,
    NETWORK,
    PRESET,
    SHARD,
    TransferWorld,
    open_transfer_world,
    seal_as,
)

ALL = count_pieces(PRESET) * PIECE_BYTES
SHORT = replace(PRESET, transfer_ms=500)
"""A window of half a second, two stages of 219 ms."""


async def measure_all(world: TransferWorld) -> None:
    """Every seat of the committee at once, as rounds does it."""
    async with trio.open_nursery() as nursery:
        for seat in range(len(world.view.committee(SHARD))):
            node, index = world.seated(seat)
            nursery.start_soon(measure_transfers, node, world.view, SHARD, Seat(seat), index)


async def test_a_committee_agrees_on_every_providers_line() -> None:
    preset = replace(PRESET, transfer_ms=2_000)
    async with open_transfer_world(providers=2, preset=preset, moment_ms=-200) as world:
        for server in world.servers:
            server.serve()
        with trio.fail_after(10):
            await measure_all(world)
        for index, server in enumerate(world.servers):
            sealed = server.receipts_for(EPOCH)
            receipts = open_receipts(sealed, NETWORK)
            rates = sum_receipts(receipts, world.view, world.timeline, index)
            assert [each.message.seat for each in receipts] == [0, 1, 2]
            assert all(0 < each.message.down_bytes <= ALL for each in receipts)
            assert all(0 < each.message.up_bytes <= ALL for each in receipts)
            assert min(rates.down_bits_per_s, rates.up_bits_per_s) > 0
            assert server.receipts_for(Epoch(EPOCH - 1)) == []
        for node in [*world.checkers, *world.providers]:
            assert not node.network.counters.refused
            assert not node.network.counters.bugs


async def test_the_two_stages_keep_to_their_times() -> None:
    """Nothing is asked before the window, and no seed before its second half."""
    asked: list[tuple[int, int]] = []
    async with open_transfer_world(moment_ms=-200) as world:
        clock = world.outsider.clock

        async def note(stream: RequestStream) -> None:
            transfer = await read_request(stream)
            asked.append((0, clock.now()))
            down = 0
            while len(data := await stream.receive(PIECE_BYTES)) in (32, PIECE_BYTES):
                asked.append((len(data), clock.now()))
                if len(data) == PIECE_BYTES:
                    await stream.send(compute_piece_digest(transfer, down, data))
                    down += 1
                else:
                    await stream.send(*expand_pieces([data]))

        world.providers[0].network.serve(TRANSFER_PROTOCOL, note)
        node, index = world.seated(0)
        await measure_transfers(node, world.view, SHARD, Seat(0), index)
        window = world.window()
    assert asked[0][0] == 0
    assert asked[0][1] >= window.start
    assert all(now >= window.up_start for size, now in asked if size == 32)
    assert {size for size, _ in asked} == {0, 32, PIECE_BYTES}


async def test_windows_that_are_over_are_left_out() -> None:
    preset = replace(PRESET, transfer_ms=2_000)
    # The second provider's window of a second has just begun.
    async with open_transfer_world(providers=2, preset=preset, moment_ms=1_010) as world:
        for server in world.servers:
            server.serve()
        node, index = world.seated(0)
        await measure_transfers(node, world.view, SHARD, Seat(0), index)
        assert [len(server.receipts_for(EPOCH)) for server in world.servers] == [0, 1]


async def test_a_checker_does_not_measure_its_own_line() -> None:
    async with open_transfer_world(moment_ms=0) as world:
        node, index = world.seated(0)
        own = replace(world.view.providers[0], node_key=NodeKey(node.network.node_key))
        with trio.fail_after(0.5):
            await measure_transfers(
                node, replace(world.view, providers={0: own}), SHARD, Seat(0), index
            )
        assert not node.network.counters.refused


async def test_a_provider_that_is_gone_costs_a_counted_reason() -> None:
    async with open_transfer_world(preset=SHORT, moment_ms=-50) as world:
        node, index = world.seated(0)
        assert world.hub is not None
        world.hub.cut(node.network.node_key, world.providers[0].network.node_key)
        await measure_transfers(node, world.view, SHARD, Seat(0), index)
        assert node.network.counters.refused == {(TRANSFER_PROTOCOL, "no known address"): 1}


# What a provider may do instead.

Behaviour = Callable[[RequestStream, Digest], Awaitable[None]]


async def read_request(stream: RequestStream) -> Digest:
    data = await stream.receive(1024)
    return compute_message_digest(open_envelope(data, TransferRequest, NETWORK).body)


async def say_nothing(_stream: RequestStream, _transfer: Digest) -> None:
    await trio.sleep_forever()


async def read_and_say_nothing(stream: RequestStream, _transfer: Digest) -> None:
    while True:
        await stream.receive(PIECE_BYTES)


async def close_at_once(_stream: RequestStream, _transfer: Digest) -> None:
    return


async def reset(_stream: RequestStream, _transfer: Digest) -> None:
    raise RemoteError("not in the mood")


async def make_digests_up(stream: RequestStream, _transfer: Digest) -> None:
    while True:
        await stream.receive(PIECE_BYTES)
        await stream.send(bytes(32))


async def repeat_the_first_digest(stream: RequestStream, transfer: Digest) -> None:
    digest = compute_piece_digest(transfer, 0, await stream.receive(PIECE_BYTES))
    while True:
        await stream.send(digest)
        await stream.receive(PIECE_BYTES)


async def answer_twice(stream: RequestStream, transfer: Digest) -> None:
    for index in range(100):
        digest = compute_piece_digest(transfer, index, await stream.receive(PIECE_BYTES))
        await stream.send(digest)
        await stream.send(digest)


async def digest_for_another_transfer(stream: RequestStream, _transfer: Digest) -> None:
    other = Digest(bytes(32))
    await stream.send(compute_piece_digest(other, 0, await stream.receive(PIECE_BYTES)))


async def answer_too_short(stream: RequestStream, _transfer: Digest) -> None:
    await stream.receive(PIECE_BYTES)
    await stream.send(b"")


async def answer_too_long(stream: RequestStream, transfer: Digest) -> None:
    digest = compute_piece_digest(transfer, 0, await stream.receive(PIECE_BYTES))
    await stream.send(digest + b"\x00")


def answer_down_then(up: Callable[[bytes], bytes]) -> Behaviour:
    """Right digests, and pieces as `up` makes them of their seeds."""

    async def behave(stream: RequestStream, transfer: Digest) -> None:
        index = 0
        while True:
            data = await stream.receive(PIECE_BYTES)
            if len(data) == PIECE_BYTES:
                await stream.send(compute_piece_digest(transfer, index, data))
                index += 1
            else:
                await stream.send(up(data))

    return behave


def flip_last_bit(seed: bytes) -> bytes:
    (piece,) = expand_pieces([seed])
    return piece[:-1] + bytes([piece[-1] ^ 1])


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (say_nothing, "nothing arrived in time"),
        (read_and_say_nothing, "nothing arrived in time"),
        (close_at_once, "closed by the peer"),
        (reset, "reset by the peer"),
        (make_digests_up, "wrong answer to a piece"),
        (repeat_the_first_digest, "wrong answer to a piece"),
        (answer_twice, "wrong answer to a piece"),
        (digest_for_another_transfer, "wrong answer to a piece"),
        (answer_too_short, "wrong answer to a piece"),
        (answer_too_long, "message too long"),
        (answer_down_then(lambda _: bytes(PIECE_BYTES)), "wrong answer to a piece"),
        (answer_down_then(flip_last_bit), "wrong answer to a piece"),
        (answer_down_then(lambda seed: expand_pieces([seed])[0][:-1]), "wrong answer to a piece"),
        (answer_down_then(lambda seed: expand_pieces([seed])[0] + b"x"), "message too long"),
        (answer_down_then(lambda seed: seed), "wrong answer to a piece"),
    ],
)
async def test_misbehaving_provider_gets_no_receipt(behaviour: Behaviour, reason: str) -> None:
    async def answer(stream: RequestStream) -> None:
        transfer = await read_request(stream)
        try:
            await behaviour(stream, transfer)
        except StreamEndedError:
            return

    async with open_transfer_world(moment_ms=-20) as world:
        world.providers[0].network.serve(TRANSFER_PROTOCOL, answer)
        node, _ = world.seated(0)
        with trio.fail_after(5):
            await transfer_with(node, world.view.providers[0], world.request(), world.window())
        over = node.clock.now()
        assert node.network.counters.refused == {(TRANSFER_PROTOCOL, reason): 1}
        assert not node.network.counters.bugs
        assert not node.network._streams  # type: ignore[attr-defined]
        assert over <= world.window().end + 1_000, "a hard deadline"


async def receipt_from(pause: Callable[[TransferWorld, int], Awaitable[None]]) -> TransferReceipt:
    """The receipt for a provider that answers rightly, piece n after `pause(world, n)`."""
    received: list[bytes] = []
    async with open_transfer_world(moment_ms=-20) as world:

        async def answer(stream: RequestStream) -> None:
            transfer = await read_request(stream)
            down = 0
            for number in range(100):
                data = await stream.receive(PIECE_BYTES)
                if len(data) not in (32, PIECE_BYTES):
                    received.append(data)
                    return
                await pause(world, number)
                if len(data) == PIECE_BYTES:
                    await stream.send(compute_piece_digest(transfer, down, data))
                    down += 1
                else:
                    await stream.send(*expand_pieces([data]))

        world.providers[0].network.serve(TRANSFER_PROTOCOL, answer)
        node, _ = world.seated(0)
        with trio.fail_after(5):
            await transfer_with(node, world.view.providers[0], world.request(), world.window())
        assert not node.network.counters.refused
        await trio.sleep(0.05)
    return open_envelope(received[0], TransferReceipt, NETWORK).message


async def test_answers_after_the_stage_do_not_count() -> None:
    async def late(world: TransferWorld, number: int) -> None:
        if number == 0:
            await world.outsider.clock.sleep_until(world.window().down_end)
            await trio.sleep(0.02)

    receipt = await receipt_from(late)

    assert receipt.down_bytes == 0
    assert receipt.up_bytes > 0, "late answers do not spoil what comes after them"


async def test_a_slow_line_is_measured_and_not_failed() -> None:
    async def slowly(_world: TransferWorld, _number: int) -> None:
        await trio.sleep(0.09)

    receipt = await receipt_from(slowly)

    # A stage of 437 ms has room for four pieces at most.
    assert PIECE_BYTES <= receipt.down_bytes <= 4 * PIECE_BYTES
    assert PIECE_BYTES <= receipt.up_bytes <= 4 * PIECE_BYTES


# Questions and pace.


@pytest.mark.parametrize("most", [0, 1, BATCH_PIECES, BATCH_PIECES + 1, 2 * BATCH_PIECES])
async def test_questions_are_made_in_bounded_batches(most: int) -> None:
    sizes: list[int] = []

    def make(first: int, count: int) -> list:
        sizes.append(count)
        return ask_up(bytes(32))(first, count)

    questions = Questions(make, most)
    await questions.prepare()
    taken = []
    while questions.any_left:
        taken.append(await questions.take())

    assert sum(sizes) == most == len({question.data for question in taken})
    assert all(0 < size <= BATCH_PIECES for size in sizes)


def test_both_directions_ask_for_what_the_protocol_says() -> None:
    transfer = Digest(b"t" * 32)
    (down,), (up,) = ask_down(transfer, bytes(32))(7, 1), ask_up(bytes(32))(7, 1)

    assert down.answer == compute_piece_digest(transfer, 7, down.data)
    assert expand_pieces([up.data]) == [up.answer] == [down.data]


def test_every_answer_allows_one_more_up_to_the_most() -> None:
    pace = Pace(started=0.0, until=1000.0)

    under_way = []
    for _ in range(MOST_PIECES + 5):
        while pace.allows(0.001):
            pace.asked += 1
        under_way.append(pace.waiting)
        pace.answer(0.001)

    assert under_way[0] == FIRST_PIECES
    assert under_way[1] == FIRST_PIECES + 1
    assert under_way[-1] == max(under_way) == MOST_PIECES


def test_nothing_is_sent_that_would_arrive_late() -> None:
    # Ten answers in a second: a tenth of a second each.
    pace = Pace(started=0.0, until=2.0, asked=12, answered=10)

    assert pace.allows(1.0)
    assert pace.allows(1.5)
    assert not pace.allows(1.6), "three under way would take 0.48 of the 0.4 that are left"
    assert not Pace(started=0.0, until=2.0).allows(2.0)


def test_what_arrives_late_is_answered_but_not_counted() -> None:
    pace = Pace(started=0.0, until=2.0, asked=2)

    pace.answer(2.0)
    pace.answer(2.1)

    assert (pace.waiting, pace.answered, pace.counted) == (0, 2, 1)


async def test_a_receipt_is_sealed_by_the_checkers_node() -> None:
    async with open_transfer_world(moment_ms=-20) as world:
        world.servers[0].serve()
        node, index = world.seated(2)
        await transfer_with(node, world.view.providers[0], world.request(2), world.window())
        (sealed,) = world.servers[0].receipts_for(EPOCH)
        receipt = open_envelope(sealed, TransferReceipt, NETWORK, signer=node.network.node_key)
        assert (receipt.message.seat, receipt.message.checker) == (2, index)
        assert seal_as(node, receipt.message) == sealed

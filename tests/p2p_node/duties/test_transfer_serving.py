"""The provider's side of transfers: whom it answers, and which receipts it keeps."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import trio

from p2p_node.net.errors import StreamEndedError
from p2p_node.node import Node
from protocols.params import CLOCK_DISPARITY_MS
from protocols.transfer_messages import TRANSFER_PROTOCOL, TransferReceipt
from protocols.transfers import PIECE_BYTES, count_pieces, expand_pieces, open_receipts
from protocols.types import Epoch, Seat
from tests.p2p_node.duties.transfer_world import (
    EPOCH,
    NETWORK,
    PRESET,
    SHARD,
    TransferWorld,
    open_transfer_world,
    seal_as,
)

LONG = replace(PRESET, transfer_ms=2_000)
SHORT = replace(PRESET, transfer_ms=300)
SEED = b"s" * 32
PIECE = expand_pieces([SEED])[0]


async def ask(sender: Node, world: TransferWorld, *messages: bytes) -> None:
    """Send messages to provider 0, and wait until it ends the stream."""
    key = world.providers[0].network.node_key
    with trio.fail_after(5):
        async with sender.network.open_stream(key, TRANSFER_PROTOCOL, 4) as stream:
            with suppress(StreamEndedError):
                for message in messages:
                    await stream.send(message)
                while True:
                    await stream.receive(PIECE_BYTES)


def refused(world: TransferWorld) -> dict[str, int]:
    """What provider 0 refused, by reason."""
    counters = world.providers[0].network.counters
    assert not counters.bugs
    return {reason: count for (_, reason), count in counters.refused.items()}


async def serves(world: TransferWorld, seat: int = 1) -> bool:
    """Whether the holder of a seat gets its answers, and has its receipt kept."""
    node, _ = world.seated(seat)
    sealed = seal_as(node, receipt(world, seat))
    await ask(node, world, seal_as(node, world.request(seat)), PIECE, SEED, sealed)
    return sealed in world.servers[0].receipts_for(EPOCH)


def receipt(world: TransferWorld, of_seat: int = 0, **change: Any) -> TransferReceipt:
    """The receipt of a seat for one piece each."""
    request = world.request(of_seat)
    fields = {
        "epoch": request.epoch,
        "shard": request.shard,
        "seat": request.seat,
        "checker": request.checker,
        "provider": request.provider,
        "down_bytes": PIECE_BYTES,
        "up_bytes": PIECE_BYTES,
    }
    return TransferReceipt(**{**fields, **change})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"provider": 1}, "transfer with another provider"),
        ({"shard": 1}, "transfer with another provider"),
        ({"seat": Seat(1)}, "transfer by nobody of the committee"),
        ({"seat": Seat(9)}, "transfer by nobody of the committee"),
        ({"checker": 9}, "transfer by nobody of the committee"),
        ({"epoch": Epoch(EPOCH - 1)}, "transfer out of its window"),
        ({"epoch": Epoch(EPOCH + 1)}, "transfer out of its window"),
    ],
)
async def test_what_is_not_its_transfer_is_refused(change: dict[str, Any], reason: str) -> None:
    async with open_transfer_world(preset=LONG) as world:
        world.servers[0].serve()
        node, _ = world.seated(0)
        await ask(node, world, seal_as(node, replace(world.request(), **change)))
        assert refused(world) == {reason: 1}
        assert world.servers[0].receipts_for(EPOCH) == []
        assert await serves(world)


@pytest.mark.parametrize(
    ("moment_ms", "taken"),
    [
        (-CLOCK_DISPARITY_MS - 300, False),
        (-CLOCK_DISPARITY_MS + 200, True),
        (300 + CLOCK_DISPARITY_MS - 200, True),
        (300 + CLOCK_DISPARITY_MS, False),
    ],
)
async def test_a_window_is_open_as_long_as_clocks_may_differ(moment_ms: int, taken: bool) -> None:
    async with open_transfer_world(preset=SHORT, moment_ms=moment_ms) as world:
        world.servers[0].serve()
        node, _ = world.seated(0)
        await ask(node, world, seal_as(node, world.request()), b"")
        expected = "not msgpack" if taken else "transfer out of its window"
        assert refused(world) == {expected: 1}


async def test_outsiders_and_carriers_of_others_requests_are_refused() -> None:
    async with open_transfer_world(preset=LONG) as world:
        world.servers[0].serve()
        node, _ = world.seated(0)
        request = world.request()
        await ask(world.outsider, world, seal_as(world.outsider, request))
        await ask(world.outsider, world, seal_as(node, request))
        assert refused(world) == {
            "transfer by nobody of the committee": 1,
            "unexpected signer": 1,
        }
        assert await serves(world, seat=0), "its seat is not used up by that"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not msgpack"),
        (b"\xff" * 100, "not msgpack"),
        (b"\x05", "not an array"),
        (bytes(4000), "message too long"),
        (SEED, "not msgpack"),
    ],
    ids=["empty", "garbage", "no_array", "too_long", "seed"],
)
async def test_malformed_requests_are_refused(data: bytes, reason: str) -> None:
    async with open_transfer_world(preset=LONG) as world:
        world.servers[0].serve()
        await ask(world.outsider, world, data)
        assert refused(world) == {reason: 1}
        assert await serves(world)


async def test_a_seat_is_served_once() -> None:
    async with open_transfer_world(preset=SHORT) as world:
        world.servers[0].serve()
        node, _ = world.seated(0)
        assert await serves(world, seat=0)
        (kept,) = world.servers[0].receipts_for(EPOCH)
        await ask(node, world, seal_as(node, world.request()))
        assert refused(world) == {"transfer made before": 1}
        assert world.servers[0].receipts_for(EPOCH) == [kept]


# What may come after the request.


Ending = Callable[[TransferWorld, Node], bytes]


def changed(**change: Any) -> Ending:
    return lambda world, node: seal_as(node, receipt(world, **change))


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        (lambda world, node: b"", "not msgpack"),
        (lambda world, node: b"\x05", "not an array"),
        (lambda world, node: PIECE[:-1], "oversized"),
        (lambda world, node: PIECE + b"x", "message too long"),
        (lambda world, node: seal_as(node, world.request()), "wrong kind"),
        (lambda world, node: seal_as(world.outsider, receipt(world)), "unexpected signer"),
        (changed(epoch=Epoch(EPOCH + 1)), "receipt of another transfer"),
        (changed(shard=1), "receipt of another transfer"),
        (changed(seat=Seat(1)), "receipt of another transfer"),
        (changed(checker=7), "receipt of another transfer"),
        (changed(provider=1), "receipt of another transfer"),
        (changed(down_bytes=PIECE_BYTES + 1), "receipt of more than was transferred"),
        (changed(up_bytes=2 * PIECE_BYTES), "receipt of more than was transferred"),
    ],
)
async def test_what_is_no_receipt_of_this_transfer_is_not_kept(ending: Ending, reason: str) -> None:
    async with open_transfer_world(preset=LONG) as world:
        world.servers[0].serve()
        node, _ = world.seated(0)
        last = ending(world, node)
        await ask(node, world, seal_as(node, world.request()), PIECE, SEED, last)
        assert refused(world) == {reason: 1}
        assert world.servers[0].receipts_for(EPOCH) == []
        assert await serves(world)


async def test_receipts_are_kept_by_seat() -> None:
    async with open_transfer_world(preset=LONG) as world:
        world.servers[0].serve()
        for seat in (2, 0, 1):
            assert await serves(world, seat)
        assert refused(world) == {}
        opened = open_receipts(world.servers[0].receipts_for(EPOCH), NETWORK)
        assert [each.message for each in opened] == [receipt(world, seat) for seat in range(3)]


@pytest.mark.parametrize("message", [PIECE, SEED], ids=["pieces", "seeds"])
async def test_no_more_is_answered_than_a_transfer_may_have(message: bytes) -> None:
    async with open_transfer_world(preset=LONG) as world:
        world.servers[0].serve()
        node, _ = world.seated(0)
        await ask(
            node, world, seal_as(node, world.request()), *[message] * (count_pieces(PRESET) + 1)
        )
        ((reason, count),) = refused(world).items()
        assert (reason in ("oversized", "not msgpack"), count) == (True, 1)


async def test_a_checker_that_falls_silent_is_waited_for_until_its_window_is_over() -> None:
    async with open_transfer_world(preset=SHORT) as world:
        world.servers[0].serve()
        node, _ = world.seated(0)
        await ask(node, world, seal_as(node, world.request()), PIECE)
        over = node.clock.now()
        assert refused(world) == {"peer does not answer in time": 1}
        end = world.window().end + CLOCK_DISPARITY_MS
        assert end <= over + 10
        assert over <= end + 500


async def test_a_checker_that_leaves_is_noticed() -> None:
    async with open_transfer_world(preset=LONG) as world:
        world.servers[0].serve()
        node, _ = world.seated(0)
        key = world.providers[0].network.node_key
        async with node.network.open_stream(key, TRANSFER_PROTOCOL, 4) as stream:
            await stream.send(seal_as(node, world.request()))
            await stream.send(SEED)
            assert await stream.receive(PIECE_BYTES) == PIECE
        await settle(lambda: refused(world) == {"closed by the peer": 1})
        assert world.servers[0].receipts_for(EPOCH) == []


async def settle(condition: Callable[[], bool]) -> None:
    with trio.fail_after(3):
        while not condition():
            await trio.sleep(0.01)


async def test_receipts_of_an_earlier_epoch_are_dropped() -> None:
    preset = replace(
        SHORT,
        epoch_seconds=3,
        draw_ms=700,
        check_ms=500,
        reveal_ms=500,
        grace_seconds=1,
    )
    async with open_transfer_world(preset=preset) as world:
        world.servers[0].serve()
        assert await serves(world, seat=0)
        assert len(world.servers[0].receipts_for(EPOCH)) == 1
        following = Epoch(EPOCH + 1)
        watcher = world.outsider.watcher
        world.source.timestamp += 3
        with trio.fail_after(5):
            view = await watcher.next_view(EPOCH)
        assert view.epoch == following
        index = view.committee(SHARD)[0]
        node = world.checkers[index]
        request = replace(world.request(), epoch=following, checker=index)
        window = world.timeline.transfer_window(following, 0, 1)
        with trio.fail_after(8):
            await node.clock.sleep_until(window.start)
        sealed = seal_as(node, receipt(world, epoch=following, checker=index))
        await ask(node, world, seal_as(node, request), PIECE, SEED, sealed)
        assert world.servers[0].receipts_for(following) == [sealed]
        assert world.servers[0].receipts_for(EPOCH) == []

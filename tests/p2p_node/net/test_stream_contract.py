"""What roles may rely on of a network and its streams, checked for the real one and the fake."""

from math import inf
from typing import Any

import pytest
import trio

from p2p_node.net import (
    ACCEPT,
    DeadlineError,
    MessageTooLongError,
    Network,
    NetworkClosedError,
    PeerUnreachableError,
    ProtocolRefusedError,
    RequestStream,
    StreamEndedError,
)
from protocols.errors import ForgedError, LocalError
from protocols.types import NodeKey
from tests.p2p_node.net.conftest import World, limits, times, until


def accept(data: bytes, sender: bytes) -> object:
    return ACCEPT


async def test_nodes_know_each_other_by_their_keys(world: World) -> None:
    async with world(3) as (alice, bob, carol):
        assert alice.peers == {bob.node_key, carol.node_key}
        assert len(alice.node_key) == 32
        assert all(address.endswith(f"/p2p/{alice.peer_id}") for address in alice.addresses)


async def echo(stream: RequestStream) -> None:
    while True:
        try:
            message = await stream.receive(1 << 20)
        except StreamEndedError:
            return
        await stream.send(message)


async def test_a_request_and_its_answer(world: World) -> None:
    seen: list[tuple[NodeKey, str]] = []

    async def handler(stream: RequestStream) -> None:
        seen.append((stream.peer, stream.protocol))
        await stream.send(b"re: " + await stream.receive(100))

    async with world(2) as (alice, bob):
        bob.serve("ask", handler)
        with trio.fail_after(10):
            async with alice.open_stream(bob.node_key, "ask", 5) as stream:
                assert (stream.peer, stream.protocol) == (bob.node_key, "ask")
                await stream.send(b"hello")
                assert await stream.receive(100) == b"re: hello"
        assert seen == [(alice.node_key, "ask")]
        assert bob.counters.streams_served == 1
        assert not bob.counters.refused
        assert not alice.counters.refused


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 300_000, 1 << 20])
async def test_messages_of_any_size_keep_their_bounds(world: World, size: int) -> None:
    async with world(2) as (alice, bob):
        bob.serve("echo", echo)
        with trio.fail_after(10):
            async with alice.open_stream(bob.node_key, "echo", 9) as stream:
                for filling in (b"a", b"b"):
                    await stream.send(filling * size)
                    assert await stream.receive(1 << 20) == filling * size


async def test_a_message_above_the_receivers_cap_is_not_read(world: World) -> None:
    async def handler(stream: RequestStream) -> None:
        await stream.receive(10)

    async with world(2) as (alice, bob):
        bob.serve("ask", handler)
        with trio.fail_after(10):
            async with alice.open_stream(bob.node_key, "ask", 5) as stream:
                await stream.send(b"x" * 11)
                with pytest.raises(StreamEndedError):
                    await stream.receive(10)
        await until(lambda: bob.counters.refused["ask", "message too long"] == 1)


async def test_the_asker_caps_the_answer(world: World) -> None:
    async def handler(stream: RequestStream) -> None:
        await stream.send(b"x" * 11)
        with pytest.raises(StreamEndedError):
            await stream.receive(1)

    async with world(2) as (alice, bob):
        bob.serve("ask", handler)
        with trio.fail_after(10):
            async with alice.open_stream(bob.node_key, "ask", 5) as stream:
                with pytest.raises(MessageTooLongError):
                    await stream.receive(10)


async def test_a_silent_handler_costs_the_asker_its_deadline_and_no_more(world: World) -> None:
    ended = trio.Event()

    async def handler(stream: RequestStream) -> None:
        try:
            await stream.receive(10, within=60)
        finally:
            ended.set()

    async with world(2) as (alice, bob):
        bob.serve("ask", handler)
        started = trio.current_time()
        with trio.fail_after(10):
            async with alice.open_stream(bob.node_key, "ask", 5) as stream:
                with pytest.raises(DeadlineError):
                    await stream.receive(10, within=0.2)
            await ended.wait()
        assert 0.2 <= trio.current_time() - started < 5


async def test_the_deadline_of_a_stream_covers_all_of_it(world: World) -> None:
    async def ask_forever(stream: RequestStream) -> None:
        while True:
            await stream.send(b"again", within=60)
            await stream.receive(10, within=60)
            await trio.sleep(0.01)

    async with world(2) as (alice, bob):
        bob.serve("echo", echo)
        with trio.fail_after(10):
            async with alice.open_stream(bob.node_key, "echo", 0.5) as stream:
                with pytest.raises(DeadlineError):
                    await ask_forever(stream)


async def test_leaving_with_an_exception_resets_the_stream(world: World) -> None:
    outcome: list[str] = []
    done = trio.Event()

    async def handler(stream: RequestStream) -> None:
        try:
            await stream.receive(10)
        except StreamEndedError as error:
            outcome.append(error.reason)
        done.set()

    async with world(2) as (alice, bob):
        bob.serve("ask", handler)
        with trio.fail_after(10):
            with pytest.raises(ZeroDivisionError):
                async with alice.open_stream(bob.node_key, "ask", 5):
                    raise ZeroDivisionError
            await done.wait()
        assert outcome == ["reset by the peer"]


async def test_what_was_sent_before_closing_is_read_to_the_end(world: World) -> None:
    received: list[bytes] = []
    done = trio.Event()

    async def handler(stream: RequestStream) -> None:
        await trio.sleep(0.05)
        try:
            while True:
                received.append(await stream.receive(10))
        except StreamEndedError:
            done.set()

    async with world(2) as (alice, bob):
        bob.serve("tell", handler)
        with trio.fail_after(10):
            async with alice.open_stream(bob.node_key, "tell", 5) as stream:
                for number in range(5):
                    await stream.send(b"%d" % number)
            await done.wait()
        assert received == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_handler_that_fails_is_counted_and_the_node_goes_on(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(stream: RequestStream) -> None:
        match await stream.receive(10):
            case b"bug":
                raise ZeroDivisionError
            case b"forged":
                raise ForgedError("wrong signature")
        await stream.send(b"fine")

    async def ask(node: Network, peer: NodeKey, question: bytes) -> bytes:
        async with node.open_stream(peer, "ask", 5) as stream:
            await stream.send(question)
            return await stream.receive(10)

    async with world(2) as (alice, bob):
        bob.serve("ask", handler)
        with trio.fail_after(10):
            for question in (b"bug", b"forged"):
                with pytest.raises(StreamEndedError):
                    await ask(alice, bob.node_key, question)
            assert await ask(alice, bob.node_key, b"good") == b"fine"
        assert bob.counters.bugs["ask", "ZeroDivisionError"] == 1
        assert bob.counters.refused["ask", "wrong signature"] == 1
        assert alice.node_key in bob.peers
    assert "handler failed: protocol=ask" in caplog.text


async def test_a_protocol_that_is_not_served_is_refused(world: World) -> None:
    async with world(2) as (alice, bob):
        with trio.fail_after(10), pytest.raises(ProtocolRefusedError):
            async with alice.open_stream(bob.node_key, "nothing", 5):
                pytest.fail("a stream was opened")


async def test_an_unknown_peer_is_unreachable(world: World) -> None:
    async with world(2) as (alice, _bob):
        with trio.fail_after(10), pytest.raises(PeerUnreachableError):
            async with alice.open_stream(NodeKey(bytes(32)), "ask", 5):
                pytest.fail("a stream was opened")


async def test_a_node_does_not_talk_to_itself(world: World) -> None:
    async with world(1) as (alice,):
        alice.serve("echo", echo)
        with pytest.raises(LocalError):
            async with alice.open_stream(alice.node_key, "echo", 5):
                pytest.fail("a stream was opened")


async def test_streams_of_one_peer_are_limited(world: World) -> None:
    few = limits(max_inbound_streams_per_peer=6, max_lasting_streams_per_peer=0)
    async with world(3, limits=few) as (alice, bob, carol):
        bob.serve("echo", echo)
        served = 0

        async def hold_a_stream(task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            nonlocal served
            try:
                async with alice.open_stream(bob.node_key, "echo", 9) as stream:
                    await stream.send(b"x")
                    await stream.receive(1)
                    served += 1
                    task_status.started()
                    await trio.sleep_forever()
            except StreamEndedError:
                task_status.started()

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    await nursery.start(hold_a_stream)
                # On the real network gossip and identify take a share of the limit.
                assert 3 <= served <= 6
                async with carol.open_stream(bob.node_key, "echo", 5) as stream:
                    await stream.send(b"y")
                    assert await stream.receive(1) == b"y"
                nursery.cancel_scope.cancel()
        assert any("too many streams" in reason for _, reason in bob.counters.refused)


async def test_a_lasting_stream_outlives_every_deadline(world: World) -> None:
    async def wait_and_echo(stream: RequestStream) -> None:
        await stream.send(await stream.receive(20, within=inf))

    async def outlast(stream: RequestStream) -> None:
        stream.outlast()
        await wait_and_echo(stream)

    async with world(2, times=times(handler=0.2, io=0.1, opening=5)) as (alice, bob):
        bob.serve("short", wait_and_echo)
        bob.serve("idle", wait_and_echo, lasting=True)
        bob.serve("long", outlast, lasting=True)
        with trio.fail_after(10):
            async with (
                alice.open_stream(bob.node_key, "short", inf) as short,
                alice.open_stream(bob.node_key, "idle", inf) as idle,
                alice.open_stream(bob.node_key, "long", inf) as long,
            ):
                for stream in (short, idle):
                    with pytest.raises(StreamEndedError):
                        await stream.receive(10, within=inf)
                with pytest.raises(LocalError):
                    long.outlast()
                await long.send(b"still there")
                assert await long.receive(20, within=inf) == b"still there"
        assert bob.counters.refused == {
            ("short", "stream open too long"): 1,
            ("idle", "stream open too long"): 1,
        }


async def test_streams_of_other_protocols_do_not_last(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def outlast(stream: RequestStream) -> None:
        await stream.receive(10)
        stream.outlast()

    async with world(2) as (alice, bob):
        bob.serve("short", outlast)
        with trio.fail_after(10):
            async with alice.open_stream(bob.node_key, "short", inf) as stream:
                await stream.send(b"x")
                with pytest.raises(StreamEndedError):
                    await stream.receive(10)
        assert bob.counters.bugs == {("short", "LocalError"): 1}
    assert "its streams do not last" in caplog.text


async def test_lasting_streams_have_places_of_their_own(world: World) -> None:
    few = limits(
        max_lasting_streams=3, max_lasting_streams_per_peer=2, max_inbound_streams_per_peer=10
    )

    async def outlast_and_echo(stream: RequestStream) -> None:
        stream.outlast()
        await echo(stream)

    async def is_served(asker: Network, peer: NodeKey, protocol: str) -> bool:
        try:
            async with asker.open_stream(peer, protocol, 5) as stream:
                await stream.send(b"x")
                return await stream.receive(1) == b"x"
        except StreamEndedError:
            return False

    async with world(3, limits=few) as (alice, bob, carol):
        bob.serve("short", echo)
        bob.serve("long", outlast_and_echo, lasting=True)

        async def hold(asker: Network, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            async with asker.open_stream(bob.node_key, "long", inf) as stream:
                await stream.send(b"x")
                assert await stream.receive(1) == b"x"
                task_status.started()
                await trio.sleep_forever()

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                await nursery.start(hold, alice)
                await nursery.start(hold, alice)
                assert not await is_served(alice, bob.node_key, "long")
                await nursery.start(hold, carol)
                assert not await is_served(carol, bob.node_key, "long")
                assert await is_served(alice, bob.node_key, "short")
                nursery.cancel_scope.cancel()
            # Places come back; what the nursery cancelled is not noticed there at once.
            while not await is_served(alice, bob.node_key, "long"):
                await trio.sleep(0.01)
        assert bob.counters.refused["long", "too many lasting streams of one peer"] == 1
        assert bob.counters.refused["long", "too many lasting streams"] >= 1


@pytest.mark.parametrize("size", [1, 3_000_000])
async def test_one_task_may_send_while_another_receives(world: World, size: int) -> None:
    async def echo_at_once(stream: RequestStream) -> None:
        while True:
            try:
                message = await stream.receive(size, within=inf)
            except StreamEndedError:
                return
            await stream.send(message, within=inf)

    async with world(2) as (alice, bob):
        bob.serve("echo", echo_at_once, lasting=True)
        with trio.fail_after(20):
            async with alice.open_stream(bob.node_key, "echo", inf) as stream:

                async def send() -> None:
                    for number in range(20):
                        await stream.send(bytes([number]) * size, within=inf)

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(send)
                    for number in range(20):
                        assert await stream.receive(size, within=inf) == bytes([number]) * size


async def test_who_is_cancelled_while_receiving_has_lost_nothing(world: World) -> None:
    sizes = [3_000_000, 0, 5, 1_000_000]

    async def tell(stream: RequestStream) -> None:
        for number, size in enumerate(sizes):
            await stream.send(bytes([number]) * size)
        await stream.receive(1)

    async with world(2) as (alice, bob):
        bob.serve("tell", tell)
        with trio.fail_after(10):
            async with alice.open_stream(bob.node_key, "tell", 9) as stream:
                for number, size in enumerate(sizes):
                    message, tries = None, 0
                    while message is None:
                        tries += 1
                        with trio.move_on_after(0.0002 * tries):
                            message = await stream.receive(3_000_000)
                    assert message == bytes([number]) * size
                await stream.send(b"x")


async def test_cancelling_the_asker_ends_the_stream(world: World) -> None:
    reasons: list[str] = []
    asked, done = trio.Event(), trio.Event()

    async def handler(stream: RequestStream) -> None:
        asked.set()
        try:
            await stream.receive(10)
        except StreamEndedError as error:
            reasons.append(error.reason)
            done.set()

    async def ask(node: Network, peer: NodeKey) -> None:
        async with node.open_stream(peer, "ask", 9):
            await trio.sleep_forever()

    async with world(2) as (alice, bob):
        alice.serve("ask", handler)
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, bob, alice.node_key)
                await asked.wait()
                nursery.cancel_scope.cancel()
            await done.wait()
        assert len(reasons) == 1


async def test_a_closed_network_refuses_everything(world: World) -> None:
    async with world(1) as (alice,):
        inbox = alice.subscribe("announce", accept)
    with pytest.raises(NetworkClosedError):
        await inbox.receive()
    with pytest.raises(NetworkClosedError):
        await alice.publish("announce", b"x")
    with pytest.raises(NetworkClosedError):
        alice.subscribe("other", accept)
    with pytest.raises(NetworkClosedError):
        alice.serve("ask", echo)
    with pytest.raises(NetworkClosedError):
        alice.open_stream(NodeKey(bytes(32)), "ask", 1)
    with pytest.raises(NetworkClosedError):
        await alice.wait_for_peers(1)


async def test_what_the_block_raises_is_raised_as_it_is(world: World) -> None:
    with pytest.raises(ZeroDivisionError):
        async with world(1):
            raise ZeroDivisionError


async def test_networks_of_different_names_have_nothing_to_say(world: World) -> None:
    async with world(2) as (alice, bob):
        assert alice.peers == {bob.node_key}
    async with world(1, network="one") as (alice,):
        assert alice.peers == frozenset()


async def test_addresses_that_do_not_parse_are_counted_and_ignored(world: World) -> None:
    async with world(2) as (alice, bob):
        alice.learn_addresses(bob.node_key, ["nonsense", "/ip4/127.0.0.1/tcp/4001"])
        assert alice.counters.refused["addresses", "address does not parse"] == 1

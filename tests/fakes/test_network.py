"""What the fake network offers beyond the contract: cuts, and time that jumps."""

from contextlib import AsyncExitStack

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from p2p_node.net import (
    ACCEPT,
    DeadlineError,
    NetworkSettings,
    PeerUnreachableError,
    RequestStream,
    StreamEndedError,
)
from tests.fakes.network import FakeHub


def settings(number: int) -> NetworkSettings:
    return NetworkSettings(seed=number.to_bytes(32, "big"), network="test")


async def test_hours_pass_in_no_time(autojump_clock: MockClock) -> None:
    async def handler(stream: RequestStream) -> None:
        await stream.receive(10)
        await trio.sleep(3600)

    hub = FakeHub()
    async with hub.open_network(settings(1)) as alice, hub.open_network(settings(2)) as bob:
        bob.serve("wait", handler)
        async with alice.open_stream(bob.node_key, "wait", 90) as stream:
            await stream.send(b"x")
            started = trio.current_time()
            with pytest.raises(DeadlineError):
                await stream.receive(10, within=7200)
            assert trio.current_time() - started == 90


async def test_a_handler_that_never_ends_is_ended(autojump_clock: MockClock) -> None:
    async def handler(stream: RequestStream) -> None:
        await trio.sleep_forever()

    hub = FakeHub()
    async with hub.open_network(settings(1)) as alice, hub.open_network(settings(2)) as bob:
        bob.serve("wait", handler)
        async with alice.open_stream(bob.node_key, "wait", 1000) as stream:
            with pytest.raises(StreamEndedError):
                await stream.receive(10, within=1000)
        assert bob.counters.refused["wait", "stream open too long"] == 1


async def test_a_cut_separates_two_nodes_and_gossip_goes_round_it(
    autojump_clock: MockClock,
) -> None:
    hub = FakeHub()
    async with AsyncExitStack() as stack:
        alice, bob, carol = [
            await stack.enter_async_context(hub.open_network(settings(n))) for n in (1, 2, 3)
        ]
        inboxes = [n.subscribe("topic", lambda data, sender: ACCEPT) for n in (alice, bob, carol)]
        hub.cut(alice.node_key, bob.node_key)
        assert alice.peers == {carol.node_key}
        with pytest.raises(PeerUnreachableError):
            async with alice.open_stream(bob.node_key, "ask", 5):
                pytest.fail("a stream was opened")
        await alice.publish("topic", b"round")
        message = await inboxes[1].receive()
        assert (message.data, message.sender) == (b"round", carol.node_key)

        hub.cut(alice.node_key, carol.node_key)
        assert await alice.publish("topic", b"alone") == 0
        await trio.sleep(5)
        hub.mend(alice.node_key, carol.node_key)
        assert (await inboxes[2].receive()).data == b"round"
        assert (await inboxes[2].receive()).data == b"alone"


async def test_what_is_older_than_the_cache_is_not_offered(autojump_clock: MockClock) -> None:
    hub = FakeHub()
    async with hub.open_network(settings(1)) as alice, hub.open_network(settings(2)) as bob:
        await alice.publish("topic", b"old")
        await trio.sleep(60)
        await alice.publish("topic", b"new")
        inbox = bob.subscribe("topic", lambda data, sender: ACCEPT)
        assert (await inbox.receive()).data == b"new"
        assert bob.counters.delivered["topic"] == 1


async def test_a_node_that_stops_is_gone_for_the_others(autojump_clock: MockClock) -> None:
    async def handler(stream: RequestStream) -> None:
        await trio.sleep_forever()

    reasons: list[str] = []
    asked = trio.Event()

    hub = FakeHub()
    async with hub.open_network(settings(1)) as alice, trio.open_nursery() as nursery:
        async with hub.open_network(settings(2)) as bob:
            bob.serve("wait", handler)

            async def ask() -> None:
                async with alice.open_stream(bob.node_key, "wait", 1000) as stream:
                    asked.set()
                    try:
                        await stream.receive(10, within=1000)
                    except StreamEndedError as error:
                        reasons.append(error.reason)

            nursery.start_soon(ask)
            await asked.wait()
        assert alice.peers == frozenset()
        await trio.testing.wait_all_tasks_blocked()
        assert reasons == ["connection ended"]

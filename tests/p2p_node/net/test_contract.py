"""What roles may rely on, checked for the network over py-libp2p and for the fake alike."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio

from p2p_node.net import (
    ACCEPT,
    DeadlineError,
    Ignore,
    MessageTooLongError,
    Network,
    NetworkClosedError,
    PeerUnreachableError,
    ProtocolRefusedError,
    Reject,
    RequestStream,
    StreamEndedError,
)
from protocols.errors import ForgedError, GossipIgnore, LocalError, MalformedError
from protocols.types import NodeKey
from tests.fakes.network import FakeHub
from tests.p2p_node.net.conftest import limits, open_nodes, settings, until

World = Callable[..., AbstractAsyncContextManager[list[Network]]]


@asynccontextmanager
async def _open_fakes(count: int, **changes: Any) -> AsyncIterator[list[Network]]:
    hub = FakeHub()
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(hub.open_network(settings(number, **changes)))
            for number in range(1, count + 1)
        ]


@pytest.fixture(params=[open_nodes, _open_fakes], ids=["libp2p", "fake"])
def world(request: pytest.FixtureRequest) -> World:
    return request.param


def accept(data: bytes, sender: bytes) -> object:
    return ACCEPT


async def test_nodes_know_each_other_by_their_keys(world: World) -> None:
    async with world(3) as (alice, bob, carol):
        assert alice.peers == {bob.node_key, carol.node_key}
        assert len(alice.node_key) == 32
        assert all(address.endswith(f"/p2p/{alice.peer_id}") for address in alice.addresses)


async def test_an_accepted_message_reaches_every_subscriber_once(world: World) -> None:
    async with world(4) as nodes:
        inboxes = [node.subscribe("announce", accept) for node in nodes]
        with trio.fail_after(10):
            for node in nodes:
                await node.wait_for_peers(3, topic="announce")
            assert await nodes[0].publish("announce", b"first") == 3
            await nodes[0].publish("announce", b"second")
            for inbox in inboxes[1:]:
                received = [await inbox.receive(), await inbox.receive()]
                assert sorted(message.data for message in received) == [b"first", b"second"]
                assert all(
                    message.sender in {one.node_key for one in nodes} for message in received
                )
        for node in nodes[1:]:
            assert node.counters.delivered["announce"] == 2


async def test_the_publisher_does_not_judge_or_receive_its_own_message(world: World) -> None:
    judged: list[bytes] = []

    def judge(data: bytes, sender: bytes) -> object:
        judged.append(data)
        return ACCEPT

    async with world(3) as (alice, bob, carol):
        alice.subscribe("announce", judge)
        inboxes = [node.subscribe("announce", accept) for node in (bob, carol)]
        with trio.fail_after(10):
            await alice.wait_for_peers(2, topic="announce")
            await alice.publish("announce", b"mine")
            for inbox in inboxes:
                await inbox.receive()
        assert judged == []
        assert alice.counters.delivered["announce"] == 0
        assert alice.counters.published["announce"] == 1


async def test_a_node_that_does_not_follow_a_topic_can_publish_on_it(world: World) -> None:
    async with world(2) as (alice, bob):
        inbox = bob.subscribe("announce", accept)
        with trio.fail_after(10):
            await alice.wait_for_peers(1, topic="announce")
            assert alice.subscribers("announce") == {bob.node_key}
            assert await alice.publish("announce", b"hello") == 1
            message = await inbox.receive()
        assert (message.data, message.sender) == (b"hello", alice.node_key)


async def test_a_judge_is_asked_once_per_message_however_often_it_arrives(world: World) -> None:
    judged: list[bytes] = []

    def judge(data: bytes, sender: bytes) -> object:
        judged.append(data)
        return ACCEPT

    async with world(4) as nodes:
        for node in nodes[1:]:
            node.subscribe("announce", judge)
        with trio.fail_after(10):
            for node in nodes[1:]:
                await node.wait_for_peers(2, topic="announce")
            await nodes[0].wait_for_peers(3, topic="announce")
            await nodes[0].publish("announce", b"same")
            await nodes[0].publish("announce", b"same")
            await nodes[0].publish("announce", b"other")
            await until(lambda: len(judged) >= 6)
        assert sorted(judged) == [b"other"] * 3 + [b"same"] * 3


async def test_the_same_bytes_on_two_topics_are_two_messages(world: World) -> None:
    async with world(2) as (alice, bob):
        first, second = bob.subscribe("one", accept), bob.subscribe("two", accept)
        with trio.fail_after(10):
            await alice.wait_for_peers(1, topic="one")
            await alice.wait_for_peers(1, topic="two")
            await alice.publish("one", b"x")
            await alice.publish("two", b"x")
            assert (await first.receive()).data == b"x"
            assert (await second.receive()).data == b"x"


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (Ignore("too late"), "too late"),
        (Reject("forged"), "forged"),
        (GossipIgnore("too early"), "too early"),
        (MalformedError("does not parse"), "does not parse"),
        (ForgedError("wrong key"), "wrong key"),
    ],
    ids=["ignore", "reject", "raised ignore", "raised malformed", "raised forged"],
)
async def test_a_refused_message_is_counted_and_goes_no_further(
    world: World, verdict: object, reason: str
) -> None:
    def judge(data: bytes, sender: bytes) -> object:
        if data == b"good":
            return ACCEPT
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    async with world(2) as (alice, bob):
        inbox = bob.subscribe("announce", judge)
        with trio.fail_after(10):
            await alice.wait_for_peers(1, topic="announce")
            await alice.publish("announce", b"bad")
            await alice.publish("announce", b"good")
            assert (await inbox.receive()).data == b"good"
        assert bob.counters.refused["announce", reason] == 1
        assert bob.counters.forwarded == 0
        assert not bob.counters.bugs


@pytest.mark.parametrize("fault", [ValueError("bug"), "not a judgement", None])
async def test_a_judge_with_a_bug_refuses_and_blames_nobody(
    world: World, fault: object, caplog: pytest.LogCaptureFixture
) -> None:
    def judge(data: bytes, sender: bytes) -> object:
        if data == b"good":
            return ACCEPT
        if isinstance(fault, Exception):
            raise fault
        return fault

    async with world(2) as (alice, bob):
        inbox = bob.subscribe("announce", judge)
        with trio.fail_after(10):
            await alice.wait_for_peers(1, topic="announce")
            for number in range(40):
                await alice.publish("announce", b"bad %d" % number)
            await alice.publish("announce", b"good")
            assert (await inbox.receive()).data == b"good"
        assert bob.counters.bugs.total() == 40
        assert bob.counters.refused["announce", "our own bug"] == 40
        assert bob.counters.peers_banned == 0
        assert alice.node_key in bob.peers
    assert "judge failed: topic=announce" in caplog.text


async def test_a_peer_that_passes_on_rejected_messages_is_cut_off(world: World) -> None:
    async with world(2) as (alice, bob):
        bob.subscribe("announce", lambda data, sender: Reject("forged"))
        with trio.fail_after(10):
            await alice.wait_for_peers(1, topic="announce")
            for number in range(30):
                await alice.publish("announce", b"bad %d" % number)
            await until(lambda: not bob.peers)
        assert bob.counters.peers_banned == 1


async def test_a_full_queue_drops_the_oldest(world: World) -> None:
    async with world(2, limits=limits(delivery_queue=5)) as (alice, bob):
        inbox = bob.subscribe("announce", accept)
        with trio.fail_after(10):
            await alice.wait_for_peers(1, topic="announce")
            for number in range(8):
                await alice.publish("announce", b"%d" % number)
            await until(lambda: bob.counters.delivered["announce"] == 8)
            kept = [(await inbox.receive()).data for _ in range(5)]
        assert kept == [b"3", b"4", b"5", b"6", b"7"]
        assert bob.counters.dropped["announce"] == 3


async def test_a_subscription_without_delivery_judges_and_queues_nothing(world: World) -> None:
    taken: list[bytes] = []

    def judge(data: bytes, sender: bytes) -> object:
        taken.append(data)
        return ACCEPT

    async with world(2, limits=limits(delivery_queue=1)) as (alice, bob):
        inbox = bob.subscribe("announce", judge, deliver=False)
        with trio.fail_after(10):
            await alice.wait_for_peers(1, topic="announce")
            for number in range(3):
                await alice.publish("announce", b"%d" % number)
            await until(lambda: len(taken) == 3)
            with trio.move_on_after(0.05) as waiting:
                await inbox.receive()
        assert waiting.cancelled_caught
        assert bob.counters.dropped["announce"] == 0


async def test_a_late_subscriber_is_offered_what_was_said_before(world: World) -> None:
    async with world(2) as (alice, bob):
        await alice.publish("announce", b"early")
        inbox = bob.subscribe("announce", accept)
        alice.subscribe("announce", accept)
        with trio.fail_after(10):
            assert (await inbox.receive()).data == b"early"


async def test_a_closed_subscription_ends_its_reader_and_can_be_renewed(world: World) -> None:
    async with world(2) as (alice, bob):
        inbox = bob.subscribe("announce", accept)
        with trio.fail_after(10):
            await alice.wait_for_peers(1, topic="announce")
            inbox.close()
            with pytest.raises(NetworkClosedError):
                await inbox.receive()
            assert [message async for message in inbox] == []
            await until(lambda: not alice.subscribers("announce"))
            again = bob.subscribe("announce", accept)
            await alice.wait_for_peers(1, topic="announce")
            await alice.publish("announce", b"back")
            assert (await again.receive()).data == b"back"


async def test_one_subscription_per_topic(world: World) -> None:
    async with world(1) as (alice,):
        alice.subscribe("announce", accept)
        with pytest.raises(LocalError):
            alice.subscribe("announce", accept)


async def test_a_message_above_the_cap_is_our_own_mistake(world: World) -> None:
    async with world(1, limits=limits(max_gossip_message=10)) as (alice,):
        await alice.publish("announce", b"x" * 10)
        with pytest.raises(LocalError):
            await alice.publish("announce", b"x" * 11)


# Request streams.


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
    async with world(3, limits=limits(max_inbound_streams_per_peer=6)) as (alice, bob, carol):
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

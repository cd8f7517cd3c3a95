"""What roles may rely on in gossip, checked for the real network and for the fake alike."""

import pytest
import trio

from p2p_node.net import ACCEPT, Ignore, NetworkClosedError, Reject
from protocols.errors import ForgedError, GossipIgnore, LocalError, MalformedError
from tests.p2p_node.net.conftest import World, limits, until


def accept(data: bytes, sender: bytes) -> object:
    return ACCEPT


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

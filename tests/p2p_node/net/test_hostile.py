"""Peers and strangers that mean harm: the node stays up, counts why it refused, and stays small."""

import os
import tracemalloc

import pytest
import trio
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.pubsub.pb import rpc_pb2

from p2p_node.net import (
    ACCEPT,
    Network,
    PeerUnreachableError,
    ProtocolRefusedError,
    Reject,
    RequestStream,
    StreamEndedError,
    open_network,
)
from p2p_node.net.framing import encode_frame, encode_varint
from p2p_node.net.gossip_codec import encode_control, encode_message, encode_subscriptions
from p2p_node.net.mesh import Control
from p2p_node.net.mux_stream import MuxStream
from p2p_node.net.yamux_wire import DATA, HEADER, SYN, WINDOW_UPDATE
from protocols.errors import RemoteError
from tests.p2p_node.net.attacker import (
    attach,
    endpoint_of,
    handshake,
    open_gossip,
    open_stream,
    raw_tcp,
)
from tests.p2p_node.net.conftest import limits, open_nodes, settings, times, until

TOPIC = "/kaisar/test/1/announce"


def accept(data: bytes, sender: bytes) -> object:
    return ACCEPT


async def still_works(alice: Network, bob: Network) -> None:
    """Two nodes can still gossip and answer each other."""
    inbox = bob.subscribe("alive", accept)

    async def echo(stream: RequestStream) -> None:
        await stream.send(await stream.receive(100))

    bob.serve("alive", echo)
    with trio.fail_after(5):
        await alice.wait_for_peers(1, topic="alive")
        await alice.publish("alive", b"still here")
        assert (await inbox.receive()).data == b"still here"
        async with alice.open_stream(bob.node_key, "alive", 5) as stream:
            await stream.send(b"hello")
            assert await stream.receive(100) == b"hello"
    for node in (alice, bob):
        assert not node.counters.bugs


async def closed_by_node(stream: trio.SocketStream, within: float = 5.0) -> None:
    with trio.fail_after(within):
        try:
            while await stream.receive_some(65536):
                pass
        except trio.BrokenResourceError:
            pass


# Strangers, before any handshake.


@pytest.mark.parametrize(
    "garbage",
    [
        os.urandom(4096),
        b"GET / HTTP/1.1\r\nHost: kaisar\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"\x00",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(100),
        encode_varint(1 << 40) + b"/multistream/1.0.0\n",
        b"\x13/multistream/1.0.0\n" + b"\xff\xff\x03" + bytes(100),
        b"\x13/multistream/1.0.0\n" + b"\x04\xff\xfe\xfd\n",
        b"\x13/multistream/1.0.0\n" + b"\x07/noise\n" + b"\xff\xff" + os.urandom(2000),
        b"\x13/multistream/1.0.0\n" + b"\x07/noise\n" + b"\x00\x20" + bytes(32) + os.urandom(999),
    ],
    ids=[
        "noise",
        "http",
        "tls",
        "zero",
        "endless varint",
        "terabyte message",
        "long message",
        "not utf-8",
        "garbage in place of a handshake",
        "garbage within a handshake",
    ],
)
async def test_garbage_on_the_port_ends_its_connection_only(garbage: bytes) -> None:
    async with open_nodes(2, times=times(handshake=1.0)) as (alice, bob):
        async with raw_tcp(bob) as stream:
            await stream.send_all(garbage)
            await stream.send_eof()
            await closed_by_node(stream)
        await until(lambda: any(where == "handshake" for where, _ in bob.counters.refused))
        assert bob.peers == {alice.node_key}
        await still_works(alice, bob)


@pytest.mark.parametrize(
    "protocol", ["/plaintext/2.0.0", "/secio/1.0.0", "/tls/1.0.0", "/mplex/6.7.0"]
)
async def test_nothing_but_noise_is_spoken(protocol: str) -> None:
    async with open_nodes(1, times=times(handshake=1.0)) as (node,), raw_tcp(node) as stream:
        greeting = b"\x13/multistream/1.0.0\n"
        await stream.send_all(greeting + encode_frame(protocol.encode() + b"\n"))
        received = b""
        with trio.fail_after(5):
            while len(received) < len(greeting) + 4:
                received += await stream.receive_some(1000)
        assert received == greeting + b"\x03na\n"


async def test_a_silent_connection_is_closed_after_the_handshake_deadline() -> None:
    async with open_nodes(2, times=times(handshake=0.5)) as (alice, bob):
        async with raw_tcp(bob) as stream:
            await closed_by_node(stream, within=3)
        assert bob.counters.refused["handshake", "handshake too slow"] == 1
        await still_works(alice, bob)


async def test_half_open_connections_are_limited_and_do_not_lock_others_out() -> None:
    changes = {
        "times": times(handshake=1.0),
        "limits": limits(max_handshakes=20, max_handshakes_per_host=10),
    }
    async with open_nodes(1, **changes) as (node,):
        endpoint = endpoint_of(node)
        streams = [await trio.open_tcp_stream(endpoint.host, endpoint.port) for _ in range(40)]
        refused = ("connection", "too many handshakes from one host")
        await until(lambda: node.counters.refused[refused] >= 30)
        async with open_network(settings(9, node.addresses)) as other:
            with trio.fail_after(10):
                await other.wait_for_peers(1)
        for stream in streams:
            await stream.aclose()


async def test_inbound_connections_do_not_take_the_places_of_outbound_ones() -> None:
    changes = {"limits": limits(max_peers=5, reserved_outbound=3), "target_peers": 2}
    async with (
        open_nodes(1, **changes) as (node,),
        open_network(settings(2)) as other,
        attach(node, 100),
        attach(node, 101),
    ):
        await until(lambda: len(node.peers) == 2)
        for number in (102, 103):
            with pytest.raises(RemoteError):
                await handshake(node, number)
        assert node.counters.refused["connection", "too many connections"] == 2
        node.learn_addresses(other.node_key, other.addresses)
        with trio.fail_after(5), pytest.raises(ProtocolRefusedError):
            async with node.open_stream(other.node_key, "ask", 4):
                pytest.fail("a stream was opened")
        assert other.node_key in node.peers


async def test_a_peer_that_proves_another_key_is_not_taken_for_the_one_dialled() -> None:
    async with open_nodes(1) as (node,), open_network(settings(2)) as other:
        stranger = settings(3)
        async with open_network(stranger) as third:
            wanted = third.node_key
        other.learn_addresses(wanted, [node.addresses[0].rsplit("/p2p/", 1)[0]])
        with trio.fail_after(10), pytest.raises(PeerUnreachableError):
            async with other.open_stream(wanted, "ask", 8):
                pytest.fail("a stream was opened")


# Peers, with a connection.


async def test_tampered_records_end_the_connection() -> None:
    async with open_nodes(2) as (alice, bob):
        secured = await handshake(bob)
        await until(lambda: len(bob.peers) == 2)
        secured.tcp.send(b"\x00\x40" + os.urandom(0x40))
        await until(lambda: len(bob.peers) == 1)
        assert bob.counters.refused["muxer", "record does not decrypt"] == 1
        secured.tcp.abort()
        await still_works(alice, bob)


async def test_a_broken_window_ends_the_connection() -> None:
    async with open_nodes(2) as (alice, bob):
        secured = await handshake(bob)
        secured.send(HEADER.pack(0, DATA, SYN, 1, 1 << 24))
        await until(lambda: bob.counters.refused["muxer", "peer ignores the window"] == 1)
        secured.tcp.abort()
        await still_works(alice, bob)


async def test_a_peer_has_two_connections_at_most_and_the_newest_stay() -> None:
    async with open_nodes(1) as (node,), attach(node) as first:
        await until(lambda: node.counters.connections == 1)
        async with attach(node) as second:
            await until(lambda: node.counters.connections == 2)
            async with attach(node) as third:
                with trio.fail_after(5):
                    await first.wait_ended()
                assert not second.ended
                assert not third.ended
                await until(lambda: node.counters.connections == 2)
                assert len(node.peers) == 1


async def test_connections_that_come_too_fast_get_no_handshake() -> None:
    changes = {"limits": limits(arrival_rate=5.0, arrival_burst=10), "times": times(handshake=0.5)}
    async with open_nodes(1, **changes) as (node,):
        for _ in range(30):
            async with raw_tcp(node) as stream:
                await stream.send_eof()
        refused = node.counters.refused
        await until(lambda: refused["connection", "connections come too fast"] >= 15)
        async with open_network(settings(9, node.addresses)) as other:
            with trio.fail_after(10):
                await other.wait_for_peers(1)


async def test_endless_streams_are_reset_and_forgotten() -> None:
    few = limits(max_inbound_streams_per_peer=7, max_lasting_streams_per_peer=3)
    changes = {"limits": few, "times": times(negotiate=1.0)}
    async with open_nodes(2, **changes) as (alice, bob):
        secured = await handshake(bob)
        for number in range(5000):
            secured.send(HEADER.pack(0, WINDOW_UPDATE, SYN, 2 * number + 1, 0))
        await secured.tcp.write(b"")
        await until(lambda: bob.counters.refused["muxer", "too many streams"] >= 4990)
        # Those that were taken never say what they are for: they end after the deadline.
        await until(lambda: bob.counters.refused["stream", "negotiation too slow"] >= 9)
        await still_works(alice, bob)
        secured.tcp.abort()


async def test_streams_with_garbage_in_place_of_a_protocol_are_reset() -> None:
    async with open_nodes(2) as (alice, bob):
        async with attach(bob) as muxer:
            for garbage in (b"\x00", b"\xff\xff\x7f", b"\x04\xff\xfe\xfd\n", os.urandom(500)):
                stream = muxer.open_stream()
                await stream.write(b"\x13/multistream/1.0.0\n" + garbage)
                stream.close()
                with trio.fail_after(5):
                    await _read_to_the_end(stream)
            await until(lambda: bob.counters.refused.total() >= 4)
        await still_works(alice, bob)


async def _read_to_the_end(stream: MuxStream) -> None:
    try:
        while await stream.receive_some():
            pass
    except StreamEndedError:
        pass


def rpc(**fields: object) -> bytes:
    return encode_frame(rpc_pb2.RPC(**fields).SerializeToString())


@pytest.mark.parametrize(
    ("frame", "where", "reason"),
    [
        (encode_varint(1 << 30), "gossip", "frame too long"),
        (encode_varint(300_000) + bytes(300_000), "gossip", "frame too long"),
        (b"\xff" * 20, "gossip", "length prefix too long"),
        (encode_frame(b"\xff\xff\xff\xff"), "gossip", "gossip frame does not parse"),
        (
            rpc(publish=[rpc_pb2.Message(data=b"x", topicIDs=[TOPIC], from_id=b"me")]),
            "gossip",
            "gossip message names an author",
        ),
        (encode_message("/kaisar/other/1/announce", b"x"), "gossip", "topic not followed"),
        (encode_message(TOPIC, bytes(70_000)), "announce", "message too long"),
        (encode_subscriptions(["/elsewhere"], follow=True), "gossip", "topic of another network"),
        (
            rpc(control=rpc_pb2.ControlMessage(graft=[rpc_pb2.ControlGraft(topicID="x")] * 300)),
            "gossip",
            "too many entries in a gossip frame",
        ),
    ],
)
async def test_malformed_gossip_is_refused_with_a_reason(
    frame: bytes, where: str, reason: str
) -> None:
    async with open_nodes(2) as (alice, bob):
        bob.subscribe("announce", accept)
        async with attach(bob) as muxer:
            stream = await open_gossip(muxer)
            await stream.write(frame)
            await until(lambda: bob.counters.refused[where, reason] == 1)
        await still_works(alice, bob)


async def test_a_peer_that_keeps_sending_malformed_gossip_is_banned() -> None:
    async with open_nodes(2, times=times(ban=1.0)) as (alice, bob):
        async with attach(bob) as muxer:
            with trio.fail_after(10):
                while not muxer.ended:
                    try:
                        stream = await open_gossip(muxer)
                        await stream.write(encode_frame(b"\xff\xff\xff"))
                        await stream.receive_some()
                    except RemoteError:
                        await trio.sleep(0.01)
        assert bob.counters.peers_banned == 1
        refused = bob.counters.refused
        async with attach(bob) as muxer:
            with trio.fail_after(5):
                await muxer.wait_ended()
        assert refused["connection", "peer is banned"] >= 1
        await still_works(alice, bob)
        await trio.sleep(1.0)
        async with attach(bob):
            await until(lambda: len(bob.peers) == 2)


async def test_thousands_of_invalid_messages_leave_no_trace_but_a_count() -> None:
    judged = 0

    def judge(data: bytes, sender: bytes) -> object:
        nonlocal judged
        judged += 1
        return Reject("forged") if data.startswith(b"bad") else ACCEPT

    changes = {"limits": limits(seen_messages=1000, gossip_rate=1e6, gossip_burst=10**6)}
    async with open_nodes(2, **changes) as (alice, bob):
        inbox = bob.subscribe("announce", judge)
        with trio.fail_after(20):
            await alice.wait_for_peers(1, topic="announce")
            tracemalloc.start()
            try:
                before, _ = tracemalloc.get_traced_memory()
                for number in range(1000, 1010):
                    async with attach(bob, number) as muxer:
                        await _send_until_cut_off(await open_gossip(muxer), number)
                after, _ = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            await alice.publish("announce", b"good")
            assert (await inbox.receive()).data == b"good"
    assert bob.counters.peers_banned == 10
    assert 10 * 20 <= bob.counters.refused["announce", "forged"] <= judged
    assert after - before < 4_000_000


async def _send_until_cut_off(stream: MuxStream, number: int) -> None:
    try:
        for serial in range(10_000):
            await stream.write(encode_message(TOPIC, b"bad %d %d" % (number, serial)))
            if not serial % 50:
                await trio.sleep(0)
    except RemoteError:
        return
    await _read_to_the_end(stream)


async def test_a_peer_that_floods_valid_messages_is_read_more_slowly() -> None:
    changes = {"limits": limits(gossip_rate=400.0, gossip_burst=50, delivery_queue=10_000)}
    async with open_nodes(2, **changes) as (alice, bob):
        bob.subscribe("announce", accept)
        async with attach(bob) as muxer:
            stream = await open_gossip(muxer)
            started = trio.current_time()
            for wave in range(1, 10):
                for serial in range(50):
                    await stream.write(encode_message(TOPIC, b"%d/%d" % (wave, serial)))
                await until(lambda: bob.counters.delivered["announce"] == 50 * wave)  # noqa: B023
            took = trio.current_time() - started
        assert took >= 0.8
        assert bob.counters.refused["gossip", "peer slowed down"] >= 1
        assert bob.counters.peers_banned == 0
        await still_works(alice, bob)


async def test_a_peer_that_does_not_read_gossip_is_dropped_from_not_waited_for() -> None:
    changes = {
        "limits": limits(gossip_outbox=100_000, max_pending_write=50_000),
        "times": times(dead=30.0),
    }
    async with open_nodes(3, **changes) as (alice, bob, carol):
        inbox = bob.subscribe("announce", accept)
        carol.subscribe("announce", accept)
        secured = await handshake(bob)
        muted = HEADER.pack(0, WINDOW_UPDATE, SYN, 1, 0)
        secured.send(muted)
        body = b"\x13/multistream/1.0.0\n\x0f/meshsub/1.1.0\n"
        body += encode_subscriptions([TOPIC], follow=True)
        body += encode_control(Control(graft=[TOPIC]))
        secured.send(HEADER.pack(0, DATA, 0, 1, len(body)) + body)
        # It never answers bob's own gossip stream, so bob cannot send; the others are served.
        with trio.fail_after(20):
            await alice.wait_for_peers(2, topic="announce")
            for serial in range(300):
                await alice.publish("announce", b"%d" % serial + bytes(2000))
            for _ in range(300):
                await inbox.receive()
        secured.tcp.abort()
        await still_works(alice, bob)


async def test_prunes_and_offers_for_made_up_topics_leave_no_trace() -> None:
    async with open_nodes(2) as (alice, bob):
        bob.subscribe("announce", accept)
        async with attach(bob) as muxer:
            stream = await open_gossip(muxer)
            for number in range(50):
                topics = [f"/kaisar/test/1/{number}/{i}" for i in range(60)]
                await stream.write(
                    encode_control(
                        Control(
                            prune=[(topic, 60.0) for topic in topics],
                            ihave=[(topic, [os.urandom(20)]) for topic in topics],
                            graft=topics,
                        )
                    )
                )
            await stream.write(encode_message(TOPIC, b"done"))
            await until(lambda: bob.counters.delivered["announce"] == 1)
            mesh = bob._gossip.mesh  # type: ignore[attr-defined]
            assert not mesh._backoff
            assert not mesh._asked
        await still_works(alice, bob)


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        (encode_varint(1 << 30), "frame too long"),
        (encode_frame(b"\xff\xff\xff"), "kademlia message does not parse"),
        (
            encode_frame(Message(type=Message.MessageType.PUT_VALUE, key=b"k").SerializeToString()),
            "question is not FIND_NODE",
        ),
        (
            encode_frame(Message(type=Message.MessageType.FIND_NODE).SerializeToString()),
            "question has no usable key",
        ),
        (
            encode_frame(
                Message(type=Message.MessageType.FIND_NODE, key=bytes(65)).SerializeToString()
            ),
            "question has no usable key",
        ),
    ],
)
async def test_a_malformed_question_to_the_directory_is_refused(
    question: bytes, reason: str
) -> None:
    async with open_nodes(2) as (alice, bob):
        async with attach(bob) as muxer:
            stream = await open_stream(muxer, "/kaisar/test/1/kad")
            await stream.write(question)
            await until(lambda: bob.counters.refused["kad", reason] == 1)
        await still_works(alice, bob)


async def test_a_peer_that_answers_the_directory_with_garbage_does_no_harm() -> None:
    async with open_nodes(1) as (bob,):
        liar_done = trio.Event()

        def answer(stream: MuxStream) -> None:
            nursery.start_soon(_answer_everything_with_garbage, stream)

        async with trio.open_nursery() as nursery:
            async with attach(bob) as muxer:
                muxer._on_stream = answer
                await trio.sleep(0.5)
                liar_done.set()
            nursery.cancel_scope.cancel()
        assert not bob.counters.bugs
        async with open_network(settings(5, bob.addresses)) as alice:
            with trio.fail_after(5):
                await alice.wait_for_peers(1)
            await still_works(alice, bob)


async def _answer_everything_with_garbage(stream: MuxStream) -> None:
    try:
        greeting = await stream.receive_some()
        await stream.write(greeting)
        await stream.write(os.urandom(2000))
    except RemoteError:
        pass


async def test_an_oversight_in_a_task_of_one_peer_does_not_stop_the_node(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def oversight(connection: object) -> None:
        raise ZeroDivisionError

    async with open_nodes(2) as (alice, bob):
        bob._identifier.ask = oversight  # type: ignore[attr-defined]
        async with attach(bob):
            await until(lambda: bob.counters.bugs["identify", "ZeroDivisionError"] == 1)
        bob.counters.bugs.clear()
        await still_works(alice, bob)
    assert "task of a peer failed: where=identify" in caplog.text

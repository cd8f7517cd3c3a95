"""What py-libp2p 0.8.1 does, as far as `p2p_node/net` is built around it.

Each test shows one reason for a part of ours that replaces or wraps a part of py-libp2p. When an
upgrade makes one fail, the reason is gone or has changed: read the module that names it again.
"""

import importlib.metadata
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import multiaddr
import pytest
import trio
import trio.testing
from libp2p import new_host
from libp2p.kad_dht import common as kad
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.network import swarm
from libp2p.network.config import ConnectionConfig
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.peer.peerstore import PeerStore, PeerStoreError
from libp2p.pubsub import pubsub as pubsub_module
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.mcache import MessageCache
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub, get_content_addressed_msg_id
from libp2p.security.pnet import psk_conn
from libp2p.stream_muxer.muxer_multistream import MuxerMultistream
from libp2p.stream_muxer.yamux import yamux as plain_yamux
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.tools.anyio_service import background_trio_service

from p2p_node.net.framing import encode_frame
from p2p_node.net.identity import key_pair_of, node_key_of, peer_id_of
from p2p_node.net.yamux_wire import DATA, HEADER, SYN, WINDOW_UPDATE
from protocols.types import NodeKey
from tests.p2p_node.net.attacker import attach, open_stream
from tests.p2p_node.net.conftest import until

MESHSUB = "/meshsub/1.1.0"


@dataclass
class PlainTarget:
    """A py-libp2p host for the attacker."""

    addresses: tuple[str, ...]
    node_key: NodeKey


def new_router(**changes: Any) -> GossipSub:
    return GossipSub(
        **{"protocols": [MESHSUB], "degree": 3, "degree_low": 2, "degree_high": 4, **changes}
    )


@asynccontextmanager
async def plain_host(*, gossip: bool = False, **options: Any) -> AsyncIterator[tuple[Any, Any]]:
    host = new_host(key_pair=key_pair_of(bytes(31) + b"\x63"), **options)
    pubsub = Pubsub(host, new_router()) if gossip else None
    async with host.run([multiaddr.Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        key = node_key_of(host.get_id())
        assert key is not None
        target = PlainTarget((str(host.get_addrs()[0]),), key)
        if pubsub is None:
            yield host, target
        else:
            async with background_trio_service(pubsub), background_trio_service(pubsub.router):
                await pubsub.wait_until_ready()
                await pubsub.subscribe("topic")
                yield host, target


async def survives(attack: Any, **options: Any) -> bool:
    """Whether a py-libp2p host is still there half a second after `attack`."""
    logging.getLogger("libp2p").setLevel(logging.CRITICAL)
    alive = False
    try:
        async with plain_host(**options) as (_host, target):
            async with attach(target) as muxer:
                await attack(muxer)
                with trio.move_on_after(0.5):
                    await muxer.wait_ended()
            # Whatever ended the host cancels this block here.
            await trio.sleep(0.1)
            alive = True
    except BaseExceptionGroup:
        return False
    return alive


def test_the_version_is_the_one_these_facts_are_about() -> None:
    assert importlib.metadata.version("libp2p") == "0.8.1"


def test_defaults_that_do_not_fit_us() -> None:
    router = new_router()
    assert pubsub_module.SUBSCRIPTION_CHANNEL_SIZE == 32
    assert router.max_messages_per_topic_per_second == 10
    assert router.heartbeat_interval == 120
    assert router.min_mesh_diversity_ips == 3
    assert swarm._HAPPY_EYEBALLS_DELAY == 0.25
    assert swarm.MAX_ADDRS_PER_PEER == 2


async def test_a_host_offers_plaintext() -> None:
    """noise.py: an inbound stranger may choose it, and name any key as its own."""
    offered = new_host().get_network().upgrader.security_multistream.transports
    assert "/plaintext/2.0.0" in offered


async def test_a_stream_protocol_that_is_not_utf8_ends_the_host() -> None:
    """negotiate.py and switch.py."""

    async def attack(muxer: Any) -> None:
        stream = muxer.open_stream()
        await stream.write(b"\x13/multistream/1.0.0\n" + b"\x04\xff\xfe\xfd\n")

    assert not await survives(attack)


async def test_a_gossip_frame_that_does_not_parse_ends_the_host() -> None:
    """gossip.py."""

    async def attack(muxer: Any) -> None:
        stream = await open_stream(muxer, MESHSUB)
        await stream.write(encode_frame(b"\xff\xff\xff"))

    assert not await survives(attack, gossip=True)


async def test_a_host_survives_when_nothing_is_done_to_it() -> None:
    """The control of the two tests above."""

    async def attack(muxer: Any) -> None:
        await open_stream(muxer, MESHSUB)

    assert await survives(attack, gossip=True)


async def test_a_sync_validator_that_raises_ends_the_pubsub_service() -> None:
    """subscription.py."""
    host = new_host()
    pubsub = Pubsub(host, new_router())

    def validator(forwarder: ID, message: rpc_pb2.Message) -> bool:
        raise ValueError

    async def receive_one_message() -> None:
        async with background_trio_service(pubsub):
            pubsub.set_topic_validator("topic", validator, False)
            message = rpc_pb2.Message(data=b"x", topicIDs=["topic"], from_id=b"me", seqno=b"1")
            pubsub.manager.run_task(pubsub.push_msg, host.get_id(), message)
            await trio.sleep(5)

    pubsub.strict_signing = False
    logging.getLogger("libp2p").setLevel(logging.CRITICAL)
    with pytest.raises(BaseExceptionGroup):
        await receive_one_message()


async def test_an_inbound_slot_is_kept_after_its_connection_ended() -> None:
    """switch.py."""
    async with plain_host() as (host, target):
        limiter = host.get_network()._inbound_limiter
        for number in range(2):
            async with attach(target, number + 1):
                await until(lambda: len(host.get_connected_peers()) == 1)
            await until(lambda: not host.get_connected_peers())
        assert limiter.borrowed_tokens == 2


async def test_the_muxer_class_cannot_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """yamux.py and connection.py: the option is there, but yamux is made by name."""

    class Ours:
        pass

    class Connection:
        is_initiator = True

    muxers = MuxerMultistream({plain_yamux.PROTOCOL_ID: Ours})  # type: ignore[dict-item]

    async def select(*arguments: Any) -> tuple[str, type]:
        return plain_yamux.PROTOCOL_ID, Ours

    monkeypatch.setattr(muxers._selector, "select", select)
    muxer = await muxers.new_conn(Connection(), ID(b"peer"))  # type: ignore[arg-type]
    assert type(muxer) is Yamux


class _Wire:
    """A secured connection for a `Yamux` of py-libp2p: the test writes what it reads."""

    is_initiator = False

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self._send, self._receive = trio.open_memory_channel[bytes](10_000)
        self._buffer = b""

    def feed(self, data: bytes) -> None:
        self._send.send_nowait(data)

    async def read(self, n: int) -> bytes:
        while len(self._buffer) < n:
            self._buffer += await self._receive.receive()
        data, self._buffer = self._buffer[:n], self._buffer[n:]
        return data

    async def write(self, data: bytes) -> None:
        self.written.append(data)

    async def close(self) -> None:
        pass


@asynccontextmanager
async def running_yamux() -> AsyncIterator[tuple[Yamux, _Wire]]:
    wire = _Wire()
    muxer = Yamux(wire, ID(b"peer"))  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(muxer.start)
        await muxer.event_started.wait()
        yield muxer, wire
        nursery.cancel_scope.cancel()


async def test_its_yamux_answers_each_read_with_a_window_update() -> None:
    """yamux.py."""
    async with running_yamux() as (muxer, wire):
        wire.feed(HEADER.pack(0, DATA, SYN, 1, 300) + bytes(300))
        stream = await muxer.accept_stream()
        wire.written.clear()
        for _ in range(300):
            await stream.read(1)
        updates = [one for one in wire.written if HEADER.unpack(one[:12])[1] == WINDOW_UPDATE]
        assert len(updates) == 300


async def test_its_yamux_buffers_what_ignores_the_window() -> None:
    """yamux.py."""
    logging.getLogger("libp2p").setLevel(logging.CRITICAL)
    async with running_yamux() as (muxer, wire):
        wire.feed(HEADER.pack(0, WINDOW_UPDATE, SYN, 1, 0))
        for _ in range(40):
            wire.feed(HEADER.pack(0, DATA, 0, 1, 60_000) + bytes(60_000))
        await trio.testing.wait_all_tasks_blocked()
        assert len(muxer.stream_buffers[1]) == 40 * 60_000 > 9 * plain_yamux.DEFAULT_WINDOW_SIZE


async def test_its_negotiation_asks_for_any_length_a_stranger_names() -> None:
    """tcp.py and negotiate.py."""
    from libp2p.utils.varint import read_delim

    asked: list[int] = []

    class Reader:
        def __init__(self) -> None:
            self.data = list(b"\xff\xff\xff\xff\x0f")

        async def read(self, n: int) -> bytes:
            asked.append(n)
            if n > 1:
                raise EOFError
            return bytes([self.data.pop(0)])

    with pytest.raises(EOFError):
        await read_delim(Reader())  # type: ignore[arg-type]
    assert asked[-1] == 2**32 - 1


def test_its_message_cache_ignores_the_id_function() -> None:
    """mesh.py and message_cache.py: IHAVE names what nobody else knows under that name."""
    cache = MessageCache(3, 5)
    message = rpc_pb2.Message(data=b"x", topicIDs=["topic"], from_id=b"me", seqno=b"1")
    cache.put(message)
    assert cache.get(get_content_addressed_msg_id(message)) is None
    assert cache.get(b"me1") is not None


async def test_its_heartbeat_sends_one_peers_grafts_to_the_next() -> None:
    """mesh.py."""
    router = new_router()
    sent: dict[ID, list[str]] = {}

    async def emit(control: rpc_pb2.ControlMessage, peer: ID) -> None:
        sent[peer] = [graft.topicID for graft in control.graft]

    router.emit_control_message = emit  # type: ignore[method-assign]
    await router._emit_control_msgs({ID(b"one"): ["a"], ID(b"two"): ["b"]}, {}, {})
    assert sent == {ID(b"one"): ["a"], ID(b"two"): ["a", "b"]}


async def test_it_remembers_a_prune_for_any_topic_name() -> None:
    """mesh.py."""
    router = new_router()
    for number in range(100):
        await router.handle_prune(rpc_pb2.ControlPrune(topicID=f"made up {number}"), ID(b"peer"))
    assert len(router.back_off) == 100


def test_unsigned_messages_are_equivocations_to_it() -> None:
    """gossip_codec.py: why its router cannot simply be used without signatures."""
    router = new_router()
    assert router._check_equivocation(rpc_pb2.Message(data=b"one", topicIDs=["topic"]))
    assert not router._check_equivocation(rpc_pb2.Message(data=b"two", topicIDs=["topic"]))


async def test_a_full_peer_store_evicts_our_own_key() -> None:
    """identify.py."""
    store = PeerStore(max_peers=3)
    own = peer_id_of(bytes(32))
    pair = key_pair_of(bytes(31) + b"\1")
    own = ID.from_pubkey(pair.public_key)
    store.add_key_pair(own, pair)
    for number in range(3):
        address = multiaddr.Multiaddr("/ip4/127.0.0.1/tcp/1")
        store.add_addrs(ID(b"peer %d" % number), [address], 100)
    with pytest.raises(PeerStoreError):
        store.privkey(own)


async def test_its_directory_keeps_values_of_anybody_under_one_name_for_all_networks() -> None:
    """kademlia.py."""
    host = new_host()
    KadDHT(host, DHTMode.SERVER, protocol_prefix="/kaisar")  # type: ignore[arg-type]
    assert "/ipfs/kad/1.0.0" in host.get_mux().get_protocols()
    assert not any(str(one).startswith("/kaisar") for one in host.get_mux().get_protocols())
    assert kad.MAX_VALUE_STORE_SIZE * kad.MAX_RECORD_SIZE > 50 * 10**9


async def test_its_private_network_is_not_the_specifications() -> None:
    """psk.py."""
    sent: list[bytes] = []

    class Connection:
        async def write(self, data: bytes) -> None:
            sent.append(data)

    await psk_conn.PskConn(Connection(), "00" * 32).write(b"hello")  # type: ignore[arg-type]
    assert len(sent[0]) == 8


async def test_a_failed_dial_blocks_a_peer_for_a_minute() -> None:
    """switch.py."""
    logging.getLogger("libp2p").setLevel(logging.CRITICAL)
    host = new_host(connection_config=ConnectionConfig())
    address = multiaddr.Multiaddr(f"/ip4/127.0.0.1/tcp/1/p2p/{peer_id_of(bytes(32))}")
    info = info_from_p2p_addr(address)
    network = host.get_network()
    network.retry_config.max_retries = 0
    with pytest.raises(swarm.SwarmException):
        await host.connect(info)
    assert network._negative_peer_cache.is_blocked(str(info.peer_id))
    assert network._negative_peer_cache._ttl == 60.0

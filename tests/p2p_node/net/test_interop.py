"""Our network and an unmodified py-libp2p 0.8.1 host understand each other."""

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import multiaddr
import trio
from libp2p import new_host
from libp2p.custom_types import TProtocol
from libp2p.host.ping import PingService
from libp2p.io.utils import read_exactly
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub, get_content_addressed_msg_id
from libp2p.tools.anyio_service import background_trio_service

from p2p_node.net import ACCEPT, RequestStream, open_network
from p2p_node.net.identity import key_pair_of, node_key_of
from protocols.types import NodeKey
from tests.p2p_node.net.conftest import settings, until

TOPIC = "/kaisar/test/1/announce"


@dataclass
class Plain:
    """An unmodified py-libp2p host with gossipsub."""

    host: Any
    pubsub: Any
    router: Any
    received: list[bytes] = field(default_factory=list)

    @property
    def address(self) -> str:
        return str(self.host.get_addrs()[0])

    @property
    def node_key(self) -> NodeKey:
        key = node_key_of(self.host.get_id())
        assert key is not None
        return key


@asynccontextmanager
async def plain_host() -> AsyncIterator[Plain]:
    host = new_host(key_pair=key_pair_of(bytes(31) + b"\x63"))
    router = GossipSub(
        protocols=[TProtocol("/meshsub/1.1.0")],
        degree=3,
        degree_low=2,
        degree_high=4,
        heartbeat_interval=1,
    )
    # Unsigned messages, as we demand; everything else as it comes.
    pubsub = Pubsub(
        host, router, strict_signing=False, msg_id_constructor=get_content_addressed_msg_id
    )
    async with (
        host.run([multiaddr.Multiaddr("/ip4/127.0.0.1/tcp/0")]),
        background_trio_service(pubsub),
        background_trio_service(router),
    ):
        await pubsub.wait_until_ready()
        try:
            yield Plain(host, pubsub, router)
        finally:
            # It leaves its sockets open otherwise.
            with trio.CancelScope(shield=True):
                for peer in list(host.get_network().connections):
                    await host.disconnect(peer)


async def test_a_py_libp2p_host_dials_pings_and_identifies_us() -> None:
    async with open_network(settings(1)) as ours, plain_host() as plain:
        with trio.fail_after(15):
            info = info_from_p2p_addr(multiaddr.Multiaddr(ours.addresses[0]))
            await plain.host.connect(info)
            await ours.wait_for_peers(1)
            assert ours.peers == {plain.node_key}
            assert await PingService(plain.host).ping(info.peer_id, ping_amt=3)
            store = plain.host.get_peerstore()
            await until(lambda: TProtocol("/ipfs/id/1.0.0") in store.get_protocols(info.peer_id))
            listed = [str(address) for address in store.addrs(info.peer_id)]
            assert ours.addresses[0].rsplit("/p2p/", 1)[0] in listed


async def test_large_requests_pass_in_both_directions() -> None:
    size = 3_000_000

    async def answer_plain(stream: Any) -> None:
        (length,) = struct.unpack("!I", await _exactly(stream, 4))
        data = await _exactly(stream, length)
        await stream.write(struct.pack("!I", len(data)) + data)
        await stream.close()

    async def answer_ours(stream: RequestStream) -> None:
        await stream.send(await stream.receive(size))

    async with open_network(settings(1)) as ours, plain_host() as plain:
        plain.host.set_stream_handler(TProtocol("/kaisar/test/1/echo"), answer_plain)
        ours.serve("echo", answer_ours)
        ours.learn_addresses(plain.node_key, [plain.address])
        data = bytes(range(256)) * (size // 256)
        with trio.fail_after(20):
            async with ours.open_stream(plain.node_key, "echo", 15) as stream:
                await stream.send(data)
                assert await stream.receive(size) == data
            theirs = await plain.host.new_stream(
                next(iter(plain.host.get_network().connections)),
                [TProtocol("/kaisar/test/1/echo")],
            )
            async with trio.open_nursery() as nursery:
                nursery.start_soon(theirs.write, struct.pack("!I", len(data)) + data)
                assert await _exactly(theirs, 4) == struct.pack("!I", len(data))
                assert await _exactly(theirs, len(data)) == data
            await theirs.close()
        assert not ours.counters.bugs


async def _exactly(stream: Any, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        parts += await read_exactly(stream, min(count - len(parts), 1000))
    return bytes(parts)


async def test_gossip_passes_in_both_directions() -> None:
    async with open_network(settings(1)) as ours, plain_host() as plain:
        inbox = ours.subscribe("announce", lambda data, sender: ACCEPT)
        subscription = await plain.pubsub.subscribe(TOPIC)
        with trio.fail_after(15):
            await plain.host.connect(info_from_p2p_addr(multiaddr.Multiaddr(ours.addresses[0])))
            await ours.wait_for_peers(1, topic="announce")
            our_id = next(iter(plain.host.get_network().connections))
            await plain.pubsub.wait_for_subscription(our_id, TOPIC)
            await plain.router.wait_for_mesh(our_id, TOPIC)
            # Its own `publish` always adds author and number, which unsigned networks refuse; and
            # its router passes on only the first message without them.
            message = rpc_pb2.Message(data=b"from plain", topicIDs=[TOPIC])
            await plain.router.publish(plain.host.get_id(), message)
            received = await inbox.receive()
            assert (received.data, received.sender) == (b"from plain", plain.node_key)
            await ours.publish("announce", b"from ours")
            assert (await subscription.get()).data == b"from ours"
        assert not ours.counters.bugs

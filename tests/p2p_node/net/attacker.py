"""A peer that does as the test pleases: real handshakes, then whatever bytes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import trio

from p2p_node.net.addresses import Endpoint, parse_address
from p2p_node.net.connection import NOISE
from p2p_node.net.gossip import PROTOCOLS as GOSSIP
from p2p_node.net.identity import key_pair_of
from p2p_node.net.mux_stream import MuxStream
from p2p_node.net.negotiate import select
from p2p_node.net.noise import NoiseConnection, NoiseIdentity
from p2p_node.net.tcp import TcpConnection, dial
from p2p_node.net.yamux import PROTOCOL as YAMUX
from p2p_node.net.yamux import Muxer, MuxerOptions, UnreadBudget
from protocols.types import NodeKey

MIB = 1 << 20


class Target(Protocol):
    """Whoever is attacked: a node of ours, or a host of py-libp2p in the same clothes."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Multiaddrs."""

    @property
    def node_key(self) -> NodeKey:
        """Its key."""


def endpoint_of(node: Target) -> Endpoint:
    return parse_address(node.addresses[0])[0]


@asynccontextmanager
async def raw_tcp(node: Target) -> AsyncIterator[trio.SocketStream]:
    """A TCP connection to a node and nothing more."""
    endpoint = endpoint_of(node)
    async with await trio.open_tcp_stream(endpoint.host, endpoint.port) as stream:
        yield stream


async def handshake(node: Target, number: int = 666) -> NoiseConnection:
    """A connection to `node` with all handshakes done, and no muxer of ours on top."""
    tcp: TcpConnection = await dial(endpoint_of(node))
    identity = NoiseIdentity(key_pair_of(number.to_bytes(32, "big")))
    try:
        await select(tcp, (NOISE,), 5)
        secured = await identity.secure(tcp, node.node_key)
        await select(secured, (YAMUX,), 5)
    except BaseException:
        tcp.abort()
        raise
    return secured


@asynccontextmanager
async def attach(node: Target, number: int = 666, *, dead: float = 30.0) -> AsyncIterator[Muxer]:
    """A multiplexed connection to `node` that answers nothing but the muxer's own frames."""
    options = MuxerOptions(
        window=MIB,
        max_lent=64 * MIB,
        budget=UnreadBudget(1 << 40),
        max_inbound_streams=1000,
        max_pending_write=64 * MIB,
        keepalive=10,
        dead=dead,
        linger=0.1,
    )
    secured = await handshake(node, number)
    # Streams that the node opens are left unanswered.
    muxer = Muxer(secured, options, lambda stream: None, lambda reason: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(muxer.run)
        yield muxer
        nursery.cancel_scope.cancel()


async def open_stream(muxer: Muxer, protocol: str) -> MuxStream:
    stream = muxer.open_stream()
    await select(stream, (protocol,), 5)
    return stream


async def open_gossip(muxer: Muxer) -> MuxStream:
    return await open_stream(muxer, GOSSIP[0])

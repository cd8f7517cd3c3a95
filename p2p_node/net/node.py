"""The network over py-libp2p: puts the parts together."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random

import trio

from p2p_node.net.addresses import (
    AddressBook,
    Endpoint,
    Source,
    parse_address,
    parse_own_address,
    reachable_endpoints,
)
from p2p_node.net.api import Handler, RequestStream
from p2p_node.net.blame import Blame
from p2p_node.net.connection import Connection, Upgrader
from p2p_node.net.connector import Connector
from p2p_node.net.counters import Counters
from p2p_node.net.errors import NetworkClosedError, PeerUnreachableError
from p2p_node.net.gossip import Gossip
from p2p_node.net.identify import Identifier
from p2p_node.net.identity import key_pair_of, node_key_of
from p2p_node.net.judgement import Judge
from p2p_node.net.kademlia import Kademlia
from p2p_node.net.noise import NoiseIdentity
from p2p_node.net.nursery import private_nursery
from p2p_node.net.quiet import quieten_libp2p
from p2p_node.net.request_stream import Requests
from p2p_node.net.settings import NetworkSettings
from p2p_node.net.subscription import MessageQueue
from p2p_node.net.switch import Switch
from protocols.errors import LocalError
from protocols.types import NodeKey


class Libp2pNetwork:
    """`p2p_node.net.api.Network` over TCP."""

    def __init__(self, settings: NetworkSettings) -> None:
        quieten_libp2p()
        # Not for secrets: which peers to choose, and how long to wait before trying again.
        random = Random()  # noqa: S311
        identity = NoiseIdentity(key_pair_of(settings.seed))
        node_key = node_key_of(identity.peer_id)
        if node_key is None:
            raise LocalError("the identity is not an Ed25519 key")
        self.node_key = node_key
        self.peer_id = str(identity.peer_id)
        self.counters = Counters()
        self._settings = settings
        self._listen = [parse_own_address(text, "listen") for text in settings.listen]
        self._announce = [parse_own_address(text, "announce") for text in settings.announce]
        limits = settings.limits
        self._book = AddressBook(limits.known_peers, limits.addresses_per_peer)
        self._switch = Switch(
            settings,
            node_key,
            Upgrader(settings, identity),
            self._book,
            Blame(settings.times.ban),
            self.counters,
        )
        self._identifier = Identifier(
            self._switch, self._book, node_key, self._own_endpoints, self._identified
        )
        self._kademlia = Kademlia(settings, self._switch, self._book, node_key)
        self._gossip = Gossip(settings, self._switch, self.counters, random)
        self._requests = Requests(settings, self._switch, self.counters)
        self._connector = Connector(
            settings,
            node_key,
            self._switch,
            self._kademlia,
            self._gossip.mesh.in_any_mesh,
            random,
        )
        self._closed = False
        self._change = trio.lowlevel.ParkingLot()
        self._switch.watch(self._joined, self._left)
        self._gossip.on_change(self._changed)

    async def bind(self) -> None:
        """Bind the addresses to listen on. Raises LocalError."""
        await self._switch.bind(self._listen)

    def unbind(self) -> None:
        """Undo `bind`."""
        self._switch.unbind()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take part until cancelled. Call `bind` before."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._gossip.run)
            await nursery.start(self._switch.run)
            nursery.start_soon(self._connector.run)
            task_status.started()

    async def close(self) -> None:
        """Say goodbye to everybody, within `NetworkTimes.shutdown`."""
        self._closed = True
        self._gossip.close()
        self._change.unpark_all()
        with trio.move_on_after(self._settings.times.shutdown, shield=True):
            await self._switch.close()

    # What is asked of a network.

    @property
    def addresses(self) -> tuple[str, ...]:
        """Multiaddrs under which others can reach this node."""
        return tuple(f"{endpoint}/p2p/{self.peer_id}" for endpoint in self._own_endpoints())

    @property
    def peers(self) -> frozenset[NodeKey]:
        """Peers connected now."""
        return self._switch.peers()

    def subscribers(self, topic: str) -> frozenset[NodeKey]:
        """Connected peers that are known to follow `topic`."""
        return self._gossip.mesh.subscribers(self._full(topic))

    async def wait_for_peers(self, count: int, *, topic: str | None = None) -> None:
        """Wait until `count` peers are connected (and follow `topic`)."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while len(self.peers if topic is None else self.subscribers(topic)) < count:
            self._check_open()
            await self._change.park()

    async def publish(self, topic: str, data: bytes) -> int:
        """Gossip `data` on `topic`."""
        self._check_open()
        await trio.lowlevel.checkpoint()
        return self._gossip.publish(self._full(topic), data)

    def subscribe(self, topic: str, judge: Judge, *, deliver: bool = True) -> MessageQueue:
        """Follow `topic`."""
        self._check_open()
        return self._gossip.subscribe(self._full(topic), judge, deliver=deliver)

    def serve(self, protocol: str, handler: Handler, *, lasting: bool = False) -> None:
        """Answer streams of `protocol` with `handler`."""
        self._check_open()
        self._requests.serve(protocol, handler, lasting=lasting)

    def open_stream(
        self, peer: NodeKey, protocol: str, deadline: float
    ) -> AbstractAsyncContextManager[RequestStream]:
        """Open a stream to `peer`."""
        self._check_open()
        if peer == self.node_key:
            raise LocalError("a node opens no stream to itself")
        return self._requests.open(peer, protocol, deadline, self._find)

    def learn_addresses(self, peer: NodeKey, addresses: Sequence[str]) -> None:
        """Remember where `peer` can be reached."""
        endpoints = []
        for text in addresses[: 2 * self._settings.limits.addresses_per_peer]:
            try:
                endpoint, named = parse_address(text)
            except ValueError:
                self.counters.refuse("addresses", "address does not parse")
                continue
            if named not in (None, peer):
                self.counters.refuse("addresses", "address of another peer")
                continue
            endpoints.append(endpoint)
        if peer != self.node_key:
            self._book.add(peer, endpoints, Source.PEER)

    # Steps.

    async def _find(self, peer: NodeKey) -> Connection:
        """A connection to `peer`: existing, at known addresses, or at those that a search finds."""
        try:
            return await self._switch.connect(peer)
        except PeerUnreachableError as error:
            tried = set(self._book.addresses(peer))
            if not await self._kademlia.find_soon(peer):
                raise
            if not set(self._book.addresses(peer)) - tried:
                raise error from None
        return await self._switch.connect(peer)

    def _own_endpoints(self) -> list[Endpoint]:
        if self._announce:
            return list(self._announce)
        return [one for bound in self._switch.bound for one in reachable_endpoints(bound)]

    def _joined(self, connection: Connection) -> None:
        self._switch.start("identify", self._identifier.ask, connection)
        self._changed()

    def _left(self, peer: NodeKey) -> None:
        self._changed()

    def _identified(self, peer: NodeKey, protocols: frozenset[str]) -> None:
        if self._kademlia.protocol in protocols:
            self._switch.start("kad", self._kademlia.add, peer)

    def _changed(self) -> None:
        self._change.unpark_all()

    def _full(self, name: str) -> str:
        return self._settings.prefix + name

    def _check_open(self) -> None:
        if self._closed:
            raise NetworkClosedError("the network is closed")


@asynccontextmanager
async def open_libp2p_network(settings: NetworkSettings) -> AsyncIterator[Libp2pNetwork]:
    """See `p2p_node.net.open_network`."""
    network = Libp2pNetwork(settings)
    await network.bind()
    try:
        async with private_nursery() as nursery:
            await nursery.start(network.run)
            try:
                yield network
            finally:
                await network.close()
                nursery.cancel_scope.cancel()
    finally:
        network.unbind()

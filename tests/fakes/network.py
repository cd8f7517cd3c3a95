"""A network in memory with the API of `p2p_node.net`, for role tests under MockClock.

Every node of a hub is connected to every other, without delay, until the test cuts them apart.
Gossip floods, judged at every node; requests are served by tasks of the node that serves them.
`test_gossip_contract.py` and `test_stream_contract.py` in tests/p2p_node/net hold this and the real
network to the same rules.
"""

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from math import inf

import trio
from nacl.signing import SigningKey

from p2p_node.net.api import Handler
from p2p_node.net.blame import REJECTED_MESSAGE, Blame
from p2p_node.net.counters import Counters
from p2p_node.net.errors import (
    DeadlineError,
    MessageTooLongError,
    NetworkClosedError,
    PeerUnreachableError,
    ProtocolRefusedError,
    StreamEndedError,
)
from p2p_node.net.judgement import Accept, Ignore, Judge, Reject
from p2p_node.net.message_cache import MessageId, message_id
from p2p_node.net.nursery import private_nursery
from p2p_node.net.places import NoPlaceError, Place, Places
from p2p_node.net.settings import NetworkSettings
from p2p_node.net.subscription import MessageQueue, judge_safely
from protocols.errors import LocalError, RemoteError
from protocols.types import NodeKey

logger = logging.getLogger(__name__)

_MESSAGES_UNDER_WAY = 64


class FakeHub:
    """The medium: which nodes there are, and who can reach whom."""

    def __init__(self) -> None:
        self.nodes: dict[NodeKey, FakeNetwork] = {}
        self._cuts: set[frozenset[NodeKey]] = set()

    @asynccontextmanager
    async def open_network(self, settings: NetworkSettings) -> AsyncIterator["FakeNetwork"]:
        """Like `p2p_node.net.open_network`, within this hub."""
        async with private_nursery() as nursery:
            network = FakeNetwork(self, settings, nursery)
            if network.node_key in self.nodes:
                raise LocalError("two nodes with one key")
            self.nodes[network.node_key] = network
            self.changed()
            try:
                yield network
            finally:
                network.close()
                nursery.cancel_scope.cancel()

    def cut(self, one: NodeKey, other: NodeKey) -> None:
        """Break the connection between two nodes until `mend`."""
        self._cuts.add(frozenset((one, other)))
        self.changed()

    def mend(self, one: NodeKey, other: NodeKey) -> None:
        """Undo `cut`."""
        self._cuts.discard(frozenset((one, other)))
        self.changed()

    def connected(self, one: "FakeNetwork", other: "FakeNetwork") -> bool:
        """Whether two open nodes of one network can reach each other."""
        now = trio.current_time()
        return (
            one is not other
            and one.node_key in self.nodes
            and other.node_key in self.nodes
            and one.speaks_with(other)
            and frozenset((one.node_key, other.node_key)) not in self._cuts
            and not one.blame.is_banned(other.node_key, now)
            and not other.blame.is_banned(one.node_key, now)
        )

    def changed(self) -> None:
        """Wake those who wait for peers, and hand on what new neighbours missed."""
        for node in tuple(self.nodes.values()):
            node.change.unpark_all()
            for neighbour in node.neighbours():
                node.offer_recent(neighbour)


class FakeNetwork:
    """One node's side; see `p2p_node.net.api.Network`."""

    def __init__(self, hub: FakeHub, settings: NetworkSettings, nursery: trio.Nursery) -> None:
        self.node_key = NodeKey(bytes(SigningKey(settings.seed).verify_key))
        self.peer_id = f"fake-{self.node_key.hex()}"
        self.counters = Counters()
        self.blame = Blame(settings.times.ban)
        self.change = trio.lowlevel.ParkingLot()
        self.learnt: dict[NodeKey, tuple[str, ...]] = {}
        """Addresses learnt, for tests to look at."""
        self._hub = hub
        self._settings = settings
        self._nursery = nursery
        self._closed = False
        self._seen: set[MessageId] = set()
        self._recent: deque[tuple[float, str, bytes]] = deque(maxlen=512)
        self._judges: dict[str, tuple[Judge, MessageQueue]] = {}
        self._handlers: dict[str, tuple[Handler, bool]] = {}
        self._places = Places(settings.limits)
        self._streams: set[_Pipe] = set()

    # The API.

    @property
    def addresses(self) -> tuple[str, ...]:
        return (f"/ip4/127.0.0.1/tcp/1/p2p/{self.peer_id}",)

    @property
    def peers(self) -> frozenset[NodeKey]:
        return frozenset(node.node_key for node in self.neighbours())

    def subscribers(self, topic: str) -> frozenset[NodeKey]:
        return frozenset(node.node_key for node in self.neighbours() if node.follows(topic))

    async def wait_for_peers(self, count: int, *, topic: str | None = None) -> None:
        await trio.lowlevel.checkpoint()
        while len(self.peers if topic is None else self.subscribers(topic)) < count:
            self._check_open()
            await self.change.park()

    async def publish(self, topic: str, data: bytes) -> int:
        self._check_open()
        if len(data) > self._settings.limits.max_gossip_message:
            raise LocalError(f"{topic}: a message of {len(data)} bytes")
        await trio.lowlevel.checkpoint()
        self._seen.add(message_id(topic, data))
        self.counters.published[topic] += 1
        return self._pass_on(topic, data, self.node_key)

    def subscribe(self, topic: str, judge: Judge, *, deliver: bool = True) -> MessageQueue:
        self._check_open()
        if topic in self._judges:
            raise LocalError(f"{topic}: subscribed twice")
        queue = MessageQueue(
            topic,
            self._settings.limits,
            self.counters,
            partial(self._unsubscribe, topic),
            deliver=deliver,
        )
        self._judges[topic] = (judge, queue)
        self._hub.changed()
        return queue

    def serve(self, protocol: str, handler: Handler, *, lasting: bool = False) -> None:
        self._check_open()
        if protocol in self._handlers:
            raise LocalError(f"{protocol}: served twice")
        self._handlers[protocol] = (handler, lasting)

    def open_stream(
        self, peer: NodeKey, protocol: str, deadline: float
    ) -> AbstractAsyncContextManager["FakeRequestStream"]:
        self._check_open()
        if peer == self.node_key:
            raise LocalError("a node opens no stream to itself")
        return self._open_stream(peer, protocol, deadline)

    @asynccontextmanager
    async def _open_stream(
        self, peer: NodeKey, protocol: str, deadline: float
    ) -> AsyncIterator["FakeRequestStream"]:
        until = trio.current_time() + deadline
        await trio.lowlevel.checkpoint()
        other = self._hub.nodes.get(peer)
        if other is None or not self._hub.connected(self, other):
            raise PeerUnreachableError("no known address", peer.hex())
        if protocol not in other._handlers:
            raise ProtocolRefusedError("protocol not spoken")
        pipe = _Pipe()
        self._streams.add(pipe)
        other.serve_stream(pipe, protocol, self.node_key)
        stream = FakeRequestStream(pipe, 0, peer, protocol, self._settings, until)
        try:
            yield stream
            pipe.close(0)
        finally:
            pipe.reset_unless_closed(0)
            self._streams.discard(pipe)

    def learn_addresses(self, peer: NodeKey, addresses: Sequence[str]) -> None:
        good = tuple(one for one in addresses if one.startswith("/ip4/") and "/tcp/" in one)
        if len(good) < len(addresses):
            self.counters.refuse("addresses", "address does not parse")
        self.learnt[peer] = (*self.learnt.get(peer, ()), *good)

    # What the hub and other nodes need.

    def speaks_with(self, other: "FakeNetwork") -> bool:
        return (
            self._settings.prefix == other._settings.prefix
            and self._settings.network_key == other._settings.network_key
        )

    def follows(self, topic: str) -> bool:
        return topic in self._judges

    def neighbours(self) -> "list[FakeNetwork]":
        return [node for node in self._hub.nodes.values() if self._hub.connected(self, node)]

    def offer_recent(self, other: "FakeNetwork") -> None:
        oldest = trio.current_time() - self._settings.times.cached
        for since, topic, data in tuple(self._recent):
            if since >= oldest:
                other.receive(topic, data, self)

    def receive(self, topic: str, data: bytes, sender: "FakeNetwork") -> None:
        entry = self._judges.get(topic)
        name = message_id(topic, data)
        if entry is None:
            return
        if name in self._seen:
            self.counters.duplicates += 1
            return
        self._seen.add(name)
        judge, queue = entry
        judgement = judge_safely(judge, topic, data, sender.node_key, self.counters)
        if isinstance(judgement, Accept):
            queue.put(data, sender.node_key)
            self.counters.forwarded += self._pass_on(topic, data, sender.node_key)
        elif isinstance(judgement, Ignore):
            self.counters.refuse(topic, judgement.reason)
        elif isinstance(judgement, Reject):
            self.counters.refuse(topic, judgement.reason)
            if self.blame.add(sender.node_key, REJECTED_MESSAGE, trio.current_time()):
                self.counters.peers_banned += 1
                self._hub.changed()

    def serve_stream(self, pipe: "_Pipe", protocol: str, peer: NodeKey) -> None:
        try:
            place = self._places.enter(peer)
        except NoPlaceError as error:
            self.counters.refuse(protocol, error.reason)
            pipe.reset("reset by the peer")
        else:
            self._streams.add(pipe)
            self._nursery.start_soon(self._serve_one, pipe, protocol, peer, place)

    def close(self) -> None:
        self._closed = True
        for _, queue in tuple(self._judges.values()):
            queue.close()
        for pipe in tuple(self._streams):
            pipe.reset("connection ended")
        del self._hub.nodes[self.node_key]
        self.change.unpark_all()
        self._hub.changed()

    # Steps.

    async def _serve_one(self, pipe: "_Pipe", protocol: str, peer: NodeKey, place: Place) -> None:
        handler, lasting = self._handlers[protocol]
        deadline = trio.current_time() + self._settings.times.handler
        scope = trio.CancelScope(deadline=deadline)

        def outlast() -> None:
            if not lasting:
                raise LocalError(f"{protocol}: its streams do not last")
            place.prolong()
            scope.deadline = inf

        stream = FakeRequestStream(pipe, 1, peer, protocol, self._settings, deadline, outlast)
        self.counters.streams_served += 1
        try:
            with scope:
                await handler(stream)
                pipe.close(1)
            if scope.cancelled_caught:
                self.counters.refuse(protocol, "stream open too long")
        except RemoteError as error:
            self.counters.refuse(protocol, error.reason)
        except Exception as error:
            self.counters.bug(protocol, error)
            logger.exception("handler failed: protocol=%s", protocol)
        finally:
            pipe.reset_unless_closed(1)
            self._streams.discard(pipe)
            place.leave()

    def _pass_on(self, topic: str, data: bytes, sender: NodeKey) -> int:
        self._recent.append((trio.current_time(), topic, data))
        count = 0
        for node in self.neighbours():
            if node.node_key != sender and node.follows(topic):
                count += 1
                node.receive(topic, data, self)
        return count

    def _unsubscribe(self, topic: str) -> None:
        self._judges.pop(topic, None)
        self._hub.changed()

    def _check_open(self) -> None:
        if self._closed:
            raise NetworkClosedError("the network is closed")


class _Pipe:
    """Both directions of a fake stream; side 0 opened it, side 1 serves it."""

    def __init__(self) -> None:
        self.under_way: tuple[deque[bytes], deque[bytes]] = (deque(), deque())
        self.change = trio.lowlevel.ParkingLot()
        self.closed = [False, False]
        self.failure: str | None = None

    def close(self, side: int) -> None:
        self.closed[side] = True
        self.change.unpark_all()

    def reset(self, reason: str) -> None:
        if self.failure is None and not all(self.closed):
            self.failure = reason
            self.change.unpark_all()

    def reset_unless_closed(self, side: int) -> None:
        if not self.closed[side]:
            self.reset("reset by the peer")


class FakeRequestStream:
    """See `p2p_node.net.api.RequestStream`."""

    def __init__(
        self,
        pipe: _Pipe,
        side: int,
        peer: NodeKey,
        protocol: str,
        settings: NetworkSettings,
        deadline: float,
        outlast: Callable[[], None] | None = None,
    ) -> None:
        self.peer = peer
        self.protocol = protocol
        self._pipe = pipe
        self._side = side
        self._settings = settings
        self._deadline = deadline
        self._outlast = outlast

    def outlast(self) -> None:
        if self._outlast is None:
            raise LocalError(f"{self.protocol}: opened here, with the deadline it was given")
        self._outlast()
        self._deadline = inf

    async def send(self, data: bytes, *, within: float | None = None) -> None:
        if len(data) > self._settings.limits.max_request_message:
            raise LocalError(f"{self.protocol}: a message of {len(data)} bytes")
        outgoing = self._pipe.under_way[self._side]
        with self._limit(within) as scope:
            await trio.lowlevel.checkpoint()
            while self._pipe.failure is None and len(outgoing) >= _MESSAGES_UNDER_WAY:
                await self._pipe.change.park()
            if self._pipe.failure is not None:
                raise StreamEndedError(self._pipe.failure)
            outgoing.append(data)
            self._pipe.change.unpark_all()
        if scope.cancelled_caught:
            self._too_slow("peer does not read in time")

    async def send_all(
        self, messages: Sequence[bytes | bytearray | memoryview], *, within: float | None = None
    ) -> None:
        for message in messages:
            await self.send(bytes(message), within=within)

    async def receive(self, max_bytes: int, *, within: float | None = None) -> bytes:
        if not 0 <= max_bytes <= self._settings.limits.max_request_message:
            raise LocalError(f"{self.protocol}: a cap of {max_bytes} bytes")
        incoming = self._pipe.under_way[1 - self._side]
        message = b""
        with self._limit(within) as scope:
            await trio.lowlevel.checkpoint()
            while not incoming:
                if self._pipe.closed[1 - self._side]:
                    raise StreamEndedError("closed by the peer")
                if self._pipe.failure is not None:
                    raise StreamEndedError(self._pipe.failure)
                await self._pipe.change.park()
            if self._pipe.failure is not None and not self._pipe.closed[1 - self._side]:
                raise StreamEndedError(self._pipe.failure)
            message = incoming.popleft()
            self._pipe.change.unpark_all()
        if scope.cancelled_caught:
            self._too_slow("peer does not answer in time")
        if len(message) > max_bytes:
            self._pipe.reset("reset by the peer")
            raise MessageTooLongError("message too long", f"{len(message)} of {max_bytes} bytes")
        return message

    def _limit(self, within: float | None) -> trio.CancelScope:
        seconds = self._settings.times.io if within is None else within
        return trio.CancelScope(deadline=min(trio.current_time() + seconds, self._deadline))

    def _too_slow(self, reason: str) -> None:
        self._pipe.reset("reset by the peer")
        raise DeadlineError(reason)

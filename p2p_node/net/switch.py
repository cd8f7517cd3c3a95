"""The connections of a node: listening, dialling, admitting, and handing out streams.

Takes the place of `libp2p.network.swarm` and `libp2p.host`. In py-libp2p 0.8.1 an inbound
connection keeps its slot after it ended, so a node stops accepting after `max_connections` visits;
an exception in any stream handler, also one a stranger provokes, ends the whole swarm; each dial
waits 250 ms after it succeeded and tries one TCP address per peer; a peer that could not be reached
is not tried again for a minute; and closing takes 0.3 s per connection.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import trio

from p2p_node.net.addresses import AddressBook, Endpoint
from p2p_node.net.blame import Blame, TokenBucket
from p2p_node.net.connection import Connection, Upgrader
from p2p_node.net.counters import Counters
from p2p_node.net.errors import DeadlineError, PeerUnreachableError
from p2p_node.net.mux_stream import MuxStream
from p2p_node.net.negotiate import answer, select
from p2p_node.net.settings import NetworkSettings
from p2p_node.net.tcp import TcpConnection, accept, dial, endpoint_of, listen
from protocols.errors import LocalError, RemoteError
from protocols.types import NodeKey

logger = logging.getLogger(__name__)

_MAX_CONNECTIONS_PER_PEER = 2
_STAGGER = 0.3
"""Seconds between starting to dial one address of a peer and the next."""
_PROBE = 5.0
"""Seconds an old connection has to prove that it is alive when its peer opens a new one."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A stream that a peer opened to us, with its protocol agreed."""

    stream: MuxStream
    connection: Connection
    protocol: str


StreamHandler = Callable[[Arrival], Awaitable[None]]


class _Dialling:
    """A dial that several tasks may be waiting for."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.connection: Connection | None = None
        self.error: RemoteError | None = None


class Switch:
    """All connections of one node."""

    def __init__(
        self,
        settings: NetworkSettings,
        own_key: NodeKey,
        upgrader: Upgrader,
        book: AddressBook,
        blame: Blame,
        counters: Counters,
    ) -> None:
        self._settings = settings
        self._own_key = own_key
        self._upgrader = upgrader
        self._book = book
        self._blame = blame
        self._counters = counters
        self._nursery: trio.Nursery | None = None
        self._listeners: list[trio.SocketListener] = []
        self._closing = False
        self._connections: dict[NodeKey, list[Connection]] = {}
        self._dialling: dict[NodeKey, _Dialling] = {}
        self._handshakes: Counter[str] = Counter()
        self._arrivals: TokenBucket | None = None
        self._negotiating = 0
        self._handlers: dict[str, StreamHandler] = {}
        self._joined: list[Callable[[Connection], None]] = []
        self._left: list[Callable[[NodeKey], None]] = []
        self.bound: list[Endpoint] = []
        """Where this node listens, once it runs."""

    # Setting up.

    def handle(self, protocol: str, handler: StreamHandler) -> None:
        """Have streams of `protocol` served by `handler`."""
        self._handlers[protocol] = handler

    @property
    def protocols(self) -> Sequence[str]:
        """Protocols that are served."""
        return tuple(self._handlers)

    def watch(self, joined: Callable[[Connection], None], left: Callable[[NodeKey], None]) -> None:
        """Be told of every new connection, and of every peer whose last connection ended."""
        self._joined.append(joined)
        self._left.append(left)

    async def bind(self, endpoints: Sequence[Endpoint]) -> None:
        """Bind what `run` will listen on. Raises LocalError, having bound nothing."""
        for endpoint in endpoints:
            try:
                self._listeners += await listen(endpoint)
            except OSError as error:
                self.unbind()
                raise LocalError(f"listen: cannot bind {endpoint}: {error}") from error
        self.bound = [endpoint_of(listener) for listener in self._listeners]

    def unbind(self) -> None:
        """Listen no more. May be called again."""
        for listener in self._listeners:
            listener.socket.close()
        self._listeners.clear()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen, and serve all connections, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for listener in self._listeners:
                nursery.start_soon(self._accept, listener)
            task_status.started()
            await trio.sleep_forever()

    async def close(self) -> None:
        """Accept and dial no more, and close all connections in good order."""
        self._closing = True
        self.unbind()
        for connection in self.connections():
            connection.muxer.close("closed here")
        for connection in self.connections():
            await connection.over.wait()

    # Connections.

    def peers(self) -> frozenset[NodeKey]:
        """Peers with at least one connection."""
        return frozenset(self._connections)

    def connections(self) -> list[Connection]:
        """All connections."""
        return [one for several in self._connections.values() for one in several]

    def connection_to(self, peer: NodeKey) -> Connection | None:
        """The newest connection to `peer` that is not known to be over."""
        for connection in reversed(self._connections.get(peer, ())):
            if not connection.muxer.ended:
                return connection
        return None

    def disconnect(self, peer: NodeKey, reason: str) -> None:
        """Close all connections to `peer`."""
        for connection in tuple(self._connections.get(peer, ())):
            connection.muxer.close(reason)

    def punish(self, peer: NodeKey, points: float) -> None:
        """Blame `peer`; disconnects it when that was the last straw."""
        if self._blame.add(peer, points, trio.current_time()):
            self._counters.peers_banned += 1
            logger.warning("peer banned: peer=%s seconds=%g", peer.hex(), self._settings.times.ban)
            self.disconnect(peer, "banned")

    async def connect(self, peer: NodeKey, endpoints: Sequence[Endpoint] = ()) -> Connection:
        """A connection to `peer`: an existing one, or one dialled at `endpoints` and at the
        addresses in the book. Raises PeerUnreachableError; has no deadline of its own beyond those
        of each attempt.
        """
        existing = self.connection_to(peer)
        if existing is not None:
            return existing
        dialling = self._dialling.get(peer)
        if dialling is None:
            self._may_dial(peer)
            known = list(dict.fromkeys([*endpoints, *self._book.addresses(peer)]))
            if not known:
                raise PeerUnreachableError("no known address", peer.hex())
            dialling = self._dialling[peer] = _Dialling()
            self.start("dial", self._dial, peer, known, dialling)
        await dialling.done.wait()
        if dialling.connection is not None:
            return dialling.connection
        raise dialling.error or PeerUnreachableError("no address answered", peer.hex())

    async def open_stream(
        self, connection: Connection, protocols: Sequence[str], within: float | None = None
    ) -> tuple[MuxStream, str]:
        """Open a stream on `connection`; returns it with the protocol agreed.

        Raises ProtocolRefusedError, DeadlineError, StreamEndedError or MalformedError.
        """
        if within is None:
            within = self._settings.times.negotiate
        stream = connection.muxer.open_stream()
        try:
            protocol = await select(stream, protocols, within)
        except BaseException:
            stream.reset()
            raise
        return stream, protocol

    # Dialling.

    def _may_dial(self, peer: NodeKey) -> None:
        if peer == self._own_key:
            raise LocalError("a node does not dial itself")
        if self._closing or self._nursery is None:
            raise PeerUnreachableError("not running")
        if self._blame.is_banned(peer, trio.current_time()):
            raise PeerUnreachableError("peer is banned", peer.hex())
        if len(self.connections()) + len(self._dialling) >= self._settings.limits.max_peers:
            raise PeerUnreachableError("too many connections")

    async def _dial(self, peer: NodeKey, endpoints: list[Endpoint], dialling: _Dialling) -> None:
        failures: list[str] = []
        winner: Connection | None = None

        async def attempt(endpoint: Endpoint, failed: trio.Event) -> None:
            nonlocal winner
            try:
                connection = await self._dial_one(peer, endpoint)
            except (OSError, RemoteError) as error:
                failures.append(f"{endpoint}: {error or type(error).__name__}")
                failed.set()
                return
            if winner is None:
                winner = connection
                attempts.cancel_scope.cancel()
            else:
                connection.muxer.abort()

        try:
            async with trio.open_nursery() as attempts:
                for endpoint in endpoints:
                    failed = trio.Event()
                    attempts.start_soon(attempt, endpoint, failed)
                    with trio.move_on_after(_STAGGER):
                        await failed.wait()
            if winner is not None and self._admit(winner):
                dialling.connection = winner
            else:
                self._counters.dials_failed += 1
                self._book.forget_hearsay(peer)
                detail = "; ".join(failures)[:500]
                logger.debug("dial failed: peer=%s %s", peer.hex(), detail)
                dialling.error = PeerUnreachableError("no address answered", detail)
        finally:
            del self._dialling[peer]
            dialling.done.set()
        if dialling.connection is not None:
            await self._serve(dialling.connection)

    async def _dial_one(self, peer: NodeKey, endpoint: Endpoint) -> Connection:
        try:
            with trio.fail_after(self._settings.times.dial):
                tcp = await dial(endpoint)
        except trio.TooSlowError as error:
            raise DeadlineError("dial too slow") from error
        return await self._upgrade(tcp, peer)

    # Accepting.

    async def _accept(self, listener: trio.SocketListener) -> None:
        while True:
            try:
                tcp = await accept(listener)
            except trio.ClosedResourceError:
                return
            except OSError as error:
                # Out of file descriptors or memory: what is connected goes on; try again soon.
                self._counters.refuse("connection", "the system has no room")
                logger.warning("accepting failed: %s", error)
                await trio.sleep(0.1)
                continue
            reason = self._no_room(tcp)
            if reason is not None:
                self._counters.refuse("connection", reason)
                tcp.abort()
            else:
                self.start("connection", self._inbound, tcp)

    def _no_room(self, tcp: TcpConnection) -> str | None:
        limits = self._settings.limits
        inbound = sum(not one.outbound for one in self.connections())
        if self._closing:
            return "closing"
        if inbound >= limits.max_peers - limits.reserved_outbound:
            return "too many connections"
        if self._handshakes.total() >= limits.max_handshakes:
            return "too many handshakes"
        if self._handshakes[tcp.host] >= limits.max_handshakes_per_host:
            return "too many handshakes from one host"
        now = trio.current_time()
        if self._arrivals is None:
            self._arrivals = TokenBucket(limits.arrival_rate, limits.arrival_burst, now)
        return None if self._arrivals.take_if_there(now) else "connections come too fast"

    async def _inbound(self, tcp: TcpConnection) -> None:
        host = tcp.host
        self._handshakes[host] += 1
        try:
            connection = await self._upgrade(tcp, None)
        except RemoteError as error:
            self._counters.refuse("handshake", error.reason)
            logger.debug("handshake failed: host=%s %s", host, error)
            return
        finally:
            self._handshakes[host] -= 1
            if not self._handshakes[host]:
                del self._handshakes[host]
        if self._admit(connection):
            await self._serve(connection)

    async def _upgrade(self, tcp: TcpConnection, expected: NodeKey | None) -> Connection:
        return await self._upgrader.upgrade(
            tcp, expected, self._arrived, lambda reason: self._counters.refuse("muxer", reason)
        )

    def _admit(self, connection: Connection) -> bool:
        """Take a connection into the table unless its peer is not welcome."""
        peer = connection.peer
        reason = None
        if peer == self._own_key:
            reason = "own key"
        elif self._blame.is_banned(peer, trio.current_time()):
            reason = "peer is banned"
        elif self._closing:
            reason = "closing"
        if reason is not None:
            self._counters.refuse("connection", reason)
            connection.muxer.abort()
            return False
        earlier = self._connections.setdefault(peer, [])
        for old in earlier:
            # A peer that was killed and comes back leaves a connection that nobody closes.
            self.start("connection", old.muxer.probe, _PROBE)
        if len(earlier) >= _MAX_CONNECTIONS_PER_PEER:
            earlier[0].muxer.close("replaced by a newer connection")
        earlier.append(connection)
        self._counters.connections_opened += 1
        return True

    async def _serve(self, connection: Connection) -> None:
        peer = connection.peer
        logger.debug("connected: peer=%s outbound=%s", peer.hex(), connection.outbound)
        try:
            for joined in self._joined:
                joined(connection)
            reason = await connection.muxer.run()
            logger.debug("disconnected: peer=%s reason=%s", peer.hex(), reason)
        finally:
            connection.muxer.abort()
            self._counters.connections_closed += 1
            remaining = self._connections[peer]
            remaining.remove(connection)
            if not remaining:
                del self._connections[peer]
                for left in self._left:
                    left(peer)
            connection.over.set()

    # Streams.

    def _arrived(self, connection: Connection, stream: MuxStream) -> None:
        if self._closing:
            stream.reset()
            return
        if self._negotiating >= self._settings.limits.max_inbound_streams:
            self._counters.refuse("stream", "too many negotiations")
            stream.reset()
            return
        self.start("stream", self._negotiate, connection, stream)

    async def _negotiate(self, connection: Connection, stream: MuxStream) -> None:
        self._negotiating += 1
        try:
            protocol = await answer(stream, self._handlers, self._settings.times.negotiate)
        except RemoteError as error:
            self._counters.refuse("stream", error.reason)
            stream.reset()
            return
        finally:
            self._negotiating -= 1
        where = protocol.removeprefix(self._settings.prefix)
        try:
            await self._handlers[protocol](Arrival(stream, connection, protocol))
        except RemoteError as error:
            self._counters.refuse(where, error.reason)
            stream.reset()
        except Exception as error:
            # Whatever a handler did wrong, the node and its other streams go on.
            self._counters.bug(where, error)
            logger.exception("handler failed: protocol=%s", where)
            stream.reset()

    # Tasks.

    def start(self, where: str, task: Callable[..., Awaitable[None]], *arguments: object) -> None:
        """Run `task` for one peer; whatever it raises is counted as our bug and ends it alone.

        What such a task does is driven by what a peer sends, so an oversight in it must not be a
        way to stop the node. Does nothing once the node is closing.
        """
        if self._nursery is not None and not self._closing:
            self._nursery.start_soon(partial(self.guard, where, task, *arguments))

    async def guard(
        self, where: str, task: Callable[..., Awaitable[None]], *arguments: object
    ) -> None:
        """The same, waiting for the task's end."""
        try:
            await task(*arguments)
        except Exception as error:
            self._counters.bug(where, error)
            logger.exception("task of a peer failed: where=%s", where)

"""The yamux multiplexer (/yamux/1.0.0), the wire protocol of py-libp2p's in its own implementation.

Why not `libp2p.stream_muxer.yamux`: it answers each read, also those of one byte, with a window
update of its own encrypted packet; formats several log lines per frame whether or not they are
logged; takes two locks per read; keeps buffering when a peer ignores its window, so a peer can fill
the memory; and never pings to find a dead peer. `MuxerMultistream` creates that class by name, so
it cannot be replaced through its options.

Here a window update is sent when half the window has been read, frames are parsed as they arrive,
written without switching tasks, and a peer that breaks flow control loses its connection. All
streams of a connection have the window that the protocol gives them; what goes beyond it is lent
from one amount for the connection, so a peer that keeps to its windows cannot fill the memory, and
needs no other bound that it could break without knowing it.

Source: https://github.com/hashicorp/yamux/blob/master/spec.md and libp2p's note on windows.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import trio
from libp2p.io.exceptions import ConnectionClosedError
from noise.exceptions import NoiseInvalidMessage

from p2p_node.net.errors import StreamEndedError
from p2p_node.net.mux_stream import MuxStream
from p2p_node.net.noise import NoiseConnection
from p2p_node.net.yamux_wire import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    GO_AWAY_NORMAL,
    HEADER,
    KNOWN_FLAGS,
    MAX_FRAME,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
)

PROTOCOL = "/yamux/1.0.0"

_MAX_PINGS_PER_TICK = 100
_CLOSED_HERE = "closed here"
_TOO_MUCH_UNREAD = "too much unread data"


class YamuxViolationError(Exception):
    """The peer broke the multiplexer's rules; the message is a fixed phrase."""


@dataclass(slots=True)
class UnreadBudget:
    """Unread bytes over all connections of a node, and whose they are."""

    most: int
    used: int = 0
    holders: "set[Muxer]" = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class MuxerOptions:
    """Bounds and waits of one connection; see `NetworkLimits` and `NetworkTimes`."""

    window: int
    max_lent: int
    budget: UnreadBudget
    max_inbound_streams: int
    max_pending_write: int
    keepalive: float
    dead: float
    linger: float


class Muxer:
    """Many streams over one encrypted connection.

    Resource handling: `run` owns the connection and closes it when it returns; nothing else has to
    be closed. `on_stream` is called with every stream the peer opens, and must not block.
    """

    def __init__(
        self,
        connection: NoiseConnection,
        options: MuxerOptions,
        on_stream: Callable[[MuxStream], None],
        on_refused: Callable[[str], None],
    ) -> None:
        self.options = options
        self._connection = connection
        self._on_stream = on_stream
        self._on_refused = on_refused
        self._next_id = 1 if connection.is_initiator else 2
        self._streams: dict[int, MuxStream] = {}
        self._inbound = 0
        self._unread = 0
        self._lent = 0
        options.budget.holders.add(self)
        self._rest = b""
        self._body: MuxStream | None = None
        self._body_left = 0
        self._body_flags = 0
        self._writers = trio.lowlevel.ParkingLot()
        self._backlog = trio.Event()
        self._heard = trio.current_time()
        self._receipts = 0
        self._pings = 0
        self._end: str | None = None
        self._ended = trio.Event()

    @property
    def ended(self) -> bool:
        """Whether the connection is over."""
        return self._end is not None

    async def run(self) -> str:
        """Serve the connection until it ends; returns why, a fixed phrase."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read)
                nursery.start_soon(self._write)
                nursery.start_soon(self._keep_alive)
                await self._ended.wait()
                nursery.cancel_scope.cancel()
            await self._linger()
        finally:
            self.close(_CLOSED_HERE)
            self._connection.tcp.abort()
        return self._end or _CLOSED_HERE

    async def _linger(self) -> None:
        """Let the peer read what was sent last.

        Closing a socket with unread data makes the kernel reset the connection, and a reset throws
        away what the peer has not read yet: the last message of a node that stops.
        """
        if self._end != _CLOSED_HERE:
            return
        with trio.move_on_after(self.options.linger):
            try:
                await self._connection.tcp.finish()
            except (ConnectionClosedError, trio.TooSlowError):
                return

    def close(self, reason: str) -> None:
        """End the connection: tell the peer if that is possible at once, end all streams."""
        if self._end is not None:
            return
        self._end = reason
        self._frame(GO_AWAY, 0, 0, GO_AWAY_NORMAL)
        for stream in tuple(self._streams.values()):
            stream.connection_ended(reason)
        self._streams.clear()
        self._writers.unpark_all()
        self.options.budget.holders.discard(self)
        self._ended.set()

    def abort(self) -> None:
        """End a connection that never ran."""
        self.close("not wanted")
        self._connection.tcp.abort()

    async def wait_ended(self) -> None:
        """Wait until the connection is over."""
        await self._ended.wait()

    def open_stream(self) -> MuxStream:
        """Open a stream. Raises StreamEndedError when the connection is over."""
        if self._end is not None:
            raise StreamEndedError("connection ended", self._end)
        stream = MuxStream(self, self._next_id, inbound=False)
        self._next_id += 2
        self._streams[stream.stream_id] = stream
        self._frame(WINDOW_UPDATE, SYN, stream.stream_id, stream.widen())
        return stream

    async def probe(self, within: float) -> None:
        """Close the connection unless the peer says anything within that many seconds."""
        before = self._receipts
        self._frame(PING, SYN, 0, 0)
        with trio.move_on_after(within):
            await self._ended.wait()
        if self._receipts == before:
            self.close("dead")

    # What streams need of their connection.

    @property
    def writable(self) -> bool:
        """Whether little enough is waiting for the socket."""
        return self._connection.tcp.unsent <= self.options.max_pending_write

    async def wait_writable(self) -> None:
        """Wait until little enough is waiting for the socket. Raises StreamEndedError."""
        while self._end is None and not self.writable:
            await self._writers.park()
        if self._end is not None:
            raise StreamEndedError("connection ended", self._end)

    def send_data(self, stream_id: int, data: bytes | memoryview) -> None:
        """Send `data`; the stream has reserved window for it."""
        if len(data) <= MAX_FRAME:
            self._send(b"".join((HEADER.pack(0, DATA, 0, stream_id, len(data)), data)))
            return
        for start in range(0, len(data), MAX_FRAME):
            self.send_data(stream_id, data[start : start + MAX_FRAME])

    def send_window(self, stream_id: int, delta: int) -> None:
        """Give the peer leave to send `delta` more bytes."""
        self._frame(WINDOW_UPDATE, 0, stream_id, delta)

    def send_flag(self, stream_id: int, flag: int) -> None:
        """End a stream: FIN for our half, RST for all of it."""
        self._frame(WINDOW_UPDATE, flag, stream_id, 0)

    def read_bytes(self, count: int) -> None:
        """A stream's reader took `count` bytes out of its buffer."""
        self._unread -= count
        self.options.budget.used -= count

    def forget(self, stream: MuxStream) -> None:
        """A stream is over in both directions."""
        if self._streams.pop(stream.stream_id, None) is not None:
            self._inbound -= stream.inbound
            self._lent -= stream.lent

    def lend(self, wanted: int) -> int:
        """Lend a stream so many bytes of window, or what is left of those of the connection."""
        given = max(0, min(wanted, self.options.max_lent - self._lent))
        self._lent += given
        return given

    # Writing.

    def _frame(self, kind: int, flags: int, stream_id: int, length: int) -> None:
        self._send(HEADER.pack(0, kind, flags, stream_id, length))

    def _send(self, data: bytes) -> None:
        try:
            self._connection.send(data)
        except ConnectionClosedError:
            # `close` sends GO_AWAY itself, so it has to be called last and only once.
            self.close("connection lost")
            return
        if self._connection.tcp.unsent:
            self._backlog.set()

    async def _write(self) -> None:
        while True:
            await self._backlog.wait()
            self._backlog = trio.Event()
            try:
                await self._connection.tcp.drain(self.options.dead)
            except trio.TooSlowError:
                self.close("peer does not read")
            except ConnectionClosedError:
                self.close("connection lost")
            self._writers.unpark_all()

    # Reading.

    async def _read(self) -> None:
        while True:
            try:
                data = await self._connection.receive()
            except ConnectionClosedError:
                return self.close("connection lost")
            except NoiseInvalidMessage:
                self._on_refused("record does not decrypt")
                return self.close("record does not decrypt")
            if not data:
                return self.close("closed by the peer")
            self._heard = trio.current_time()
            self._receipts += 1
            try:
                self._parse(data)
            except YamuxViolationError as violation:
                self._on_refused(str(violation))
                return self.close(str(violation))
            if self._end is not None:
                return None
            if self._connection.tcp.unsent > 2 * self.options.max_pending_write:
                # Answers to pings and openings pile up at a peer that does not read: wait for it.
                # What streams write alone never gets this far: two honest sides that both stopped
                # reading because they have much to send would wait for each other.
                try:
                    await self.wait_writable()
                except StreamEndedError:
                    return None

    def _parse(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
            self._rest = b""
        position, end = 0, len(data)
        while True:
            if self._body_left:
                take = min(self._body_left, end - position)
                if take:
                    self._take_body(data[position : position + take])
                    position += take
                if self._body_left:
                    return
            if end - position < HEADER.size:
                self._rest = data[position:]
                return
            version, kind, flags, stream_id, length = HEADER.unpack_from(data, position)
            position += HEADER.size
            if version or flags > KNOWN_FLAGS:
                raise YamuxViolationError("frame header is not yamux")
            if kind == DATA:
                self._data_header(flags, stream_id, length)
            elif kind == WINDOW_UPDATE:
                self._window_update(flags, stream_id, length)
            elif kind == PING:
                self._ping(flags, length)
            elif kind == GO_AWAY:
                self.close("closed by the peer")
            else:
                raise YamuxViolationError("frame header is not yamux")
            if self._end is not None:
                return

    def _data_header(self, flags: int, stream_id: int, length: int) -> None:
        if flags & SYN:
            self._opened(stream_id)
        stream = self._streams.get(stream_id)
        # A stream that was reset here may still have up to a window of data under way.
        allowed = self.options.window if stream is None else stream.receive_left
        if length > allowed:
            raise YamuxViolationError("peer ignores the window")
        self._body, self._body_left, self._body_flags = stream, length, flags
        if not length:
            self._after(stream, flags)

    def _take_body(self, chunk: bytes) -> None:
        self._body_left -= len(chunk)
        stream = self._body
        if stream is None or stream.failed:
            return
        budget = self.options.budget
        self._unread += len(chunk)
        budget.used += len(chunk)
        stream.data_received(chunk)
        if budget.used > budget.most:
            largest = max(budget.holders, key=lambda muxer: muxer._unread)
            if largest is self:
                raise YamuxViolationError(_TOO_MUCH_UNREAD)
            largest._on_refused(_TOO_MUCH_UNREAD)
            largest.close(_TOO_MUCH_UNREAD)
        if not self._body_left:
            self._after(stream, self._body_flags)

    def _window_update(self, flags: int, stream_id: int, length: int) -> None:
        if flags & SYN:
            self._opened(stream_id)
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if length:
            stream.window_opened(length)
        self._after(stream, flags)

    def _after(self, stream: MuxStream | None, flags: int) -> None:
        if stream is not None:
            if flags & FIN:
                stream.peer_closed()
            if flags & RST:
                stream.peer_reset()

    def _opened(self, stream_id: int) -> None:
        if stream_id in self._streams or stream_id % 2 == self._next_id % 2 or not stream_id:
            raise YamuxViolationError("stream id is not the peer's to open")
        if self._inbound >= self.options.max_inbound_streams:
            self._on_refused("too many streams")
            self.send_flag(stream_id, RST)
            return
        stream = MuxStream(self, stream_id, inbound=True)
        self._streams[stream_id] = stream
        self._inbound += 1
        self._frame(WINDOW_UPDATE, ACK, stream_id, stream.widen())
        self._on_stream(stream)

    def _ping(self, flags: int, value: int) -> None:
        if flags & SYN:
            self._pings += 1
            if self._pings > _MAX_PINGS_PER_TICK:
                raise YamuxViolationError("too many pings")
            self._frame(PING, ACK, 0, value)

    async def _keep_alive(self) -> None:
        while True:
            await trio.sleep(self.options.keepalive)
            self._pings = 0
            silent = trio.current_time() - self._heard
            if silent >= self.options.dead:
                self.close("dead")
            elif silent >= self.options.keepalive:
                self._frame(PING, SYN, 0, 0)
            for stream in tuple(self._streams.values()):
                stream.reset_if_abandoned()

"""One stream of a multiplexed connection."""

from collections.abc import Callable
from typing import Protocol

import trio

from p2p_node.net.errors import StreamEndedError
from p2p_node.net.yamux_wire import FIN, INITIAL_WINDOW, MAX_FRAME, MAX_SEND_WINDOW, RST

_ABANDONED_FOR = 10.0
"""Seconds a peer has to close its half of a stream that we closed and no longer read."""


class MuxerOptionsView(Protocol):
    """The options a stream looks at."""

    @property
    def window(self) -> int:
        """Bytes the peer may be ahead of the reader, where the connection has them to lend."""


class StreamMuxer(Protocol):
    """What a stream needs of its connection."""

    @property
    def options(self) -> MuxerOptionsView:
        """Bounds."""

    @property
    def writable(self) -> bool:
        """Whether little enough is waiting for the socket."""

    async def wait_writable(self) -> None:
        """Wait until it is."""

    def send_data(self, stream_id: int, data: bytes | memoryview) -> None:
        """Send a data frame."""

    def send_window(self, stream_id: int, delta: int) -> None:
        """Send a window update."""

    def send_flag(self, stream_id: int, flag: int) -> None:
        """Send FIN or RST."""

    def read_bytes(self, count: int) -> None:
        """Account for bytes that left a buffer."""

    def lend(self, wanted: int) -> int:
        """Lend a stream so many bytes of window, or what is left of those of the connection."""

    def forget(self, stream: "MuxStream") -> None:
        """Drop a stream that is over."""


class MuxStream:
    """A flow-controlled stream of bytes in both directions.

    Error handling: reading and writing raise StreamEndedError when the peer reset the stream or the
    connection ended. One task reads, any may write.
    """

    def __init__(self, muxer: StreamMuxer, stream_id: int, *, inbound: bool) -> None:
        self.stream_id = stream_id
        self.inbound = inbound
        self._muxer = muxer
        self._buffer = bytearray()
        self._sink: Callable[[bytes], None] | None = None
        self.lent = 0
        """Bytes of window beyond the initial one, lent by the connection."""
        self.receive_left = INITIAL_WINDOW
        self._read_since_update = 0
        self._send_window = INITIAL_WINDOW
        self._readers = trio.lowlevel.ParkingLot()
        self._writers = trio.lowlevel.ParkingLot()
        self._peer_done = False
        self._done = False
        self._abandoned = False
        self._abandoned_at: float | None = None
        self._failure: str | None = None

    @property
    def failed(self) -> bool:
        """Whether the stream was reset or its connection ended."""
        return self._failure is not None

    # Reading.

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """At least one byte, at most `max_bytes`; empty when the peer closed its half."""
        while not self._buffer:
            if self._peer_done:
                return b""
            if self._failure is not None:
                raise StreamEndedError(self._failure)
            await self._readers.park()
        if max_bytes is None or max_bytes >= len(self._buffer):
            data = bytes(self._buffer)
            self._buffer.clear()
        else:
            data = bytes(self._buffer[:max_bytes])
            del self._buffer[:max_bytes]
        self._taken(len(data))
        return data

    @property
    def unread(self) -> int:
        """Bytes that can be taken without waiting."""
        return len(self._buffer)

    def peek(self, count: int) -> bytes:
        """Up to so many of the next bytes, which stay there."""
        return bytes(self._buffer[:count])

    def take(self, count: int, *, skip: int = 0) -> bytes:
        """Exactly so many of the unread bytes, without the first ones."""
        with memoryview(self._buffer) as view:
            data = bytes(view[skip:count])
        del self._buffer[:count]
        self._taken(count)
        return data

    async def read(self, n: int | None = None) -> bytes:
        """Like `receive_some`, but raises StreamEndedError at the end (for negotiations)."""
        data = await self.receive_some(n)
        if not data:
            raise StreamEndedError("closed by the peer")
        return data

    def set_sink(self, sink: Callable[[bytes], None] | None) -> None:
        """Have data handed to `sink` as it arrives, without a task that waits for it.

        Empty data means that the stream ended, however that came about. Without a sink data is
        buffered again, up to the window; what is buffered goes to a new sink at once.
        """
        self._sink = sink
        if sink is None:
            return
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            self._taken(len(data))
            sink(data)
        if self._sink is sink and (self._peer_done or self._failure is not None):
            sink(b"")

    def _taken(self, count: int) -> None:
        self._muxer.read_bytes(count)
        self._read_since_update += count
        if self._peer_done or self._failure is not None:
            return
        if self._read_since_update * 2 >= INITIAL_WINDOW + self.lent:
            self.receive_left += self._read_since_update
            self._muxer.send_window(self.stream_id, self._read_since_update + self.widen())
            self._read_since_update = 0

    def widen(self) -> int:
        """Give the peer more window, if there is more; returns by how much."""
        wanted = self._muxer.options.window - INITIAL_WINDOW - self.lent
        more = self._muxer.lend(wanted) if wanted > 0 else 0
        self.lent += more
        self.receive_left += more
        return more

    # Writing.

    async def write(self, data: bytes) -> None:
        """Send all of `data`, waiting for the peer's window and the socket.

        Whoever is cancelled half-way has the stream reset: what came next would be taken for the
        rest. Cancelled before anything was sent, it is as it was.
        """
        view = memoryview(data)
        try:
            while view:
                await self._muxer.wait_writable()
                self._check_writable()
                if not self._send_window:
                    await self._writers.park()
                    continue
                take = min(self._send_window, len(view), MAX_FRAME)
                self._send_window -= take
                self._muxer.send_data(self.stream_id, view[:take])
                view = view[take:]
        except trio.Cancelled:
            if len(view) < len(data):
                self.reset()
            raise

    def try_write(self, data: bytes) -> bool:
        """Send all of `data` at once if that takes no waiting. Raises StreamEndedError."""
        self._check_writable()
        if len(data) > self._send_window or not self._muxer.writable:
            return False
        self._send_window -= len(data)
        self._muxer.send_data(self.stream_id, data)
        return True

    def _check_writable(self) -> None:
        if self._failure is not None:
            raise StreamEndedError(self._failure)
        if self._done:
            raise StreamEndedError("closed here")

    # Ending.

    def close(self) -> None:
        """Close our half; the peer's half can still be read."""
        if self._done or self._failure is not None:
            return
        self._done = True
        self._muxer.send_flag(self.stream_id, FIN)
        if self._peer_done:
            self._muxer.forget(self)

    def abandon(self) -> None:
        """Close our half and read no more; the peer gets some seconds to close its half."""
        self.close()
        self._abandoned = True
        self._drop_buffer()
        if not self._peer_done and self._failure is None:
            self._sink = _discard
            self._abandoned_at = trio.current_time()

    def reset_unless_abandoned(self) -> None:
        """Reset the stream unless it was ended in good order."""
        if not self._abandoned:
            self.reset()

    def reset_if_abandoned(self) -> None:
        """Called now and then: reset a stream that was abandoned long enough ago."""
        since = self._abandoned_at
        if since is not None and trio.current_time() - since >= _ABANDONED_FOR:
            self.reset()

    def reset(self) -> None:
        """End the stream in both directions at once."""
        if self._failure is None:
            over = self._done and self._peer_done
            self._fail("reset here")
            if not over:
                self._muxer.send_flag(self.stream_id, RST)
        self._drop_buffer()

    # What the connection tells.

    def data_received(self, chunk: bytes) -> None:
        """The next bytes from the peer; the muxer has checked the window."""
        self.receive_left -= len(chunk)
        if self._sink is not None:
            self._taken(len(chunk))
            self._sink(chunk)
        else:
            self._buffer += chunk
            self._readers.unpark_all()

    def window_opened(self, delta: int) -> None:
        """The peer may be sent `delta` more bytes."""
        self._send_window = min(self._send_window + delta, MAX_SEND_WINDOW)
        self._writers.unpark_all()

    def peer_closed(self) -> None:
        """The peer closed its half."""
        if self._peer_done:
            return
        self._peer_done = True
        self._readers.unpark_all()
        if self._done:
            self._muxer.forget(self)
        if self._sink is not None:
            self._sink(b"")

    def peer_reset(self) -> None:
        """The peer ended the stream in both directions; what it sent before is void."""
        self._fail("reset by the peer")

    def connection_ended(self, reason: str) -> None:
        """The connection is over."""
        self._fail(reason)

    def _fail(self, reason: str) -> None:
        if self._failure is not None:
            return
        self._failure = reason
        self._muxer.forget(self)
        if not self._peer_done:
            self._drop_buffer()
        self._readers.unpark_all()
        self._writers.unpark_all()
        if self._sink is not None:
            self._sink(b"")

    def _drop_buffer(self) -> None:
        if self._buffer:
            self._muxer.read_bytes(len(self._buffer))
            self._buffer.clear()


def _discard(data: bytes) -> None:
    """Sink of an abandoned stream."""

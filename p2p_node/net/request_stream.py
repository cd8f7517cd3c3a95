"""Streams of length-prefixed messages between two peers.

A message is its length in four bytes, big-endian, and its bytes. The length is compared with the
reader's cap before anything is read or allocated; what is read grows with what arrives.
"""

import logging
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from math import inf
from typing import NoReturn

import trio

from p2p_node.net.api import Handler
from p2p_node.net.connection import Connection
from p2p_node.net.counters import Counters
from p2p_node.net.errors import (
    DeadlineError,
    MessageTooLongError,
    StreamEndedError,
)
from p2p_node.net.mux_stream import MuxStream
from p2p_node.net.places import NoPlaceError, Places
from p2p_node.net.settings import NetworkSettings
from p2p_node.net.switch import Arrival, Switch
from protocols.errors import LocalError, RemoteError
from protocols.types import NodeKey

logger = logging.getLogger(__name__)

_LENGTH = struct.Struct("!I")


class MuxRequestStream:
    """`p2p_node.net.api.RequestStream` over a stream of the muxer."""

    def __init__(
        self,
        stream: MuxStream,
        peer: NodeKey,
        protocol: str,
        settings: NetworkSettings,
        deadline: float,
        outlast: Callable[[], None] | None = None,
    ) -> None:
        self.peer = peer
        self.protocol = protocol
        self._stream = stream
        self._settings = settings
        self._deadline = deadline
        self._outlast = outlast
        # Of a message that is not complete: who waits for it may be cancelled, and come back.
        self._length: int | None = None
        self._begun = bytearray()

    def outlast(self) -> None:
        """Have no deadline any more; see the protocol class."""
        if self._outlast is None:
            raise LocalError(f"{self.protocol}: opened here, with the deadline it was given")
        self._outlast()
        self._deadline = inf

    async def send(self, data: bytes, *, within: float | None = None) -> None:
        """Send one message; see the protocol class."""
        await self.send_all((data,), within=within)

    async def send_all(
        self, messages: Sequence[bytes | bytearray | memoryview], *, within: float | None = None
    ) -> None:
        """Send several messages; see the protocol class."""
        parts: list[bytes | bytearray | memoryview] = []
        for message in messages:
            if len(message) > self._settings.limits.max_request_message:
                raise LocalError(f"{self.protocol}: a message of {len(message)} bytes")
            parts += (_LENGTH.pack(len(message)), message)
        with self._limit(within) as scope:
            # Before anything is sent: who is cancelled afterwards would not know that it was.
            await trio.lowlevel.checkpoint()
            await self._stream.write(b"".join(parts))
        if scope.cancelled_caught:
            self._too_slow("peer does not read in time")

    async def receive(self, max_bytes: int, *, within: float | None = None) -> bytes:
        """Wait for one message; see the protocol class."""
        if not 0 <= max_bytes <= self._settings.limits.max_request_message:
            raise LocalError(f"{self.protocol}: a cap of {max_bytes} bytes")
        # Before anything is taken: who is cancelled at the end would lose a message.
        await trio.lowlevel.checkpoint()
        ready = self._take_ready(max_bytes)
        if ready is not None:
            return ready
        with self._limit(within):
            length = self._length
            if length is None:
                (length,) = _LENGTH.unpack(await self._exactly(_LENGTH.size))
                self._length = length
            if length > max_bytes:
                self._stream.reset()
                raise MessageTooLongError("message too long", f"{length} of {max_bytes} bytes")
            message = await self._exactly(length)
            self._length = None
            return message
        return self._too_slow("peer does not answer in time")

    def _take_ready(self, max_bytes: int) -> bytes | None:
        """The next message, if all of it is here: small ones come many at a time."""
        if self._length is not None or self._begun or self._deadline < trio.current_time():
            return None
        head = self._stream.peek(_LENGTH.size)
        if len(head) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack(head)
        if length > max_bytes or self._stream.unread < _LENGTH.size + length:
            return None
        return self._stream.take(_LENGTH.size + length, skip=_LENGTH.size)

    def _limit(self, within: float | None) -> trio.CancelScope:
        seconds = self._settings.times.io if within is None else within
        return trio.CancelScope(deadline=min(trio.current_time() + seconds, self._deadline))

    def _too_slow(self, reason: str) -> NoReturn:
        self._stream.reset()
        raise DeadlineError(reason)

    async def _exactly(self, count: int) -> bytes:
        begun = self._begun
        if not begun:
            first = await self._part(count) if count else b""
            if len(first) == count:
                return first
            begun += first
        while len(begun) < count:
            begun += await self._part(count - len(begun))
        message = bytes(begun)
        begun.clear()
        return message

    async def _part(self, most: int) -> bytes:
        data = await self._stream.receive_some(most)
        if not data:
            raise StreamEndedError("closed by the peer")
        return data


class Requests:
    """Serves request streams, and opens them."""

    def __init__(self, settings: NetworkSettings, switch: Switch, counters: Counters) -> None:
        self._settings = settings
        self._switch = switch
        self._counters = counters
        self._places = Places(settings.limits)

    def serve(self, protocol: str, handler: Handler, *, lasting: bool = False) -> None:
        """Answer streams of the protocol with this short name."""
        full_name = self._settings.prefix + protocol
        if full_name in self._switch.protocols:
            raise LocalError(f"{protocol}: served twice")

        async def serve_one(arrival: Arrival) -> None:
            await self._serve_one(arrival, protocol, handler, lasting)

        self._switch.handle(full_name, serve_one)

    async def _serve_one(
        self, arrival: Arrival, protocol: str, handler: Handler, lasting: bool
    ) -> None:
        connection, stream = arrival.connection, arrival.stream
        peer = connection.peer
        try:
            place = self._places.enter(peer)
        except NoPlaceError as error:
            return self._turn_away(stream, protocol, error.reason)
        self._counters.streams_served += 1
        deadline = trio.current_time() + self._settings.times.handler
        scope = trio.CancelScope(deadline=deadline)

        def outlast() -> None:
            if not lasting:
                raise LocalError(f"{protocol}: its streams do not last")
            place.prolong()
            scope.deadline = inf

        request = MuxRequestStream(stream, peer, protocol, self._settings, deadline, outlast)
        _use(connection, 1)
        try:
            with scope:
                await handler(request)
                stream.abandon()
            if scope.cancelled_caught:
                self._turn_away(stream, protocol, "stream open too long")
        except RemoteError as error:
            self._turn_away(stream, protocol, error.reason)
            logger.debug("request refused: protocol=%s peer=%s %s", protocol, peer.hex(), error)
        except Exception as error:
            # Whatever a handler did wrong, the node and its other streams go on.
            self._counters.bug(protocol, error)
            logger.exception("handler failed: protocol=%s peer=%s", protocol, peer.hex())
        finally:
            stream.reset_unless_abandoned()
            _use(connection, -1)
            place.leave()
        return None

    def _turn_away(self, stream: MuxStream, protocol: str, reason: str) -> None:
        self._counters.refuse(protocol, reason)
        stream.reset()

    @asynccontextmanager
    async def open(
        self,
        peer: NodeKey,
        protocol: str,
        deadline: float,
        find: Callable[[NodeKey], Awaitable[Connection]],
    ) -> AsyncIterator[MuxRequestStream]:
        """Open a stream; see `p2p_node.net.api.Network.open_stream`.

        `find` gets a connection to the peer or raises PeerUnreachableError.
        """
        now = trio.current_time()
        until = now + deadline
        opened_by = until if deadline < inf else now + self._settings.times.opening
        with trio.move_on_at(opened_by) as scope:
            connection = await find(peer)
            stream, _ = await self._switch.open_stream(
                connection, (self._settings.prefix + protocol,), inf
            )
        if scope.cancelled_caught:
            raise DeadlineError("peer not reached in time", peer.hex())
        _use(connection, 1)
        try:
            yield MuxRequestStream(stream, peer, protocol, self._settings, until)
            stream.abandon()
        finally:
            stream.reset_unless_abandoned()
            _use(connection, -1)


def _use(connection: Connection, change: int) -> None:
    connection.busy += change
    connection.last_used = trio.current_time()

"""One WebSocket on the server's side: text messages, capped, with deadlines, uncompressed."""

import base64
import binascii
import math
from collections.abc import Mapping
from typing import Final

import trio
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import CloseConnection, Event, Message, Ping, TextMessage
from wsproto.utilities import generate_accept_token

from p2p_node.zeronode.http_types import HttpRefusal
from p2p_node.zeronode.web_settings import WebSettings
from protocols.errors import MalformedError

RECEIVE_BYTES: Final = 4096

MAX_CONTROL_FRAMES: Final = 16
"""Pings and the like that a client may send between two messages."""


class SocketClosed(Exception):
    """The client has left, or no longer takes what is written."""


def accept_upgrade(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the headers of a 101 that accepts a WebSocket.

    Extensions are not accepted: compression would cost each connection some 300 KB, and lets a
    small frame become a large one. Raises HttpRefusal.
    """
    tokens = {token.strip() for token in headers.get("connection", "").lower().split(",")}
    if headers.get("upgrade", "").lower() != "websocket" or "upgrade" not in tokens:
        raise HttpRefusal(426, "WebSocket expected", headers=(("Upgrade", "websocket"),))
    if headers.get("sec-websocket-version") != "13":
        raise HttpRefusal(
            426, "unknown version of WebSocket", headers=(("Sec-WebSocket-Version", "13"),)
        )
    key = headers.get("sec-websocket-key", "")
    try:
        is_key = len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        is_key = False
    if not is_key:
        raise HttpRefusal(400, "malformed handshake of a WebSocket")
    accept = generate_accept_token(key.encode()).decode()
    return [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)]


class ServerSocket:
    """A WebSocket that was accepted. One task receives; any may send."""

    def __init__(
        self, stream: trio.SocketStream, rest: bytes, settings: WebSettings, address: str
    ) -> None:
        self.address = address
        """The client's, behind trusted proxies."""
        self._stream = stream
        self._settings = settings
        self._frames = Connection(ConnectionType.SERVER)
        self._rest = rest
        self._writing = trio.Lock()
        self._parts: list[str] = []
        self._size = 0
        self._controls = 0
        self._is_torn = False
        """Whether a frame was written in part only, because its writer was cancelled."""

    async def receive(self, deadline: float = math.inf) -> str:
        """Wait for one text message until `deadline` on Trio's clock.

        Raises trio.TooSlowError, SocketClosed, and MalformedError for a message that is too long,
        binary or no text: the caller closes then. May be cancelled: nothing received is lost.
        """
        with trio.fail_at(deadline):
            return await self._receive()

    async def _receive(self) -> str:
        while True:
            for event in self._frames.events():
                if isinstance(event, TextMessage):
                    self._parts.append(event.data)
                    # A fragment without content must not be free.
                    self._size += len(event.data) + 1
                    if self._size > self._settings.max_frame_bytes:
                        raise MalformedError("message too long")
                    if event.message_finished:
                        return self._take_message()
                elif isinstance(event, Message):
                    raise MalformedError("message is not text")
                elif isinstance(event, CloseConnection):
                    await self._answer_close(event)
                else:
                    await self._heed_control(event)
            self._frames.receive_data(await self._read())

    def _take_message(self) -> str:
        message = "".join(self._parts)
        self._parts.clear()
        self._size = self._controls = 0
        return message

    async def _heed_control(self, event: Event) -> None:
        self._controls += 1
        if self._controls > MAX_CONTROL_FRAMES:
            raise MalformedError("too many control frames")
        if isinstance(event, Ping):
            await self._write(self._frames.send(event.response()))

    async def _read(self) -> bytes:
        data, self._rest = self._rest, b""
        if not data:
            try:
                data = bytes(await self._stream.receive_some(RECEIVE_BYTES))
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise SocketClosed from error
        if not data:
            raise SocketClosed
        return data

    async def _answer_close(self, event: CloseConnection) -> None:
        if self._frames.state is ConnectionState.REMOTE_CLOSING:
            await self._write(self._frames.send(event.response()))
            raise SocketClosed
        if self._frames.state is ConnectionState.OPEN:
            # What wsproto makes of frames that break the rules.
            raise MalformedError("malformed frame", event.reason or "")
        raise SocketClosed

    async def send(self, text: str) -> None:
        """Send one text message. Raises SocketClosed, also when the client takes it too slowly."""
        if self._frames.state is not ConnectionState.OPEN:
            raise SocketClosed
        await self._write(self._frames.send(TextMessage(data=text)))

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye, if that is still possible; the connection is closed by the server."""
        if self._frames.state is ConnectionState.OPEN:
            try:
                await self._write(self._frames.send(CloseConnection(code=code, reason=reason)))
            except SocketClosed:
                return

    async def _write(self, data: bytes) -> None:
        try:
            with trio.fail_after(self._settings.write_seconds):
                async with self._writing:
                    if self._is_torn:
                        raise SocketClosed
                    self._is_torn = True
                    await self._stream.send_all(data)
                    self._is_torn = False
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as error:
            await trio.aclose_forcefully(self._stream)
            raise SocketClosed from error

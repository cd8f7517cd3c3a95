"""One WebSocket on the client's side: text messages, without a task of its own."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import trio
from trio.abc import Stream
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.utilities import RemoteProtocolError

from p2p_node.zeronode.web_socket import SocketClosed
from protocols.errors import LocalError, MalformedError

PORTS: Final = {"ws": 80, "wss": 443}
CONNECT_SECONDS: Final = 20.0
WRITE_SECONDS: Final = 15.0
RECEIVE_BYTES: Final = 4096
MAX_MESSAGE_CHARS: Final = 32_768

Headers = list[tuple[bytes, bytes]]


class SocketRefused(SocketClosed):
    """The server answered the handshake with this status instead."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


@asynccontextmanager
async def open_socket(
    url: str, headers: Headers | None = None, local_address: str | None = None
) -> AsyncIterator["ClientSocket"]:
    """Open a WebSocket for the block, from `local_address` if it is given.

    Raises SocketClosed, SocketRefused for another answer.
    """
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise LocalError(f"found {url!r}, expected ws://… or wss://…")
    stream: Stream | None = None
    try:
        try:
            with trio.fail_after(CONNECT_SECONDS):
                port = parts.port or PORTS[parts.scheme]
                stream = await trio.open_tcp_stream(
                    parts.hostname, port, local_address=local_address
                )
                if parts.scheme == "wss":
                    stream = await _secure(stream, parts.hostname)
                socket = ClientSocket(stream)
                await socket.shake_hands(parts.netloc, parts.path, headers or [])
        except (OSError, trio.TooSlowError, trio.BrokenResourceError) as error:
            raise SocketClosed(repr(error)) from error
        try:
            yield socket
        finally:
            with trio.move_on_after(1, shield=True):
                await socket.close()
    finally:
        if stream is not None:
            await trio.aclose_forcefully(stream)


async def _secure(stream: Stream, host: str) -> Stream:
    secure = trio.SSLStream(
        stream, ssl.create_default_context(), server_hostname=host, https_compatible=True
    )
    try:
        await secure.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return secure


class ClientSocket:
    """A WebSocket that one task uses."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._frames = WSConnection(ConnectionType.CLIENT)
        self._parts: list[str] = []

    async def shake_hands(self, host: str, target: str, headers: Headers) -> None:
        """Ask for the WebSocket. Raises SocketClosed, SocketRefused."""
        request = Request(host=host, target=target, extra_headers=headers)
        await self._write(self._frames.send(request))
        status = 0
        while True:
            for event in self._frames.events():
                if isinstance(event, AcceptConnection):
                    return
                if isinstance(event, RejectConnection):
                    status = event.status_code
                    if not event.has_body:
                        raise SocketRefused(status)
                elif isinstance(event, RejectData) and event.body_finished:
                    raise SocketRefused(status)
            try:
                self._frames.receive_data(await self._read())
            except RemoteProtocolError as error:
                raise SocketClosed(str(error)) from error

    async def receive(self) -> str:
        """Wait for one text message. Raises SocketClosed, MalformedError when it is too long."""
        while True:
            for event in self._frames.events():
                if isinstance(event, TextMessage):
                    self._parts.append(event.data)
                    if sum(map(len, self._parts)) > MAX_MESSAGE_CHARS:
                        raise MalformedError("message too long")
                    if event.message_finished:
                        text = "".join(self._parts)
                        self._parts.clear()
                        return text
                elif isinstance(event, CloseConnection):
                    if self._frames.state is ConnectionState.REMOTE_CLOSING:
                        await self._write(self._frames.send(event.response()))
                    raise SocketClosed(f"{event.code} {event.reason or ''}".strip())
                elif isinstance(event, Ping):
                    await self._write(self._frames.send(event.response()))
            self._frames.receive_data(await self._read())

    async def send(self, text: str) -> None:
        """Send one text message. Raises SocketClosed."""
        if self._frames.state is not ConnectionState.OPEN:
            raise SocketClosed
        await self._write(self._frames.send(TextMessage(data=text)))

    async def close(self) -> None:
        """Say goodbye, if that is still possible."""
        if self._frames.state is ConnectionState.OPEN:
            try:
                await self._write(self._frames.send(CloseConnection(code=1000)))
            except SocketClosed:
                return

    async def _read(self) -> bytes:
        try:
            data = bytes(await self.stream.receive_some(RECEIVE_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise SocketClosed from error
        if not data:
            raise SocketClosed
        return data

    async def _write(self, data: bytes) -> None:
        try:
            with trio.fail_after(WRITE_SECONDS):
                await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as error:
            raise SocketClosed from error

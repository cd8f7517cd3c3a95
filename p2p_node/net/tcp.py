"""One TCP connection, with the buffers in our hands.

Writing is synchronous: `send` hands the socket what it takes at once and keeps the rest, `drain`
waits until the rest is gone. So a message that is passed on to six peers costs six system calls
and no switch between tasks. Reading never asks the kernel for more than `_CHUNK` bytes: py-libp2p
passes the length that a stranger announced before any handshake straight to `recv`, which makes
the node allocate that much.
"""

import socket
from collections.abc import Awaitable, Callable, Sequence

import trio
from libp2p.abc import IRawConnection
from libp2p.connection_types import ConnectionType
from libp2p.io.exceptions import ConnectionClosedError
from multiaddr import Multiaddr

from p2p_node.net.addresses import Endpoint
from p2p_node.net.psk import NONCE_BYTES, StreamCipher, new_nonce

_CHUNK = 64 * 1024


class TcpConnection(IRawConnection):
    """A connected, non-blocking socket.

    Raises ConnectionClosedError on reading or writing when the connection is gone.
    """

    def __init__(self, sock: socket.socket, *, initiator: bool) -> None:
        self.is_initiator = initiator
        self._socket = sock
        self._peer_name = _peer_name(sock)
        self._received = bytearray()
        self._unsent = bytearray()
        self._drained_last = True
        self._closed = False
        self._encrypt: StreamCipher | None = None
        self._decrypt: StreamCipher | None = None

    @property
    def host(self) -> str:
        """IP address of the other side."""
        return self._peer_name[0]

    @property
    def unsent(self) -> int:
        """Bytes that the socket has not taken yet."""
        return len(self._unsent)

    async def protect(self, network_key: bytes) -> None:
        """Turn this into a connection of a private network. Call before anything else is sent."""
        nonce = new_nonce()
        self.send(nonce)
        remote = await self.read_exactly(NONCE_BYTES)
        self._encrypt = StreamCipher(network_key, nonce)
        self._decrypt = StreamCipher(network_key, remote)
        if self._received:
            self._received = bytearray(self._decrypt.apply(bytes(self._received)))

    def send(self, data: bytes) -> None:
        """Queue `data` for sending, and send at once what the socket takes."""
        if self._closed:
            raise ConnectionClosedError("the connection is closed", transport="tcp")
        if self._encrypt is not None:
            data = self._encrypt.apply(data)
        if self._unsent:
            self._unsent += data
            return
        taken = self._try_send(data)
        if taken < len(data):
            self._unsent += data[taken:]

    async def drain(self, stall: float) -> None:
        """Wait until everything queued is sent.

        Raises trio.TooSlowError when the peer took no byte at all for `stall` seconds.
        """
        while self._unsent:
            with trio.fail_after(stall):
                await self._wait(trio.lowlevel.wait_writable)
            taken = self._try_send(self._unsent)
            del self._unsent[:taken]

    async def finish(self) -> None:
        """Send what is queued, close our side, and throw away what comes until the peer closes."""
        await self.write(b"")
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise ConnectionClosedError(f"closing: {error}", transport="tcp") from error
        while await self.receive():
            pass

    async def receive(self) -> bytes:
        """The next bytes, at least one; empty when the peer closed its side."""
        if self._received:
            kept = bytes(self._received)
            self._received.clear()
            return kept
        # A read that left the socket's buffer empty will block, so do not even try.
        data: bytes | None = None if self._drained_last else self._try_receive()
        while data is None:
            await self._wait(trio.lowlevel.wait_readable)
            data = self._try_receive()
        self._drained_last = len(data) < _CHUNK
        return data if self._decrypt is None else self._decrypt.apply(data)

    async def read(self, n: int | None = None) -> bytes:
        """Some of the next bytes, at least one and at most `n`, as py-libp2p's handshakes read.

        Raises ConnectionClosedError at the end: those callers would read on, a hundred times.
        """
        if n == 0:
            return b""
        if not self._received:
            data = await self.receive()
            if not data:
                raise ConnectionClosedError("closed by the peer", transport="tcp")
            self._received += data
        wanted = len(self._received) if n is None or n < 0 else min(n, len(self._received))
        taken = bytes(self._received[:wanted])
        del self._received[:wanted]
        return taken

    async def read_exactly(self, n: int) -> bytes:
        """Exactly `n` of the next bytes; `n` is a constant of ours, never a peer's number."""
        parts = bytearray()
        while len(parts) < n:
            parts += await self.read(n - len(parts))
        return bytes(parts)

    async def write(self, data: bytes) -> None:
        """Send `data` and wait until the socket took it, as py-libp2p's handshakes write."""
        self.send(data)
        while self._unsent:
            await self._wait(trio.lowlevel.wait_writable)
            taken = self._try_send(self._unsent)
            del self._unsent[:taken]

    def abort(self) -> None:
        """Close at once; whoever waits for the socket gets ConnectionClosedError."""
        if self._closed:
            return
        self._closed = True
        self._unsent.clear()
        self._received.clear()
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()

    async def close(self) -> None:
        """The same as `abort`, for py-libp2p's interface."""
        self.abort()
        await trio.lowlevel.checkpoint()

    def get_remote_address(self) -> tuple[str, int]:
        """IP address and port of the other side."""
        return self._peer_name

    def get_transport_addresses(self) -> list[Multiaddr]:
        """Required by py-libp2p's interface."""
        host, port = self._peer_name
        return [Multiaddr(f"/{'ip6' if ':' in host else 'ip4'}/{host}/tcp/{port}")]

    def get_connection_type(self) -> ConnectionType:
        """Required by py-libp2p's interface."""
        return ConnectionType.DIRECT

    def _try_send(self, data: bytes | bytearray) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise ConnectionClosedError(f"sending: {error}", transport="tcp") from error

    def _try_receive(self) -> bytes | None:
        try:
            return self._socket.recv(_CHUNK)
        except BlockingIOError:
            return None
        except OSError as error:
            raise ConnectionClosedError(f"receiving: {error}", transport="tcp") from error

    async def _wait(self, wait_for: Callable[[socket.socket], Awaitable[None]]) -> None:
        if self._closed:
            raise ConnectionClosedError("the connection is closed", transport="tcp")
        try:
            await wait_for(self._socket)
        except trio.ClosedResourceError as error:
            raise ConnectionClosedError("closed here", transport="tcp") from error


def _peer_name(sock: socket.socket) -> tuple[str, int]:
    try:
        name = sock.getpeername()
    except OSError:
        # Already disconnected; the first read will say so.
        return "::", 0
    return str(name[0]), int(name[1])


def _own(stream: trio.SocketStream, *, initiator: bool) -> TcpConnection:
    """Take the socket out of trio's stream; trio has already switched off Nagle's algorithm."""
    sock = socket.socket(fileno=stream.socket.detach())
    sock.setblocking(False)
    return TcpConnection(sock, initiator=initiator)


async def dial(endpoint: Endpoint) -> TcpConnection:
    """Connect to `endpoint`. Raises OSError."""
    try:
        stream = await trio.open_tcp_stream(endpoint.host, endpoint.port)
    except ValueError as error:
        # A host name that a peer made up may be none: too long a label, a zero byte, bad IDNA.
        raise OSError(f"{endpoint.host!r} is not a host name: {error}") from error
    return _own(stream, initiator=True)


async def listen(endpoint: Endpoint) -> Sequence[trio.SocketListener]:
    """Bind `endpoint`. Raises OSError."""
    return await trio.open_tcp_listeners(endpoint.port, host=endpoint.host)


async def accept(listener: trio.SocketListener) -> TcpConnection:
    """Take the next inbound connection. Raises OSError when the system has no room for it."""
    return _own(await listener.accept(), initiator=False)


def endpoint_of(listener: trio.SocketListener) -> Endpoint:
    """Where a listener is bound."""
    host, port = listener.socket.getsockname()[:2]
    return Endpoint("ip6" if ":" in host else "ip4", host, port)

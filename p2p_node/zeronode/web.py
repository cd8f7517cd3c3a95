"""A web server under Trio: HTTP/1.1 by h11, WebSockets by wsproto, every wait with a deadline.

hypercorn 0.18, which does the same for any ASGI application, was tried first. Under Trio one
request with `Upgrade: h2c` and `HTTP2-Settings: A` ends it and every connection with it; it writes
shielded from cancellation without a deadline, so that one client who does not read holds up its
end for ever; and it accepts compressed WebSockets, of which each costs some 300 KB. None of that
can be set. The two protocols themselves are not ours here either, only the loop between them and
the sockets.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import h11
import trio

from p2p_node.zeronode.http_types import (
    HttpRefusal,
    HttpRequest,
    HttpResponse,
    WebCounters,
    write_refusal,
)
from p2p_node.zeronode.web_settings import (
    WebSettings,
    find_client,
    find_household,
    is_within,
    normalise_address,
)
from p2p_node.zeronode.web_socket import ServerSocket, SocketClosed, accept_upgrade
from protocols.errors import KaisarError, MalformedError, RemoteError

logger = logging.getLogger(__name__)

RECEIVE_BYTES: Final = 16 << 10

PIECE_BYTES: Final = 64 << 10
"""Bytes of an answer that have to be gone within `write_seconds`."""

FAULTS: Final = {
    413: "body too long",
    431: "header too long",
    501: "unknown transfer encoding",
}
"""Reasons for what h11 does not take, by the status that it suggests."""

Talk = Callable[[ServerSocket], Awaitable[None]]


class Site(Protocol):
    """What a web server serves."""

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """Answer one request. Raises RemoteError for a refusal."""

    def find_talk(self, request: HttpRequest) -> Talk | None:
        """Return who talks over a WebSocket of this path, or None. Raises RemoteError."""

    def dress(self, request: HttpRequest | None, response: HttpResponse) -> list[tuple[str, str]]:
        """Return the headers that every answer gets on top of its own."""

    def find_status(self, refusal: RemoteError) -> int:
        """Return the status that a refusal is answered with."""


class WebServer:
    """Listens from `open` on, and serves as long as `run` runs."""

    def __init__(self, settings: WebSettings, site: Site) -> None:
        self.settings = settings
        self.site = site
        self.counters = WebCounters()
        self._per_address: Counter[str] = Counter()
        self._listeners: Sequence[trio.SocketListener] = ()

    async def open(self) -> None:
        """Listen. Raises OSError when the address is taken or not this machine's."""
        self._listeners = await trio.open_tcp_listeners(
            self.settings.port, host=self.settings.host, backlog=1024
        )

    @property
    def port(self) -> int:
        """The port that is listened on."""
        port: int = self._listeners[0].socket.getsockname()[1]
        return port

    async def run(self) -> None:
        """Serve until cancelled; every connection is closed then."""
        await trio.serve_listeners(self._serve, self._listeners)

    async def _serve(self, stream: trio.SocketStream) -> None:
        counters = self.counters
        try:
            peer = normalise_address(stream.socket.getpeername()[0])
        except OSError:
            await trio.aclose_forcefully(stream)
            return
        is_proxy = is_within(peer, self.settings.trusted_proxies)
        home = find_household(peer)
        if counters.connections >= self.settings.max_connections or (
            not is_proxy and self._per_address[home] >= self.settings.max_connections_per_address
        ):
            counters.refused["too many connections"] += 1
            await trio.aclose_forcefully(stream)
            return
        counters.connections += 1
        self._per_address[home] += 1
        try:
            await HttpConnection(self, stream, peer).run()
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            # Who leaves, or is too slow, is nobody whom an answer would reach.
            counters.refused["connection lost"] += 1
        except Exception as error:
            # Whatever our code did wrong for one connection, the service and the others go on.
            counters.bugs[type(error).__name__] += 1
            logger.exception("connection failed")
        finally:
            counters.connections -= 1
            self._per_address[home] -= 1
            if not self._per_address[home]:
                del self._per_address[home]
            await trio.aclose_forcefully(stream)


class HttpConnection:
    """One connection: requests one after another, or at last a WebSocket."""

    def __init__(self, server: WebServer, stream: trio.SocketStream, peer: str) -> None:
        self._server = server
        self._settings = server.settings
        self._stream = stream
        self._peer = peer
        self._http = h11.Connection(
            h11.SERVER, max_incomplete_event_size=server.settings.max_header_bytes
        )

    async def run(self) -> None:
        """Serve until either side has had enough."""
        wait = self._settings.header_seconds
        while await self._serve_request(wait):
            self._http.start_next_cycle()
            wait = self._settings.idle_seconds

    async def _serve_request(self, wait: float) -> bool:
        """Answer one request; whether another may follow."""
        request: HttpRequest | None = None
        try:
            head = await self._read_head(wait)
            if head is None:
                return False
            request = self._parse_head(head)
            if "upgrade" in request.headers:
                talk = self._server.site.find_talk(request)
                if talk is not None:
                    await self._upgrade(request, talk)
                    return False
            response = await self._answer(request)
        except h11.RemoteProtocolError as error:
            status = error.error_status_hint
            refusal = HttpRefusal(status, FAULTS.get(status, "malformed request"))
            self._server.counters.refused[refusal.reason] += 1
            response = write_refusal(refusal, status)
        except RemoteError as refusal:
            self._server.counters.refused[refusal.reason] += 1
            logger.debug("request refused: %s", refusal)
            response = write_refusal(refusal, self._server.site.find_status(refusal))
        await self._write_response(request, response)
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _read_head(self, wait: float) -> h11.Request | None:
        has_begun = bool(self._http.trailing_data[0])
        with trio.move_on_after(self._settings.header_seconds if has_begun else wait) as scope:
            while True:
                event = self._http.next_event()
                if isinstance(event, h11.Request):
                    return event
                if isinstance(event, h11.ConnectionClosed):
                    return None
                self._http.receive_data(bytes(await self._stream.receive_some(RECEIVE_BYTES)))
                if not has_begun:
                    has_begun = True
                    latest = trio.current_time() + self._settings.header_seconds
                    scope.deadline = min(scope.deadline, latest)
        if self._http.trailing_data[0]:
            self._server.counters.refused["header too slow"] += 1
        return None

    def _parse_head(self, head: h11.Request) -> HttpRequest:
        self._server.counters.requests += 1
        headers: dict[str, str] = {}
        for name, value in head.headers:
            text = value.decode("latin-1")
            known = headers.get(name.decode())
            headers[name.decode()] = text if known is None else f"{known},{text}"
        if "content-length" in headers and "transfer-encoding" in headers:
            # A proxy that goes by the other one would take the rest for somebody else's request.
            raise HttpRefusal(400, "two lengths of one body")
        path, _, query = head.target.decode().partition("?")
        if not path.startswith("/"):
            raise HttpRefusal(400, "malformed request", "expected a path")
        return HttpRequest(
            method=head.method.decode(),
            path=path,
            query=_parse_query(query),
            headers=headers,
            address=find_client(
                self._peer, headers.get("x-forwarded-for", ""), self._settings.trusted_proxies
            ),
        )

    async def _answer(self, request: HttpRequest) -> HttpResponse:
        whole = HttpRequest(
            request.method,
            request.path,
            request.query,
            request.headers,
            request.address,
            await self._read_body(),
        )
        site = self._server.site
        try:
            with trio.fail_after(self._settings.answer_seconds):
                return await site.answer(whole)
        except trio.TooSlowError:
            raise HttpRefusal(503, "service is too slow") from None
        except RemoteError:
            raise
        except KaisarError as error:
            self._server.counters.bugs[type(error).__name__] += 1
            logger.error("request failed: path=%s %s", request.path, error)
        except Exception as error:
            self._server.counters.bugs[type(error).__name__] += 1
            logger.exception("request failed: path=%s", request.path)
        raise HttpRefusal(500, "service failed")

    async def _read_body(self) -> bytes:
        body = bytearray()
        try:
            with trio.fail_after(self._settings.body_seconds):
                while True:
                    if self._http.they_are_waiting_for_100_continue:
                        going_on = h11.InformationalResponse(status_code=100, headers=[])
                        await self._send(going_on)
                    event = self._http.next_event()
                    if isinstance(event, h11.EndOfMessage):
                        return bytes(body)
                    if isinstance(event, h11.Data):
                        body += event.data
                        if len(body) > self._settings.max_body_bytes:
                            raise HttpRefusal(413, "body too long")
                    else:
                        data = await self._stream.receive_some(RECEIVE_BYTES)
                        self._http.receive_data(bytes(data))
        except trio.TooSlowError:
            raise HttpRefusal(408, "body too slow") from None

    async def _write_response(self, request: HttpRequest | None, response: HttpResponse) -> None:
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        headers = [
            ("Content-Length", str(len(response.body))),
            *([("Content-Type", response.content_type)] if response.body else []),
            *response.headers,
            *self._server.site.dress(request, response),
        ]
        if self._http.their_state is not h11.DONE:
            # What is left of the request is not read any more.
            headers.append(("Connection", "close"))
        data = self._pack(h11.Response(status_code=response.status, headers=headers))
        body = b""
        if response.body and not (request is not None and request.method == "HEAD"):
            body = self._pack(h11.Data(data=response.body))
        end = self._pack(h11.EndOfMessage())
        if len(body) <= PIECE_BYTES:
            await self._send_bytes(data + body + end)
            return
        # A large body is not copied, and a slow line gets time for each piece of it.
        await self._send_bytes(data)
        with memoryview(body) as view:
            for start in range(0, len(view), PIECE_BYTES):
                await self._send_bytes(view[start : start + PIECE_BYTES])
        await self._send_bytes(end)

    async def _send_bytes(self, data: bytes | memoryview) -> None:
        with trio.fail_after(self._settings.write_seconds):
            await self._stream.send_all(data)

    def _pack(self, event: h11.Event) -> bytes:
        return self._http.send(event) or b""

    async def _send(self, event: h11.Event) -> None:
        await self._send_bytes(self._pack(event))

    async def _upgrade(self, request: HttpRequest, talk: Talk) -> None:
        if request.method != "GET":
            raise HttpRefusal(405, "method not allowed", headers=(("Allow", "GET"),))
        accepted = accept_upgrade(request.headers)
        await self._send(h11.InformationalResponse(status_code=101, headers=accepted))
        rest = self._http.trailing_data[0]
        socket = ServerSocket(self._stream, rest, self._settings, request.address)
        del self._http  # Thousands of WebSockets live long, and none needs it any more.
        counters = self._server.counters
        counters.sockets += 1
        try:
            await talk(socket)
            await socket.close()
        except SocketClosed:
            pass
        except MalformedError as error:
            counters.refused[error.reason] += 1
            logger.debug("frame refused: %s", error)
            await socket.close(1008, error.reason)
        except KaisarError as error:
            counters.bugs[type(error).__name__] += 1
            logger.error("WebSocket failed: path=%s %s", request.path, error)
            await socket.close(1011, "service failed")
        except trio.Cancelled:
            with trio.move_on_after(self._settings.close_seconds, shield=True):
                await socket.close(1001, "service ends")
            raise
        finally:
            counters.sockets -= 1


def _parse_query(text: str) -> dict[str, str]:
    """Parse a query of plain values; nothing in this API needs an escape in one."""
    found: dict[str, str] = {}
    for part in text.split("&") if text else ():
        name, _, value = part.partition("=")
        if name in found:
            raise HttpRefusal(400, "malformed query", "a name stands twice")
        found[name] = value
    return found

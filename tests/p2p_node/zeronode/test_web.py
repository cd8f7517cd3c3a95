"""The web server by itself: real sockets, and whatever a stranger may send."""

import base64
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import httpx
import pytest
import trio

from p2p_node.zeronode.client_socket import SocketRefused, open_socket
from p2p_node.zeronode.http_types import HttpRefusal, HttpRequest, HttpResponse
from p2p_node.zeronode.web import Talk, WebServer
from p2p_node.zeronode.web_settings import (
    WebSettings,
    find_client,
    is_within,
    normalise_address,
    parse_networks,
)
from p2p_node.zeronode.web_socket import ServerSocket, SocketClosed
from protocols.errors import LocalError, RemoteError

pytestmark = pytest.mark.integration

QUICK = WebSettings(
    header_seconds=0.5,
    idle_seconds=0.5,
    body_seconds=0.5,
    answer_seconds=0.5,
    write_seconds=0.5,
    max_header_bytes=2048,
    max_body_bytes=1000,
    max_frame_bytes=100,
)


class EchoSite:
    """Answers with what it was asked; `/ws` sends every message back."""

    async def answer(self, request: HttpRequest) -> HttpResponse:
        match request.path:
            case "/slow":
                await trio.sleep_forever()
            case "/bug":
                raise ZeroDivisionError
            case "/ours":
                raise LocalError("a setting is wrong")
            case "/no":
                raise HttpRefusal(403, "not you")
            case "/who":
                return HttpResponse(200, request.address.encode())
        return HttpResponse(200, request.method.encode() + b" " + request.body)

    def find_talk(self, request: HttpRequest) -> Talk | None:
        return {"/ws": self.echo, "/ws-bug": self.fail}.get(request.path)

    async def echo(self, socket: ServerSocket) -> None:
        while True:
            await socket.send(await socket.receive())

    async def fail(self, socket: ServerSocket) -> None:
        raise ZeroDivisionError

    def dress(self, request: HttpRequest | None, response: HttpResponse) -> list[tuple[str, str]]:
        return [("X-Dressed", "yes")]

    def find_status(self, refusal: RemoteError) -> int:
        return refusal.status if isinstance(refusal, HttpRefusal) else 400


@asynccontextmanager
async def serving(settings: WebSettings = QUICK) -> AsyncIterator[WebServer]:
    server = WebServer(settings, EchoSite())
    await server.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        yield server
        with trio.fail_after(5):
            nursery.cancel_scope.cancel()


async def exchange(server: WebServer, data: bytes, *, ends: bool = False) -> bytes:
    """Send bytes, and return all that comes back until the server closes."""
    stream = await trio.open_tcp_stream("127.0.0.1", server.port)
    async with stream:
        await stream.send_all(data)
        if ends:
            await stream.send_eof()
        return await read_rest(stream)


async def read_rest(stream: trio.SocketStream) -> bytes:
    found = bytearray()
    with trio.fail_after(10):
        try:
            async for chunk in stream:
                found += chunk
        except trio.BrokenResourceError:
            pass
    return bytes(found)


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def is_well(server: WebServer) -> bool:
    async with httpx.AsyncClient() as client:
        return (await client.get(f"http://127.0.0.1:{server.port}/")).status_code == 200


async def test_requests_share_a_connection() -> None:
    async with serving() as server, httpx.AsyncClient() as client:
        url = f"http://127.0.0.1:{server.port}/x"
        for body in (b"", b"one", b"z" * 1000):
            response = await client.post(url, content=body)
            assert (response.status_code, response.content) == (200, b"POST " + body)
            assert response.headers["x-dressed"] == "yes"
        assert (await client.head(url)).content == b""
        assert server.counters.requests == 4
        assert server.counters.connections == 1
        assert not server.counters.refused


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (b"nonsense\r\n\r\n", 400, "malformed request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "malformed request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "malformed request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 5000, 431, "header too long"),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n" + b"y" * 1001,
            413,
            "body too long",
        ),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400, "malformed request"),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
            501,
            "unknown transfer encoding",
        ),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab", 408, "body too slow"),
        (b"GET /?a=1&a=2 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed query"),
        (b"GET /no HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 403, "not you"),
        (b"GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 503, "service is too slow"),
        (b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", 426, "WebSocket expected"),
        (
            b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            426,
            "unknown version of WebSocket",
        ),
        (
            b"POST /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Content-Length: 0\r\n\r\n",
            405,
            "method not allowed",
        ),
        (
            b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n",
            400,
            "malformed handshake of a WebSocket",
        ),
    ],
)
async def test_what_is_wrong_is_refused_and_counted(data: bytes, status: int, reason: str) -> None:
    async with serving() as server:
        answer = await exchange(server, data)
        assert status_of(answer) == status
        assert f'"error": "{reason}"'.encode() in answer
        assert server.counters.refused == {reason: 1}
        assert await is_well(server)
        assert not server.counters.bugs


async def test_upgrade_that_ended_hypercorn_is_a_plain_request() -> None:
    async with serving() as server:
        data = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n\r\n"
        assert status_of(await exchange(server, data)) == 200
        assert status_of(await exchange(server, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")) == 400
        assert await is_well(server)


async def test_slow_header_is_cut_off() -> None:
    async with serving() as server:
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        started = trio.current_time()
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n")
        async with trio.open_nursery() as nursery:

            async def drip() -> None:
                with suppress(trio.BrokenResourceError):
                    while True:
                        await trio.sleep(0.05)
                        await stream.send_all(b"X: y\r\n")

            nursery.start_soon(drip)
            assert await read_rest(stream) == b""
            nursery.cancel_scope.cancel()
        await stream.aclose()
        assert trio.current_time() - started < 2
        assert server.counters.refused["header too slow"] == 1


async def test_silent_and_broken_connections_end() -> None:
    async with serving() as server:
        assert await exchange(server, b"") == b""
        assert await exchange(server, b"GET / HT", ends=True) != b"never"
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        await stream.aclose()
        await wait_until(lambda: server.counters.connections == 0)
        assert await is_well(server)
        assert not server.counters.bugs


async def test_our_own_bugs_end_one_request_only(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as server, httpx.AsyncClient() as client:
        for path in ("/bug", "/ours"):
            response = await client.get(f"http://127.0.0.1:{server.port}{path}")
            assert (response.status_code, response.json()["error"]) == (500, "service failed")
        with pytest.raises(SocketClosed):
            async with open_socket(f"ws://127.0.0.1:{server.port}/ws-bug") as socket:
                await socket.receive()
        assert server.counters.bugs == {"ZeroDivisionError": 2, "LocalError": 1}
        assert await is_well(server)
    assert "connection failed" in caplog.text


async def test_who_does_not_read_is_cut_off() -> None:
    async with serving() as server:
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000
        with trio.fail_after(10):
            try:
                while True:
                    await stream.send_all(request)
            except trio.BrokenResourceError:
                pass
        await wait_until(lambda: server.counters.connections == 0)
        await stream.aclose()


@pytest.mark.parametrize(
    ("change", "allowed"),
    [({"max_connections": 2}, 2), ({"max_connections_per_address": 3}, 3)],
)
async def test_connections_are_bounded(change: dict[str, int], allowed: int) -> None:
    async with serving(replace(QUICK, header_seconds=30, **change)) as server:
        streams = [await trio.open_tcp_stream("127.0.0.1", server.port) for _ in range(allowed)]
        await wait_until(lambda: server.counters.connections == allowed)
        assert await exchange(server, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") == b""
        assert server.counters.refused["too many connections"] == 1
        for stream in streams:
            await stream.aclose()
        await wait_until(lambda: server.counters.connections == 0)
        assert await is_well(server)


async def test_websocket_carries_text() -> None:
    async with serving() as server:
        async with open_socket(f"ws://127.0.0.1:{server.port}/ws") as socket:
            for text in ("", "one", "ä" * 50):
                await socket.send(text)
                assert await socket.receive() == text
            assert server.counters.sockets == 1
        await wait_until(lambda: server.counters.sockets == 0)


async def test_websocket_elsewhere_is_refused() -> None:
    async with serving() as server:
        with pytest.raises(SocketRefused) as caught:
            async with open_socket(f"ws://127.0.0.1:{server.port}/no"):
                pass
        assert caught.value.status == 403


def frame(opcode: int, payload: bytes, *, fin: bool = True, masked: bool = True) -> bytes:
    head = bytes([(0x80 if fin else 0) | opcode])
    size = len(payload)
    bit = 0x80 if masked else 0
    head += bytes([bit | size]) if size < 126 else bytes([bit | 126]) + size.to_bytes(2, "big")
    return head + (bytes(4) if masked else b"") + payload


HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
    b"Sec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\n\r\n"
)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (frame(1, b"x" * 120), "message too long"),
        (frame(1, b"", fin=False) + frame(0, b"", fin=False) * 200, "message too long"),
        (b"\x81\xff" + (2**40).to_bytes(8, "big") + bytes(4) + b"x" * 200, "message too long"),
        (frame(2, b"bytes"), "message is not text"),
        (frame(1, b"x", masked=False), "malformed frame"),
        (frame(1, b"\xff\xfe"), "malformed frame"),
        (frame(0, b"x"), "malformed frame"),
        (frame(3, b"x"), "malformed frame"),
        (b"\xc1\x81" + bytes(4) + b"x", "malformed frame"),
        (frame(9, b"") * 50, "too many control frames"),
        (frame(8, b"\x00"), "malformed frame"),
        (os.urandom(500), None),
    ],
)
async def test_frames_that_break_the_rules_end_the_socket(data: bytes, reason: str | None) -> None:
    async with serving() as server:
        answer = await exchange(server, HANDSHAKE + data)
        assert status_of(answer) == 101
        assert b"permessage-deflate" not in answer
        if reason is not None:
            assert server.counters.refused == {reason: 1}
        assert await is_well(server)
        assert not server.counters.bugs


async def test_ping_is_answered_and_close_returned() -> None:
    async with serving() as server:
        answer = await exchange(server, HANDSHAKE + frame(9, b"hi") + frame(8, b"\x03\xe8"))
        assert answer.endswith(b"\x8a\x02hi" + b"\x88\x02\x03\xe8")
        assert not server.counters.refused


async def test_end_of_the_service_says_goodbye() -> None:
    server = WebServer(QUICK, EchoSite())
    await server.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        async with open_socket(f"ws://127.0.0.1:{server.port}/ws") as socket:
            await socket.send("x")
            await socket.receive()
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True), pytest.raises(SocketClosed, match=r"1001"):
                with trio.fail_after(5):
                    await socket.receive()


async def test_receiving_may_be_interrupted() -> None:
    received = []

    class Site(EchoSite):
        async def echo(self, socket: ServerSocket) -> None:
            while True:
                try:
                    received.append(await socket.receive(trio.current_time() + 0.05))
                except trio.TooSlowError:
                    continue

    server = WebServer(QUICK, Site())
    await server.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        await stream.send_all(HANDSHAKE)
        await stream.receive_some()
        for byte in frame(1, b"one", fin=False) + frame(0, b" message"):
            await stream.send_all(bytes([byte]))
            await trio.sleep(0.02)
        await wait_until(lambda: bool(received))
        assert received == ["one message"]
        await stream.aclose()
        nursery.cancel_scope.cancel()


async def wait_until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(5):
        while not condition():
            await trio.sleep(0.01)


async def test_addresses_come_from_trusted_proxies_only() -> None:
    trusted = replace(QUICK, trusted_proxies=parse_networks(["127.0.0.0/8"]))
    for settings, expected in ((QUICK, "127.0.0.1"), (trusted, "203.0.113.7")):
        async with serving(settings) as server, httpx.AsyncClient() as client:
            headers = {"X-Forwarded-For": "198.51.100.1, 203.0.113.7"}
            url = f"http://127.0.0.1:{server.port}/who"
            assert (await client.get(url, headers=headers)).text == expected


PROXIES = parse_networks(["10.0.0.0/8", "fd00::/8"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.1", "1.2.3.4", "203.0.113.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("::ffff:10.0.0.1", "2001:DB8::1", "2001:db8::1"),
        ("fd00::1", "::ffff:1.2.3.4", "1.2.3.4"),
    ],
)
def test_client_is_the_last_that_no_proxy_stands_for(
    peer: str, forwarded: str, client: str
) -> None:
    assert find_client(peer, forwarded, PROXIES) == client


def test_networks_are_parsed() -> None:
    assert is_within("10.1.2.3", PROXIES)
    assert not is_within("11.1.2.3", PROXIES)
    assert not is_within("nonsense", PROXIES)
    assert normalise_address("fe80::1%eth0") == "fe80::1"
    with pytest.raises(LocalError, match=r"trusted_proxies: found '10\.0\.0\.1/8'"):
        parse_networks(["10.0.0.1/8"])

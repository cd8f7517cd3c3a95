"""An HTTP endpoint that answers exactly what a test tells it to, byte for byte."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any


class ScriptedEndpoint:
    """Answers each request with `answer(body)`: raw bytes of a whole HTTP response.

    None closes the connection without an answer.
    """

    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self._stop = Event()
        self._threads: list[Thread] = []
        self.requests: list[dict[str, Any]] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._start(self._accept)

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def wait_until_stopped(self, seconds: float) -> None:
        """For scripts that stall: returns early when the test is over."""
        self._stop.wait(seconds)

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = Thread(target=target, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(0.1)
        buffer = b""
        with connection:
            while not self._stop.is_set():
                try:
                    received = connection.recv(65_536)
                except TimeoutError:
                    continue
                except OSError:
                    return
                if not received:
                    return
                buffer += received
                head, separator, body = buffer.partition(b"\r\n\r\n")
                if not separator or len(body) < _content_length(head):
                    continue
                buffer = b""
                self.requests.append(json.loads(body))
                answer = self._answer(body)
                if answer is None:
                    return
                try:
                    connection.settimeout(5)
                    connection.sendall(answer)
                    connection.settimeout(0.1)
                except OSError:
                    return


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


@contextmanager
def scripted(answer: Callable[[bytes], bytes | None]) -> Iterator[ScriptedEndpoint]:
    endpoint = ScriptedEndpoint(answer)
    try:
        yield endpoint
    finally:
        endpoint.close()


def respond(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    """A whole HTTP response."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


def result(value: object) -> bytes:
    """A whole HTTP response with a JSON-RPC result."""
    return respond(json.dumps({"jsonrpc": "2.0", "id": 0, "result": value}).encode())


def error(code: object, message: object, data: object = None) -> bytes:
    """A whole HTTP response with a JSON-RPC error."""
    fault = {"code": code, "message": message, "data": data}
    return respond(json.dumps({"jsonrpc": "2.0", "id": 0, "error": fault}).encode())

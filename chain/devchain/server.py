"""HTTP for the devchain: POST a JSON-RPC body to 127.0.0.1, get the answer.

Only `application/json` is taken, so that a web page cannot post here without asking first, which
this server never grants (no CORS headers, no OPTIONS).
"""

import logging
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket
from threading import BoundedSemaphore
from typing import Any, Final

from chain.devchain.methods import Methods

_log = logging.getLogger(__name__)

HOST: Final = "127.0.0.1"

MAX_BODY_BYTES = 2 * 1024 * 1024
"""One request or batch. The largest single request is a transaction of 128 KiB in hexadecimal."""

MAX_CONNECTIONS = 256
"""Connections at a time; each is one thread. A node holds up to four."""

IDLE_SECONDS = 60
"""A connection on which nothing comes for this long is closed."""


class DevchainServer(ThreadingHTTPServer):
    """The listening socket; `port` tells where, once constructed."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, methods: Methods, port: int) -> None:
        self.methods = methods
        self._free = BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__((HOST, port), _Handler)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection, unless there are too many."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        """Log what a connection died of; a client that went away is nothing to report."""
        _log.debug("devchain: a connection ended early", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "kaisar-devchain"
    sys_version = ""
    timeout = IDLE_SECONDS
    # Answers are written at once; waiting to fill a packet would cost 40 ms each.
    disable_nagle_algorithm = True
    wbufsize = -1

    server: DevchainServer

    def do_POST(self) -> None:
        length = self._body_length()
        if length is None:
            return
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        self._respond(HTTPStatus.OK, self.server.methods.handle(body))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        _log.debug("devchain: " + format, *args)

    def _body_length(self) -> int | None:
        """Check the headers; answer with an error and return None if they will not do."""
        if self.headers.get_content_type() != "application/json":
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send application/json")
        elif not (text := self.headers.get("Content-Length", "")).isascii() or not text.isdigit():
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "send a Content-Length")
        elif len(text) > 9 or int(text) > MAX_BODY_BYTES:
            self._refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MAX_BODY_BYTES} bytes a request"
            )
        else:
            return int(text)
        return None

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        # The body was not read, so the connection cannot be used further.
        self.close_connection = True
        self._respond(status, text.encode(), "text/plain")

    def _respond(self, status: HTTPStatus, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

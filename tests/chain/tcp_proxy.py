"""A TCP proxy that can be cut and put together again, as a line to an endpoint can."""

import selectors
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread
from urllib.parse import urlsplit

CHUNK = 65_536


class TcpProxy:
    """Passes bytes on to a target; while it is cut, connections are reset and refused."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        assert parts.hostname is not None
        assert parts.port is not None
        self._target = (parts.hostname, parts.port)
        self._lock = Lock()
        self._connections: set[socket.socket] = set()
        self._stop = Event()
        self._threads: list[Thread] = []
        self._listener = self._listen(0)
        self._port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._serve()

    def cut(self) -> None:
        """Close every connection, and refuse new ones."""
        with self._lock:
            self._listener.close()
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def restore(self) -> None:
        """Take connections again, on the same port."""
        self._listener = self._listen(self._port)
        self._serve()

    def close(self) -> None:
        self._stop.set()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    @staticmethod
    def _listen(port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port), backlog=64)
        listener.settimeout(0.1)
        return listener

    def _serve(self) -> None:
        self._start(self._accept, self._listener)

    def _start(self, target: object, *arguments: object) -> None:
        thread = Thread(target=target, args=arguments)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while not self._stop.is_set():
            try:
                inner, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            self._start(self._pass_on, inner)

    def _pass_on(self, inner: socket.socket) -> None:
        try:
            outer = socket.create_connection(self._target, timeout=5)
        except OSError:
            inner.close()
            return
        pair = {inner: outer, outer: inner}
        with self._lock:
            self._connections |= set(pair)
        with inner, outer, selectors.DefaultSelector() as selector:
            for each in pair:
                selector.register(each, selectors.EVENT_READ)
            with suppress(OSError):
                while not self._stop.is_set():
                    for key, _ in selector.select(0.1):
                        source = key.fileobj
                        assert isinstance(source, socket.socket)
                        data = source.recv(CHUNK)
                        if not data:
                            raise OSError
                        pair[source].sendall(data)
            with self._lock:
                self._connections -= set(pair)


@contextmanager
def proxied(target: str) -> Iterator[TcpProxy]:
    proxy = TcpProxy(target)
    try:
        yield proxy
    finally:
        proxy.close()

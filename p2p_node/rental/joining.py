"""Connecting from within another process's network, through the C library; needs root."""

import ctypes
import os
import socket
import threading
from typing import Final

CONNECT_SECONDS: Final = 10
_CLONE_NEWNET: Final = 0x40000000


def connect_within(pid: int, port: int) -> socket.socket:
    """Return a socket that is connected to 127.0.0.1:`port` as seen by process `pid`.

    OSError when nobody listens there, or the process has no network of its own.
    """
    result: list[socket.socket | OSError] = []
    # Only the thread that enters it is in the other network, and it ends there.
    thread = threading.Thread(target=_connect, args=(pid, port, result), daemon=True)
    thread.start()
    thread.join()
    (found,) = result
    if isinstance(found, OSError):
        raise found
    return found


def _connect(pid: int, port: int, result: list[socket.socket | OSError]) -> None:
    try:
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if os.fstat(namespace).st_ino == os.stat("/proc/self/ns/net").st_ino:
                raise PermissionError("the process is in this host's own network")
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(namespace, _CLONE_NEWNET):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
        finally:
            os.close(namespace)
        connection = socket.create_connection(("127.0.0.1", port), CONNECT_SECONDS)
        connection.setblocking(False)
        result.append(connection)
    except OSError as error:
        result.append(error)

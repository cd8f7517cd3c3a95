"""The host's end of a workload's terminal, as Trio streams."""

import errno
import fcntl
import os
import struct
import termios
from contextlib import suppress
from typing import Final

import trio

_END_OF_FILE: Final = b"\x04"


class TerminalOutput(trio.abc.ReceiveStream):
    """What is written to a terminal; owns `master`.

    A terminal that nobody has open any more answers EIO, which is its end of file.
    """

    def __init__(self, master: int) -> None:
        self._stream = trio.lowlevel.FdStream(master)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what was written, at least a byte; nothing at the end."""
        try:
            return bytes(await self._stream.receive_some(max_bytes))
        except trio.BrokenResourceError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno == errno.EIO:
                return b""
            raise

    def resize(self, rows: int, columns: int) -> None:
        """Set the size; the foreground process is told by SIGWINCH."""
        set_size(self._stream.fileno(), rows, columns)

    async def aclose(self) -> None:
        """Hang up."""
        await self._stream.aclose()


class TerminalInput(trio.abc.SendStream):
    """What is typed into a terminal; owns `master`, a duplicate of the output's."""

    def __init__(self, master: int) -> None:
        self._stream = trio.lowlevel.FdStream(master)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Type all of it."""
        await self._stream.send_all(bytes(data) if isinstance(data, bytearray) else data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until something can be typed."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Type the end of file, as far as there is room for it, and close."""
        if self._stream.fileno() >= 0:
            # Full, or hung up: whoever does not read will not read this either.
            with suppress(OSError):
                os.write(self._stream.fileno(), _END_OF_FILE)
        await self._stream.aclose()


def set_size(terminal: int, rows: int, columns: int) -> None:
    """Set a terminal's size through any descriptor of it; nothing when it has been closed."""
    if terminal >= 0:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

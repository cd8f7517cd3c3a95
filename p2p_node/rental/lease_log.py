"""The log of one lease: what its detached commands write, and what the provider says about it.

Two files at most, the newer one in place of the older one when it is full; so a workload can write
for ever, and only what it wrote last is kept. It is the renter's, and goes with the workspace.
"""

import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

MAX_LOG_BYTES: Final = 8 << 20
"""Kept of a lease's log at least, once there is as much; twice that at most."""

READ_BYTES: Final = 64 << 10


class LeaseLog:
    """Appends to a lease's log, and reads it from any position that is still there.

    Positions count bytes from the beginning of what this object found. Any number of tasks may use
    it. A disk that is full loses what was to be written, and says so in `lost`.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_LOG_BYTES) -> None:
        self._path = path
        self._older = path.with_name(path.name + ".1")
        self._max_bytes = max_bytes
        self._turn = trio.Lock()
        self._grown = trio.Event()
        self._older_size = _size_of(self._older)
        self._size = _size_of(path)
        self._start = 0
        """Position of the first byte that is kept."""
        self.lost = 0

    @property
    def end(self) -> int:
        """The position after the last byte."""
        return self._start + self._older_size + self._size

    async def append(self, data: bytes) -> None:
        """Write at the end."""
        async with self._turn:
            await trio.to_thread.run_sync(self._append, data)
            self._grown.set()
            self._grown = trio.Event()

    async def say(self, line: str) -> None:
        """Write a line of the provider's own."""
        await self.append(f"[kaisar] {line}\n".encode())

    async def read(self, position: int) -> tuple[bytes, int]:
        """Return some bytes from `position` on, or from the first that are kept after it, and the
        position behind them. No bytes at the end."""
        async with self._turn:
            return await trio.to_thread.run_sync(self._read, position)

    async def read_up_to(self, end: int, position: int) -> AsyncIterator[bytes]:
        """Go through what lies between two positions, whatever is written meanwhile.

        Ends early where the log cannot be read.
        """
        while position < end:
            data, position = await self.read(position)
            if not data:
                return
            yield data[: max(0, len(data) - (position - end))]

    async def wait_beyond(self, position: int) -> None:
        """Wait until there is more than up to `position`."""
        while self.end <= position:
            await self._grown.wait()

    async def remove(self) -> None:
        """Delete it."""
        async with self._turn:
            for path in (self._path, self._older):
                with suppress(OSError):
                    path.unlink()
            self._start, self._older_size, self._size = self.end, 0, 0

    def _append(self, data: bytes) -> None:
        try:
            if self._size and self._size + len(data) > self._max_bytes:
                os.replace(self._path, self._older)
                self._start += self._older_size
                self._older_size, self._size = self._size, 0
            kept = data[-self._max_bytes :]
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(
                self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
            )
            try:
                while kept:
                    written = os.write(handle, kept)
                    self._size += written
                    kept = kept[written:]
            finally:
                os.close(handle)
        except OSError:
            self.lost += len(data)

    def _read(self, position: int) -> tuple[bytes, int]:
        position = max(position, self._start)
        middle = self._start + self._older_size
        path, offset = (
            (self._older, position - self._start)
            if position < middle
            else (self._path, position - middle)
        )
        try:
            with path.open("rb") as file:
                file.seek(offset)
                data = file.read(READ_BYTES)
        except OSError:
            data = b""
        return data, position + len(data)


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0

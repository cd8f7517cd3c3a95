"""Who may use a host's devices now: one timed job, or somebody who needs them for longer.

A node holds the devices for each of its jobs. `kaisar bench` and, later, rentals reserve them: a
reservation waits for the running job to end, and while it lasts the node answers *busy*. Within a
process that is a lock; between processes it is a lock on a file in the data directory, which the
kernel drops with its holder, however that ends.
"""

import fcntl
import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import trio

from p2p_node.workloads.backend import DeviceBusyError

logger = logging.getLogger(__name__)

LOCK_FILE: Final = "devices.lock"
"""Name of the file in the data directory."""

_POLL_SECONDS = 0.05
_MAX_REASON_BYTES = 200


class Reservation:
    """The right to use all devices of one host. `lock_file` makes it hold between processes.

    Raises OSError when the file cannot be opened.
    """

    def __init__(self, lock_file: Path | None = None) -> None:
        self._turn = trio.Lock()
        self._reason: str | None = None
        self._file = -1
        if lock_file is not None:
            self._file = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def find_holder(self) -> str | None:
        """Say for what the devices are reserved, here or by another process; None for nothing.

        A job of this node's own is no reservation.
        """
        if self._reason is not None or self._turn.locked() or self._file < 0:
            return self._reason
        if self._lock_file():
            self._unlock_file()
            return None
        return self._read_holder()

    @asynccontextmanager
    async def reserve(self, reason: str, wait_s: float) -> AsyncIterator[None]:
        """Keep jobs away from now on, and have the devices once the running job has ended.

        DeviceBusyError when they are reserved already, or still in use after `wait_s` seconds.
        """
        if self._reason is not None:
            raise DeviceBusyError(f"the devices are reserved: {self._reason}")
        self._reason = reason
        try:
            async with self._hold(reason, wait_s):
                yield
        finally:
            self._reason = None

    @asynccontextmanager
    async def use(self, wait_s: float) -> AsyncIterator[None]:
        """Have the devices for one job. DeviceBusyError when they are reserved, or still in use
        after `wait_s` seconds."""
        if self._reason is not None:
            raise DeviceBusyError(f"the devices are reserved: {self._reason}")
        async with self._hold("job", wait_s):
            yield

    def close(self) -> None:
        """Let the file go; may be called twice."""
        handle, self._file = self._file, -1
        if handle >= 0:
            os.close(handle)

    @asynccontextmanager
    async def _hold(self, reason: str, wait_s: float) -> AsyncIterator[None]:
        deadline = trio.current_time() + wait_s
        await self._take_turn(deadline)
        try:
            while not self._lock_file():
                if trio.current_time() >= deadline:
                    raise DeviceBusyError(f"the devices are in use: {self._read_holder()}")
                await trio.sleep(_POLL_SECONDS)
            with self._signed(reason):
                yield
        finally:
            self._turn.release()

    async def _take_turn(self, deadline: float) -> None:
        try:
            self._turn.acquire_nowait()
        except trio.WouldBlock:
            with trio.move_on_at(deadline) as scope:
                await self._turn.acquire()
            if scope.cancelled_caught:
                raise DeviceBusyError("the devices are in use by another job") from None

    def _lock_file(self) -> bool:
        if self._file < 0:
            return True
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock_file(self) -> None:
        if self._file >= 0:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    @contextmanager
    def _signed(self, reason: str) -> Iterator[None]:
        """Say in the file, for others, what the lock is held for."""
        try:
            if self._file >= 0:
                text = f"{reason}, process {os.getpid()}\n".encode()[:_MAX_REASON_BYTES]
                self._write(text)
            yield
        finally:
            self._unlock_file()

    def _write(self, text: bytes) -> None:
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, text, 0)
        except OSError as error:
            # The lock holds without it; on a full disk others learn that, but not what it is for.
            logger.warning("%s: not written: %s", LOCK_FILE, error)

    def _read_holder(self) -> str:
        text = os.pread(self._file, _MAX_REASON_BYTES, 0).decode("utf-8", "replace").strip()
        return text or "another process"

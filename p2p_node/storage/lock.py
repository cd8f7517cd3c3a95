"""One process per data directory.

Two nodes with the same keys would sign two different reports, and pay for it. The lock belongs to
an open file, so that the kernel drops it with the process, however that ends.
"""

import fcntl
import os
from pathlib import Path
from typing import Final

from p2p_node.storage.errors import DirectoryInUseError, StoreError

LOCK_FILE: Final = "lock"

_MAX_PID_DIGITS = 20


class DirectoryLock:
    """Held from construction to `close`; DirectoryInUseError names the process that has it."""

    def __init__(self, directory: Path) -> None:
        path = directory / LOCK_FILE
        try:
            # Not inherited by children: a job's process must not outlive the node as its lock.
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"cannot lock {directory}: {error.strerror}") from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._handle, _MAX_PID_DIGITS).decode("ascii", "replace").strip()
            os.close(self._handle)
            raise DirectoryInUseError(
                f"{directory} is in use by process {holder or 'unknown'}; "
                "a data directory belongs to one node at a time"
            ) from None
        except OSError as error:
            os.close(self._handle)
            raise StoreError(f"cannot lock {directory}: {error.strerror}") from error
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Let the directory go; may be called twice.

        The file stays: removing it would race with the next holder.
        """
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

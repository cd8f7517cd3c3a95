"""What every warden does once its enclosure runs: answer the node, and watch the limits."""

import fcntl
import json
import os
import select
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from p2p_node.rental.cgroups import Cgroup
from p2p_node.rental.trees import TreeTooDeepError, remove_tree
from p2p_node.rental.watching import DiskWatch, MemoryWatch, ProcessTable

TICK_SECONDS: Final = 0.1
LOCK_SECONDS: Final = 15
MAX_ORDER_BYTES: Final = 64 << 10
MAX_NOTES: Final = 20

LOCK: Final = "lock"
"""A warden holds this file of its lease's directory for as long as it lives."""

OWN_PROCESSES: Final = 2
"""What an enclosure has besides the workload: bubblewrap and the agent, or Docker's and `cat`."""


class WardenError(Exception):
    """What could not be done, for the node to say."""


class Watcher:
    """Watches one enclosure whose workspace exists."""

    def __init__(self, limits: dict[str, Any], workspace: int) -> None:
        self._limits = limits
        self.disk = DiskWatch(workspace, limits["disk_bytes"])
        self._notes: list[str] = []
        self._input = bytearray()
        self._cgroup: Cgroup | None = None
        if self.disk.is_full:
            self._note(
                f"the workspace is over its limit of {limits['disk_bytes']} bytes: "
                "until there is room again, files can only be deleted"
            )

    @property
    def file_bytes(self) -> int:
        """What a single file may have; nothing can be written while the workspace is full."""
        size: int = self._limits["disk_bytes"]
        return 0 if self.disk.is_full else size

    def begin(self, first: int, cgroup: Cgroup | None) -> int:
        """Tell the node that all is ready; returns a descriptor of process 1 of the enclosure.

        ProcessLookupError when that has ended already.
        """
        handle = os.pidfd_open(first)
        self._cgroup = cgroup
        self._table = ProcessTable(first, cgroup)
        self._memory = MemoryWatch(self._table, self._limits["memory_bytes"], cgroup)
        say({"ready": self._take_notes(), "full": self.disk.is_full, "first": first})
        return handle

    def watch(self, first: int, kill: Callable[[], None]) -> None:
        """Serve and watch until the node goes, process 1 ends, or a limit is passed.

        `first` is what `begin` returned; `kill` ends the enclosure.
        """
        poll = select.poll()
        poll.register(0, select.POLLIN)
        poll.register(first, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(int(TICK_SECONDS * 1000))}
            if first in ready:
                # The kernel may have chosen it when memory ran out.
                with suppress(OSError):
                    self._count_killed()
                say({"stopped": self._take_notes() or ["its first process ended"]})
                return
            if 0 in ready:
                while (line := read_line(self._input, 0)) is not None and line:
                    self._answer()
                if line is None:
                    return
            reason = self._find_excess(first)
            if reason is not None:
                kill()
                say({"stopped": [*self._take_notes(), reason]})
                return

    def _find_excess(self, first: int) -> str | None:
        try:
            reason = self._memory.find_excess() or self.disk.find_excess(self._table)
            self._count_killed()
            if reason is None and self._cgroup is None:
                count = len(self._table.list()) - OWN_PROCESSES
                if count > self._limits["processes"]:
                    return f"{count} processes, at most {self._limits['processes']}"
        except OSError as error:
            if select.select([first], [], [], 0)[0]:
                return None
            return f"its use of the host cannot be measured: {error}"
        return reason

    def _answer(self) -> None:
        try:
            usage = {
                "cpu_seconds": self._table.cpu_seconds(),
                "memory_bytes": self._memory.measure(),
                "disk_bytes": self.disk.measure(self._table).bytes,
                "processes": max(0, len(self._table.list()) - OWN_PROCESSES + self._table.unseen),
            }
        except (OSError, TreeTooDeepError):
            # About to end, or to be ended: the next round of `watch` says why.
            usage = {"cpu_seconds": 0.0, "memory_bytes": 0, "disk_bytes": 0, "processes": 0}
        # A process that was just killed is why the node asks.
        with suppress(OSError):
            self._count_killed()
        say({"usage": usage, "notes": self._take_notes()})

    def _count_killed(self) -> None:
        if self._memory.count_killed():
            self._note(
                "a process was killed: no more than "
                f"{self._limits['memory_bytes']} bytes of memory can be used"
            )

    def _note(self, text: str) -> None:
        if len(self._notes) < MAX_NOTES and text not in self._notes:
            self._notes.append(text)

    def _take_notes(self) -> list[str]:
        notes, self._notes = self._notes, []
        return notes


def open_workspace(home: Path, owner: list[int] | None) -> Path:
    """Make a lease's workspace if it is not there; WardenError for a link in its place."""
    workspace = home / "workspace"
    if workspace.is_symlink():
        raise WardenError(f"{workspace}: found a link, expected a directory")
    if not workspace.exists():
        workspace.mkdir(mode=0o700)
        if owner is not None:
            os.chown(workspace, *owner)
    return workspace


def wipe_home(home: Path) -> None:
    """Remove a lease's directory, once no warden has it any more; WardenError, OSError."""
    try:
        lock = os.open(home / LOCK, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        # No warden ever had it; nobody else is kept out by a lock either.
        remove_tree(home)
        return
    try:
        take_lock(lock, home)
        remove_tree(home)
    finally:
        os.close(lock)


def take_lock(lock: int, home: Path) -> None:
    """Wait for the warden of an earlier run of the node, which is about to end."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise WardenError(
                    f"{home}: another process still holds this lease's enclosure"
                ) from None
            time.sleep(0.05)


def say(value: dict[str, Any]) -> None:
    """Answer the node; nothing when it has gone."""
    with suppress(BrokenPipeError):
        os.write(1, json.dumps(value).encode() + b"\n")


def read_line(pending: bytearray, timeout: float | None) -> bytes | None:
    """A line of standard input; empty when none is whole after the timeout, None at the end."""
    while b"\n" not in pending:
        if not select.select([0], [], [], timeout)[0]:
            return b""
        part = os.read(0, 65536)
        if not part or len(pending) > MAX_ORDER_BYTES:
            return None
        pending += part
    line, _, rest = bytes(pending).partition(b"\n")
    pending[:] = rest
    return line

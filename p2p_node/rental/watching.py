"""What one lease uses of the host: its processes, memory and disk, measured from outside."""

import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from p2p_node.rental.cgroups import Cgroup
from p2p_node.rental.trees import MAX_ENTRIES, TreeSize, TreeTooDeepError, measure_tree

MIN_ENTRIES: Final = 20_000
BYTES_PER_ENTRY: Final = 16 << 10
"""A disk limit allows a file or directory for each so many bytes, within the two above."""

GRACE_BYTES: Final = 1 << 20
"""What a full workspace may grow by, while things are being deleted."""

FLOOR_BYTES: Final = 256 << 20
"""The host keeps so much of its disk, whatever a lease was promised."""

QUIET_SECONDS: Final = 1.0
"""Between two walks through a workspace when the disk does not fill."""

WALK_SHARE: Final = 10
"""A walk is followed by a pause of so many times its own length."""


def choose_max_entries(disk_bytes: int) -> int:
    """How many files and directories a workspace of so many bytes may have."""
    return min(max(disk_bytes // BYTES_PER_ENTRY, MIN_ENTRIES), MAX_ENTRIES)


_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_MEMORY_DISKS: Final = ("tmp", "dev/shm", "run")


class ProcessTable:
    """The processes of one enclosure, by their process namespace."""

    def __init__(self, first: int, cgroup: Cgroup | None) -> None:
        self.first = first
        self._cgroup = cgroup
        self._namespace = os.readlink(f"/proc/{first}/ns/pid")
        # bubblewrap's outer process is in the group, not in the namespace.
        self.unseen = 0 if cgroup is not None else 1

    def list(self) -> list[int]:
        """Their numbers on the host, now."""
        if self._cgroup is not None:
            return self._cgroup.members()
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit():
                with suppress(OSError):
                    if os.readlink(f"/proc/{name}/ns/pid") == self._namespace:
                        found.append(int(name))
        return found

    def cpu_seconds(self) -> float:
        """The processor's time of all that ran and run."""
        if self._cgroup is not None and (seconds := self._cgroup.cpu_seconds()) is not None:
            return seconds
        ticks = 0
        for pid in self.list():
            with suppress(OSError):
                # Four fields: of its own and of the children it waited for.
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += sum(map(int, fields[11:15]))
        return ticks / _TICKS


class MemoryWatch:
    """Memory of one lease; where a control group limits it, the kernel does the work."""

    def __init__(self, table: ProcessTable, limit: int, cgroup: Cgroup | None) -> None:
        self._table = table
        self._limit = limit
        self._cgroup = cgroup
        self._killed = 0

    def measure(self) -> int:
        """Bytes in use."""
        if self._cgroup is not None:
            return self._cgroup.memory_bytes()
        return self._sum_resident() + self._sum_memory_disks()

    def find_excess(self) -> str | None:
        """Say that the lease uses too much, where nothing else holds it."""
        if self._cgroup is not None:
            return None
        used = self.measure()
        if used > self._limit:
            # Processes share pages; count them properly before anybody is killed.
            used = self._sum_shares() + self._sum_memory_disks()
        if used <= self._limit:
            return None
        return f"{used} bytes of memory, at most {self._limit}"

    def count_killed(self) -> int:
        """How many processes the kernel killed for want of memory since the last call."""
        if self._cgroup is None:
            return 0
        before, self._killed = self._killed, self._cgroup.killed()
        return self._killed - before

    def _sum_resident(self) -> int:
        total = 0
        for pid in self._table.list():
            with suppress(OSError):
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
        return total

    def _sum_shares(self) -> int:
        total = 0
        for pid in self._table.list():
            with suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) << 10
        return total

    def _sum_memory_disks(self) -> int:
        total = 0
        for path in _MEMORY_DISKS:
            with suppress(OSError):
                facts = os.statvfs(f"/proc/{self._table.first}/root/{path}")
                total += (facts.f_blocks - facts.f_bfree) * facts.f_frsize
        return total


class DiskWatch:
    """The workspace, by its open directory: bytes and entries, looked at as often as needed."""

    def __init__(self, workspace: int, limit: int) -> None:
        self._workspace = workspace
        self._limit = limit
        self._max_entries = choose_max_entries(limit)
        self._device = os.fstat(workspace).st_dev
        self._free = self._get_free()
        self._floor = min(FLOOR_BYTES, self._free // 2)
        self._length = 0.0
        self._size = TreeSize(0, 0)
        self.is_full = False
        """Whether it was over its limit at the beginning: then it may not grow further."""
        try:
            self._size = measure_tree(workspace, 2 * self._max_entries)
        except TreeTooDeepError:
            self.is_full = True
        self.is_full |= self._size.bytes > limit or self._size.entries > self._max_entries
        self._most_bytes = limit
        self._most_entries = self._max_entries
        if self.is_full:
            self._most_bytes = max(limit, self._size.bytes) + GRACE_BYTES
            self._most_entries = max(self._max_entries, self._size.entries + 100)
        self._next = time.monotonic() + QUIET_SECONDS

    def measure(self, table: ProcessTable) -> TreeSize:
        """Walk through it now; files without a name that are still open count as well."""
        began = time.monotonic()
        try:
            tree = measure_tree(self._workspace, self._most_entries)
        finally:
            self._free = self._get_free()
            now = time.monotonic()
            self._length = now - began
            self._next = now + max(QUIET_SECONDS, WALK_SHARE * self._length)
        self._size = TreeSize(tree.bytes + self._sum_nameless(table), tree.entries)
        return self._size

    def find_excess(self, table: ProcessTable) -> str | None:
        """Say which limit is passed; cheap unless time or the disk's filling ask for a walk."""
        now = time.monotonic()
        free = self._get_free()
        taken = self._free - free
        if free < self._floor and taken > 0:
            return f"the host's disk has no more than {free} bytes left"
        room = max(self._most_bytes - self._size.bytes, 0)
        hurry = taken > room // 4 and now > self._next - QUIET_SECONDS + self._length
        if now < self._next and not hurry:
            return None
        try:
            size = self.measure(table)
        except TreeTooDeepError as error:
            return None if self.is_full else f"the workspace has {error}"
        if size.bytes > self._most_bytes:
            return f"the workspace takes {size.bytes} bytes, at most {self._limit}"
        if size.entries > self._most_entries:
            return f"the workspace has more than {self._max_entries} files and directories"
        return None

    def _get_free(self) -> int:
        facts = os.fstatvfs(self._workspace)
        return facts.f_bavail * facts.f_frsize

    def _sum_nameless(self, table: ProcessTable) -> int:
        """Deleted files take room for as long as somebody has them open."""
        seen: dict[int, int] = {}
        for pid in table.list():
            directory = f"/proc/{pid}/fd"
            with suppress(OSError):
                for name in os.listdir(directory):
                    with suppress(OSError):
                        facts = os.stat(f"{directory}/{name}")
                        if (
                            stat.S_ISREG(facts.st_mode)
                            and not facts.st_nlink
                            and facts.st_dev == self._device
                        ):
                            seen[facts.st_ino] = facts.st_blocks * 512
        return sum(seen.values())

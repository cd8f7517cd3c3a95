"""Control groups, of either version, where this process may make them; None of it needs Trio.

A lease's group lies beside or below that of the node, so what the node is limited to holds for the
lease as well.
"""

import errno
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CPU_PERIOD_US: Final = 100_000
KILL_SECONDS: Final = 10

_NEEDED: Final = ("memory", "pids")
_WANTED: Final = ("cpu", "cpuacct")
_NO_SWAP: Final = "memory.memsw.limit_in_bytes"


@dataclass(frozen=True, slots=True)
class CgroupParent:
    """Where groups can be made: a directory per controller, all the same one in version 2."""

    version: int
    directories: Mapping[str, Path]

    def __str__(self) -> str:
        return f"cgroup v{self.version}: {', '.join(self.directories)}"


def find_cgroup_parent(own: str | None = None, mounts: str | None = None) -> CgroupParent | None:
    """Find where this process may limit memory and processes; None where it may not.

    `own` and `mounts` are the texts of /proc/self/cgroup and /proc/self/mountinfo.
    """
    try:
        own = Path("/proc/self/cgroup").read_text() if own is None else own
        mounts = Path("/proc/self/mountinfo").read_text() if mounts is None else mounts
    except OSError:
        return None
    found: dict[str, Path] = {}
    for controller, mount, directory in _list_groups(own, mounts):
        if not controller:
            parent = _find_delegated(mount, directory)
            if parent is not None:
                return CgroupParent(2, dict.fromkeys((*_NEEDED, "cpu"), parent))
        elif _is_ours(directory):
            found[controller] = directory
    if all(controller in found for controller in _NEEDED):
        return CgroupParent(1, {name: found[name] for name in sorted(found)})
    return None


def find_cgroup(own: str, mounts: str) -> "Cgroup | None":
    """The group that a process is in, to be read; its text of /proc/…/cgroup is `own`."""
    found: dict[str, Path] = {}
    for controller, _, directory in _list_groups(own, mounts):
        if controller:
            found[controller] = directory
        elif (directory / "memory.current").exists() and (directory / "pids.current").exists():
            return Cgroup(CgroupParent(2, dict.fromkeys((*_NEEDED, "cpu"), directory)), ".")
    if all(controller in found for controller in _NEEDED):
        return Cgroup(CgroupParent(1, found), ".")
    return None


def _list_groups(own: str, mounts: str) -> Iterator[tuple[str, Path, Path]]:
    """Controller (empty for version 2), where its hierarchy is mounted, the directory in it."""
    groups = [line.split(":", 2) for line in own.splitlines() if line.count(":") >= 2]
    for controllers, path in ((group[1], group[2]) for group in groups):
        for root, mount, kind, options in _cgroup_mounts(mounts):
            if kind == "cgroup2" and not controllers:
                yield "", mount, _within(mount, root, path)
            elif kind == "cgroup":
                for controller in set(controllers.split(",")) & {*_NEEDED, *_WANTED} & options:
                    yield controller, mount, _within(mount, root, path)


def _cgroup_mounts(mounts: str) -> Iterator[tuple[str, Path, str, set[str]]]:
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.partition(" ")
        if kind in ("cgroup", "cgroup2"):
            _, _, _, root, mount, *_ = fields.split(" ")
            yield root, Path(mount), kind, set(options.split(" ")[-1].split(","))


def _within(mount: Path, root: str, path: str) -> Path:
    """Where a group is seen: a container's mount may begin below the hierarchy's root."""
    relative = os.path.relpath(path, root)
    return mount if relative.startswith("..") else mount / relative


def _find_delegated(mount: Path, own: Path) -> Path | None:
    """Go up to the first directory of ours whose children have the controllers already."""
    for directory in (own, *own.parents):
        try:
            enabled = (directory / "cgroup.subtree_control").read_text().split()
        except OSError:
            return None
        if all(name in enabled for name in _NEEDED) and _is_ours(directory):
            return directory
        if directory == mount:
            return None
    return None


def _is_ours(directory: Path) -> bool:
    return os.access(directory, os.W_OK | os.X_OK) and os.access(
        directory / "cgroup.procs", os.W_OK
    )


class Cgroup:
    """The group of one lease. OSError from any method: the kernel did not do as asked."""

    def __init__(self, parent: CgroupParent, name: str) -> None:
        self._version = parent.version
        self._directories = {
            controller: directory / name for controller, directory in parent.directories.items()
        }

    def create(self, *, cores: int, memory_bytes: int, processes: int) -> None:
        """Make it anew, with these limits; what an earlier one held is killed."""
        self.remove()
        for directory in self._each():
            directory.mkdir()
        quota = cores * CPU_PERIOD_US
        if self._version == 2:
            self._write("memory", "memory.max", memory_bytes)
            self._write("pids", "pids.max", processes)
            with suppress(OSError):
                self._write("memory", "memory.swap.max", 0)
            with suppress(OSError):
                self._write("cpu", "cpu.max", f"{quota} {CPU_PERIOD_US}")
            return
        self._write("memory", "memory.limit_in_bytes", memory_bytes)
        self._write("pids", "pids.max", processes)
        if (self._directories["memory"] / _NO_SWAP).exists():
            self._write("memory", _NO_SWAP, memory_bytes)
        if "cpu" in self._directories:
            self._write("cpu", "cpu.cfs_period_us", CPU_PERIOD_US)
            self._write("cpu", "cpu.cfs_quota_us", quota)

    def join(self) -> None:
        """Move this very process into it."""
        for directory in self._each():
            (directory / "cgroup.procs").write_text("0")

    def members(self) -> list[int]:
        """The processes in it."""
        text = (self._directories["pids"] / "cgroup.procs").read_text()
        return [int(line) for line in text.split() if line != "0"]

    def remove(self) -> None:
        """Kill what is in it, and remove it; nothing when it is not there."""
        deadline = time.monotonic() + KILL_SECONDS
        for directory in self._each():
            while directory.exists():
                for pid in map(int, (directory / "cgroup.procs").read_text().split()):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                try:
                    directory.rmdir()
                except OSError as error:
                    if error.errno != errno.EBUSY or time.monotonic() > deadline:
                        raise
                    time.sleep(0.01)

    @property
    def holds_cores(self) -> bool:
        """Whether it limits the processor's time."""
        name = "cpu.max" if self._version == 2 else "cpu.cfs_quota_us"
        return "cpu" in self._directories and (self._directories["cpu"] / name).exists()

    def memory_bytes(self) -> int:
        """Memory in use, files in memory included."""
        name = "memory.current" if self._version == 2 else "memory.usage_in_bytes"
        return int((self._directories["memory"] / name).read_text())

    def killed(self) -> int:
        """How many processes the kernel killed in it for want of memory."""
        name = "memory.events" if self._version == 2 else "memory.oom_control"
        for line in (self._directories["memory"] / name).read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
        return 0

    def cpu_seconds(self) -> float | None:
        """The processor's time since `create`; None where that is not counted."""
        if self._version == 2:
            for line in (self._directories["cpu"] / "cpu.stat").read_text().splitlines():
                if line.startswith("usage_usec "):
                    return int(line.split()[1]) / 1e6
            return None
        if "cpuacct" not in self._directories:
            return None
        return int((self._directories["cpuacct"] / "cpuacct.usage").read_text()) / 1e9

    def _each(self) -> list[Path]:
        """Controllers can share a hierarchy, so they can share a directory."""
        return list(dict.fromkeys(self._directories.values()))

    def _write(self, controller: str, name: str, value: int | str) -> None:
        (self._directories[controller] / name).write_text(str(value))

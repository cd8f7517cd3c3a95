"""The process on the host that holds one enclosure: makes it, watches its limits, ends it.

`python -m p2p_node.rental.warden` reads its orders, a line of JSON, from standard input and answers
with lines of JSON on standard output: first {"ready": …} or {"error"}, then one to every line
"usage", at last {"stopped": reason} when it had to end the enclosure. The end of its standard
input is the end of the node: then everything dies at once, whatever state the node was in.

It is apart from the node because watching means walking through trees and waiting for the kernel,
and because only it needs the rights that making an enclosure takes.
"""

import fcntl
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from p2p_node.rental import box, mounts, seccomp
from p2p_node.rental.cgroups import Cgroup, CgroupParent
from p2p_node.rental.watching import DiskWatch, MemoryWatch, ProcessTable

TICK_SECONDS: Final = 0.1
START_SECONDS: Final = 20
END_SECONDS: Final = 10
LOCK_SECONDS: Final = 15
MAX_ORDER_BYTES: Final = 64 << 10
MAX_FILES: Final = 16_384
MAX_NOTES: Final = 20
OWN_PROCESSES: Final = 2
"""bubblewrap itself and the agent."""


class WardenError(Exception):
    """What could not be done, for the node to say."""


def main() -> None:
    """Take orders, and hold the enclosure to its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    orders = _read_line(bytearray(), None)
    if orders is None:
        return
    try:
        warden = Warden(json.loads(orders))
        with warden.held():
            warden.watch()
    except (WardenError, OSError) as error:
        say({"error": str(error)})


def say(value: dict[str, Any]) -> None:
    """Answer the node; nothing when it has gone."""
    with suppress(BrokenPipeError):
        os.write(1, json.dumps(value).encode() + b"\n")


class Warden:
    """One enclosure, from these orders."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self._orders = orders
        self._limits: dict[str, Any] = orders["limits"]
        self._home = Path(orders["directory"])
        self._cgroup: Cgroup | None = None
        if orders["cgroup"] is not None:
            version, directories, name = orders["cgroup"]
            found = {each: Path(path) for each, path in directories.items()}
            self._cgroup = Cgroup(CgroupParent(version, found), name)
        self._bwrap = 0
        self._first = -1
        self._input = bytearray()
        self._notes: list[str] = []

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the enclosure, and undo all of it in the end but the files."""
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self._home / "lock", "wb") as lock:
            self._take(lock.fileno())
            try:
                self._make()
                yield
            finally:
                self._kill()
                if self._cgroup is not None:
                    self._cgroup.remove()

    def _take(self, lock: int) -> None:
        """Wait for the warden of an earlier run of the node, which is about to end."""
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise WardenError(
                        f"{self._home}: another process still holds this lease's enclosure"
                    ) from None
                time.sleep(0.05)

    def _make(self) -> None:
        owner = self._orders["owner"]
        workspace = self._home / "workspace"
        if workspace.is_symlink():
            raise WardenError(f"{workspace}: found a link, expected a directory")
        if not workspace.exists():
            workspace.mkdir(mode=0o700)
            if owner is not None:
                os.chown(workspace, *owner)
        source = str(workspace)
        if owner is not None:
            # The node's directory is closed to the workload's user, so it is shown elsewhere, in
            # a view of the mounts that only this process and the enclosure have.
            source = mounts.show_alone(workspace)
        self._workspace = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        self._disk = DiskWatch(self._workspace, self._limits["disk_bytes"])
        if self._disk.is_full:
            self._notes.append(
                f"the workspace is over its limit of {self._limits['disk_bytes']} bytes: "
                "until there is room again, files can only be deleted"
            )
        if self._cgroup is not None:
            self._cgroup.create(
                cores=self._limits["cores"],
                memory_bytes=self._limits["memory_bytes"],
                processes=self._limits["processes"] + OWN_PROCESSES,
            )
        with os.fdopen(os.memfd_create("errors"), "w+b") as errors:
            first = self._spawn(source, errors.fileno())
            if self._orders["probe"]:
                self._finish_probe(errors.fileno())
                return
            if first is None:
                raise WardenError(self._explain(errors.fileno()))
        try:
            self._first = os.pidfd_open(first)
        except ProcessLookupError:
            raise WardenError("the enclosure ended at once") from None
        self._table = ProcessTable(first, self._cgroup)
        self._memory = MemoryWatch(self._table, self._limits["memory_bytes"], self._cgroup)
        say({"ready": self._take_notes(), "full": self._disk.is_full})

    def _finish_probe(self, errors: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self._bwrap, os.WNOHANG)
            if pid:
                self._bwrap = 0
                if status:
                    raise WardenError(self._explain(errors))
                say({"ready": []})
                return
            time.sleep(0.005)
        raise WardenError(f"an empty enclosure does not end within {START_SECONDS} s")

    def _spawn(self, source: str, errors: int) -> int | None:
        """Start bubblewrap; the number of process 1, or None when it came to nothing."""
        limits = self._limits
        plan = box.BoxPlan(
            self._orders["lease_id"],
            source,
            limits["memory_bytes"],
            limits["network"],
            self._orders["hides_userns"],
            tuple(self._orders["devices"]),
        )
        contents = {**box.list_files(plan), box.AGENT: box.read_agent()}
        files = {path: _hold(content) for path, content in contents.items()}
        holds_cores = self._cgroup is not None and self._cgroup.holds_cores
        code = seccomp.build_filter(pin_cores=not holds_cores)
        rules = None if code is None else _hold(code)
        info, report = os.pipe()
        control: int = self._orders["control"]
        allowed = 0 if self._disk.is_full else limits["disk_bytes"]
        command = box.build_command(control, limits["processes"], allowed)
        if self._orders["probe"]:
            command = [box.PYTHON, "-I", "-S", "-B", "-c", "import json, socket, subprocess"]
        arguments = box.build_arguments(plan, files, info=report, seccomp=rules, command=command)
        passed = [*files.values(), report, *([] if rules is None else [rules])]
        if not self._orders["probe"]:
            passed.append(control)
        self._bwrap = os.fork()
        if not self._bwrap:
            self._become(arguments, passed, errors)
        for descriptor in passed:
            os.close(descriptor)
        with os.fdopen(info, "rb") as reports:
            if not select.select([reports], [], [], START_SECONDS)[0]:
                raise WardenError(f"bubblewrap does not start within {START_SECONDS} s")
            text = reports.read()
        return json.loads(text)["child-pid"] if text else None

    def _become(self, arguments: list[str], passed: list[int], errors: int) -> None:
        """In the new process: give everything up that the enclosure may not have."""
        try:
            if self._cgroup is not None:
                self._cgroup.join()
            Path("/proc/self/oom_score_adj").write_text("1000")
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, cores[-self._limits["cores"] :])
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            most = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4096), most))
            if self._cgroup is None:
                memory = self._limits["memory_bytes"]
                resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
            null = os.open(os.devnull, os.O_RDWR)
            for source, target in ((null, 0), (null, 1), (errors, 2)):
                os.dup2(source, target)
            for descriptor in passed:
                os.set_inheritable(descriptor, True)
            owner = self._orders["owner"]
            if owner is not None:
                os.setgroups([])
                os.setresgid(owner[1], owner[1], owner[1])
                os.setresuid(owner[0], owner[0], owner[0])
            os.execve(self._orders["bwrap"], arguments, {})  # noqa: S606
        except OSError as error:
            os.write(errors, str(error).encode())
        finally:
            os._exit(127)

    def watch(self) -> None:
        """Serve and watch until the node goes, the enclosure ends, or a limit is passed."""
        if self._orders["probe"]:
            return
        poll = select.poll()
        poll.register(0, select.POLLIN)
        poll.register(self._first, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(int(TICK_SECONDS * 1000))}
            if self._first in ready:
                say({"stopped": self._take_notes() or ["its first process ended"]})
                return
            if 0 in ready:
                while (line := _read_line(self._input, 0)) is not None and line:
                    self._answer()
                if line is None:
                    return
            reason = self._find_excess()
            if reason is not None:
                self._kill()
                say({"stopped": [*self._take_notes(), reason]})
                return

    def _find_excess(self) -> str | None:
        try:
            reason = self._memory.find_excess() or self._disk.find_excess(self._table)
            if reason is None and self._memory.count_killed():
                self._note(
                    "a process was killed: no more than "
                    f"{self._limits['memory_bytes']} bytes of memory can be used"
                )
            if reason is None and self._cgroup is None:
                count = len(self._table.list()) - OWN_PROCESSES
                if count > self._limits["processes"]:
                    return f"{count} processes, at most {self._limits['processes']}"
        except OSError as error:
            return f"its use of the host cannot be measured: {error}"
        return reason

    def _answer(self) -> None:
        usage = {
            "cpu_seconds": self._table.cpu_seconds(),
            "memory_bytes": self._memory.measure(),
            "disk_bytes": self._disk.measure(self._table).bytes,
            "processes": max(0, len(self._table.list()) - OWN_PROCESSES + self._table.unseen),
        }
        say({"usage": usage, "notes": self._take_notes()})

    def _note(self, text: str) -> None:
        if len(self._notes) < MAX_NOTES and text not in self._notes:
            self._notes.append(text)

    def _take_notes(self) -> list[str]:
        notes, self._notes = self._notes, []
        return notes

    def _kill(self) -> None:
        """End process 1, and with it, by the kernel's hand, all others of the enclosure."""
        deadline = time.monotonic() + END_SECONDS
        if self._first >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._first, signal.SIGKILL)
        while self._bwrap and time.monotonic() < deadline:
            with suppress(ProcessLookupError):
                os.kill(self._bwrap, signal.SIGKILL)
            if os.waitpid(self._bwrap, os.WNOHANG)[0]:
                self._bwrap = 0
                break
            time.sleep(0.002)
        if self._first >= 0:
            select.select([self._first], [], [], max(0.0, deadline - time.monotonic()))

    @staticmethod
    def _explain(errors: int) -> str:
        said = os.pread(errors, 2000, 0).decode(errors="replace").strip()
        return said or "the enclosure ended at once, without a word"


def _hold(content: bytes) -> int:
    """Keep bytes in memory for bubblewrap to read from a descriptor."""
    descriptor = os.memfd_create("kaisar")
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _read_line(pending: bytearray, timeout: float | None) -> bytes | None:
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


if __name__ == "__main__":
    main()
    sys.exit()

"""The process on the host that holds one enclosure: makes it, watches its limits, ends it.

`python -m p2p_node.rental.warden` reads its orders, a line of JSON, from standard input and answers
with lines of JSON on standard output: first {"ready": …} or {"error"}, then one to every line
"usage", at last {"stopped": reason} when it had to end the enclosure. The end of its standard
input is the end of the node: then everything dies at once, whatever state the node was in.

It is apart from the node because watching means walking through trees and waiting for the kernel,
and because only it needs the rights that making an enclosure takes.
"""

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
from p2p_node.rental.watcher import (
    LOCK,
    OWN_PROCESSES,
    WardenError,
    Watcher,
    open_workspace,
    read_line,
    say,
    take_lock,
)

START_SECONDS: Final = 20
END_SECONDS: Final = 10
MAX_FILES: Final = 16_384


def main() -> None:
    """Take orders, and hold the enclosure to its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    orders = read_line(bytearray(), None)
    if orders is None:
        return
    try:
        warden = Warden(json.loads(orders))
        with warden.held():
            warden.watch()
    except (WardenError, OSError) as error:
        say({"error": str(error)})


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
        # Read before any mount can cover where this program is.
        self._agent = box.read_agent()
        self._bwrap = 0
        self._first = -1

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the enclosure, and undo all of it in the end but the files."""
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self._home / LOCK, "wb") as lock:
            take_lock(lock.fileno(), self._home)
            try:
                self._make()
                yield
            finally:
                self._kill()
                if self._cgroup is not None:
                    self._cgroup.remove()

    def _make(self) -> None:
        workspace = open_workspace(self._home, self._orders["owner"])
        source = str(workspace)
        if self._orders["owner"] is not None:
            # The node's directory is closed to the workload's user, so it is shown elsewhere, in
            # a view of the mounts that only this process and the enclosure have.
            source = mounts.show_alone(workspace)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        self._watcher = Watcher(self._limits, os.open(source, flags))
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
            self._first = self._watcher.begin(first, self._cgroup)
        except ProcessLookupError:
            raise WardenError("the enclosure ended at once") from None

    def watch(self) -> None:
        """Watch it to its end."""
        if not self._orders["probe"]:
            self._watcher.watch(self._first, self._kill)

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
        contents = {**box.list_files(plan), box.AGENT: self._agent}
        files = {path: _hold(content) for path, content in contents.items()}
        holds_cores = self._cgroup is not None and self._cgroup.holds_cores
        code = seccomp.build_filter(pin_cores=not holds_cores, count_memory=self._cgroup is None)
        rules = None if code is None else _hold(code)
        info, report = os.pipe()
        control: int = self._orders["control"]
        command = box.build_command(control, limits["processes"], self._watcher.file_bytes)
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


if __name__ == "__main__":
    main()
    sys.exit()

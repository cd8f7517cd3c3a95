"""The process on the host that holds one enclosure of Docker's; as `warden`, which see.

The container's process 1 is `cat`, whose input only this process holds open: the container cannot
outlive it, even when nobody is left to tell Docker.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from p2p_node.rental.cgroups import Cgroup, find_cgroup
from p2p_node.rental.watcher import (
    LOCK,
    WardenError,
    Watcher,
    open_workspace,
    read_line,
    say,
    take_lock,
)

CALL_SECONDS: Final = 20
START_SECONDS: Final = 45
END_SECONDS: Final = 20

NOTE_BYTES: Final = 16
"""A command notes its number in a file, also where the workspace is full."""

FILE_LIMIT: Final = "{file_bytes}"
"""Stands in the orders for what only the warden knows."""


def main() -> None:
    """Take orders, and hold the container to its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    orders = read_line(bytearray(), None)
    if orders is None:
        return
    try:
        warden = ContainerWarden(json.loads(orders))
        with warden.held():
            warden.watch()
    except (WardenError, OSError, subprocess.TimeoutExpired) as error:
        say({"error": str(error)})


class ContainerWarden:
    """One container, from these orders."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self._orders = orders
        self._home = Path(orders["directory"])
        self._name: str = orders["name"]
        self._container: subprocess.Popen[bytes] | None = None
        self._first = -1

    @contextmanager
    def held(self) -> Iterator[None]:
        """Start the container, and remove it in the end; the files stay."""
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self._home / LOCK, "wb") as lock:
            take_lock(lock.fileno(), self._home)
            try:
                self._make()
                yield
            finally:
                self._kill()

    def _make(self) -> None:
        workspace = open_workspace(self._home, self._orders["owner"])
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        self._watcher = Watcher(self._orders["limits"], os.open(workspace, flags))
        self._remove()
        file_bytes = str(max(self._watcher.file_bytes, NOTE_BYTES))
        arguments = [part.replace(FILE_LIMIT, file_bytes) for part in self._orders["arguments"]]
        self._container = subprocess.Popen(  # noqa: S603
            [self._orders["docker"], *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        first = self._wait_until_up(self._container)
        try:
            self._first = self._watcher.begin(first, self._find_group(first))
        except FileNotFoundError:
            raise WardenError(self._explain(self._container)) from None
        except (ProcessLookupError, PermissionError):
            raise WardenError("the container's processes are not on this host") from None

    def _wait_until_up(self, container: subprocess.Popen[bytes]) -> int:
        """Return the number on this host of the container's process 1."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if container.poll() is not None:
                raise WardenError(self._explain(container))
            form = "{{.State.Running}} {{.State.Pid}}"
            found = self._call("inspect", "--format", form, self._name).split()
            if len(found) == 2 and found[0] == b"true" and int(found[1]) > 0:
                return int(found[1])
            time.sleep(0.05)
        raise WardenError(f"the container does not start within {START_SECONDS} s")

    @staticmethod
    def _explain(container: subprocess.Popen[bytes]) -> str:
        """What Docker, or the container's first process, said before it ended."""
        assert container.stderr is not None  # noqa: S101
        with suppress(subprocess.TimeoutExpired):
            container.wait(END_SECONDS)
            said = container.stderr.read(4000).decode(errors="replace").strip()
            return said or f"docker run ends with {container.returncode}"
        return "the container's processes are not on this host"

    def _find_group(self, first: int) -> Cgroup | None:
        own = Path(f"/proc/{first}/cgroup").read_text()
        group = find_cgroup(own, Path("/proc/self/mountinfo").read_text())
        if group is None:
            raise WardenError("the container's control group cannot be found on this host")
        return group

    def watch(self) -> None:
        """Watch it to its end."""
        self._watcher.watch(self._first, self._kill)

    def _kill(self) -> None:
        if self._container is None:
            return
        container, self._container = self._container, None
        assert container.stdin is not None  # noqa: S101
        assert container.stderr is not None  # noqa: S101
        with suppress(OSError):
            container.stdin.close()
        self._remove()
        try:
            container.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            container.kill()
            container.wait()
        container.stderr.close()

    def _remove(self) -> None:
        self._call("rm", "--force", self._name)

    def _call(self, *arguments: str) -> bytes:
        """Ask Docker something that may well fail; its output, if any."""
        done = subprocess.run(  # noqa: S603
            [self._orders["docker"], *arguments],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=CALL_SECONDS,
            check=False,
        )
        return done.stdout


if __name__ == "__main__":
    main()
    sys.exit()

"""A local network as a user starts it, driven and disturbed from outside."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from p2p_node.run_file import read_run_file

POLL_SECONDS = 0.05


@dataclass
class LocalNetwork:
    """A running `kaisar testnet`; `lines` are what it has said so far."""

    process: subprocess.Popen[str]
    directory: Path
    result_file: Path
    lines: list[str] = field(default_factory=list)

    def wait_for(self, condition: Callable[[], Any], what: str, seconds: float) -> Any:
        """Poll `condition` until it gives something true; fail with the run's output."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = condition()
            if found:
                return found
            if self.process.poll() is not None:
                break
            time.sleep(POLL_SECONDS)
        raise AssertionError(f"{what}: not seen\n{self.output()}")

    def wait_for_line(self, text: str, seconds: float) -> None:
        """Wait until the run has said a line that contains `text`."""
        self.wait_for(lambda: text in self.output(), repr(text), seconds)

    def output(self) -> str:
        """What the run has said so far."""
        return (self.directory / "said.txt").read_text()

    @property
    def data(self) -> Path:
        """Directory with the data of all nodes."""
        first = self.output().partition("data and logs are in ")[2]
        return Path(first.partition("\n")[0].strip())

    def pid(self, name: str) -> int | None:
        """Process id of a node that is up."""
        running = read_run_file(self.data / name)
        return None if running is None else int(running["pid"])

    def kill(self, name: str) -> None:
        """End a node as a power cut would."""
        pid = self.pid(name)
        assert pid is not None, f"{name} is not up"
        os.kill(pid, signal.SIGKILL)

    def first_epoch(self) -> int:
        """Wait until everybody has registered; return the first epoch that is counted."""
        self.wait_for_line("are counted", 180)
        found = re.search(r"epochs (\d+) … (\d+) are counted", self.output())
        assert found is not None
        return int(found.group(1))

    def logs(self) -> str:
        """What all nodes have logged."""
        return "".join(file.read_text() for file in sorted(self.data.glob("*/node.log")))

    def log(self, name: str) -> str:
        """What a node has logged."""
        return (self.data / name / "node.log").read_text()

    def finish(self, seconds: float) -> dict[str, Any]:
        """Wait for the end and return the result."""
        self.process.wait(seconds)
        assert self.result_file.exists(), self.output()
        result: dict[str, Any] = json.loads(self.result_file.read_text())
        return result


@contextmanager
def run_network(directory: Path, *arguments: str) -> Iterator[LocalNetwork]:
    """Start `kaisar testnet` with these arguments; whatever happens, it ends with the block."""
    result_file = directory / "result.json"
    said = (directory / "said.txt").open("w")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "p2p_node", "testnet", "--keep"),
            *("--json", str(result_file), *arguments),
        ],
        stdout=said,
        stderr=subprocess.STDOUT,
        text=True,
        # The data of the run lands below `directory`, which the test removes.
        env={**os.environ, "TMPDIR": str(directory)},
        start_new_session=True,
    )
    network = LocalNetwork(process, directory, result_file)
    try:
        network.wait_for(lambda: "data and logs are in" in network.output(), "the start", 30)
        yield network
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        said.close()


def wait_until(condition: Callable[[], Any], seconds: float) -> bool:
    """Poll `condition` until it is true; tell whether it became so in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def find_processes(text: str) -> list[int]:
    """Process ids whose command line contains `text`, without this process."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if text in command and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found

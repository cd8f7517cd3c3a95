"""Child processes of the local network: start, watch, restart, and end every one of them."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trio

logger = logging.getLogger(__name__)

STOP_SECONDS = 5.0
"""Time for a child to end by itself after SIGTERM; then it is killed."""

MAX_RESTARTS = 5
"""A child that dies more often has something wrong with it that another start will not mend."""

RESTART_SECONDS = 1.0


@dataclass(slots=True)
class Child:
    """One process and its log; `expected_exit` is True for a role that ends by itself, `is_doomed`
    once it was killed on purpose."""

    name: str
    command: Sequence[str]
    log: Path
    environment: dict[str, str]
    expected_exit: bool = False
    is_node: bool = True
    is_doomed: bool = False
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    deaths: list[str] = field(default_factory=list)

    def tail(self, lines: int = 5) -> str:
        """Return the end of the log, for a message about what went wrong."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError as error:
            return f"no log: {error}"


class Household:
    """All children of one run. `run` watches them; `stop` ends them, whatever they do."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._stopping = False
        self.children: list[Child] = []

    def start(self, child: Child) -> None:
        """Start a child in a session of its own, so that a Ctrl-C at the terminal is ours alone.

        It is told to end with this process (`--exit-with-parent`), so that even a killed parent
        leaves nothing behind.
        """
        self.children.append(child)
        self._launch(child)

    async def run(self) -> None:
        """Restart children that die, until cancelled."""
        while True:
            for child in self.children:
                process = child.process
                if self._stopping or process is None or process.poll() is None:
                    continue
                child.process = None
                if child.is_doomed:
                    continue
                if child.expected_exit and process.returncode == 0:
                    continue
                how = describe_exit(process.returncode)
                child.deaths.append(how)
                if child.restarts >= MAX_RESTARTS:
                    self._tell(f"{child.name} {how}; not started again:\n{child.tail()}")
                    continue
                child.restarts += 1
                self._tell(f"{child.name} {how}; starting it again")
                await trio.sleep(RESTART_SECONDS)
                self._launch(child)
            await trio.sleep(0.2)

    def kill(self, name: str) -> None:
        """Kill a child for good, without a warning to it."""
        child = next(each for each in self.children if each.name == name)
        child.is_doomed = True
        if child.process is not None:
            child.process.kill()

    async def stop(self) -> None:
        """End every child: SIGTERM, a few seconds, SIGKILL. Safe to call twice."""
        await self._stop(self.children)

    async def stop_nodes(self) -> None:
        """End every node; the chain goes on."""
        await self._stop([child for child in self.children if child.is_node])

    async def _stop(self, children: Sequence[Child]) -> None:
        self._stopping = True
        alive = [c.process for c in children if c.process and c.process.poll() is None]
        for process in alive:
            process.send_signal(signal.SIGTERM)
        with trio.move_on_after(STOP_SECONDS):
            while any(process.poll() is None for process in alive):
                await trio.sleep(0.05)
        for process in alive:
            if process.poll() is None:
                process.kill()
            process.wait()

    def _launch(self, child: Child) -> None:
        if self._stopping:
            return
        with child.log.open("ab") as log:
            child.process = subprocess.Popen(  # noqa: S603 (our own interpreter and arguments)
                child.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **child.environment},
                start_new_session=True,
            )


def kaisar_command(*arguments: str) -> list[str]:
    """Build the command line of another `kaisar` with the same interpreter."""
    return [sys.executable, "-m", "p2p_node", *arguments]


def describe_exit(status: int) -> str:
    """Say in words how a process ended."""
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"

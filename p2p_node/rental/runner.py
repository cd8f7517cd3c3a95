"""Where a renter's workload runs: what every way of running it can do, and what none may.

A *runner* makes one *enclosure* per lease: a workspace directory and processes that see nothing
else of the host. The processes die with the node or with `stop`, the workspace stays until `wipe`,
so that a restarted node can `prepare` the same lease again and find its files.

Whatever a workload does, it harms only its own lease: every number that comes out of an enclosure
is bounded here, and the limits are kept outside of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import trio

from protocols.errors import LocalError, RemoteError

WORKSPACE: Final = b"/workspace"
"""Where the workload sees its workspace; its HOME, and where commands start."""

MAX_COMMAND_BYTES: Final = 128 << 10
"""Of arguments and environment together."""

MAX_RUNNING: Final = 256
"""Commands at once that one enclosure was asked to start; their descendants do not count."""

Say = Callable[[str], None]
"""Takes a line for the lease's log: progress of a preparation, a limit that was passed."""


class NoRunnerError(LocalError):
    """Nothing on this host can isolate a workload, or not as asked; says what would help."""


class EnclosureError(LocalError):
    """This host failed to do what the lease is for: the workload did not cause it."""


class WorkloadError(RemoteError):
    """The workload or its renter asked for what cannot be: no such program, nobody listens."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one lease may use of the host at most."""

    cores: int
    memory_bytes: int
    disk_bytes: int
    processes: int
    network: bool = False
    """Whether the workload may use the host's network; without it there is only `connect`."""

    def __post_init__(self) -> None:
        for name in ("cores", "memory_bytes", "disk_bytes", "processes"):
            if getattr(self, name) < 1:
                raise LocalError(f"limits: {name} is {getattr(self, name)}, expected at least 1")


@dataclass(frozen=True, slots=True)
class Template:
    """What an enclosure offers to begin with."""

    name: str
    image: str
    """A container image, for Docker."""
    command: tuple[str, ...]
    """What the provider starts when the lease begins; nothing when empty."""
    ports: tuple[int, ...]
    """TCP ports inside on which that command listens, for people and for `forward`."""
    summary: str
    host_program: str = ""
    """Bubblewrap shows the host's own programs: it serves the template where this one is among
    them, and never when it is empty."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command to run inside."""

    argv: tuple[bytes, ...]
    environment: Mapping[bytes, bytes]
    """On top of PATH, HOME, USER, LANG and TERM, which an enclosure sets itself."""
    directory: bytes = WORKSPACE
    """Absolute, or relative to the workspace."""
    terminal: tuple[int, int] | None = None
    """Rows and columns of a terminal of its own; None for three pipes."""

    def __post_init__(self) -> None:
        if not self.argv or not self.argv[0]:
            raise WorkloadError("bad command", "no program is named")
        texts = [*self.argv, self.directory]
        for name, value in self.environment.items():
            if not name or b"=" in name:
                raise WorkloadError("bad command", f"environment variable {name[:40]!r}")
            texts += [name, value]
        if any(b"\0" in text for text in texts):
            raise WorkloadError("bad command", "a zero byte in it")
        size = sum(len(text) + 1 for text in texts)
        if size > MAX_COMMAND_BYTES:
            raise WorkloadError("bad command", f"{size} bytes, at most {MAX_COMMAND_BYTES}")
        if self.terminal is not None and not all(0 < each < 1 << 16 for each in self.terminal):
            raise WorkloadError("bad command", f"terminal of {self.terminal} rows and columns")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a lease uses; the processor's time since the enclosure was prepared by this node."""

    cpu_seconds: float
    memory_bytes: int
    disk_bytes: int
    processes: int


class Process(Protocol):
    """A command that was started inside. Closing its streams does not end it; `stop` does."""

    stdin: trio.abc.SendStream
    """With a terminal, what is typed; closing it types the end of file."""
    stdout: trio.abc.ReceiveStream
    stderr: trio.abc.ReceiveStream | None
    """None with a terminal, where everything is on `stdout`."""

    async def wait(self) -> int:
        """Wait for its end: exit status, or −n for death by signal n.

        When the whole enclosure was stopped, by `stop` or for a limit, that is −9.
        """
        ...

    async def send_signal(self, number: int) -> None:
        """Send a signal to the command and its process group; nothing when it has ended."""
        ...

    async def resize(self, rows: int, columns: int) -> None:
        """Give its terminal another size; nothing without a terminal."""
        ...

    async def aclose(self) -> None:
        """Kill the command's process group if it runs still, and close all streams."""
        ...


class Enclosure(Protocol):
    """One lease's place. All methods can be called by several tasks at once."""

    @property
    def lease_id(self) -> int:
        """Which lease it belongs to."""
        ...

    @property
    def workspace(self) -> Path:
        """The directory on the host that the workload sees as WORKSPACE.

        The workload changes it at any time, and plants what it likes: never follow a link there.
        """
        ...

    @property
    def owner(self) -> tuple[int, int] | None:
        """User and group that files put into the workspace have to belong to, for the workload.

        None: leave them to whom they belong (the node's own user).
        """
        ...

    async def start(self, command: Command) -> Process:
        """Start a command; WorkloadError when it cannot be, EnclosureError for the host's fault."""
        ...

    async def connect(self, port: int) -> trio.abc.HalfCloseableStream:
        """Connect to 127.0.0.1:`port` inside; WorkloadError when nobody listens there."""
        ...

    async def usage(self) -> Usage:
        """Measure what the lease uses now."""
        ...

    async def stop(self) -> None:
        """Kill every process of the lease, whatever it did to survive; the workspace stays.

        A later `start` works again.
        """
        ...

    async def wipe(self) -> None:
        """`stop`, and remove the workspace; the enclosure is of no use afterwards."""
        ...


class Runner(Protocol):
    """Makes enclosures. One per node and data directory."""

    @property
    def name(self) -> str:
        """`docker` or `bubblewrap`."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What the operator should know about it on this host, a sentence each."""
        ...

    def refusal(self, template: Template) -> str | None:
        """Why this template cannot be served here, or None."""
        ...

    async def prepare(
        self, lease_id: int, template: Template, limits: Limits, say: Say
    ) -> Enclosure:
        """Make a lease's enclosure, or adopt what an earlier run of the node left of it.

        WorkloadError for a template that cannot be served, EnclosureError when the host fails.
        """
        ...

    async def leftovers(self) -> list[int]:
        """Leases of which something is still here, in order."""
        ...

    async def wipe(self, lease_id: int) -> None:
        """Stop and remove everything of a lease; nothing when there is nothing."""
        ...

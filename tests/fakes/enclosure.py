"""A runner without isolation: workloads are plain processes in a directory, of this very user.

It keeps the promises of `p2p_node.rental.runner` on starting, talking and stopping, and none on
limits. `tests/p2p_node/rental/test_enclosure_contract.py` holds it and the real ones to the same.
"""

import os
import pty
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio

from p2p_node.rental.runner import (
    WORKSPACE,
    Command,
    Limits,
    Process,
    Say,
    Template,
    Usage,
    WorkloadError,
)
from p2p_node.rental.terminal import TerminalInput, TerminalOutput, set_size

FAKE_TEMPLATE = Template("base", "kaisar-test:1", (), (), "whatever is here", host_program="sh")
FAKE_LIMITS = Limits(cores=1, memory_bytes=1 << 30, disk_bytes=1 << 30, processes=64)


def heed_signals() -> None:
    """Undo what `nohup`, or a shell's background, had this process ignore."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


class FakeProcess:
    """A process of this host, in its own session."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        stdin: trio.abc.SendStream,
        stdout: trio.abc.ReceiveStream,
        stderr: trio.abc.ReceiveStream | None,
    ) -> None:
        self._process = process
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr

    async def wait(self) -> int:
        """Poll: nobody measures a fake."""
        while (status := self._process.poll()) is None:
            await trio.sleep(0.01)
        return status

    async def send_signal(self, number: int) -> None:
        """Signal the group."""
        await trio.lowlevel.checkpoint()
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)

    async def resize(self, rows: int, columns: int) -> None:
        """Resize, where there is a terminal."""
        await trio.lowlevel.checkpoint()
        if isinstance(self.stdout, TerminalOutput):
            self.stdout.resize(rows, columns)

    async def aclose(self) -> None:
        """Kill the group and close all."""
        self.kill()
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                await stream.aclose()

    def kill(self) -> None:
        """Kill the group and reap its leader."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class FakeEnclosure:
    """A directory, and the processes that were started in it."""

    owner: tuple[int, int] | None = None

    def __init__(self, runner: "FakeRunner", lease_id: int, say: Say) -> None:
        self._runner = runner
        self.lease_id = lease_id
        self.workspace = runner.root / str(lease_id) / "workspace"
        self.say = say
        self.stops = 0
        self._processes: list[FakeProcess] = []

    async def start(self, command: Command) -> Process:
        """Start it as it is, in the workspace."""
        await trio.lowlevel.checkpoint()
        if not self.workspace.is_dir():
            raise WorkloadError("lease is over", f"lease {self.lease_id} has been wiped")
        directory = command.directory
        if directory == WORKSPACE or directory.startswith(WORKSPACE + b"/"):
            directory = b"." + directory[len(WORKSPACE) :]
        ours: list[int] = []
        theirs: list[int] = []
        try:
            if command.terminal is None:
                for end in (1, 0, 0):
                    pipe = os.pipe()
                    ours.append(pipe[end])
                    theirs.append(pipe[1 - end])
            else:
                master, slave = pty.openpty()
                set_size(master, *command.terminal)
                ours += [os.dup(master), master]
                theirs += [slave] * 3
            process = subprocess.Popen(
                [b"setsid", b"--ctty", *command.argv]
                if command.terminal is not None
                else command.argv,
                stdin=theirs[0],
                stdout=theirs[1],
                stderr=theirs[2],
                cwd=os.path.join(os.fsencode(self.workspace), directory),
                env={
                    b"PATH": os.fsencode(os.environ["PATH"]),
                    b"HOME": os.fsencode(self.workspace),
                    b"USER": b"renter",
                    b"LANG": b"C.UTF-8",
                    b"TERM": b"xterm-256color",
                    **command.environment,
                },
                start_new_session=command.terminal is None,
                preexec_fn=heed_signals,
            )
        except OSError as error:
            for each in ours:
                os.close(each)
            program = os.fsdecode(command.argv[0])
            raise WorkloadError("cannot start", f"{program}: {error.strerror}") from None
        finally:
            for each in set(theirs):
                os.close(each)
        if command.terminal is None:
            streams = [trio.lowlevel.FdStream(each) for each in ours]
            started = FakeProcess(process, streams[0], streams[1], streams[2])
        else:
            started = FakeProcess(process, TerminalInput(ours[0]), TerminalOutput(ours[1]), None)
        self._processes.append(started)
        return started

    async def connect(self, port: int) -> trio.SocketStream:
        """Connect to this host itself."""
        try:
            return await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            raise WorkloadError("cannot connect", f"port {port}: nobody listens there") from None

    async def usage(self) -> Usage:
        """Count files; the rest is not measured."""
        await trio.lowlevel.checkpoint()
        files = [path for path in self.workspace.rglob("*") if path.is_file()]
        size = sum(path.lstat().st_size for path in files)
        running = sum(each._process.poll() is None for each in self._processes)
        return Usage(0.0, 0, size, running)

    async def stop(self) -> None:
        """Kill what was started here."""
        await trio.lowlevel.checkpoint()
        self.stops += 1
        while self._processes:
            self._processes.pop().kill()

    async def wipe(self) -> None:
        """Stop, and remove the directory."""
        await self.stop()
        shutil.rmtree(self.workspace.parent, ignore_errors=True)
        self._runner.enclosures.pop(self.lease_id, None)


class FakeRunner:
    """Makes them under one directory; `enclosures` holds those of now by lease."""

    name = "fake"
    notes: tuple[str, ...] = ()

    def __init__(self, root: Path) -> None:
        self.root = root
        self.enclosures: dict[int, FakeEnclosure] = {}
        self.refused: str | None = None
        """Set, every template is refused with it."""

    def refusal(self, template: Template) -> str | None:
        """Serve everything, unless told otherwise."""
        return self.refused

    async def prepare(
        self, lease_id: int, template: Template, limits: Limits, say: Say
    ) -> FakeEnclosure:
        """Make the directory, or take the one that is there."""
        await trio.lowlevel.checkpoint()
        if self.refused is not None:
            raise WorkloadError("template refused", self.refused)
        if lease_id not in self.enclosures:
            enclosure = FakeEnclosure(self, lease_id, say)
            enclosure.workspace.mkdir(parents=True, exist_ok=True)
            self.enclosures[lease_id] = enclosure
        return self.enclosures[lease_id]

    async def leftovers(self) -> list[int]:
        """What directories there are."""
        await trio.lowlevel.checkpoint()
        return sorted(int(path.name) for path in self.root.glob("*") if path.name.isdigit())

    async def wipe(self, lease_id: int) -> None:
        """Stop and remove."""
        if lease_id in self.enclosures:
            await self.enclosures[lease_id].wipe()
        shutil.rmtree(self.root / str(lease_id), ignore_errors=True)


@asynccontextmanager
async def fake_runner(root: Path) -> AsyncIterator[FakeRunner]:
    """A runner whose processes are gone when the block ends."""
    runner = FakeRunner(root)
    try:
        yield runner
    finally:
        with trio.CancelScope(shield=True):
            for enclosure in list(runner.enclosures.values()):
                await enclosure.stop()

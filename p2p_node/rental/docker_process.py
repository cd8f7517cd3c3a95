"""A command that runs in a container, by the `docker exec` that carries its streams."""

import os
import pty
import signal
import subprocess
import tty
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import trio

from p2p_node.rental.docker_run import (
    CHECK,
    ENTER,
    ENTER_TERMINAL,
    RESIZE,
    SIGNAL,
    build_exec,
    build_script,
)
from p2p_node.rental.runner import Command, EnclosureError, WorkloadError
from p2p_node.rental.terminal import TerminalInput, TerminalOutput, set_size

CALL_SECONDS: Final = 30
MAX_OUTPUT_BYTES: Final = 1 << 20
_CANNOT: Final = 99
_DOUBTFUL: Final = (-9, 1, 125, 126)
"""How `docker exec` may end when its container does."""

_SHELLS_SIGNALS: Final = range(129, 193)
"""128 + n: how Docker and shells say that a signal ended a process."""

HasEnded = Callable[[], Awaitable[bool]]
"""Tells whether the whole enclosure has, and has the lease's log told why."""


class DockerProcess:
    """See `runner.Process`."""

    def __init__(
        self,
        docker: str,
        name: str,
        token: str,
        process: trio.Process,
        streams: tuple[trio.abc.SendStream, trio.abc.ReceiveStream, trio.abc.ReceiveStream | None],
        has_ended: HasEnded,
    ) -> None:
        self._docker = docker
        self._name = name
        self._token = token
        self._process = process
        self.stdin, self.stdout, self.stderr = streams
        self._has_ended = has_ended
        self._status: int | None = None
        self._waiting = trio.Lock()

    async def wait(self) -> int:
        """Wait for its end."""
        async with self._waiting:
            if self._status is None:
                status = await self._process.wait()
                if status in _SHELLS_SIGNALS:
                    status = 128 - status
                if status in _DOUBTFUL and await self._has_ended():
                    status = -signal.SIGKILL
                self._status = status
        return self._status

    async def send_signal(self, number: int) -> None:
        """Send a signal to its group."""
        if not 0 < number <= signal.SIGRTMAX:
            raise WorkloadError("bad signal", f"number {number}")
        await trio.lowlevel.checkpoint()
        if self._status is None and self._process.poll() is None:
            script = build_script(self._name, SIGNAL, str(number), self._token)
            await call(self._docker, *script)

    async def resize(self, rows: int, columns: int) -> None:
        """Give its terminal another size, outside and inside."""
        await trio.lowlevel.checkpoint()
        if isinstance(self.stdout, TerminalOutput) and self._process.poll() is None:
            self.stdout.resize(rows, columns)
            script = build_script(self._name, RESIZE, str(rows), str(columns), self._token)
            await call(self._docker, *script)

    async def aclose(self) -> None:
        """Kill its group, and close everything."""
        with trio.CancelScope(shield=True):
            with trio.move_on_after(CALL_SECONDS):
                await self.send_signal(signal.SIGKILL)
            for stream in (self.stdin, self.stdout, self.stderr):
                if stream is not None:
                    await stream.aclose()
            with trio.move_on_after(CALL_SECONDS):
                await self.wait()
            if self._process.poll() is None:
                self._process.kill()
                await self._process.wait()


async def start_process(
    docker: str, name: str, command: Command, has_ended: HasEnded
) -> DockerProcess:
    """Start it; WorkloadError when the container has no such program or directory."""
    look = Command(command.argv[:1], command.environment, command.directory)
    status, _, errors = await call(docker, *build_exec(name, look, CHECK))
    program = os.fsdecode(command.argv[0])
    if status == _CANNOT:
        raise WorkloadError("cannot start", f"{program}: no such program can be started")
    if status:
        said = errors.decode(errors="replace").strip()[-500:]
        raise WorkloadError("cannot start", f"{program}: {said}")
    token = os.urandom(8).hex()
    if command.terminal is None:
        arguments = [docker, *build_exec(name, command, ENTER, token)]
        process = await _open(arguments, subprocess.PIPE, subprocess.PIPE, subprocess.PIPE)
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        streams: tuple[
            trio.abc.SendStream, trio.abc.ReceiveStream, trio.abc.ReceiveStream | None
        ] = (process.stdin, process.stdout, process.stderr)
        return DockerProcess(docker, name, token, process, streams, has_ended)
    size = map(str, command.terminal)
    arguments = [docker, *build_exec(name, command, ENTER_TERMINAL, *size, token)]
    master, slave = pty.openpty()
    try:
        # The terminal that counts is inside; this one hands everything on as it is.
        tty.setraw(slave)
        set_size(master, *command.terminal)
        process = await _open(["setsid", "--ctty", *arguments], slave, slave, slave)
    except BaseException:
        os.close(master)
        raise
    finally:
        os.close(slave)
    typed = TerminalInput(os.dup(master))
    return DockerProcess(
        docker, name, token, process, (typed, TerminalOutput(master), None), has_ended
    )


async def call(docker: str, *arguments: str) -> tuple[int, bytes, bytes]:
    """Run Docker's program to its end: status, output, errors; EnclosureError when it hangs.

    What it writes may come from inside, and is cut at MAX_OUTPUT_BYTES: then it is killed.
    """
    process = await _open(
        [docker, *arguments], subprocess.DEVNULL, subprocess.PIPE, subprocess.PIPE
    )
    output, errors = bytearray(), bytearray()

    async def keep(stream: trio.abc.ReceiveStream | None, into: bytearray) -> None:
        assert stream is not None  # noqa: S101
        async with stream:
            while data := await stream.receive_some():
                into += data
                if len(into) > MAX_OUTPUT_BYTES:
                    process.kill()
                    return

    try:
        with trio.fail_after(CALL_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(keep, process.stdout, output)
                nursery.start_soon(keep, process.stderr, errors)
            status = await process.wait()
    except trio.TooSlowError:
        words = " ".join(arguments[:2])
        raise EnclosureError(f"docker {words} takes longer than {CALL_SECONDS} s") from None
    finally:
        with trio.CancelScope(shield=True):
            if process.poll() is None:
                process.kill()
                await process.wait()
    return status, bytes(output), bytes(errors)


async def _open(arguments: list[str], stdin: int, stdout: int, stderr: int) -> trio.Process:
    try:
        return await trio.lowlevel.open_process(
            arguments, stdin=stdin, stdout=stdout, stderr=stderr
        )
    except OSError as error:
        raise EnclosureError(f"{Path(arguments[0]).name} cannot be run: {error}") from error

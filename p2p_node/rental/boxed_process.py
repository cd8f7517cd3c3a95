"""A command that runs in an enclosure of bubblewrap's, from the node's side."""

import fcntl
import os
import signal
import stat
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from p2p_node.rental.packets import (
    ANSWER_SECONDS,
    AgentGoneError,
    Answers,
    pack_start,
    send_request,
)
from p2p_node.rental.runner import Command, EnclosureError, WorkloadError
from p2p_node.rental.terminal import TerminalInput, TerminalOutput

KILLED: Final = -signal.SIGKILL
_END_SECONDS: Final = 10

Gone = Callable[[], Awaitable[None]]
"""Called when the enclosure has ended or killed something, to tell the lease's log why."""


class BoxedProcess:
    """See `runner.Process`."""

    def __init__(
        self,
        control: trio.socket.SocketType,
        answers: Answers,
        pid: int,
        streams: tuple[trio.abc.SendStream, trio.abc.ReceiveStream, trio.abc.ReceiveStream | None],
        explain: Gone,
    ) -> None:
        self._control = control
        self._answers = answers
        self._pid = pid
        self.stdin, self.stdout, self.stderr = streams
        self._explain = explain
        self._status: int | None = None
        self._waiting = trio.Lock()

    async def wait(self) -> int:
        """Wait for its end."""
        async with self._waiting:
            if self._status is None:
                status = await self._receive_status()
                # Once it is known nobody asks again, whatever becomes of the explanation.
                self._status = status
                self._answers.close()
                if status:
                    # A shell that lost its program to a limit ends with a status of its own.
                    await self._explain()
        return self._status

    async def _receive_status(self) -> int:
        try:
            answer, descriptor = await self._answers.receive()
        except (AgentGoneError, EnclosureError):
            return KILLED
        if descriptor is not None:
            os.close(descriptor)
        status = answer.get("status")
        return status if isinstance(status, int) and -64 <= status <= 255 else KILLED

    async def send_signal(self, number: int) -> None:
        """Send a signal to its group."""
        if not 0 < number <= signal.SIGRTMAX:
            raise WorkloadError("bad signal", f"number {number}")
        await trio.lowlevel.checkpoint()
        if self._status is None:
            request = {"do": "signal", "pid": self._pid, "signal": number}
            try:
                await send_request(self._control, request)
            except AgentGoneError:
                return

    async def resize(self, rows: int, columns: int) -> None:
        """Give its terminal another size."""
        await trio.lowlevel.checkpoint()
        if isinstance(self.stdout, TerminalOutput):
            self.stdout.resize(rows, columns)

    async def aclose(self) -> None:
        """Kill its group, and close everything."""
        with trio.CancelScope(shield=True):
            if self._status is None:
                with trio.move_on_after(_END_SECONDS):
                    await self.send_signal(signal.SIGKILL)
                    await self.wait()
            for stream in (self.stdin, self.stdout, self.stderr):
                if stream is not None:
                    await stream.aclose()
            self._answers.close()


async def start_process(
    control: trio.socket.SocketType, command: Command, explain: Gone
) -> BoxedProcess:
    """Have the agent start it. AgentGoneError when the enclosure ended meanwhile."""
    request, texts = pack_start(command)
    answers = Answers()
    ours: list[int] = []
    theirs: list[int] = []
    try:
        if command.terminal is None:
            for end in (1, 0, 0):
                pipe = os.pipe2(os.O_CLOEXEC)
                ours.append(pipe[end])
                theirs.append(pipe[1 - end])
        try:
            with trio.fail_after(ANSWER_SECONDS):
                await answers.ask(control, request, texts, theirs)
                answer, terminal = await answers.receive()
        except trio.TooSlowError:
            raise EnclosureError("the enclosure's agent does not answer") from None
        if terminal is not None:
            ours.append(terminal)
        if "error" in answer:
            raise WorkloadError("cannot start", str(answer["error"])[:1000])
        pid = answer.get("pid")
        if not isinstance(pid, int) or not ours:
            raise EnclosureError("the enclosure's agent answers nonsense")
        streams = _wrap(ours) if command.terminal is None else _wrap_terminal(ours)
        ours = []
        return BoxedProcess(control, answers, pid, streams, explain)
    except BaseException:
        answers.close()
        raise
    finally:
        for descriptor in (*theirs, *ours):
            os.close(descriptor)


def _wrap(
    ours: list[int],
) -> tuple[trio.abc.SendStream, trio.abc.ReceiveStream, trio.abc.ReceiveStream]:
    for descriptor in ours:
        # Fewer wake-ups for what streams; where a user's pipes are bounded already, as it is.
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, 1 << 20)
        except PermissionError:
            break
    stdin, stdout, stderr = (trio.lowlevel.FdStream(descriptor) for descriptor in ours)
    return stdin, stdout, stderr


def _wrap_terminal(
    ours: list[int],
) -> tuple[trio.abc.SendStream, trio.abc.ReceiveStream, None]:
    """Take what the agent sent for a terminal, if it is one."""
    (master,) = ours
    if not stat.S_ISCHR(os.fstat(master).st_mode) or not os.isatty(master):
        raise EnclosureError("the enclosure's agent sends something that is no terminal")
    return (
        TerminalInput(fcntl.fcntl(master, fcntl.F_DUPFD_CLOEXEC, 3)),
        TerminalOutput(master),
        None,
    )

"""A running enclosure of bubblewrap: the agent inside, the warden outside, by their sockets."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import trio

import p2p_node
from p2p_node.rental.packets import ANSWER_SECONDS, AgentGoneError, Answers
from p2p_node.rental.runner import EnclosureError, Say, Usage

STOP_SECONDS: Final = 20
READY_SECONDS: Final = 60
"""With the walk through a workspace of the most entries."""

_PASSED_VARIABLES: Final = ("PATH", "LANG", "LD_LIBRARY_PATH")
_MAX_REPORT_BYTES: Final = 64 << 10

GiveOrders = Callable[[int], dict[str, Any]]
"""Takes the number of the agent's socket, returns the warden's orders."""


class Box:
    """A running enclosure: the agent's socket, and its warden."""

    def __init__(self, control: trio.socket.SocketType, warden: trio.Process, say: Say) -> None:
        self.control = control
        self._warden = warden
        self._say = say
        self._asking = trio.Lock()
        self._pending = bytearray()
        self._closed = False
        self._is_full = False

    async def read_report(self) -> dict[str, Any] | None:
        """The warden's next line, whose notes are passed on; None when it has ended."""
        output = self._warden.stdout
        assert output is not None  # noqa: S101
        while b"\n" not in self._pending:
            try:
                part = await output.receive_some()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                part = b""
            if not part or len(self._pending) > _MAX_REPORT_BYTES:
                return None
            self._pending += part
        line, _, rest = bytes(self._pending).partition(b"\n")
        self._pending[:] = rest
        report: dict[str, Any] = json.loads(line)
        self._is_full |= report.get("full", False)
        for kind in ("ready", "notes", "stopped"):
            for note in report.get(kind, ()):
                self._say(f"stopped: {note}" if kind == "stopped" else note)
        return report

    async def usage(self) -> Usage | None:
        """Ask the warden; None when the enclosure has ended."""
        async with self._asking:
            if self._closed:
                return None
            assert self._warden.stdin is not None  # noqa: S101
            # An answer that nobody waited for would be taken for the next one.
            with trio.CancelScope(shield=True):
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await self._warden.stdin.send_all(b"usage\n")
                with trio.move_on_after(READY_SECONDS):
                    report = await self.read_report()
                    while report is not None and "usage" not in report:
                        report = await self.read_report()
                    if report is not None:
                        return Usage(**report["usage"])
            await self._close()
            return None

    async def explain(self) -> None:
        """Have the lease's log told what killed a process."""
        await self.usage()

    async def has_room_again(self, disk_bytes: int) -> bool:
        """Whether it began with a full workspace, and can be replaced by one that may write."""
        if not self._is_full:
            return False
        found = await self.usage()
        return found is not None and not found.processes and found.disk_bytes <= disk_bytes

    async def has_ended(self) -> bool:
        """Whether a new one is needed."""
        answers = Answers()
        try:
            with trio.fail_after(ANSWER_SECONDS):
                await answers.ask(self.control, {"do": "hello"})
                await answers.receive()
        except (AgentGoneError, EnclosureError, trio.TooSlowError):
            return True
        finally:
            answers.close()
        return False

    async def close(self) -> None:
        """End it, and wait until nothing of it runs."""
        with trio.CancelScope(shield=True):
            async with self._asking:
                await self._close()

    async def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.control.close()
        assert self._warden.stdin is not None  # noqa: S101
        await self._warden.stdin.aclose()
        with trio.move_on_after(STOP_SECONDS) as waiting:
            while await self.read_report() is not None:
                pass
            await self._warden.wait()
        if waiting.cancelled_caught:
            self._warden.kill()
            await self._warden.wait()
        assert self._warden.stdout is not None  # noqa: S101
        await self._warden.stdout.aclose()


async def open_box(give_orders: GiveOrders, lease_id: int, say: Say) -> Box:
    """Start a warden and wait until its enclosure answers; EnclosureError when it does not."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    control = trio.socket.from_stdlib_socket(ours)
    try:
        orders = give_orders(theirs.fileno())
        warden = await trio.lowlevel.open_process(
            warden_command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
            env=warden_environment(),
        )
    except BaseException as error:
        control.close()
        if isinstance(error, OSError):
            raise EnclosureError(f"lease {lease_id}: no warden can be started: {error}") from error
        raise
    finally:
        theirs.close()
    opened = Box(control, warden, say)
    try:
        with trio.move_on_after(READY_SECONDS):
            assert warden.stdin is not None  # noqa: S101
            with suppress(trio.BrokenResourceError):
                await warden.stdin.send_all(json.dumps(orders).encode() + b"\n")
            report = await opened.read_report()
            if report is not None and "ready" in report and not await opened.has_ended():
                return opened
            said = "it does not start" if report is None else report.get("error", "it ended")
            raise EnclosureError(f"lease {lease_id}: no enclosure: {said}")
        raise EnclosureError(f"lease {lease_id}: no enclosure within {READY_SECONDS} s")
    except BaseException:
        await opened.close()
        raise


def warden_command() -> list[str]:
    """How a warden is started, by the interpreter of the node."""
    return [sys.executable, "-m", "p2p_node.rental.warden"]


def warden_environment() -> dict[str, str]:
    """Where it finds this very code, and none of the node's secrets."""
    code = str(Path(p2p_node.__file__).parent.parent)
    kept = {name: os.environ[name] for name in _PASSED_VARIABLES if name in os.environ}
    return {**kept, "PYTHONPATH": code, "PYTHONSAFEPATH": "1"}

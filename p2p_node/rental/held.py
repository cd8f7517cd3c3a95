"""A warden, from the node's side: its reports, and its end."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

import trio

import p2p_node
from p2p_node.rental.runner import EnclosureError, Say, Usage

STOP_SECONDS: Final = 30
READY_SECONDS: Final = 60
"""With the walk through a workspace of the most entries."""

_PASSED_VARIABLES: Final = ("PATH", "LANG", "LD_LIBRARY_PATH", "DOCKER_HOST", "HOME")
_MAX_REPORT_BYTES: Final = 64 << 10


class Held:
    """An enclosure as its warden holds it. Closed, it is over."""

    def __init__(self, warden: trio.Process, say: Say) -> None:
        self.warden = warden
        self._say = say
        self._asking = trio.Lock()
        self._pending = bytearray()
        self._closed = False
        self._is_full = False
        self.first = 0
        """Process 1 of the enclosure, by its number on the host."""

    @classmethod
    async def start(cls, module: str, say: Say, descriptors: tuple[int, ...] = ()) -> Self:
        """Start the warden `p2p_node.rental.<module>`; OSError when that cannot be."""
        warden = await trio.lowlevel.open_process(
            warden_command(module),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=descriptors,
            start_new_session=True,
            env=warden_environment(),
        )
        return cls(warden, say)

    async def give_orders(self, orders: dict[str, Any]) -> None:
        """Have it make the enclosure; EnclosureError with what it says when it does not."""
        with trio.move_on_after(READY_SECONDS):
            assert self.warden.stdin is not None  # noqa: S101
            with suppress(trio.BrokenResourceError):
                await self.warden.stdin.send_all(json.dumps(orders).encode() + b"\n")
            report = await self.read_report()
            while report is not None and "progress" in report:
                report = await self.read_report()
            if report is not None and "ready" in report:
                return
            said = "it does not start" if report is None else report.get("error", "it ended")
            raise EnclosureError(f"no enclosure for lease {orders['lease_id']}: {said}")
        raise EnclosureError(
            f"no enclosure for lease {orders['lease_id']} within {READY_SECONDS} s"
        )

    async def read_report(self) -> dict[str, Any] | None:
        """The warden's next line, whose notes are passed on; None when it has ended."""
        output = self.warden.stdout
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
        self.first = report.get("first", self.first)
        for kind in ("ready", "notes", "stopped"):
            for note in report.get(kind, ()):
                self._say(f"stopped: {note}" if kind == "stopped" else note)
        return report

    async def usage(self) -> Usage | None:
        """Ask the warden; None when the enclosure has ended."""
        async with self._asking:
            if self._closed:
                return None
            assert self.warden.stdin is not None  # noqa: S101
            # An answer that nobody waited for would be taken for the next one.
            with trio.CancelScope(shield=True):
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await self.warden.stdin.send_all(b"usage\n")
                with trio.move_on_after(READY_SECONDS):
                    report = await self.read_report()
                    while report is not None and "usage" not in report:
                        report = await self.read_report()
                    if report is not None:
                        return Usage(**report["usage"])
            await self._close()
            return None

    async def has_ended(self) -> bool:
        """Whether it is over; has the lease's log told what killed a process, if something did."""
        return await self.usage() is None

    async def explain(self) -> None:
        """Have the lease's log told what killed a process."""
        await self.usage()

    async def has_room_again(self, disk_bytes: int) -> bool:
        """Whether it began with a full workspace, and can be replaced by one that may write."""
        if not self._is_full:
            return False
        found = await self.usage()
        return found is not None and not found.processes and found.disk_bytes <= disk_bytes

    async def close(self) -> None:
        """End it, and wait until nothing of it runs."""
        with trio.CancelScope(shield=True):
            async with self._asking:
                await self._close()

    async def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        assert self.warden.stdin is not None  # noqa: S101
        await self.warden.stdin.aclose()
        with trio.move_on_after(STOP_SECONDS) as waiting:
            while await self.read_report() is not None:
                pass
            await self.warden.wait()
        if waiting.cancelled_caught:
            self.warden.kill()
            await self.warden.wait()
        assert self.warden.stdout is not None  # noqa: S101
        await self.warden.stdout.aclose()


def warden_command(module: str) -> list[str]:
    """How a warden is started, by the interpreter of the node."""
    return [sys.executable, "-m", f"p2p_node.rental.{module}"]


def warden_environment() -> dict[str, str]:
    """Where it finds this very code, and none of the node's secrets."""
    code = str(Path(p2p_node.__file__).parent.parent)
    kept = {name: os.environ[name] for name in _PASSED_VARIABLES if name in os.environ}
    return {**kept, "PYTHONPATH": code, "PYTHONSAFEPATH": "1"}

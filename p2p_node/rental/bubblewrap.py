"""Workloads in namespaces of their own, by bubblewrap: the host's programs, nothing else of it.

See docs/isolation.md for what that keeps apart, and how.
"""

import hashlib
import json
import os
import shutil
import socket
import subprocess
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from p2p_node.rental import box
from p2p_node.rental.boxed import Box, open_box
from p2p_node.rental.boxed_process import BoxedProcess, start_process
from p2p_node.rental.cgroups import Cgroup, CgroupParent, find_cgroup_parent
from p2p_node.rental.held import warden_command, warden_environment
from p2p_node.rental.packets import ANSWER_SECONDS, AgentGoneError, Answers
from p2p_node.rental.runner import (
    Command,
    EnclosureError,
    Limits,
    NoRunnerError,
    Say,
    Template,
    Usage,
    WorkloadError,
)
from p2p_node.rental.seccomp import build_filter
from p2p_node.rental.trees import measure_workspace, remove_tree
from p2p_node.rental.watcher import WardenError, wipe_home

FIRST_USER: Final = 1_900_000_000
USERS: Final = 1 << 20
"""Users and groups of workloads when the node is root's: one each, of a range that no distribution
and no container manager hands out."""

PROBE_SECONDS: Final = 30

_PROBE_LIMITS: Final = Limits(cores=1, memory_bytes=256 << 20, disk_bytes=1 << 20, processes=8)
_PROBE: Final = "probe"


class BubblewrapRunner:
    """See `runner.Runner`. Made by `find_bubblewrap`."""

    name = "bubblewrap"

    def __init__(
        self, home: Path, program: str, *, hides_userns: bool, cgroups: CgroupParent | None
    ) -> None:
        self._home = home
        self._program = program
        self._hides_userns = hides_userns
        self._cgroups = cgroups
        self._enclosures: dict[int, BubblewrapEnclosure] = {}
        self.notes = self._take_notes()

    def _take_notes(self) -> tuple[str, ...]:
        notes = []
        if self._cgroups is None:
            notes.append(
                "no control group can be made here: memory is limited per process and by a "
                "watcher, cores by pinning"
            )
        if not self._hides_userns:
            notes.append("this bubblewrap is older than 0.8 and cannot forbid user namespaces")
        if build_filter(pin_cores=False) is None:
            notes.append("there is no filter of system calls for this processor")
        if os.geteuid():
            notes.append(f"workloads run as the user of the node, {os.geteuid()}, in a namespace")
        return tuple(notes)

    def refusal(self, template: Template) -> str | None:
        """Only the host's own programs can be had."""
        if not template.host_program:
            return f"template {template.name} is the image {template.image}, which needs Docker"
        if _find_inside(template.host_program) is None:
            return (
                f"template {template.name} needs the program {template.host_program} in /usr of "
                "the host, or Docker"
            )
        return None

    async def prepare(
        self, lease_id: int, template: Template, limits: Limits, say: Say
    ) -> "BubblewrapEnclosure":
        """Start the enclosure if it does not run."""
        reason = self.refusal(template)
        if reason is not None:
            raise WorkloadError("template refused", reason)
        enclosure = self._enclosures.get(lease_id)
        if enclosure is None:
            enclosure = BubblewrapEnclosure(self, lease_id, limits, say)
            self._enclosures[lease_id] = enclosure
        await enclosure.open()
        return enclosure

    async def leftovers(self) -> list[int]:
        """The directories, for nothing else outlives the node."""
        await trio.lowlevel.checkpoint()
        if not self._home.is_dir():
            return []
        return sorted(int(path.name) for path in self._home.iterdir() if path.name.isdigit())

    async def wipe(self, lease_id: int) -> None:
        """End and remove."""
        enclosure = self._enclosures.pop(lease_id, None)
        if enclosure is not None:
            await enclosure.retire()
        try:
            await trio.to_thread.run_sync(wipe_home, self.directory(lease_id))
            if self._cgroups is not None:
                # Empty, unless a warden was killed as well.
                group = Cgroup(self._cgroups, self._name_group(self.directory(lease_id)))
                await trio.to_thread.run_sync(group.remove)
        except (OSError, WardenError) as error:
            raise EnclosureError(f"lease {lease_id}: cannot be wiped: {error}") from error

    def directory(self, lease_id: int) -> Path:
        """Where the lease's workspace is kept."""
        return self._home / str(lease_id)

    def orders(self, lease_id: int, limits: Limits, control: int) -> dict[str, Any]:
        """What a warden has to know."""
        return self._orders(
            self.directory(lease_id), lease_id, limits, control=control, probe=False
        )

    def probe(self) -> None:
        """Make an empty enclosure and end it; NoRunnerError with what the kernel says."""
        directory = self._home / _PROBE
        orders = self._orders(directory, 0, _PROBE_LIMITS, control=-1, probe=True)
        try:
            done = subprocess.run(  # noqa: S603
                warden_command("warden"),
                input=json.dumps(orders).encode() + b"\n",
                capture_output=True,
                timeout=PROBE_SECONDS,
                check=False,
                env=warden_environment(),
            )
            answer = json.loads(done.stdout.splitlines()[0]) if done.stdout else {}
        except (OSError, subprocess.TimeoutExpired, ValueError) as error:
            raise NoRunnerError(f"bubblewrap cannot be tried: {error}") from error
        finally:
            with suppress(OSError):
                remove_tree(directory)
        if "ready" not in answer:
            said = answer.get("error") or done.stderr.decode(errors="replace")[-500:]
            raise NoRunnerError(
                f"bubblewrap makes no enclosure here: {said} (docs/isolation.md, Refused)"
            )

    def _name_group(self, directory: Path) -> str:
        home = hashlib.sha256(os.fsencode(self._home.resolve())).hexdigest()[:8]
        return f"kaisar-{home}-{directory.name}"

    def _orders(
        self, directory: Path, lease_id: int, limits: Limits, *, control: int, probe: bool
    ) -> dict[str, Any]:
        cgroup = None
        if self._cgroups is not None:
            places = {name: str(path) for name, path in self._cgroups.directories.items()}
            cgroup = (self._cgroups.version, places, self._name_group(directory))
        return {
            "lease_id": lease_id,
            "directory": str(directory.absolute()),
            "bwrap": self._program,
            "hides_userns": self._hides_userns,
            "owner": workload_user(lease_id),
            "cgroup": cgroup,
            "devices": box.find_devices(),
            "limits": {
                "cores": limits.cores,
                "memory_bytes": limits.memory_bytes,
                "disk_bytes": limits.disk_bytes,
                "processes": limits.processes,
                "network": limits.network,
            },
            "control": control,
            "probe": probe,
        }


class BubblewrapEnclosure:
    """See `runner.Enclosure`."""

    def __init__(self, runner: BubblewrapRunner, lease_id: int, limits: Limits, say: Say) -> None:
        self._runner = runner
        self._limits = limits
        self._say = say
        self._opening = trio.Lock()
        self._retired = False
        self._box: Box | None = None
        self.lease_id = lease_id
        self.workspace = runner.directory(lease_id) / "workspace"
        self.owner = workload_user(lease_id)

    async def open(self) -> "Box":
        """Return what runs, or start it."""
        async with self._opening:
            if self._retired:
                raise WorkloadError("lease is over", f"lease {self.lease_id} has been wiped")
            if (
                self._box is not None
                and not await self._box.has_ended()
                and not await self._box.held.has_room_again(self._limits.disk_bytes)
            ):
                return self._box
            if self._box is not None:
                await self._box.close()
                self._box = None
            give_orders = partial(self._runner.orders, self.lease_id, self._limits)
            self._box = await open_box(give_orders, self._say)
            return self._box

    async def start(self, command: Command) -> BoxedProcess:
        """Start it, in a new enclosure if the last one was ended."""
        current = await self.open()
        try:
            return await start_process(current.control, command, current.held.explain)
        except AgentGoneError:
            await current.held.explain()
            raise WorkloadError("cannot start", "the lease was stopped meanwhile") from None

    async def connect(self, port: int) -> trio.SocketStream:
        """Get a connected socket from inside."""
        if not 0 < port < 1 << 16:
            raise WorkloadError("cannot connect", f"port {port}")
        current = await self.open()
        answers = Answers()
        try:
            with trio.fail_after(ANSWER_SECONDS):
                await answers.ask(current.control, {"do": "connect", "port": port})
                answer, descriptor = await answers.receive()
        except AgentGoneError:
            await current.held.explain()
            raise WorkloadError("cannot connect", "the lease was stopped meanwhile") from None
        except trio.TooSlowError:
            raise EnclosureError("the enclosure's agent does not answer") from None
        finally:
            answers.close()
        if descriptor is None:
            found = str(answer.get("error", ""))[:200]
            raise WorkloadError("cannot connect", f"port {port}: nobody listens there: {found}")
        connection = socket.socket(fileno=descriptor)
        families = (socket.AF_INET, socket.AF_INET6)
        if connection.family not in families or connection.type != socket.SOCK_STREAM:
            connection.close()
            raise EnclosureError("the enclosure's agent sends something that is no connection")
        connection.setblocking(False)
        return trio.SocketStream(trio.socket.from_stdlib_socket(connection))

    async def usage(self) -> Usage:
        """Ask the warden, or look at the files when nothing runs."""
        if self._box is not None:
            found = await self._box.held.usage()
            if found is not None:
                return found
        size = await trio.to_thread.run_sync(measure_workspace, self.workspace)
        return Usage(0.0, 0, self._limits.disk_bytes if size is None else size, 0)

    async def stop(self) -> None:
        """End the enclosure."""
        async with self._opening:
            if self._box is not None:
                await self._box.close()
                self._box = None

    async def retire(self) -> None:
        """`stop` for good: whoever still has a command for it is refused."""
        self._retired = True
        await self.stop()

    async def wipe(self) -> None:
        """End it, and remove its files."""
        await self._runner.wipe(self.lease_id)


def find_bubblewrap(home: Path, *, groups: bool = True) -> BubblewrapRunner:
    """Look whether this host can do it, and try; NoRunnerError with the reason and the fix.

    `home` is the directory of all workspaces; without `groups`, control groups are left alone.
    """
    program = shutil.which("bwrap")
    if program is None:
        raise NoRunnerError("bubblewrap is not installed: apt-get install bubblewrap")
    if not os.access(box.PYTHON, os.X_OK):
        raise NoRunnerError(f"enclosures need {box.PYTHON}: apt-get install python3")
    usage = subprocess.run(  # noqa: S603
        [program, "--help"], capture_output=True, check=False, timeout=PROBE_SECONDS
    )
    options = usage.stdout + usage.stderr
    if b"--size" not in options:
        raise NoRunnerError(f"{program} is too old: 0.7 or newer is needed, for --size")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    hides_userns = b"--disable-userns" in options
    cgroups = _find_working_cgroups() if groups else None
    runner = BubblewrapRunner(home, program, hides_userns=hides_userns, cgroups=cgroups)
    try:
        runner.probe()
    except NoRunnerError:
        if cgroups is None:
            raise
        # Groups that can be made and not joined are of no use; without them it may well work.
        runner = BubblewrapRunner(home, program, hides_userns=hides_userns, cgroups=None)
        runner.probe()
    return runner


def workload_user(lease_id: int) -> tuple[int, int] | None:
    """User and group of a lease's workload on the host; None for the node's own."""
    if os.geteuid():
        return None
    number = FIRST_USER + lease_id % USERS
    return number, number


def _find_working_cgroups() -> CgroupParent | None:
    parent = find_cgroup_parent()
    if parent is None:
        return None
    trial = Cgroup(parent, f"kaisar-probe-{os.getpid()}")
    try:
        trial.create(cores=1, memory_bytes=64 << 20, processes=8)
        trial.remove()
    except OSError:
        with suppress(OSError):
            trial.remove()
        return None
    return parent


def _find_inside(program: str) -> str | None:
    """Where /usr has a program, as workloads will find it."""
    return shutil.which(program, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin")

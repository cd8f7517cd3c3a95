"""Workloads in containers, by Docker's own program; see docs/isolation.md."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import trio

from p2p_node.rental.box import find_devices
from p2p_node.rental.bubblewrap import workload_user
from p2p_node.rental.docker_process import CALL_SECONDS, DockerProcess, call, start_process
from p2p_node.rental.docker_run import (
    HOME_LABEL,
    LEASE_LABEL,
    PYTHON_RELAY,
    RELAY,
    build_run,
    build_script,
)
from p2p_node.rental.held import Held
from p2p_node.rental.joining import connect_within
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
from p2p_node.rental.trees import measure_workspace
from p2p_node.rental.watcher import WardenError, wipe_home

PULL_SECONDS: Final = 3600
CONNECT_SECONDS: Final = 15


class DockerRunner:
    """See `runner.Runner`. Made by `find_docker`."""

    name = "docker"

    def __init__(self, home: Path, program: str, *, gpus: bool, enters_networks: bool) -> None:
        self._home = home
        self.program = program
        self.gpus = gpus
        self.enters_networks = enters_networks
        """Whether the node may connect from within a container's network: it needs root."""
        self.label = hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:8]
        self._enclosures: dict[int, DockerEnclosure] = {}
        self.notes = self._take_notes()

    def _take_notes(self) -> tuple[str, ...]:
        notes = []
        if find_devices() and not self.gpus:
            notes.append("Docker has no NVIDIA runtime: containers do not see the GPUs")
        if not self.enters_networks:
            notes.append(
                "without root, ports are forwarded by python3 or bash in the image; the latter "
                "passes no half-closed connections on"
            )
        return tuple(notes)

    def refusal(self, template: Template) -> str | None:
        """Any image may be had."""
        return None

    async def prepare(
        self, lease_id: int, template: Template, limits: Limits, say: Say
    ) -> "DockerEnclosure":
        """Get the image, and start the container if it does not run."""
        enclosure = self._enclosures.get(lease_id)
        if enclosure is None:
            await self._get_image(template.image, say)
            enclosure = DockerEnclosure(self, lease_id, template.image, limits, say)
            self._enclosures[lease_id] = enclosure
        await enclosure.open()
        return enclosure

    async def _get_image(self, image: str, say: Say) -> None:
        if not (await call(self.program, "image", "inspect", "--format", "{{.Id}}", image))[0]:
            return
        say(f"pulling the image {image}")
        try:
            with trio.fail_after(PULL_SECONDS):
                done = await trio.run_process(
                    [self.program, "pull", "--quiet", image],
                    stdin=b"",
                    capture_stdout=True,
                    capture_stderr=True,
                    check=False,
                )
        except trio.TooSlowError:
            raise EnclosureError(f"{image} is not here after {PULL_SECONDS} s") from None
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()[-500:]
            raise EnclosureError(f"the image {image} cannot be pulled: {said}")

    async def leftovers(self) -> list[int]:
        """Directories, and containers with this node's label."""
        form = '{{.Label "' + LEASE_LABEL + '"}}'
        found = {path.name for path in self._home.glob("*")} if self._home.is_dir() else set()
        label = f"label={HOME_LABEL}={self.label}"
        _, out, _ = await call(self.program, "ps", "--all", "--filter", label, "--format", form)
        found.update(out.decode(errors="replace").split())
        return sorted(int(each) for each in found if each.isdigit())

    async def wipe(self, lease_id: int) -> None:
        """End and remove."""
        enclosure = self._enclosures.pop(lease_id, None)
        if enclosure is not None:
            await enclosure.retire()
        await call(self.program, "rm", "--force", self.container(lease_id))
        try:
            await trio.to_thread.run_sync(wipe_home, self.directory(lease_id))
        except (OSError, WardenError) as error:
            raise EnclosureError(f"lease {lease_id}: cannot be wiped: {error}") from error

    def directory(self, lease_id: int) -> Path:
        """Where the lease's workspace is kept."""
        return self._home / str(lease_id)

    def container(self, lease_id: int) -> str:
        """The name of its container."""
        return f"kaisar-{self.label}-{lease_id}"

    def orders(self, lease_id: int, image: str, limits: Limits) -> dict[str, Any]:
        """What a warden has to know."""
        owner = workload_user(lease_id)
        directory = self.directory(lease_id).absolute()
        return {
            "lease_id": lease_id,
            "directory": str(directory),
            "docker": self.program,
            "name": self.container(lease_id),
            "owner": owner,
            "limits": {
                "cores": limits.cores,
                "memory_bytes": limits.memory_bytes,
                "disk_bytes": limits.disk_bytes,
                "processes": limits.processes,
            },
            "arguments": build_run(
                name=self.container(lease_id),
                home_label=self.label,
                lease_id=lease_id,
                image=image,
                workspace=directory / "workspace",
                limits=limits,
                user=owner or (os.geteuid(), os.getegid()),
                gpus=self.gpus,
            ),
        }


class DockerEnclosure:
    """See `runner.Enclosure`."""

    def __init__(
        self, runner: DockerRunner, lease_id: int, image: str, limits: Limits, say: Say
    ) -> None:
        self._runner = runner
        self._image = image
        self._limits = limits
        self._say = say
        self._opening = trio.Lock()
        self._retired = False
        self._held: Held | None = None
        self.lease_id = lease_id
        self.workspace = runner.directory(lease_id) / "workspace"
        self.owner = workload_user(lease_id)

    async def open(self) -> Held:
        """Return what runs, or start it."""
        async with self._opening:
            if self._retired:
                raise WorkloadError("lease is over", f"lease {self.lease_id} has been wiped")
            if self._held is not None:
                if await self._held.usage() is not None and not await self._held.has_room_again(
                    self._limits.disk_bytes
                ):
                    return self._held
                await self._held.close()
                self._held = None
            try:
                held = await Held.start("container_warden", self._say)
            except OSError as error:
                raise EnclosureError(f"no warden can be started: {error}") from error
            try:
                await held.give_orders(
                    self._runner.orders(self.lease_id, self._image, self._limits)
                )
            except BaseException:
                await held.close()
                raise
            self._held = held
            return held

    async def start(self, command: Command) -> DockerProcess:
        """Start it by `docker exec`."""
        held = await self.open()
        name = self._runner.container(self.lease_id)
        return await start_process(self._runner.program, name, command, held.has_ended)

    async def connect(self, port: int) -> trio.abc.HalfCloseableStream:
        """Connect from within the container's network."""
        if not 0 < port < 1 << 16:
            raise WorkloadError("cannot connect", f"port {port}")
        held = await self.open()
        if self._runner.enters_networks:
            try:
                connection = await trio.to_thread.run_sync(connect_within, held.first, port)
            except OSError as error:
                detail = f"port {port}: nobody listens there: {error}"
                raise WorkloadError("cannot connect", detail) from None
            return trio.SocketStream(trio.socket.from_stdlib_socket(connection))
        return await self._relay(port)

    async def _relay(self, port: int) -> trio.abc.HalfCloseableStream:
        name = self._runner.container(self.lease_id)
        script = build_script(name, RELAY, PYTHON_RELAY, str(port))
        process = await trio.lowlevel.open_process(
            [self._runner.program, *script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        stream = RelayStream(process)
        try:
            with trio.move_on_after(CONNECT_SECONDS):
                if await stream.receive_some(1) == b"+":
                    return stream
        except BaseException:
            await stream.aclose()
            raise
        await stream.aclose()
        raise WorkloadError("cannot connect", f"port {port}: nobody listens there")

    async def usage(self) -> Usage:
        """Ask the warden, or look at the files when nothing runs."""
        if self._held is not None:
            found = await self._held.usage()
            if found is not None:
                return found
        size = await trio.to_thread.run_sync(measure_workspace, self.workspace)
        return Usage(0.0, 0, self._limits.disk_bytes if size is None else size, 0)

    async def stop(self) -> None:
        """Remove the container."""
        async with self._opening:
            if self._held is not None:
                await self._held.close()
                self._held = None

    async def retire(self) -> None:
        """`stop` for good: whoever still has a command for it is refused."""
        self._retired = True
        await self.stop()

    async def wipe(self) -> None:
        """Remove it, and its files."""
        await self._runner.wipe(self.lease_id)


class RelayStream(trio.abc.HalfCloseableStream):
    """A connection by the pipes of a relay inside, which ends with it."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        self._process = process
        self._out = process.stdin
        self._in = process.stdout

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it."""
        await self._out.send_all(bytes(data) if isinstance(data, bytearray) else data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until something can be sent."""
        await self._out.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what came, nothing at the end."""
        return await self._in.receive_some(max_bytes)

    async def send_eof(self) -> None:
        """Say that no more comes."""
        await self._out.aclose()

    async def aclose(self) -> None:
        """Close both ways, and the relay."""
        with trio.CancelScope(shield=True):
            await self._out.aclose()
            await self._in.aclose()
            self._process.terminate()
            with trio.move_on_after(CALL_SECONDS):
                await self._process.wait()
            if self._process.poll() is None:
                self._process.kill()
                await self._process.wait()


def find_docker(home: Path) -> DockerRunner:
    """Look whether Docker answers here; NoRunnerError with the reason and the fix."""
    program = shutil.which("docker")
    if program is None:
        raise NoRunnerError("docker is not installed")
    try:
        done = subprocess.run(  # noqa: S603
            [program, "info", "--format", "{{json .}}"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=CALL_SECONDS,
            check=False,
        )
        facts = json.loads(done.stdout or b"{}")
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise NoRunnerError(f"docker cannot be asked: {error}") from error
    if done.returncode or facts.get("ServerErrors") or not facts.get("ServerVersion"):
        errors = facts.get("ServerErrors") or [done.stderr.decode(errors="replace").strip()]
        raise NoRunnerError(f"the Docker service does not answer: {'; '.join(errors)[-500:]}")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    gpus = bool(find_devices()) and "nvidia" in (facts.get("Runtimes") or {})
    return DockerRunner(home, program, gpus=gpus, enters_networks=not os.geteuid())

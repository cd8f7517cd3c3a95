"""What a hostile workload tries in a container, where Docker answers."""

import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from p2p_node.rental.docker import DockerEnclosure, DockerRunner
from p2p_node.rental.runner import Limits
from tests import require
from tests.fakes.enclosure import FAKE_LIMITS, FAKE_TEMPLATE
from tests.p2p_node.rental.boxes import docker_runner
from tests.p2p_node.rental.commands import python, read_until, run, run_command, shell

pytestmark = pytest.mark.integration

SMALL = Limits(cores=1, memory_bytes=192 << 20, disk_bytes=24 << 20, processes=40)


class Scene:
    def __init__(self, runner: DockerRunner) -> None:
        self.runner = runner
        self.said: list[str] = []
        self.attacker: DockerEnclosure
        self.neighbour: DockerEnclosure

    async def set(self) -> None:
        self.attacker = await self.runner.prepare(1, FAKE_TEMPLATE, SMALL, self.said.append)
        self.neighbour = await self.runner.prepare(2, FAKE_TEMPLATE, FAKE_LIMITS, print)
        await run(self.neighbour, "echo neighbours-secret > secret")

    async def try_python(self, script: str) -> tuple[int, str]:
        status, out, errors = await run_command(self.attacker, python(script))
        return status, (out + errors).decode(errors="replace")

    async def assert_serving(self) -> None:
        assert await run(self.neighbour, "cat secret") == (0, b"neighbours-secret\n", b"")
        assert await run(self.attacker, "echo on") == (0, b"on\n", b"")


@pytest.fixture
async def scene(data_dir: Path) -> AsyncIterator[Scene]:
    require.program("docker")
    async with docker_runner(data_dir) as runner:
        made = Scene(runner)
        await made.set()
        yield made


async def test_neither_files_nor_networks_of_the_host_are_reached(
    scene: Scene, data_dir: Path
) -> None:
    (data_dir / "node.key").write_text("secret")
    hidden = [data_dir / "node.key", scene.neighbour.workspace / "secret", Path(__file__)]
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        own = socket.gethostbyname(socket.gethostname())
        status, out = await scene.try_python(
            f"""
import os, socket
print([path for path in {list(map(str, hidden))!r} if os.path.exists(path)])
for address in ("127.0.0.1", {own!r}, "172.17.0.1", "8.8.8.8"):
    try:
        socket.create_connection((address, {port}), 5)
        print(address)
    except OSError:
        pass
for line in open("/proc/self/status"):
    if line.startswith(("CapEff", "CapBnd", "NoNewPrivs", "Seccomp:")):
        print(*line.split())
for path in ("/usr/evil", "/evil", "/etc/passwd"):
    try:
        open(path, "a")
        print(path)
    except OSError:
        pass
print(sorted(int(p) for p in os.listdir("/proc") if p.isdigit())[0], os.getuid() != 0)
"""
        )
    assert status == 0, out
    assert out.splitlines() == [
        "[]",
        "CapEff: 0000000000000000",
        "CapBnd: 0000000000000000",
        "NoNewPrivs: 1",
        "Seccomp: 2",
        "1 True",
    ]
    await scene.assert_serving()


async def test_forking_memory_and_disk_have_their_limits(scene: Scene) -> None:
    status, out = await scene.try_python(
        """
import os, time
count = 0
try:
    while True:
        if os.fork() == 0:
            os.close(1); os.close(2); time.sleep(1000)
        count += 1
except OSError:
    print(count)
"""
    )
    assert status == 0, out
    assert 10 < int(out) <= SMALL.processes
    await scene.attacker.stop()
    await scene.assert_serving()

    status, _ = await scene.try_python(
        "kept = []\nwhile True: kept.append(bytearray(b'x') * 10_000_000)"
    )
    assert status == -9
    assert any("a process was killed" in line for line in scene.said)
    await scene.assert_serving()

    assert (await run(scene.attacker, "exec head -c 40000000 /dev/zero > big; true"))[0] != 0
    assert (scene.attacker.workspace / "big").stat().st_size <= SMALL.disk_bytes
    status, _ = await scene.try_python(
        "import time\nfor n in range(99): open(str(n), 'wb').write(bytes(10**6))\ntime.sleep(99)"
    )
    assert status == -9
    assert any("the workspace takes" in line for line in scene.said)
    assert (await run(scene.attacker, "rm big [0-9]*"))[0] == 0
    await scene.assert_serving()


NODE = """
import sys, trio
from pathlib import Path
from p2p_node.rental.docker import find_docker
from p2p_node.rental.runner import Command
from tests.fakes.enclosure import FAKE_LIMITS, FAKE_TEMPLATE

async def main():
    runner = find_docker(Path(sys.argv[1]))
    enclosure = await runner.prepare(9, FAKE_TEMPLATE, FAKE_LIMITS, print)
    script = b"echo kept > kept; sleep 1000 & echo up; wait"
    process = await enclosure.start(Command((b"sh", b"-c", script), {}))
    print((await process.stdout.receive_some()).decode(), flush=True)
    await trio.sleep_forever()

trio.run(main)
"""


async def test_nothing_outlives_the_lease_or_the_node(scene: Scene) -> None:
    process = await scene.attacker.start(
        shell("trap '' TERM HUP INT; (sleep 1000 &) ; echo up; while :; do sleep 1; done")
    )
    await read_until(process.stdout, b"up")
    held = scene.attacker._held
    assert held is not None
    first = held.first
    await scene.attacker.stop()
    assert not Path(f"/proc/{first}").exists()
    assert await process.wait() == -9
    await process.aclose()

    node = await trio.lowlevel.open_process(
        [sys.executable, "-c", NODE, str(scene.attacker.workspace.parents[1])],
        stdout=-1,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert node.stdout is not None
    await read_until(node.stdout, b"up")
    node.kill()
    await node.wait()
    await node.stdout.aclose()
    assert 9 in await scene.runner.leftovers()
    adopted = await scene.runner.prepare(9, FAKE_TEMPLATE, FAKE_LIMITS, print)
    assert (await run(adopted, "cat kept"))[1] == b"kept\n"
    assert (await adopted.usage()).processes == 0
    await scene.assert_serving()

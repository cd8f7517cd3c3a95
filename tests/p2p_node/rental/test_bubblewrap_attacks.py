"""What a hostile workload tries under bubblewrap, for real; the runner goes on serving others."""

import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from p2p_node.rental.bubblewrap import BubblewrapEnclosure, BubblewrapRunner
from p2p_node.rental.runner import Limits
from tests import require
from tests.fakes.enclosure import FAKE_LIMITS, FAKE_TEMPLATE
from tests.p2p_node.rental.boxes import bubblewrap_runner
from tests.p2p_node.rental.commands import python, read_until, run, run_command, shell

pytestmark = pytest.mark.integration

ATTACKER = 1
NEIGHBOUR = 2
MB = 1 << 20

SMALL = Limits(cores=1, memory_bytes=192 * MB, disk_bytes=24 * MB, processes=40)


class Scene:
    """A node's data, a neighbour with a secret, and the attacker's enclosure."""

    def __init__(self, runner: BubblewrapRunner, data_dir: Path) -> None:
        self.runner = runner
        self.data_dir = data_dir
        self.said: list[str] = []
        self.attacker: BubblewrapEnclosure
        self.neighbour: BubblewrapEnclosure

    async def set(self, limits: Limits = SMALL) -> None:
        self.attacker = await self.runner.prepare(ATTACKER, FAKE_TEMPLATE, limits, self.said.append)
        self.neighbour = await self.runner.prepare(NEIGHBOUR, FAKE_TEMPLATE, FAKE_LIMITS, print)
        await run(self.neighbour, "echo neighbours-secret > secret")

    async def try_python(self, script: str) -> tuple[int, str]:
        status, out, errors = await run_command(self.attacker, python(script))
        return status, (out + errors).decode(errors="replace")

    async def assert_serving(self) -> None:
        """The neighbour notices nothing, and the attacker's own lease can go on."""
        assert await run(self.neighbour, "cat secret") == (0, b"neighbours-secret\n", b"")
        assert await run(self.attacker, "echo on") == (0, b"on\n", b"")


@pytest.fixture
async def scene(data_dir: Path) -> AsyncIterator[Scene]:
    require.program("bubblewrap")
    async with bubblewrap_runner(data_dir) as runner:
        made = Scene(runner, data_dir)
        await made.set()
        yield made


@pytest.fixture(params=["groups", "no-groups"])
async def limited(request: pytest.FixtureRequest, data_dir: Path) -> AsyncIterator[Scene]:
    """With control groups where this host has them, and as on a host that has none."""
    require.program("bubblewrap")
    async with bubblewrap_runner(data_dir, groups=request.param == "groups") as runner:
        made = Scene(runner, data_dir)
        await made.set()
        yield made


# What it may see.


async def test_no_file_of_the_host_can_be_read(scene: Scene) -> None:
    key = scene.data_dir / "node.key"
    key.write_text("the node's secret")
    key.chmod(0o644)
    hidden = [key, scene.data_dir, Path.home(), scene.neighbour.workspace / "secret"]
    hidden += [Path("/root"), Path("/home"), Path("/etc/shadow"), Path("/var/log"), Path("/boot")]
    hidden += [Path(__file__), Path(sys.prefix), Path("/sys"), Path("/run/systemd")]
    status, out = await scene.try_python(
        f"""
import os
found = []
for path in {[str(path) for path in hidden]!r}:
    for root in ("", "/proc/1/root", "/proc/self/root", "/proc/self/cwd/../../../../../.."):
        try:
            facts = os.stat(root + path)
        except OSError:
            continue
        found.append(path)
for root in ("/", "/workspace", "/run", "/tmp", "/var", "/dev", "/etc"):
    for place, directories, files in os.walk(root):
        directories[:] = [d for d in directories if os.path.join(place, d) not in ("/usr", "/proc")]
        found += [os.path.join(place, f) for f in files if f in ("node.key", "secret", "shadow")]
print(found)
"""
    )
    assert (status, out) == (0, "[]\n")
    await scene.assert_serving()


async def test_only_its_own_processes_are_there(scene: Scene) -> None:
    status, out = await scene.try_python(
        f"""
import os, signal
print(sorted(int(p) for p in os.listdir("/proc") if p.isdigit()) == [1, os.getpid()])
for pid in {os.getpid()}, {os.getppid()}:
    try:
        os.kill(pid, signal.SIGKILL)
        print("killed")
    except ProcessLookupError:
        print("nobody")
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    print(libc.ptrace(16, pid, 0, 0), os.strerror(ctypes.get_errno()))
"""
    )
    assert status == 0
    assert out == "True\n" + "nobody\n-1 No such process\n" * 2
    await scene.assert_serving()


async def test_process_1_can_be_neither_killed_nor_traced(scene: Scene) -> None:
    status, out = await scene.try_python(
        """
import ctypes, os, signal
for number in range(1, 65):
    if number not in (32, 33):
        os.kill(1, number)
libc = ctypes.CDLL(None, use_errno=True)
print(libc.ptrace(16, 1, 0, 0), os.strerror(ctypes.get_errno()))
for name in ("mem", "environ", "root", "fd"):
    try:
        os.listdir("/proc/1/" + name) if name in ("root", "fd") else open("/proc/1/" + name)
        print(name, "read")
    except PermissionError:
        pass
"""
    )
    assert (status, out) == (0, "-1 Operation not permitted\n")
    await scene.assert_serving()


async def test_it_has_no_rights_and_gets_none(scene: Scene) -> None:
    (scene.attacker.workspace / "su").write_bytes(Path("/bin/sh").read_bytes())
    (scene.attacker.workspace / "su").chmod(0o4755)
    status, out = await scene.try_python(
        """
import ctypes, os, socket, stat, subprocess
for line in open("/proc/self/status"):
    if line.startswith(("CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp:")):
        print(*line.split())
print(subprocess.run(["./su", "-c", "id -u"], capture_output=True, text=True).stdout.strip())
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, call):
    ctypes.set_errno(0)
    try:
        result = call()
    except OSError as error:
        print(name, "no")
        return
    print(name, "no" if result == -1 else "yes")
attempt("root", lambda: os.setuid(0))
attempt("other user", lambda: os.setuid(65534))
attempt("device", lambda: os.mknod("disk", 0o600 | stat.S_IFBLK, os.makedev(254, 0)))
attempt("memory", lambda: os.mknod("mem", 0o600 | stat.S_IFCHR, os.makedev(1, 1)))
attempt("mount", lambda: libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))
attempt("user namespace", lambda: libc.unshare(0x10000000))
attempt("network namespace", lambda: libc.unshare(0x40000000))
attempt("clone", lambda: libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0))
attempt("keyring", lambda: libc.syscall(250, 0, -3, 1))
attempt("ring", lambda: libc.syscall(425, 8, 0))
attempt("bpf", lambda: libc.syscall(321, 0, 0, 0))
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt("packet", lambda: socket.socket(17, socket.SOCK_RAW, 3))
attempt("vsock", lambda: socket.socket(40, socket.SOCK_STREAM))
attempt("hostname", lambda: socket.sethostname("host"))
for path in ("/usr/bin/evil", "/evil", "/etc/passwd", "/dev/evil", "/run/kaisar/agent.py",
             "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger"):
    attempt(path, lambda: open(path, "a"))
"""
        if os.uname().machine == "x86_64"
        else "raise SystemExit(77)"
    )
    if status == 77:
        pytest.skip("the numbers of system calls in this test are those of x86-64")
    assert status == 0, out
    lines = out.splitlines()
    assert lines[:6] == [
        *(f"{name}: 0000000000000000" for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")),
        "NoNewPrivs: 1",
        "Seccomp: 2",
    ]
    assert lines[6] == "1000"
    assert [line for line in lines[7:] if not line.endswith(" no")] == []
    await scene.assert_serving()


async def test_no_socket_leads_outside(scene: Scene) -> None:
    with socket.socket(socket.AF_UNIX) as named, socket.create_server(("", 0)) as server:
        place = str(scene.data_dir / "node.sock")
        named.bind(place)
        named.listen()
        abstract = socket.socket(socket.AF_UNIX)
        abstract.bind("\0kaisar-test-abstract")
        abstract.listen()
        port = server.getsockname()[1]
        own = socket.gethostbyname(socket.gethostname())
        status, out = await scene.try_python(
            f"""
import socket
for address in ("127.0.0.1", {own!r}, "10.0.0.1", "8.8.8.8", "169.254.169.254"):
    try:
        socket.create_connection((address, {port}), 5)
        print(address, "connected")
    except OSError as error:
        print(type(error).__name__)
for path in ({place!r}, "\\0kaisar-test-abstract", "/run/dbus/system_bus_socket"):
    try:
        socket.socket(socket.AF_UNIX).connect(path)
        print(path, "connected")
    except OSError as error:
        print(type(error).__name__)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
    try:
        udp.sendto(b"hello", ("8.8.8.8", 53))
        print("sent")
    except OSError:
        print("unreachable")
print([name for _, name in socket.if_nameindex()])
"""
        )
        abstract.close()
    assert status == 0
    assert "connected" not in out
    assert "sent" not in out
    assert out.endswith("unreachable\n['lo']\n")
    await scene.assert_serving()


# What it may use.


async def test_forking_without_end_ends(limited: Scene) -> None:
    status, out = await limited.try_python(
        """
import os, time
children = 0
while True:
    try:
        if os.fork() == 0:
            os.close(1)
            os.close(2)
            time.sleep(1000)
            os._exit(0)
    except OSError as error:
        break
    children += 1
print(children)
"""
    )
    assert status == 0
    assert 10 < int(out) <= SMALL.processes
    usage = await limited.attacker.usage()
    assert usage.processes <= SMALL.processes
    # Nothing else fits in until the renter, or the end of the lease, stops it.
    await limited.attacker.stop()
    await limited.assert_serving()


async def test_a_fork_bomb_does_not_reach_the_host(limited: Scene) -> None:
    bomb = await limited.attacker.start(
        shell("f() { f | f & }; f 2>/dev/null; while :; do f 2>/dev/null; done")
    )
    await trio.sleep(1)
    assert (await run(limited.neighbour, "cat secret"))[1] == b"neighbours-secret\n"
    assert (await limited.attacker.usage()).processes <= SMALL.processes
    with trio.fail_after(20):
        await limited.attacker.stop()
    await bomb.aclose()
    await limited.assert_serving()


async def test_one_file_cannot_be_larger_than_the_limit(limited: Scene) -> None:
    status, _, errors = await run(limited.attacker, "exec head -c 40000000 /dev/zero > big")
    # SIGXFSZ, or the program's own word for it.
    assert status in (1, -25), errors
    assert (limited.attacker.workspace / "big").stat().st_size <= SMALL.disk_bytes
    await limited.assert_serving()


@pytest.mark.parametrize(
    "filling",
    [
        "files = [open(str(number), 'wb').write(bytes(2_000_000)) for number in range(1000)]",
        # Deleted, and still there.
        """
files = []
for number in range(1000):
    files.append(open("gone", "wb", buffering=0))
    os.unlink("gone")
    files[-1].write(bytes(2_000_000))
""",
    ],
)
async def test_filling_the_disk_stops_the_lease(limited: Scene, filling: str) -> None:
    script = f"import os, time\n{filling}\ntime.sleep(1000)"
    with trio.fail_after(60):
        status, _ = await limited.try_python(script)
    assert status == -9
    assert any(
        "the workspace takes" in line and "at most 25165824" in line for line in limited.said
    )
    await limited.assert_serving()


async def test_a_full_workspace_can_be_emptied_and_nothing_else(scene: Scene) -> None:
    status, _ = await scene.try_python(
        "import time\nfor n in range(50): open(str(n), 'wb').write(bytes(10**6))\ntime.sleep(99)"
    )
    assert status == -9
    status, _, errors = await run(scene.attacker, "echo more > more")
    assert status != 0, errors
    assert any("only be deleted" in line for line in scene.said)
    assert (await run(scene.attacker, "rm [0-9]*"))[0] == 0
    assert (await run(scene.attacker, "echo more > more && cat more"))[1] == b"more\n"


async def test_files_without_content_count_as_well(limited: Scene) -> None:
    script = """
import os, time
for directory in range(1000):
    os.mkdir(f"d{directory}")
    for number in range(100):
        open(f"d{directory}/{number}", "w").close()
time.sleep(1000)
"""
    with trio.fail_after(90):
        status, _ = await limited.try_python(script)
    assert status == -9
    assert any("files and directories" in line for line in limited.said)
    await limited.attacker.wipe()
    assert not limited.attacker.workspace.exists()
    assert (await run(limited.neighbour, "cat secret"))[0] == 0


async def test_directories_within_each_other_without_end_stop_the_lease(scene: Scene) -> None:
    script = """
import os, time
for _ in range(5000):
    os.mkdir("d" * 200)
    os.chdir("d" * 200)
time.sleep(1000)
"""
    with trio.fail_after(60):
        status, _ = await scene.try_python(script)
    assert status == -9
    assert any("within each other" in line for line in scene.said)
    await scene.attacker.wipe()
    assert not scene.attacker.workspace.exists()


async def test_files_in_memory_are_bounded(limited: Scene) -> None:
    for place in ("/tmp", "/dev/shm", "/run", "/", "/dev", "/etc"):
        await run(limited.attacker, f"exec head -c 2000000000 /dev/zero > {place}/big; true")
        usage = await limited.attacker.usage()
        assert usage.memory_bytes <= SMALL.memory_bytes + 8 * MB
        await limited.attacker.stop()
    await limited.assert_serving()


@pytest.mark.parametrize(
    "script",
    [
        "kept = []\nwhile True: kept.append(bytearray(b'x') * 10_000_000)",
        # By many, each of them below the limit.
        """
import os, time
for _ in range(10):
    if os.fork() == 0:
        break
kept = bytearray(b"x") * 60_000_000
time.sleep(5)
""",
        # By files that have no name and no place.
        """
import os
kept = [os.memfd_create("m") for _ in range(200)]
for each in kept: os.write(each, bytes(10_000_000))
""",
        # By segments that no process has mapped.
        """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
for _ in range(200):
    segment = libc.shmget(0, 10_000_000, 0o1600)
    if segment < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    place = libc.shmat(segment, None, 0)
    ctypes.memset(place, 1, 10_000_000)
    libc.shmdt(ctypes.c_void_p(place))
""",
    ],
    ids=["one", "many", "files", "segments"],
)
async def test_taking_all_memory_fails(limited: Scene, script: str) -> None:
    with trio.fail_after(60):
        status, out = await limited.try_python(script)
    await limited.attacker.usage()
    if status == -9:
        assert any("bytes of memory" in line for line in limited.said)
    elif status == 0:
        # Some of its processes were killed, the first one was not.
        assert any("a process was killed" in line for line in limited.said)
    else:
        assert "MemoryError" in out or "Operation not permitted" in out
    await limited.attacker.stop()
    await limited.assert_serving()


async def test_more_processes_than_cores_get_no_more_time(limited: Scene) -> None:
    process = await limited.attacker.start(
        shell("for i in 1 2 3; do sh -c 'while :; do :; done' & done; echo up; wait")
    )
    await read_until(process.stdout, b"up")
    began = trio.current_time()
    before = (await limited.attacker.usage()).cpu_seconds
    await trio.sleep(2)
    used = (await limited.attacker.usage()).cpu_seconds - before
    elapsed = trio.current_time() - began
    assert used <= elapsed * SMALL.cores + 0.3
    await process.aclose()


# How long it may last.


def find_marked(marker: str) -> list[int]:
    """Processes of the host whose command line has the marker in it."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if marker.encode() in (directory / "cmdline").read_bytes():
                found.append(int(directory.name))
    return found


STAY = """
import os, signal, time
for number in range(1, 65):
    if number not in (9, 19, 32, 33):
        signal.signal(number, signal.SIG_IGN)
marker = "{marker}"
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                if os.fork():
                    os._exit(0)
                time.sleep(0.01)
print("up", flush=True)
time.sleep(1000)
"""


async def wait_until_gone(marker: str) -> None:
    with trio.fail_after(20):
        while find_marked(marker):
            await trio.sleep(0.02)


async def test_nothing_outlives_the_lease(scene: Scene) -> None:
    process = await scene.attacker.start(python(STAY.format(marker="kaisar-stays-1")))
    await read_until(process.stdout, b"up")
    again = await scene.attacker.start(
        shell("nohup setsid sh -c 'sleep 1000; : kaisar-stays-1' >/dev/null 2>&1 & echo up")
    )
    await read_until(again.stdout, b"up")
    assert find_marked("kaisar-stays-1")
    await scene.attacker.stop()
    assert find_marked("kaisar-stays-1") == []
    await process.aclose()
    await again.aclose()
    await scene.assert_serving()


NODE = """
import sys, trio
from pathlib import Path
from p2p_node.rental.bubblewrap import find_bubblewrap
from p2p_node.rental.runner import Command
from tests.fakes.enclosure import FAKE_LIMITS, FAKE_TEMPLATE

async def main():
    runner = find_bubblewrap(Path(sys.argv[1]))
    enclosure = await runner.prepare(9, FAKE_TEMPLATE, FAKE_LIMITS, print)
    process = await enclosure.start(Command((b"python3", b"-c", sys.argv[2].encode()), {}))
    print((await process.stdout.receive_some()).decode(), flush=True)
    await trio.sleep_forever()

trio.run(main)
"""


async def test_a_killed_node_takes_its_workloads_along_and_leaves_their_files(
    scene: Scene,
) -> None:
    marker = "kaisar-stays-2"
    script = "open('kept', 'w').write('kept')" + STAY.format(marker=marker)
    node = await trio.lowlevel.open_process(
        [sys.executable, "-c", NODE, str(scene.data_dir / "rental"), script],
        stdout=-1,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert node.stdout is not None
    await read_until(node.stdout, b"up")
    assert find_marked(marker)
    node.kill()
    await node.wait()
    await node.stdout.aclose()
    assert 9 in await scene.runner.leftovers()
    # It waits for what is still on its way out.
    adopted = await scene.runner.prepare(9, FAKE_TEMPLATE, FAKE_LIMITS, print)
    assert [pid for pid in find_marked(marker) if pid != os.getpid()] == []
    assert (await run(adopted, "cat kept"))[1] == b"kept"


async def test_the_death_of_the_warden_is_the_death_of_all(scene: Scene) -> None:
    process = await scene.attacker.start(python(STAY.format(marker="kaisar-stays-3")))
    await read_until(process.stdout, b"up")
    assert scene.attacker._box is not None
    scene.attacker._box.held.warden.kill()
    with trio.fail_after(20):
        assert await process.wait() == -9
    await wait_until_gone("kaisar-stays-3")
    await process.aclose()
    await scene.assert_serving()


# What it may leave.


async def test_planted_links_lead_nowhere(scene: Scene) -> None:
    outside = scene.data_dir / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    outside.chmod(0o777)
    status, out = await scene.try_python(
        f"""
import os
os.symlink({str(outside)!r}, "link")
os.symlink({str(outside / "kept")!r}, "file")
os.symlink("/", "top")
os.mkdir("d")
for path in ("/usr/bin/sh", "/etc/passwd", "/proc/1/exe", "/dev/null", "/etc/ld.so.cache"):
    try:
        os.link(path, "hard", follow_symlinks=False)
        print(path)
    except OSError:
        pass
print(os.path.exists("link"), os.path.exists("file"))
os.mkdir(b"odd\\xff\\n name")
open(b"odd\\xff\\n name/-rf", "w").close()
os.mkdir("closed"); open("closed/file", "w").close()
os.chmod("closed/file", 0); os.chmod("closed", 0)
os.mkfifo("fifo")
for _ in range(300):
    os.mkdir("deep"); os.chdir("deep")
os.chmod(".", 0)
"""
    )
    assert (status, out) == (0, "False False\n")
    await scene.attacker.stop()
    await scene.attacker.usage()
    await scene.attacker.wipe()
    assert not scene.attacker.workspace.parent.exists()
    assert (outside / "kept").read_text() == "kept"
    assert await scene.runner.leftovers() == [NEIGHBOUR]


async def test_a_workspace_replaced_by_a_link_is_not_followed(scene: Scene) -> None:
    outside = scene.data_dir / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    await scene.attacker.wipe()
    place = scene.runner.directory(ATTACKER)
    place.symlink_to(outside)
    await scene.runner.wipe(ATTACKER)
    assert (outside / "kept").exists()
    assert not place.is_symlink()


async def test_network_is_there_only_when_the_offer_says_so(data_dir: Path) -> None:
    require.program("bubblewrap")
    async with bubblewrap_runner(data_dir) as runner:
        limits = replace(FAKE_LIMITS, network=True)
        enclosure = await runner.prepare(ATTACKER, FAKE_TEMPLATE, limits, print)
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            script = f"import socket; socket.create_connection(('127.0.0.1', {port})); print('in')"
            assert (await run_command(enclosure, python(script)))[1] == b"in\n"

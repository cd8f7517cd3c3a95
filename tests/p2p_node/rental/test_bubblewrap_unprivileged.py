"""Bubblewrap for a node whose user has no rights at all."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests import require

pytestmark = pytest.mark.integration

NOBODY = 65534
ROOT = Path(__file__).parents[3]

NODE = """
import json, os, sys, trio
from pathlib import Path
from p2p_node.rental.bubblewrap import find_bubblewrap
from p2p_node.rental.runner import Limits
from tests.fakes.enclosure import FAKE_TEMPLATE
from tests.p2p_node.rental.commands import python, run, run_command

LIMITS = Limits(cores=1, memory_bytes=192 << 20, disk_bytes=24 << 20, processes=40)
FORK = '''
import os, time
count = 0
try:
    while True:
        if os.fork() == 0:
            os.close(1); os.close(2); time.sleep(1000)
        count += 1
except OSError:
    print(count)
'''
MANY = '''
import os, time
for _ in range(8):
    if os.fork() == 0:
        break
kept = bytearray(b"x") * 60_000_000
time.sleep(30)
'''
DISK = "import time\\nfor n in range(99): open(str(n), 'wb').write(bytes(10**6))\\ntime.sleep(99)"
PEEK = '''
import os
print([p for p in {paths!r} if os.path.exists(p)], os.getuid(), len(os.listdir("/workspace")))
'''

async def main():
    home = Path(sys.argv[1])
    (home / "node.key").write_text("secret")
    runner = find_bubblewrap(home / "rental")
    said = []
    enclosure = await runner.prepare(3, FAKE_TEMPLATE, LIMITS, said.append)
    found = {"owner": enclosure.owner, "notes": runner.notes}
    peek = PEEK.format(paths=[str(home / "node.key"), str(home), sys.argv[2]])
    found["peek"] = (await run_command(enclosure, python(peek)))[1].decode()
    found["forks"] = int((await run_command(enclosure, python(FORK)))[1])
    await enclosure.stop()
    found["memory"] = (await run_command(enclosure, python(MANY)))[0]
    found["disk"] = (await run_command(enclosure, python(DISK)))[0]
    found["emptied"] = (await run(enclosure, "rm [0-9]*"))[0]
    found["on"] = (await run(enclosure, "echo on > file && cat file"))[1].decode()
    found["said"] = said
    await enclosure.wipe()
    found["left"] = await runner.leftovers()
    print(json.dumps(found))

trio.run(main)
"""


def test_a_user_without_rights_can_keep_renters_apart(tmp_path: Path) -> None:
    require.program("bubblewrap")
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}:{sysconfig.get_paths()['purelib']}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    python = sys.executable
    user: int | None = None
    if os.geteuid() == 0:
        # Root's own interpreter may be closed to others, the system's is not.
        python, user = "/usr/bin/python3", NOBODY
        probe = subprocess.run(
            [python, "-c", "import trio, p2p_node, pytest"],
            env=environment,
            user=user,
            capture_output=True,
            check=False,
            cwd="/",
        )
        if probe.returncode:
            pytest.skip(f"{python} cannot run this node for a user: {probe.stderr[-200:]!r}")
        # pytest's own directories, of which there is one more with several workers.
        for directory in tmp_path.parents:
            if directory.name.startswith(("pytest-", "popen-")):
                directory.chmod(0o711)
        os.chown(tmp_path, NOBODY, NOBODY)
    done = subprocess.run(
        [python, "-c", NODE, str(tmp_path), str(ROOT)],
        env=environment,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        capture_output=True,
        check=False,
        cwd="/",
        timeout=200,
    )
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert found["owner"] is None
    assert any("workloads run as the user of the node" in note for note in found["notes"])
    assert found["peek"] == "[] 1000 0\n"
    assert 10 < found["forks"] <= 40
    assert found["memory"] == -9
    assert found["disk"] == -9
    assert found["emptied"] == 0
    assert found["on"] == "on\n"
    assert any("bytes of memory" in line for line in found["said"])
    assert any("the workspace takes" in line for line in found["said"])
    assert found["left"] == []

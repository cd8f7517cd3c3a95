"""Enclosures work wherever this program lies, also where the host's directories are covered."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import require

ROOT = Path(__file__).parents[3]
FIND = """
import sys
from pathlib import Path
from p2p_node.rental.bubblewrap import find_bubblewrap
print(find_bubblewrap(Path(sys.argv[1])).name)
"""


def test_a_node_that_lies_in_tmp_can_keep_renters_apart() -> None:
    require.program("bubblewrap")
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        for package in ("p2p_node", "protocols"):
            shutil.copytree(
                ROOT / package, Path(place, package), ignore=shutil.ignore_patterns("__pycache__")
            )
        done = subprocess.run(
            [sys.executable, "-c", FIND, f"{place}/rental"],
            env={**os.environ, "PYTHONPATH": place},
            cwd=place,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
    assert (done.stdout, done.returncode) == ("bubblewrap\n", 0), done.stderr

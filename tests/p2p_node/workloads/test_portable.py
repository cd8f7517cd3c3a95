"""The proof and its benchmarks can be carried to a machine that has NumPy and nothing else.

A GPU takes CuPy as well, which is imported when one is looked for.
"""

import subprocess
import sys

import pytest

NUMPY_ONLY = [
    "protocols.verify",
    "protocols.host_proof",
    "protocols.measurement",
    "p2p_node.workloads.numpy_backend",
    "p2p_node.workloads.core_chains",
    "p2p_node.workloads.devices",
    "bench.attacks",
    "bench.popw",
    "bench.verify",
]

ALONE = """
import importlib.abc, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        first = name.partition(".")[0]
        if first not in sys.stdlib_module_names | {"protocols", "p2p_node", "bench", "numpy"}:
            raise ModuleNotFoundError(f"No module named {first!r}", name=first)

sys.meta_path.insert(0, Refuse())
"""
"""Makes an interpreter forget everything but NumPy and this project."""


def run_alone(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ALONE + script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("module", NUMPY_ONLY)
def test_nothing_but_numpy_is_imported(module: str) -> None:
    done = run_alone(f"import {module}")
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_not_there_is_noticed() -> None:
    assert "No module named 'trio'" in run_alone("import p2p_node.workloads.device_group").stderr


def test_the_benchmark_runs_on_numpy_alone() -> None:
    arguments = (
        "--k 64 --n 64 --rows 32 --window 0.01 --pass-window 0.01 --repeats 1 --draws 1 --threads 1"
    )
    done = run_alone(
        f"from bench.popw import main; sys.exit(main({arguments.split()} + ['--memory', '64']))"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert '"prover_rate_tops"' in done.stdout

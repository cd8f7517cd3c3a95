"""Prover and verifier can be carried to a machine that has NumPy and nothing else."""

import subprocess
import sys

import pytest

NUMPY_ONLY = ["protocols.verify", "p2p_node.workloads.numpy_backend"]


@pytest.mark.parametrize("module", NUMPY_ONLY)
def test_nothing_but_numpy_is_imported(module: str) -> None:
    script = (
        "import sys; before = set(sys.modules)\n"
        f"import {module}\n"
        "names = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(names - sys.stdlib_module_names - {'protocols', 'p2p_node', 'numpy'}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == []

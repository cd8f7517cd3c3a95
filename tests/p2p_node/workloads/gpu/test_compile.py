"""The kernels compile wherever they may have to, without a warning."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from p2p_node.workloads.gpu.sources import KERNELS, load_source
from tests import require
from tests.fakes.gpu_runtime import C_FLAGS

MAX_REGISTERS = {"mix_rows": 32, "expand_rows": 32, "hash_leaves": 64, "hash_level": 64}
"""65,536 registers of a multiprocessor: 32 each leave no limit to the threads that it holds."""


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_nvcc_compiles_them(architecture: str, tmp_path: Path) -> None:
    """Lean, and without spilling a register."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("nvcc is not installed")
    source = tmp_path / "proof.cu"
    source.write_text(load_source(), encoding="utf-8")
    flags = ["-cubin", f"-arch={architecture}", "-Xptxas", "-v", "-Werror", "all-warnings"]
    log = run([nvcc, *flags, "-o", str(tmp_path / "proof.cubin"), str(source)])
    used = dict(re.findall(r"entry function '(\w+)'(?:.|\n)*?Used (\d+) registers", log))
    assert {name: int(used[name]) <= most for name, most in MAX_REGISTERS.items()} == dict.fromkeys(
        MAX_REGISTERS, True
    ), used
    assert len(used) == load_source().count("KERNEL ") - 2
    assert set(re.findall(r"(\d+) bytes spill stores", log)) == {"0"}


def test_a_c_compiler_takes_the_files_as_they_are(tmp_path: Path) -> None:
    compiler = require.program("compiler")
    strict = ["-Wconversion", "-Wno-sign-conversion", "-Wshadow", "-Werror"]
    run([compiler, *C_FLAGS, *strict, "-o", str(tmp_path / "a.so"), str(KERNELS / "proof.cu")])


def test_the_source_is_one_text() -> None:
    source = load_source()
    assert "#include" not in source
    for path in KERNELS.iterdir():
        assert path.suffix in {".h", ".cu"}
        definitions = re.findall(r"^KERNEL (\w+)\(", path.read_text(encoding="utf-8"), re.M)
        assert all(source.count(f"KERNEL {name}(") == 1 for name in definitions)


def test_numpy_is_all_that_it_takes() -> None:
    """To carry the proof to any machine."""
    script = (
        "import sys\n"
        # CuPy brings modules of its own, others with every version.
        "try: import cupy\n"
        "except ImportError: pass\n"
        "before = set(sys.modules)\n"
        "import p2p_node.workloads.gpu.devices as devices\n"
        "devices.list_gpus()\n"
        "names = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "known = {'protocols', 'p2p_node', 'numpy', 'cupy', 'cupy_backends', 'cuda'}\n"
        "print(*sorted(names - sys.stdlib_module_names - known))\n"
    )
    assert run([sys.executable, "-c", script]).split() == []

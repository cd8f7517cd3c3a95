"""What an optimised program gains on the cpu proof: the one attack that needs a compiler."""

import platform
import subprocess
from pathlib import Path

import pytest

import bench.adversaries
from tests import require

SOURCE = Path(bench.adversaries.__file__).with_name("interleaved_chains.c")
MASK = (1 << 32) - 1


def turn(word: int, by: int) -> int:
    return (word >> by | word << 32 - by) & MASK


def constants() -> list[int]:
    """First 32 bits of the fractional parts of the cube roots of the first 64 primes."""
    primes = [p for p in range(2, 312) if all(p % d for d in range(2, p))]
    return [_cube_root(p << 96) & MASK for p in primes]


def _cube_root(value: int) -> int:
    low, high = 0, 1 << 40
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**3 <= value else (low, middle)
    return low


def absorb_zeros(state: list[int], blocks: int) -> list[int]:
    """SHA-256's compression function on blocks of zeros, whose schedule is zero."""
    for _ in range(blocks):
        a, b, c, d, e, f, g, h = state
        for k in constants():
            first = h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + (e & f ^ ~e & g) + k
            second = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + (a & b ^ a & c ^ b & c)
            a, b, c, d, e, f, g, h = (first + second) & MASK, a, b, c, (d + first) & MASK, e, f, g
        state = [(x + y) & MASK for x, y in zip(state, (a, b, c, d, e, f, g, h), strict=True)]
    return state


START = [
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
]  # fmt: skip


def test_interleaved_chains_are_true_ones(tmp_path: Path) -> None:
    """Residual truth of docs/attacks.md, which has the figure: what the program gains is a timing,
    so it is for whoever runs it on a quiet machine. That it computes real chains is tested here."""
    flags = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not flags.exists() or " sha_ni" not in flags.read_text():
        pytest.skip("no SHA instructions on this machine")
    compiler = require.program("compiler")
    program = tmp_path / "interleaved"
    subprocess.run(
        [compiler, "-O2", "-msha", "-msse4.1", "-o", str(program), str(SOURCE)], check=True
    )
    done = subprocess.run([str(program)], capture_output=True, text=True, check=True, timeout=60)
    state = done.stdout.split("\n")[2]

    assert state == "".join(f"{word:08x}" for word in absorb_zeros(START, 3))

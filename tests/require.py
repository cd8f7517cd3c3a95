"""What a test needs beyond Python: there, or the test is skipped with its reason.

`KAISAR_REQUIRE` names, separated by commas, what must be there: a test that misses one of those
fails instead. CI sets it, so that a broken installation cannot pass for a row of skips.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

VARIABLE: Final = "KAISAR_REQUIRE"

FULL_VARIABLE: Final = "KAISAR_FULL"
"""Set to anything, tests that take many minutes try every case instead of the hardest one."""

GPU: Final = "gpu"

PROGRAMS: Final[Mapping[str, tuple[str, ...]]] = {
    "anvil": ("anvil",),
    "bubblewrap": ("bwrap",),
    "chromium": ("chromium", "chromium-browser"),
    "compiler": ("gcc", "cc"),
    "docker": ("docker",),
    "postgresql": ("postgres",),
}
"""The names that tests use, and what the programs are called."""

_BESIDE_PATH: Final[Mapping[str, str]] = {"postgresql": "/usr/lib/postgresql/*/bin"}
"""Debian keeps the servers of several PostgreSQL versions out of PATH."""


def program(name: str) -> str:
    """Return the path of a program that may be missing; skip the test, or fail it, when it is.

    `name` is one of PROGRAMS. Call it in a fixture or at the start of a test.
    """
    for candidate in PROGRAMS[name]:
        found = shutil.which(candidate) or _find_beside_path(name, candidate)
        if found:
            return found
    miss(name, f"{PROGRAMS[name][0]} is not installed")
    raise AssertionError("unreachable")


def gpu() -> None:
    """Go on only on a machine with an NVIDIA GPU and CuPy."""
    try:
        import cupy
    except ImportError:
        miss(GPU, "CuPy is not installed")
        return
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        miss(GPU, f"no NVIDIA GPU: {error}")
        return
    if count < 1:
        miss(GPU, "no NVIDIA GPU")


def is_full() -> bool:
    """Tell whether time does not matter: every case of the long tests is wanted."""
    return bool(os.environ.get(FULL_VARIABLE))


def miss(name: str, reason: str) -> None:
    """Skip the running test for want of `name`, or fail it where `name` is required."""
    if name in required(os.environ):
        pytest.fail(f"{name} is required by {VARIABLE}, but {reason}", pytrace=False)
    pytest.skip(f"{name}: {reason}")


def required(environment: Mapping[str, str]) -> frozenset[str]:
    """Return the names in KAISAR_REQUIRE; ValueError for one that no test knows."""
    names = frozenset(filter(None, environment.get(VARIABLE, "").replace(" ", "").split(",")))
    known = {*PROGRAMS, GPU}
    for name in sorted(names - known):
        raise ValueError(f"{VARIABLE}: found {name!r}, expected some of {', '.join(sorted(known))}")
    return names


def _find_beside_path(name: str, candidate: str) -> str | None:
    pattern = _BESIDE_PATH.get(name)
    if pattern is None:
        return None
    directories = sorted(Path("/").glob(pattern.removeprefix("/")), reverse=True)
    return shutil.which(candidate, path=os.pathsep.join(map(str, directories)))

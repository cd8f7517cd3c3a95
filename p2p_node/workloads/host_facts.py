"""What this host says about itself: processor, memory, disk, kernel, container, versions.

Everything is a hint that may be missing, so nothing here raises for a file that is not there.
"""

import os
import platform
import re
import shutil
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Final

import numpy as np

from protocols.device_facts import MAX_TEXT, HostFacts, SoftwareFacts

_ROOT: Final = Path("/")
_MAX_FILE_BYTES: Final = 1 << 20

_CUPY: Final = re.compile(r"cupy(?:-cuda(\d+)x)?")
"""Distributions of CuPy; their names tell the CUDA major version that they were built for."""

_CONTAINERS: Final = ("kubepods", "docker", "containerd", "libpod", "lxc")


def read_host_facts(data_dir: Path, *, root: Path = _ROOT) -> HostFacts:
    """Describe the host; disk sizes are those of the file system of `data_dir`.

    `root` is where /proc, /sys and /run are looked for.
    """
    cpuinfo, meminfo = _read(root / "proc/cpuinfo"), _read(root / "proc/meminfo")
    limit = _parse_limit(_read(root / "sys/fs/cgroup/memory.max"))
    total, free = _read_disk(data_dir)
    system = platform.uname()
    return HostFacts(
        cpu=clean_text(find_cpu_model(cpuinfo) or platform.processor()),
        cores=count_cores(),
        memory_total=_least(parse_meminfo(meminfo, "MemTotal"), limit),
        memory_available=_least(parse_meminfo(meminfo, "MemAvailable"), limit),
        disk_total=total,
        disk_free=free,
        kernel=clean_text(f"{system.system} {system.release}"),
        machine=clean_text(system.machine),
        container=find_container(root),
        hypervisor=find_hypervisor(cpuinfo, root),
    )


def read_software_facts(
    *, driver: str | None = None, cuda: int | None = None, confidential: int | None = None
) -> SoftwareFacts:
    """Describe the software; what the driver says is passed in."""
    cupy, cupy_cuda = find_cupy(
        (each.metadata["Name"] or "", each.version) for each in metadata.distributions()
    )
    return SoftwareFacts(
        kaisar=_find_version("kaisar-node"),
        python=clean_text(platform.python_version()),
        numpy=clean_text(np.__version__),
        blas=clean_text(name_blas()),
        cupy=clean_text(cupy or ""),
        cupy_cuda=cupy_cuda,
        driver=driver,
        cuda=cuda,
        confidential=confidential,
    )


def count_cores() -> int | None:
    """Cores that this process may use; None where the system does not say."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def name_blas() -> str:
    """Name and version of the BLAS that NumPy was built with; empty when it does not say."""
    config = np.show_config(mode="dicts")
    if not isinstance(config, dict):
        return ""
    blas = config.get("Build Dependencies", {}).get("blas", {})
    return f"{blas.get('name', '')} {blas.get('version', '')}".strip()


def find_cupy(distributions: Iterable[tuple[str, str]]) -> tuple[str | None, int | None]:
    """Return CuPy's version, and the CUDA version that it was built for (13000 for 13.x).

    `distributions` are names and versions of what is installed. The name of a wheel tells its
    CUDA; a CuPy built from source does not.
    """
    for name, version in distributions:
        found = _CUPY.fullmatch(name.lower().replace("_", "-"))
        if found:
            return version, int(found[1]) * 1000 if found[1] else None
    return None, None


def find_cpu_model(cpuinfo: str) -> str:
    """The processor's name in the text of /proc/cpuinfo; empty when there is none."""
    found = re.search(r"^(?:model name|Model|cpu model)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return found[1] if found else ""


def parse_meminfo(meminfo: str, name: str) -> int | None:
    """A size in the text of /proc/meminfo, in bytes."""
    found = re.search(rf"^{name}:\s*(\d+) kB$", meminfo, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def find_container(root: Path = _ROOT) -> str | None:
    """Name the container system that this process seems to run in."""
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run/.containerenv").exists():
        return "podman"
    groups = _read(root / "proc/1/cgroup")
    return next((name for name in _CONTAINERS if name in groups), None)


def find_hypervisor(cpuinfo: str, root: Path = _ROOT) -> str | None:
    """Name the virtual machine that this host seems to be."""
    is_virtual = re.search(r"^flags\s*:.*\bhypervisor\b", cpuinfo, re.MULTILINE)
    if not is_virtual:
        return None
    vendor, product = (
        _read(root / f"sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name")
    )
    return clean_text(f"{vendor.strip()} {product.strip()}".strip() or "unknown")


def clean_text(text: str) -> str | None:
    """A text as facts can carry it: printable ASCII, at most MAX_TEXT characters, not empty."""
    kept = "".join(mark for mark in text if mark.isascii() and mark.isprintable())
    return " ".join(kept.split())[:MAX_TEXT].strip() or None


def _find_version(distribution: str) -> str | None:
    try:
        return clean_text(metadata.version(distribution))
    except metadata.PackageNotFoundError:
        return None


def _read(path: Path) -> str:
    """The text of a small file; empty when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def _read_disk(directory: Path) -> tuple[int | None, int | None]:
    """Total and free bytes of the file system of a directory that may not exist yet."""
    for each in (directory, *directory.absolute().parents):
        try:
            usage = shutil.disk_usage(each)
        except OSError:
            continue
        return usage.total, usage.free
    return None, None


def _parse_limit(text: str) -> int | None:
    """The memory limit of a control group; None when there is none."""
    digits = text.strip()
    return int(digits) if digits.isascii() and digits.isdigit() else None


def _least(value: int | None, limit: int | None) -> int | None:
    return value if limit is None or value is None else min(value, limit)

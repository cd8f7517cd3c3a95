"""Host facts, on this host and on made-up ones."""

import os
from pathlib import Path

import numpy as np
import pytest

from p2p_node.workloads import host_facts
from p2p_node.workloads.host_facts import (
    clean_text,
    find_container,
    find_cupy,
    read_host_facts,
    read_software_facts,
)
from protocols.device_facts import DeviceFacts, HostFacts, decode_facts, encode_facts

CPUINFO = """processor\t: 0
model name\t: Example(R) CPU @ 2.00GHz
flags\t\t: fpu vme hypervisor lahf_lm
"""
MEMINFO = "MemTotal:       16000000 kB\nMemFree: 1 kB\nMemAvailable:    8000000 kB\n"


def make_root(root: Path, **files: str) -> Path:
    """A file system with these files; `__` in a name is a slash."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_this_host_is_described(tmp_path: Path) -> None:
    host = read_host_facts(tmp_path)
    software = read_software_facts(driver="580.65.06", cuda=13000, confidential=0)
    assert host.cores == len(os.sched_getaffinity(0))
    assert host.memory_total is not None
    assert host.memory_available is not None
    assert 0 < host.memory_available <= host.memory_total
    assert host.disk_free is not None
    assert host.kernel is not None
    assert host.kernel.startswith(os.uname().sysname)
    assert software.numpy == np.__version__
    assert software.blas
    assert (software.driver, software.cuda, software.confidential) == ("580.65.06", 13000, 0)
    facts = DeviceFacts("", host, software)
    assert decode_facts(encode_facts(facts)) == facts


def test_linux_host_is_read(tmp_path: Path) -> None:
    root = make_root(
        tmp_path,
        proc__cpuinfo=CPUINFO,
        proc__meminfo=MEMINFO,
        sys__class__dmi__id__sys_vendor="QEMU\n",
        sys__class__dmi__id__product_name="Standard PC\n",
    )
    host = read_host_facts(tmp_path, root=root)
    assert host.cpu == "Example(R) CPU @ 2.00GHz"
    assert (host.memory_total, host.memory_available) == (16_384_000_000, 8_192_000_000)
    assert host.hypervisor == "QEMU Standard PC"
    assert host.container is None


@pytest.mark.parametrize(("limit", "total"), [("max\n", 16_384_000_000), ("1000000\n", 1_000_000)])
def test_limit_of_a_container_is_what_counts(tmp_path: Path, limit: str, total: int) -> None:
    root = make_root(tmp_path, proc__meminfo=MEMINFO, sys__fs__cgroup__memory__max="")
    (root / "sys/fs/cgroup/memory.max").write_text(limit)
    assert read_host_facts(tmp_path, root=root).memory_total == total


def test_host_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_facts.platform, "processor", lambda: "")
    monkeypatch.setattr(host_facts.np, "show_config", lambda mode: None)
    monkeypatch.setattr(host_facts.metadata, "distributions", lambda: [])
    host = read_host_facts(tmp_path / "none", root=tmp_path)
    assert host == HostFacts(
        cores=host.cores,
        disk_total=host.disk_total,
        disk_free=host.disk_free,
        kernel=host.kernel,
        machine=host.machine,
    )
    assert host.disk_free
    assert read_software_facts().blas is None
    assert read_software_facts().cupy is None


def test_system_without_affinity_counts_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    assert host_facts.count_cores() == os.cpu_count()


@pytest.mark.parametrize(
    ("path", "text", "name"),
    [
        (".dockerenv", "", "docker"),
        ("run/.containerenv", "", "podman"),
        ("proc/1/cgroup", "0::/kubepods/besteffort/pod1\n", "kubepods"),
        ("proc/1/cgroup", "0::/lxc/1\n", "lxc"),
        ("proc/1/cgroup", "0::/init.scope\n", None),
    ],
)
def test_container_is_named(tmp_path: Path, path: str, text: str, name: str | None) -> None:
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(text)
    assert find_container(tmp_path) == name


def test_hypervisor_without_a_name(tmp_path: Path) -> None:
    root = make_root(tmp_path, proc__cpuinfo=CPUINFO)
    assert read_host_facts(tmp_path, root=root).hypervisor == "unknown"
    make_root(tmp_path, proc__cpuinfo=CPUINFO.replace("hypervisor", ""))
    assert read_host_facts(tmp_path, root=root).hypervisor is None


@pytest.mark.parametrize(
    ("name", "cuda"),
    [("cupy-cuda13x", 13000), ("cupy_cuda12x", 12000), ("CuPy", None)],
)
def test_cupy_is_found_by_its_distribution(name: str, cuda: int | None) -> None:
    assert find_cupy([("numpy", "2.4"), (name, "14.0.1")]) == ("14.0.1", cuda)


def test_no_cupy() -> None:
    assert find_cupy([("cupy-xarray", "1"), ("mycupy", "2")]) == (None, None)


def test_texts_are_fit_for_a_message() -> None:
    assert clean_text("  a\t\x1b b™  ") == "a b"
    assert clean_text("x" * 99) == "x" * 64
    assert clean_text("\n") is None

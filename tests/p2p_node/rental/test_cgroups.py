"""Where control groups are looked for, on trees as kernels of both kinds show them."""

from pathlib import Path

import pytest

from p2p_node.rental.cgroups import Cgroup, CgroupParent, find_cgroup, find_cgroup_parent


def mount(kind: str, place: Path, options: str = "rw", root: str = "/") -> str:
    return f"31 23 0:28 {root} {place} rw,relatime - {kind} {kind} {options}\n"


def make(directory: Path, enabled: str | None = None) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "cgroup.procs").touch()
    if enabled is not None:
        (directory / "cgroup.subtree_control").write_text(enabled)
    return directory


def test_version_2_goes_up_to_where_the_controllers_are_handed_down(tmp_path: Path) -> None:
    make(tmp_path, "cpu memory pids")
    user = make(tmp_path / "user", "cpu memory pids")
    make(user / "session", "")
    found = find_cgroup_parent("0::/user/session\n", mount("cgroup2", tmp_path))
    assert found is not None
    assert found.version == 2
    assert set(found.directories.values()) == {user}


def test_version_2_without_controllers_has_none(tmp_path: Path) -> None:
    make(tmp_path, "cpu")
    make(tmp_path / "own", "")
    assert find_cgroup_parent("0::/own\n", mount("cgroup2", tmp_path)) is None
    assert find_cgroup_parent("0::/elsewhere\n", mount("cgroup2", tmp_path)) is None


def test_version_1_has_a_directory_per_controller(tmp_path: Path) -> None:
    mounts = ""
    for names in ("memory", "pids", "cpu,cpuacct"):
        make(tmp_path / names / "own")
        mounts += mount("cgroup", tmp_path / names, f"rw,{names}")
    own = "3:cpu,cpuacct:/own\n2:pids:/own\n1:memory:/own\n0::/\n"
    found = find_cgroup_parent(own, mounts)
    assert found is not None
    assert str(found) == "cgroup v1: cpu, cpuacct, memory, pids"
    assert found.directories["cpuacct"] == tmp_path / "cpu,cpuacct" / "own"
    assert find_cgroup_parent(own.replace("memory", "rdma"), mounts) is None


def test_a_container_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    for name in ("memory", "pids"):
        make(tmp_path / name)
    mounts = "".join(
        mount("cgroup", tmp_path / name, f"rw,{name}", "/docker/1") for name in ("memory", "pids")
    )
    found = find_cgroup_parent("2:pids:/docker/1\n1:memory:/docker/1\n", mounts)
    assert found is not None
    assert found.directories["pids"] == tmp_path / "pids"


def test_version_2_limits_are_written_as_the_kernel_reads_them(tmp_path: Path) -> None:
    parent = CgroupParent(2, dict.fromkeys(("memory", "pids", "cpu"), make(tmp_path)))
    group = Cgroup(parent, "lease")
    group.create(cores=3, memory_bytes=1 << 30, processes=66)
    written = {path.name: path.read_text() for path in (tmp_path / "lease").iterdir()}
    assert written == {
        "memory.max": str(1 << 30),
        "memory.swap.max": "0",
        "pids.max": "66",
        "cpu.max": "300000 100000",
    }
    assert group.holds_cores
    (tmp_path / "lease" / "memory.current").write_text("4096\n")
    (tmp_path / "lease" / "memory.events").write_text("low 0\noom 2\noom_kill 3\n")
    (tmp_path / "lease" / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
    assert (group.memory_bytes(), group.killed(), group.cpu_seconds()) == (4096, 3, 1.5)


def test_the_group_of_a_container_can_be_read(tmp_path: Path) -> None:
    group = make(tmp_path / "docker" / "1")
    (group / "pids.current").write_text("2\n")
    (group / "memory.current").write_text("8192\n")
    (group / "cgroup.procs").write_text("12\n34\n0\n")
    found = find_cgroup("0::/docker/1\n", mount("cgroup2", tmp_path))
    assert found is not None
    assert found.memory_bytes() == 8192
    assert found.members() == [12, 34]
    assert find_cgroup("0::/elsewhere\n", mount("cgroup2", tmp_path)) is None


@pytest.mark.integration
def test_this_host_can_be_asked() -> None:
    found = find_cgroup_parent()
    assert found is None or found.version in (1, 2)

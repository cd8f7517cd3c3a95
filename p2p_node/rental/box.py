"""What a workload sees under bubblewrap: its arguments, and the files that it gives."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HOME: Final = "/workspace"
"""As `runner.WORKSPACE`; importing that would cost every enclosure Trio's start."""

PYTHON: Final = "/usr/bin/python3"
"""Runs the agent inside; /usr is all that is shown of the host's programs."""

AGENT: Final = "/run/kaisar/agent.py"
USER_ID: Final = 1000
TMP_BYTES: Final = 1 << 30
SMALL_BYTES: Final = 16 << 20

_LINKED: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_SHOWN: Final = (
    "/etc/alternatives",
    "/etc/fonts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
)
"""Of the host's settings, read-only where they exist; no secret is ever kept in these."""

_RESOLVER: Final = "/etc/resolv.conf"


@dataclass(frozen=True, slots=True)
class BoxPlan:
    """One enclosure, before descriptors have numbers."""

    lease_id: int
    workspace: str
    memory_bytes: int
    network: bool
    hides_userns: bool
    """Whether this bubblewrap knows --disable-userns."""
    devices: tuple[str, ...] = ()


def list_files(plan: BoxPlan) -> dict[str, bytes]:
    """Small files of its own, by path inside, in place of the host's."""
    name = _name_host(plan)
    shell = "/bin/bash" if Path("/bin/bash").exists() else "/bin/sh"
    texts = {
        "/etc/passwd": (
            f"renter:x:{USER_ID}:{USER_ID}:renter:{HOME}:{shell}\n"
            "nobody:x:65534:65534:the host's:/nonexistent:/usr/sbin/nologin\n"
        ),
        "/etc/group": f"renter:x:{USER_ID}:\nnogroup:x:65534:\n",
        "/etc/hostname": f"{name}\n",
        "/etc/hosts": f"127.0.0.1 localhost {name}\n::1 localhost {name}\n",
        "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    }
    return {path: text.encode() for path, text in texts.items()}


def build_arguments(
    plan: BoxPlan,
    files: Mapping[str, int],
    *,
    info: int,
    seccomp: int | None,
    command: Sequence[str],
) -> list[str]:
    """Put the command line together. `files` has a descriptor for each path, the agent included.

    `info` is where bubblewrap writes the number of process 1; `command` is that process.
    """
    arguments = ["bwrap", "--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-uts"]
    arguments += ["--unshare-cgroup-try", "--new-session", "--die-with-parent", "--as-pid-1"]
    if not plan.network:
        arguments += ["--unshare-net"]
    if plan.hides_userns:
        arguments += ["--disable-userns"]
    arguments += ["--uid", str(USER_ID), "--gid", str(USER_ID), "--cap-drop", "ALL"]
    arguments += ["--hostname", _name_host(plan), "--clearenv"]
    arguments += ["--setenv", "PATH", "/usr/bin:/bin", "--setenv", "LANG", "C.UTF-8"]
    arguments += ["--ro-bind", "/usr", "/usr"]
    for name in _LINKED:
        directory = Path("/", name)
        if directory.is_symlink():
            arguments += ["--symlink", os.readlink(directory), str(directory)]
        elif directory.is_dir():
            arguments += ["--ro-bind", str(directory), str(directory)]
    shown = [*_SHOWN, _RESOLVER] if plan.network else _SHOWN
    for each in shown:
        arguments += ["--ro-bind-try", os.path.realpath(each), each]
    arguments += ["--proc", "/proc", "--dev", "/dev"]
    for device in plan.devices:
        arguments += ["--dev-bind-try", device, device]
    # Files in memory count against the group's memory; where there is no group, the sizes hold.
    arguments += _memory_disk("/dev/shm", "1777", plan.memory_bytes // 2)  # noqa: S108
    arguments += _memory_disk("/tmp", "1777", min(plan.memory_bytes // 2, TMP_BYTES))  # noqa: S108
    arguments += _memory_disk("/run", "0755", min(plan.memory_bytes // 8, SMALL_BYTES))
    arguments += ["--dir", "/var", "--symlink", "/tmp", "/var/tmp", "--symlink", "/run", "/var/run"]  # noqa: S108
    for path, descriptor in files.items():
        arguments += ["--ro-bind-data", str(descriptor), path]
    arguments += ["--bind", plan.workspace, HOME, "--chdir", HOME]
    arguments += ["--remount-ro", "/dev", "--remount-ro", "/", "--info-fd", str(info)]
    if seccomp is not None:
        arguments += ["--seccomp", str(seccomp)]
    return [*arguments, "--", *command]


def build_command(control: int, processes: int, file_bytes: int) -> list[str]:
    """Process 1, for `build_arguments`."""
    return [PYTHON, "-I", "-S", "-B", AGENT, str(control), str(processes), str(file_bytes)]


def find_devices(root: Path = Path("/dev")) -> tuple[str, ...]:
    """The NVIDIA devices of this host, which a lease of it includes."""
    names = sorted(root.glob("nvidia*"))
    return tuple(str(path) for path in names if path.is_char_device())


def _memory_disk(path: str, mode: str, size: int) -> list[str]:
    return ["--perms", mode, "--size", str(max(size, 1 << 20)), "--tmpfs", path]


def _name_host(plan: BoxPlan) -> str:
    return f"lease-{plan.lease_id}"


def read_agent() -> bytes:
    """The program of process 1."""
    return (Path(__file__).parent / "agent.py").read_bytes()

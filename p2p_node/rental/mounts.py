"""A view of the host's mounts of this process's own, through the C library; needs root."""

import ctypes
import os
from pathlib import Path
from typing import Final

_CLONE_NEWNS: Final = 0x00020000
_MS_NOSUID: Final = 0x2
_MS_NODEV: Final = 0x4
_MS_REMOUNT: Final = 0x20
_MS_BIND: Final = 0x1000
_MS_REC: Final = 0x4000
_MS_PRIVATE: Final = 0x40000

_PLACE: Final = b"/tmp"
"""Covered by a directory in memory, which nobody outside of this view sees."""


def show_alone(directory: Path) -> str:
    """Leave the host's view of its mounts, and return a path to `directory` open to all users.

    What lies above it stays as closed as it is. OSError when the kernel does not let us.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(_CLONE_NEWNS), "a view of the mounts of its own")
    # No step of this may reach the host's view.
    flags = ctypes.c_ulong(_MS_REC | _MS_PRIVATE)
    _check(libc.mount(None, b"/", None, flags, None), "private mounts")
    opened = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        options = ctypes.c_ulong(_MS_NOSUID | _MS_NODEV)
        _check(libc.mount(b"tmpfs", _PLACE, b"tmpfs", options, b"size=64k,mode=755"), "a place")
        target = _PLACE + b"/workspace"
        os.mkdir(target)
        source = b"/proc/self/fd/%d" % opened
        _check(libc.mount(source, target, None, ctypes.c_ulong(_MS_BIND), None), "the workspace")
        flags = ctypes.c_ulong(_MS_BIND | _MS_REMOUNT | _MS_NOSUID | _MS_NODEV)
        _check(libc.mount(None, target, None, flags, None), "the workspace without devices")
    finally:
        os.close(opened)
    return os.fsdecode(target)


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot make {what}: {os.strerror(number)}")

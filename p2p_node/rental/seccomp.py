"""A filter of system calls for workloads: what namespaces do not keep apart.

The kernel's keyrings, its tracing and loading of code, ways to new namespaces, and families of
sockets that are no network's (a virtual machine's host answers on AF_VSOCK, whatever the network
namespace) are refused as if the kernel lacked them.
"""

import errno
import platform
import struct
from typing import Final

_X86: Final = "x86_64"
_ARM: Final = "aarch64"

_ARCHITECTURES: Final = {_X86: 0xC000003E, _ARM: 0xC00000B7}
"""As <linux/audit.h> names them."""

_REFUSED: Final = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "delete_module": (176, 106),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pivot_root": (155, 41),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setns": (308, 268),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}
"""Numbers on x86-64 and on ARM64. io_uring is among them because it opens sockets unseen here."""

_SCHED_SETAFFINITY: Final = (203, 122)
_UNSEEN_MEMORY: Final = ((319, 279), (447, 447), (29, 194))
"""memfd_create, memfd_secret and shmget: memory that no process has to show for."""
_CLONE: Final = (56, 220)
_CLONE3: Final = (435, 435)
_IOCTL: Final = (16, 29)
_SOCKET: Final = (41, 198)

_X32_BIT: Final = 0x40000000
_CLONE_NEWUSER: Final = 0x10000000
_TERMINAL_TRICKS: Final = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX type into terminals of others."""
_FAMILIES: Final = (1, 2, 10, 16)
"""AF_UNIX, AF_INET, AF_INET6, AF_NETLINK."""

# <linux/bpf_common.h>: load a word, jump if equal, at least, any bit; return.
_LOAD: Final = 0x20
_EQUAL: Final = 0x15
_AT_LEAST: Final = 0x35
_ANY_BIT: Final = 0x45
_RETURN: Final = 0x06

_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000

_NUMBER: Final = 0
_ARCHITECTURE: Final = 4
_ARGUMENTS: Final = 16
"""Offsets in `struct seccomp_data`; the lower half of an argument comes first."""


def build_filter(
    *, pin_cores: bool, count_memory: bool = False, machine: str | None = None
) -> bytes | None:
    """Return the filter as bubblewrap reads it; None on a processor that it is not made for.

    Where no control group does it, `pin_cores` forbids a workload to choose its cores, and
    `count_memory` to have memory that its processes' sizes do not show.
    """
    machine = platform.machine() if machine is None else machine
    if machine not in _ARCHITECTURES:
        return None
    column = list(_ARCHITECTURES).index(machine)
    code = [
        _word(_LOAD, _ARCHITECTURE),
        _word(_EQUAL, _ARCHITECTURES[machine], 1, 0),
        _refuse(errno.ENOSYS),
        _word(_LOAD, _NUMBER),
    ]
    if machine == _X86:
        code += [_word(_AT_LEAST, _X32_BIT, 0, 1), _refuse(errno.ENOSYS)]
    refused = [numbers[column] for numbers in _REFUSED.values()]
    if pin_cores:
        refused.append(_SCHED_SETAFFINITY[column])
    if count_memory:
        refused += [numbers[column] for numbers in _UNSEEN_MEMORY]
    for number in refused:
        if number is not None:
            code += [_word(_EQUAL, number, 0, 1), _refuse(errno.EPERM)]
    # The C library falls back to clone, whose flags can be looked at.
    code += [_word(_EQUAL, _CLONE3[column], 0, 1), _refuse(errno.ENOSYS)]
    code += _look_at_argument(
        _CLONE[column],
        0,
        [_word(_ANY_BIT, _CLONE_NEWUSER, 0, 1), _refuse(errno.EPERM)],
    )
    ioctl = [
        part
        for trick in _TERMINAL_TRICKS
        for part in (_word(_EQUAL, trick, 0, 1), _refuse(errno.EPERM))
    ]
    code += _look_at_argument(_IOCTL[column], 1, ioctl)
    families = [
        part
        for family in _FAMILIES
        for part in (_word(_EQUAL, family, 0, 1), _word(_RETURN, _ALLOW))
    ]
    code += _look_at_argument(_SOCKET[column], 0, [*families, _refuse(errno.EAFNOSUPPORT)])
    code.append(_word(_RETURN, _ALLOW))
    return b"".join(code)


def _look_at_argument(number: int, index: int, rules: list[bytes]) -> list[bytes]:
    body = [_word(_LOAD, _ARGUMENTS + 8 * index), *rules, _word(_RETURN, _ALLOW)]
    return [_word(_EQUAL, number, 0, len(body)), *body]


def _refuse(number: int) -> bytes:
    return _word(_RETURN, _ERRNO | number)


def _word(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)

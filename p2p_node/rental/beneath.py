"""Opening what lies below a folder that somebody else may rearrange at any moment.

A workload owns its workspace and can put a symbolic link wherever a file was expected, also between
a check and the opening. So every part of a path is opened by itself, relative to the folder before
it, and never through a link; what was opened stays what it is.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from protocols.errors import LocalError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER_MODE = 0o755

Owner = tuple[int, int] | None
"""User and group; None for this process's own."""


class NoSuchPathError(LocalError):
    """A path leads nowhere, through a link, or to what is neither a file nor a folder."""


def open_base(base: Path) -> int:
    """Open a folder that we chose ourselves; links on the way to it are followed."""
    try:
        return os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NoSuchPathError(f"{base}: {error.strerror}, expected a folder") from error


def open_folder(
    base: int, parts: Sequence[bytes], *, create: bool = False, owner: Owner = None
) -> int:
    """Open a folder below `base`, with `create` making what is missing; the caller closes it.

    What is made belongs to `owner`. Raises OSError, also where a part is a link: ENOTDIR or ELOOP.
    """
    folder = os.dup(base)
    for part in parts:
        try:
            below = _open_one(folder, part, create, owner)
        finally:
            os.close(folder)
        folder = below
    return folder


def _open_one(folder: int, part: bytes, create: bool, owner: Owner) -> int:
    try:
        return os.open(part, _FOLDER, dir_fd=folder)
    except FileNotFoundError:
        if not create:
            raise
    # Where somebody else was faster the opening says whether it is a folder.
    made = False
    with contextlib.suppress(FileExistsError):
        os.mkdir(part, _FOLDER_MODE, dir_fd=folder)
        made = True
    below = os.open(part, _FOLDER, dir_fd=folder)
    if made:
        give(below, owner)
    return below


def give(descriptor: int, owner: Owner) -> None:
    """Have what is open belong to `owner`. Raises OSError."""
    if owner is not None:
        os.fchown(descriptor, *owner)


def open_file(folder: int, name: bytes) -> int:
    """Open a file of `folder` for reading, which may be no regular one: look at its status.

    A FIFO is not waited for, and a terminal does not become ours. Raises OSError.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    return os.open(name, flags, dir_fd=folder)

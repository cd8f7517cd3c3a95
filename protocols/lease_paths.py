"""Paths of files that go over a stream of a lease: relative, and never upwards.

What is checked here is only how a path is written. Symbolic links are for whoever opens it.
"""

from typing import Final

from protocols.errors import MalformedError
from protocols.lease_messages import MAX_PATH_BYTES

MAX_NAME_BYTES: Final = 255
"""Linux' own limit for one part of a path."""

MAX_DEPTH: Final = 64
"""Parts of a path. Each is opened one by one, so this bounds the work for a file."""

STAGING: Final = b".kaisar-incoming"
"""Folder in the target in which files are until they are complete; nobody may send one."""


def split_path(path: bytes, depth: int = MAX_DEPTH) -> tuple[bytes, ...]:
    """Return the parts of a path; none for the empty path, which is the root itself.

    Raises MalformedError for an absolute path, a part `.` or `..` or an empty one, a zero byte, and
    what is too long or too deep.
    """
    if len(path) > MAX_PATH_BYTES:
        raise MalformedError("path too long", f"{len(path)} bytes, at most {MAX_PATH_BYTES}")
    if not path:
        return ()
    parts = tuple(path.split(b"/"))
    if len(parts) > depth:
        raise MalformedError("path too deep", f"{len(parts)} parts, at most {depth}")
    for part in parts:
        if part in (b"", b".", b"..") or b"\0" in part:
            raise MalformedError("bad path", repr(path[:200]))
        if len(part) > MAX_NAME_BYTES:
            raise MalformedError("name too long", f"{len(part)} bytes, at most {MAX_NAME_BYTES}")
    return parts


def split_file_path(path: bytes, depth: int = MAX_DEPTH) -> tuple[bytes, ...]:
    """The same for a file in a tree: it has a name, and is not in the place for incomplete ones."""
    parts = split_path(path, depth)
    if not parts or parts[0] == STAGING:
        raise MalformedError("bad path", repr(path[:200]))
    return parts

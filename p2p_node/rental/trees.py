"""Measuring and removing directories that somebody else fills, with whatever they like.

Names are taken relative to open directories and no link is ever followed, so nothing outside is
looked at or touched, also when the tree changes meanwhile.
"""

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_DEPTH: Final = 128
"""Directories within each other. Each level costs the walk an open file; real trees stay below a
third of it."""

MAX_ENTRIES: Final = 1_000_000

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY_BYTES: Final = 4096
_BLOCK_BYTES: Final = 512
_OURS: Final = stat.S_IRWXU

_Level = tuple[int, "os._ScandirIterator[str]"]


class TreeTooDeepError(Exception):
    """Directories are nested deeper than MAX_DEPTH."""


@dataclass(frozen=True, slots=True)
class TreeSize:
    """What a tree takes of the disk: allocated bytes, each directory at least a page."""

    bytes: int
    entries: int


def measure_tree(root: int, max_entries: int) -> TreeSize:
    """Measure below an open directory; stops soon after `max_entries` and returns so far.

    A file with several names counts once. TreeTooDeepError for a tree nobody can walk.
    """
    size = entries = 0
    seen: set[int] = set()
    levels: list[_Level] = []
    try:
        _descend(levels, ".", root)
        while levels:
            directory, rest = levels[-1]
            entry = next(rest, None)
            if entry is None:
                levels.pop()
                os.close(directory)
                continue
            entries += 1
            if entries > max_entries:
                break
            # It may go, or be replaced, between being listed and being looked at.
            try:
                facts = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISDIR(facts.st_mode):
                size += max(facts.st_blocks * _BLOCK_BYTES, _DIRECTORY_BYTES)
                if len(levels) >= MAX_DEPTH:
                    raise TreeTooDeepError(f"more than {MAX_DEPTH} directories within each other")
                with suppress(OSError):
                    _descend(levels, entry.name, directory)
            elif facts.st_nlink == 1 or facts.st_ino not in seen:
                size += facts.st_blocks * _BLOCK_BYTES
                if facts.st_nlink > 1:
                    seen.add(facts.st_ino)
    finally:
        for directory, rest in levels:
            rest.close()
            os.close(directory)
    return TreeSize(size, entries)


def measure_workspace(path: Path) -> int | None:
    """Bytes in a directory that may be missing; None when it is too deep to be walked."""
    try:
        directory = os.open(path, _DIRECTORY)
    except OSError:
        return 0
    try:
        return measure_tree(directory, MAX_ENTRIES).bytes
    except TreeTooDeepError:
        return None
    finally:
        os.close(directory)


def count_entries(path: Path, most: int) -> int:
    """Files and directories in a directory that may be missing; no further than beyond `most`."""
    try:
        directory = os.open(path, _DIRECTORY)
    except OSError:
        return 0
    try:
        return measure_tree(directory, most).entries
    except TreeTooDeepError:
        return most + 1
    finally:
        os.close(directory)


def remove_tree(path: Path) -> None:
    """Remove a directory and everything in it; nothing when it is not there.

    Directories are brought up to the top before they are emptied, so depth costs nothing.
    Permissions that forbid removal are changed first. OSError when something resists still.
    """
    try:
        top = os.open(path, _DIRECTORY)
    except FileNotFoundError:
        return
    except OSError:
        # A link or a file in its place: that alone is removed.
        path.unlink()
        return
    try:
        os.fchmod(top, _OURS)
        moved = 0
        while names := os.listdir(top):
            for name in names:
                moved = _empty_into(top, name, moved)
    finally:
        os.close(top)
    path.rmdir()


def _empty_into(top: int, name: str, moved: int) -> int:
    """Remove one entry of the top; its subdirectories become entries of the top instead."""
    try:
        directory = _open_directory(top, name)
    except NotADirectoryError:
        os.unlink(name, dir_fd=top)
        return moved
    try:
        for inner in os.listdir(directory):
            try:
                os.unlink(inner, dir_fd=directory)
                continue
            except (IsADirectoryError, PermissionError):
                pass
            # To give a directory another parent one must be allowed to write in it.
            os.close(_open_directory(directory, inner))
            while True:
                moved += 1
                try:
                    # Only an empty directory can be replaced by it, which does no harm.
                    os.rename(inner, f".removed-{moved}", src_dir_fd=directory, dst_dir_fd=top)
                    break
                except OSError as error:
                    if moved > 1 << 40 or not _is_taken(top, f".removed-{moved}"):
                        raise error from None
    finally:
        os.close(directory)
    os.rmdir(name, dir_fd=top)
    return moved


def _is_taken(top: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=top, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _open_directory(parent: int, name: str) -> int:
    """Open it for emptying; NotADirectoryError for everything else, also for a link."""
    if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        raise NotADirectoryError(name)
    try:
        directory = os.open(name, _DIRECTORY, dir_fd=parent)
    except PermissionError:
        os.chmod(name, _OURS, dir_fd=parent)
        directory = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        os.fchmod(directory, _OURS)
    except OSError:
        os.close(directory)
        raise
    return directory


def _descend(levels: list[_Level], name: str, parent: int) -> None:
    directory = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        levels.append((directory, os.scandir(directory)))
    except OSError:
        os.close(directory)
        raise

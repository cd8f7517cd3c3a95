"""The sending half of a transfer, without Trio: which files there are, and their frames.

Everything here blocks on the disk, so it runs in threads, one call at a time.
"""

import hashlib
import os
import stat
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from p2p_node.rental.beneath import NoSuchPathError, open_base, open_file, open_folder
from protocols.errors import LocalError, MalformedError
from protocols.lease_frames import (
    MAX_DATA_BYTES,
    MAX_MODE,
    FrameKind,
    encode_check,
    encode_file,
    encode_frame,
    encode_resume,
)
from protocols.lease_messages import MAX_PATH_BYTES
from protocols.lease_paths import MAX_DEPTH, STAGING, split_path
from protocols.types import Digest

MAX_FILES = 1_000_000
"""In one transfer; each is an entry in memory here and there. More belong into an archive."""

AHEAD = 512
"""Files announced before their turn, so that a line costs one round trip and not one a file."""

BATCH_BYTES = 2 * MAX_DATA_BYTES
"""About what one call of `produce` reads."""

HASH_BYTES = 32 << 20
"""Of what the receiver has already, so much is read in one call."""

Frame = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a tree, or an empty folder, whose path ends with a slash. Size in bytes."""

    path: bytes
    mode: int
    size: int


@dataclass(frozen=True, slots=True)
class Tree:
    """What is to be sent. `root` are the parts of the folder below `base` that paths begin at.

    `left_out` counts links, FIFOs, sockets, devices and folders that may not be read.
    """

    base: Path
    root: tuple[bytes, ...]
    entries: tuple[Entry, ...]
    left_out: int

    @property
    def files(self) -> int:
        """How many files and empty folders."""
        return len(self.entries)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.entries)


@dataclass(frozen=True, slots=True)
class Have:
    """What the receiver says it has of the next file."""

    offset: int
    digest: Digest


def scan(base: Path, path: bytes = b"", max_files: int = MAX_FILES) -> Tree:
    """List what is below `path` of the folder `base`; a file is a tree of one.

    Raises NoSuchPathError, MalformedError for a path that is none, and LocalError for a tree with
    too many files, too deep or with too long paths.
    """
    parts = split_path(path)
    top = open_base(base)
    try:
        if not parts:
            return _scan_folder(base, top, (), max_files)
        try:
            parent = open_folder(top, parts[:-1])
            try:
                status = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
            finally:
                os.close(parent)
        except OSError as error:
            raise NoSuchPathError(f"{os.fsdecode(path)}: {error.strerror}") from error
        if stat.S_ISDIR(status.st_mode):
            return _scan_folder(base, top, parts, max_files)
        if stat.S_ISREG(status.st_mode):
            return Tree(base, parts[:-1], (_entry(parts[-1], status),), 0)
        raise NoSuchPathError(f"{os.fsdecode(path)}: neither a file nor a folder")
    finally:
        os.close(top)


def _scan_folder(base: Path, top: int, root: tuple[bytes, ...], max_files: int) -> Tree:
    entries: list[Entry] = []
    left_out = 0
    waiting: list[tuple[tuple[bytes, ...], int]] = [((), 0o755)]
    while waiting:
        parts, mode = waiting.pop()
        try:
            found = _list_folder(top, (*root, *parts))
        except OSError as error:
            if not parts:
                raise NoSuchPathError(f"{os.fsdecode(b'/'.join(root))}: {error}") from error
            left_out += 1
            continue
        if parts and not found:
            entries.append(Entry(b"/".join(parts) + b"/", mode, 0))
        for name, status in found:
            below = (*parts, name)
            if below == (STAGING,):
                continue
            if len(below) > MAX_DEPTH or sum(map(len, below)) + len(below) > MAX_PATH_BYTES:
                raise LocalError(f"{os.fsdecode(b'/'.join(below))[:200]}: too deep or too long")
            if stat.S_ISDIR(status.st_mode):
                waiting.append((below, stat.S_IMODE(status.st_mode) & MAX_MODE))
            elif stat.S_ISREG(status.st_mode):
                entries.append(_entry(b"/".join(below), status))
            else:
                left_out += 1
        if len(entries) + len(waiting) > max_files:
            raise LocalError(f"more than {max_files} files: put them into an archive")
    entries.sort(key=lambda entry: entry.path)
    return Tree(base, root, tuple(entries), left_out)


def _list_folder(top: int, parts: tuple[bytes, ...]) -> list[tuple[bytes, os.stat_result]]:
    folder = open_folder(top, parts)
    try:
        with os.scandir(folder) as found:
            return [(os.fsencode(one.name), one.stat(follow_symlinks=False)) for one in found]
    finally:
        os.close(folder)


def _entry(path: bytes, status: os.stat_result) -> Entry:
    return Entry(path, stat.S_IMODE(status.st_mode) & MAX_MODE, status.st_size)


class TreeReader:
    """Makes the frames of a tree, in order.

    Resource handling: `close` closes what is open.
    Error handling: MalformedError when the receiver claims what cannot be. A file that cannot be
    read any more, or not whole, is left out with a LEAVE frame.
    """

    def __init__(self, tree: Tree, check_cancelled: Callable[[], None] = lambda: None) -> None:
        self._tree = tree
        self._check_cancelled = check_cancelled
        self._top = open_base(tree.base)
        self._announced = 0
        self._next = 0
        self._file = -1
        self._hash = hashlib.sha256()
        self._claim: Have | None = None
        self._hashed = 0
        self._position = 0
        self.placed = 0
        """Bytes of files that are done, and of the current one so far, sent or not."""
        self.moved = 0
        """Bytes that were sent."""
        self.left_out = 0
        """Files that could not be read when their turn came."""

    @property
    def finished(self) -> bool:
        """Whether everything was produced."""
        return self._next == len(self._tree.entries)

    @property
    def waiting(self) -> bool:
        """Whether the next frame needs a claim of the receiver's."""
        return self._claim is None and not self.finished

    def close(self) -> None:
        """Close what is open. May be called again."""
        self._close_file()
        if self._top >= 0:
            os.close(self._top)
            self._top = -1

    def announce(self) -> list[Frame]:
        """Return the FILE frames that may be sent by now."""
        entries = self._tree.entries[self._announced : self._next + AHEAD]
        self._announced += len(entries)
        return [encode_file(entry.mode, entry.size, entry.path) for entry in entries]

    def produce(self, claims: deque[Have]) -> list[Frame]:
        """Return the next frames, about BATCH_BYTES of them, for as many claims as there are.

        May return none while it looks at what the receiver has; call it again then.
        """
        frames: list[Frame] = []
        size = 0
        while size < BATCH_BYTES and not self.finished:
            self._check_cancelled()
            if self._claim is None:
                if not claims:
                    break
                self._begin(claims.popleft())
            if self._position < 0 and not self._compare(frames):
                break
            size += self._go_on(frames)
        if self._announced < self._next + AHEAD // 2:
            frames += self.announce()
        return frames

    def _begin(self, claim: Have) -> None:
        entry = self._tree.entries[self._next]
        if claim.offset > entry.size:
            raise MalformedError("receiver has more than there is", f"{claim.offset} bytes")
        self._claim = claim
        self._hash = hashlib.sha256()
        self._hashed = 0
        self._position = -1
        if entry.path.endswith(b"/"):
            return
        *folders, name = (*self._tree.root, *entry.path.split(b"/"))
        try:
            folder = open_folder(self._top, folders)
            try:
                self._file = open_file(folder, name)
            finally:
                os.close(folder)
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                self._close_file()
        except OSError:
            # It was there when the tree was listed: LEAVE says that it is gone.
            self._close_file()

    def _compare(self, frames: list[Frame]) -> bool:
        """Read what the receiver has as well; True once it is settled where to go on."""
        claim = self._claim
        if claim is None:
            raise LocalError("compared before its turn")
        left = claim.offset - self._hashed if self._file >= 0 else 0
        budget = HASH_BYTES
        while left and budget > 0:
            self._check_cancelled()
            block = self._read(min(left, MAX_DATA_BYTES), self._hashed)
            if not block:
                left = 0
                break
            self._hash.update(block)
            self._hashed += len(block)
            left -= len(block)
            budget -= len(block)
        if left:
            return False
        if self._hashed == claim.offset and self._hash.digest() == claim.digest:
            self._position = claim.offset
        else:
            self._hash = hashlib.sha256()
            self._position = 0
        self.placed += self._position
        frames.append(encode_resume(self._position))
        return True

    def _go_on(self, frames: list[Frame]) -> int:
        """Add the next block of the current file, or its end; returns the size of what was read."""
        entry = self._tree.entries[self._next]
        left = entry.size - self._position
        if self._file >= 0 and left:
            # A frame is read in place, behind the byte that says what it is.
            frame = bytearray(1 + min(left, MAX_DATA_BYTES))
            frame[0] = FrameKind.DATA
            view = memoryview(frame)
            try:
                count = os.preadv(self._file, [view[1:]], self._position)
            except OSError:
                count = 0
            if count:
                self._hash.update(view[1 : 1 + count])
                frames.append(view[: 1 + count])
                self._position += count
                self.placed += count
                self.moved += count
                return count
        whole = not left and (self._file >= 0 or entry.path.endswith(b"/"))
        if whole:
            frames.append(encode_check(Digest(self._hash.digest())))
        else:
            frames.append(encode_frame(FrameKind.LEAVE))
            self.left_out += 1
            self.placed += left
        self._close_file()
        self._claim = None
        self._next += 1
        return 1024

    def _read(self, count: int, position: int) -> bytes:
        try:
            return os.pread(self._file, count, position)
        except OSError:
            return b""

    def _close_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

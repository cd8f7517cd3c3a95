"""The receiving half of a transfer, without Trio: frames in, files in place.

A file is written to a folder for incomplete ones in the target, under a name made of its path, and
moved to its own name once its digest holds and its bytes are on the disk. So what has its name is
whole, after a crash as well, and what was cut is found again by the next transfer, which goes on
from there. Everything here blocks on the disk, so it runs in threads, one call at a time.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from p2p_node.net.errors import MessageTooLongError
from p2p_node.rental.beneath import Owner, give, open_base, open_file, open_folder
from p2p_node.rental.tree_reading import AHEAD
from protocols.errors import MalformedError, RemoteError
from protocols.lease_frames import (
    FrameKind,
    decode_check,
    decode_file,
    decode_resume,
    decode_tree,
    encode_have,
    require_empty,
)
from protocols.lease_paths import MAX_DEPTH, STAGING, split_file_path, split_path
from protocols.types import Digest

if TYPE_CHECKING:
    from hashlib import _Hash

_BLOCK = 1 << 20
_TOGETHER = 64
"""Complete files that are brought to the disk together."""


@dataclass(frozen=True, slots=True)
class TreeLimits:
    """What a transfer may bring: files and empty folders, bytes of all, parts of a path.

    `room` is for the bytes that arrive, which are fewer where files are here already.
    """

    files: int
    size: int
    depth: int = MAX_DEPTH
    room: int | None = None


@dataclass(slots=True)
class _Expected:
    """An announced file: what of it is here already, and the digest so far."""

    parts: tuple[bytes, ...]
    is_folder: bool
    mode: int
    size: int
    offset: int
    in_place: bool
    hash: "_Hash"

    @property
    def staged(self) -> bytes:
        """Name among the incomplete files."""
        return hashlib.sha256(b"/".join(self.parts)).hexdigest()[:40].encode()


class TransferRuleError(RemoteError):
    """The sender goes beyond what it announced or may send."""


class TreeWriter:
    """Takes the frames of a tree, and says what to answer.

    Makes `base`/`path` and the folder for incomplete files. Call `lock` until it succeeds before
    anything else: two transfers into one folder would write to the same incomplete files.

    Resource handling: `close` closes what is open and frees the lock; incomplete files stay.
    Error handling: RemoteError for frames that break the rules; OSError when this disk does not
    take a file, or what has its name is a folder.
    """

    def __init__(
        self,
        base: Path,
        path: bytes,
        limits: TreeLimits,
        owner: Owner = None,
        check_cancelled: Callable[[], None] = lambda: None,
    ) -> None:
        self._limits = limits
        self._owner = owner
        self._check_cancelled = check_cancelled
        self._expected: deque[_Expected] = deque()
        self._announced: tuple[int, int] | None = None
        self._files_left = 0
        self._size_left = 0
        self._done = 0
        self._file = -1
        self._current: _Expected | None = None
        self._position = 0
        self._whole: list[tuple[_Expected, int]] = []
        self._changed: set[tuple[bytes, ...]] = {()}
        self.placed = 0
        """Bytes of files that are done, and of the current one so far."""
        self.moved = 0
        """Bytes that arrived."""
        self.left_out = 0
        """What the sender left out."""
        self._target = self._staging = -1
        parts = split_path(path, limits.depth)
        top = open_base(base)
        try:
            self._target = open_folder(top, parts, create=True, owner=owner)
            self._staging = open_folder(self._target, (STAGING,), create=True)
        except BaseException:
            self.close()
            raise
        finally:
            os.close(top)

    @property
    def finished(self) -> bool:
        """Whether everything is in place."""
        return self._announced is not None and self._done == self._announced[0]

    @property
    def announced(self) -> tuple[int, int]:
        """Files and bytes that the sender announced; zeros before it did."""
        return self._announced or (0, 0)

    def lock(self) -> bool:
        """Take this target for us; False while another transfer has it."""
        try:
            fcntl.flock(self._staging, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if os.fstat(self._staging).st_nlink:
            return True
        # The transfer that had it has finished, and removed the folder that we waited for.
        os.close(self._staging)
        self._staging = -1
        self._staging = open_folder(self._target, (STAGING,), create=True)
        return False

    def close(self) -> None:
        """Close what is open. May be called again."""
        self._close_file()
        for _, file in self._whole:
            os.close(file)
        self._whole.clear()
        for descriptor in (self._staging, self._target):
            if descriptor >= 0:
                os.close(descriptor)
        self._target = self._staging = -1

    def apply(self, frames: Iterable[tuple[FrameKind, memoryview]]) -> list[bytes]:
        """Do what the frames say; returns the frames to answer with."""
        answers: list[bytes] = []
        for kind, payload in frames:
            self._check_cancelled()
            if kind is FrameKind.DATA:
                self._write(payload)
            elif kind is FrameKind.FILE:
                answers.append(self._expect(payload))
            elif kind is FrameKind.RESUME:
                self._begin(decode_resume(payload))
            elif kind is FrameKind.CHECK:
                self._end(decode_check(payload))
            elif kind is FrameKind.LEAVE:
                require_empty(payload)
                self._leave()
            elif kind is FrameKind.TREE:
                self._announce(payload)
            else:
                raise MalformedError("unexpected frame", kind.name)
        return answers

    def finish(self) -> None:
        """Make the names of all files safe against a crash, and throw incomplete files away."""
        for parts in self._changed:
            self._check_cancelled()
            # A workload may have removed the folder again; then there is nothing to make safe.
            with contextlib.suppress(OSError):
                folder = open_folder(self._target, parts)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
        with contextlib.suppress(OSError), os.scandir(self._staging) as left:
            for one in left:
                os.unlink(one.name, dir_fd=self._staging)
        with contextlib.suppress(OSError):
            os.rmdir(STAGING, dir_fd=self._target)

    # What the frames say.

    def _announce(self, payload: memoryview) -> None:
        if self._announced is not None:
            raise MalformedError("unexpected frame", "TREE")
        files, size, left_out = decode_tree(payload)
        if files > self._limits.files:
            raise TransferRuleError("too many files", f"{files}, at most {self._limits.files}")
        if size > self._limits.size:
            raise TransferRuleError("too many bytes", f"{size}, at most {self._limits.size}")
        self._announced = (files, size)
        self._files_left, self._size_left = files, size
        self.left_out = left_out

    def _expect(self, payload: memoryview) -> bytes:
        mode, size, path = decode_file(payload)
        is_folder = path.endswith(b"/")
        parts = split_file_path(path[:-1] if is_folder else path, self._limits.depth)
        if not self._files_left or size > self._size_left or (is_folder and size):
            raise TransferRuleError("more than announced", os.fsdecode(path)[:200])
        if len(self._expected) >= AHEAD:
            raise MessageTooLongError("too many files at once", f"more than {AHEAD}")
        self._files_left -= 1
        self._size_left -= size
        one = _Expected(parts, is_folder, mode, size, 0, False, hashlib.sha256())
        if not is_folder and size:
            self._look(one)
        self._expected.append(one)
        return encode_have(one.offset, Digest(one.hash.digest()))

    def _look(self, one: _Expected) -> None:
        """Find what is here of a file: all of it under its name, or a part of an earlier try."""
        try:
            folder = open_folder(self._target, one.parts[:-1])
        except OSError:
            pass
        else:
            try:
                one.in_place = self._digest(folder, one.parts[-1], one, whole=True)
            finally:
                os.close(folder)
        if not one.in_place:
            self._digest(self._staging, one.staged, one, whole=False)

    def _digest(self, folder: int, name: bytes, one: _Expected, *, whole: bool) -> bool:
        """Digest a file that is there, of the announced size or, unless `whole`, shorter."""
        try:
            file = open_file(folder, name)
        except OSError:
            return False
        try:
            status = os.fstat(file)
            fits = status.st_size == one.size if whole else 0 < status.st_size <= one.size
            if not stat.S_ISREG(status.st_mode) or not fits:
                return False
            digest, position = hashlib.sha256(), 0
            while position < status.st_size:
                self._check_cancelled()
                block = os.pread(file, min(_BLOCK, status.st_size - position), position)
                if not block:
                    return False
                digest.update(block)
                position += len(block)
        except OSError:
            return False
        finally:
            os.close(file)
        one.offset, one.hash = position, digest
        return True

    def _begin(self, offset: int) -> None:
        if self._current is not None or not self._expected:
            raise MalformedError("unexpected frame", "RESUME")
        one = self._expected.popleft()
        if offset not in (0, one.offset):
            raise MalformedError("resumed elsewhere", f"at {offset} instead of {one.offset}")
        self._current = one
        self._position = offset
        self.placed += offset
        if offset < one.offset:
            one.hash = hashlib.sha256()
        one.in_place = one.in_place and offset == one.offset
        if any(other.parts == one.parts for other, _ in self._whole):
            self._place_whole()
        if not one.in_place and not one.is_folder:
            self._file = self._open_staged(one.staged)
            os.ftruncate(self._file, offset)
            os.lseek(self._file, offset, os.SEEK_SET)

    def _open_staged(self, name: bytes) -> int:
        """Open a file for writing that nobody else can have put something behind.

        A link is not followed; what is no regular file, or has a second name, is replaced.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            file = os.open(name, flags, 0o600, dir_fd=self._staging)
            status = os.fstat(file)
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
                return file
            os.close(file)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EACCES):
                raise
        os.unlink(name, dir_fd=self._staging)
        return os.open(name, flags | os.O_EXCL, 0o600, dir_fd=self._staging)

    def _write(self, data: memoryview) -> None:
        one = self._current
        if one is None or self._position + len(data) > one.size:
            raise TransferRuleError("more than announced", "content")
        one.hash.update(data)
        self._position += len(data)
        self.placed += len(data)
        self.moved += len(data)
        if self._limits.room is not None and self.moved > self._limits.room:
            raise TransferRuleError("no room for it", f"more than {self._limits.room} bytes")
        while data:
            data = data[os.write(self._file, data) :]

    def _end(self, digest: Digest) -> None:
        one = self._current
        if one is None:
            raise MalformedError("unexpected frame", "CHECK")
        if self._position != one.size or one.hash.digest() != digest:
            if self._file >= 0:
                # Whatever is wrong with it, the next try does not build on it.
                os.ftruncate(self._file, 0)
            raise TransferRuleError("digest does not match", os.fsdecode(b"/".join(one.parts)))
        if one.is_folder or one.in_place:
            self._adjust(one)
        else:
            give(self._file, self._owner)
            os.fchmod(self._file, one.mode)
            self._whole.append((one, self._file))
            self._file = -1
        self._one_done()

    def _adjust(self, one: _Expected) -> None:
        """Make an empty folder, and give it, or a file that is there, its permissions."""
        if one.is_folder:
            descriptor = open_folder(self._target, one.parts, create=True, owner=self._owner)
        else:
            folder = open_folder(self._target, one.parts[:-1])
            try:
                descriptor = open_file(folder, one.parts[-1])
            finally:
                os.close(folder)
        try:
            os.fchmod(descriptor, one.mode)
        finally:
            os.close(descriptor)

    def _one_done(self) -> None:
        self._current = None
        self._done += 1
        if self.finished or len(self._whole) >= _TOGETHER:
            self._place_whole()

    def _place_whole(self) -> None:
        """Bring complete files to the disk, all at once since each waits for the same journal, and
        then give them their names."""
        with ThreadPoolExecutor(max(1, len(self._whole))) as pool:
            list(pool.map(os.fdatasync, [file for _, file in self._whole]))
        for one, _ in self._whole:
            folder = open_folder(self._target, one.parts[:-1], create=True, owner=self._owner)
            try:
                os.rename(one.staged, one.parts[-1], src_dir_fd=self._staging, dst_dir_fd=folder)
            finally:
                os.close(folder)
            self._changed.add(one.parts[:-1])
        for _, file in self._whole:
            os.close(file)
        self._whole.clear()

    def _leave(self) -> None:
        one = self._current
        if one is None:
            raise MalformedError("unexpected frame", "LEAVE")
        if self._file >= 0:
            os.unlink(one.staged, dir_fd=self._staging)
        self._close_file()
        self.placed += one.size - self._position
        self.left_out += 1
        self._one_done()

    def _close_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

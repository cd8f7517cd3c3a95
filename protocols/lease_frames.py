"""Frames on a granted stream of a lease: one byte for the kind, then its payload.

DATA      bytes: standard input and output, a file's or a connection's content, logs
ERRORS    bytes of standard error
END       nothing more comes in this direction of DATA; empty
TEXT      UTF-8 for people: progress of a deployment; a status as JSON
RESIZE    rows and columns, 16 bits each
SIGNAL    number of a signal for the command, 8 bits
EXIT      32 bits, signed: exit status, or −n for death by signal n; the last frame of a run
FILE      mode (16 bits: permissions), size (64 bits), path: announces a file; a path that ends with
          a slash is an empty folder, of size 0
CHECK     32 bytes: SHA-256 of the whole file that was just sent
RESUME    64 bits: what follows as DATA is the next announced file from this byte on
DONE      everything arrived and is in place; empty
FAILURE   UTF-8: what was asked for failed, and why; the last frame
TREE      files (32 bits), bytes of all (64 bits), left out (32 bits): what is about to be sent
HAVE      64 bits, 32 bytes: of the next announced file so many bytes are here, with this SHA-256
LEAVE     in place of CHECK: the file changed while it was sent; empty
"""

import struct
from enum import IntEnum
from typing import Final

from protocols.errors import LocalError, MalformedError
from protocols.lease_messages import MAX_PATH_BYTES
from protocols.types import Digest

MAX_FRAME_BYTES: Final = 1 + (512 << 10)
"""A frame with its kind. Half a MiB at once keeps the cost per byte low, and fits the window of a
stream twice."""

MAX_DATA_BYTES: Final = MAX_FRAME_BYTES - 1
MAX_TEXT_BYTES: Final = 64 << 10

MAX_MODE: Final = 0o777
"""Read, write, execute. No bit that lets a file run as somebody else."""

CHECK_BYTES: Final = 32

_SIZES: Final = struct.Struct("!HH")
_FILE: Final = struct.Struct("!HQ")
_EXIT: Final = struct.Struct("!i")
_OFFSET: Final = struct.Struct("!Q")
_SIGNAL: Final = struct.Struct("!B")
_TREE: Final = struct.Struct("!IQI")


class FrameKind(IntEnum):
    """First byte of a frame."""

    DATA = 0
    ERRORS = 1
    END = 2
    TEXT = 3
    RESIZE = 4
    SIGNAL = 5
    EXIT = 6
    FILE = 7
    CHECK = 8
    RESUME = 9
    DONE = 10
    FAILURE = 11
    TREE = 12
    HAVE = 13
    LEAVE = 14


def encode_frame(kind: FrameKind, payload: bytes = b"") -> bytes:
    """Put a kind before a payload; LocalError when it is too long for a frame."""
    if len(payload) > MAX_DATA_BYTES:
        raise LocalError(f"frame of {len(payload)} bytes, at most {MAX_DATA_BYTES}")
    return bytes([kind]) + payload


def decode_frame(data: bytes) -> tuple[FrameKind, memoryview]:
    """Split a frame into its kind and a view of its payload.

    MalformedError for none, one that is too long, and no kind.
    """
    if not data:
        raise MalformedError("empty frame")
    if len(data) > MAX_FRAME_BYTES:
        raise MalformedError("frame too long", f"{len(data)} bytes")
    try:
        return FrameKind(data[0]), memoryview(data)[1:]
    except ValueError:
        raise MalformedError("unknown frame", f"kind {data[0]}") from None


def require_empty(payload: memoryview) -> None:
    """Read END and DONE, which say nothing else."""
    if payload:
        raise MalformedError("bad frame", f"{len(payload)} bytes where none belong")


def encode_text(kind: FrameKind, text: str) -> bytes:
    """Encode TEXT or FAILURE. What is too long loses its end: it is for people."""
    data = text.encode("utf-8", "replace")[:MAX_TEXT_BYTES]
    return encode_frame(kind, data.decode("utf-8", "ignore").encode())


def clean_text(text: str) -> str:
    """Make somebody else's words one line that steers no terminal and no log."""
    return "".join(each if each.isprintable() else " " for each in text)


def decode_text(payload: memoryview) -> str:
    """Return the text, as one line that people can be shown."""
    if len(payload) > MAX_TEXT_BYTES:
        raise MalformedError("bad frame", f"text of {len(payload)} bytes")
    try:
        return clean_text(str(payload, "utf-8"))
    except UnicodeDecodeError:
        raise MalformedError("bad frame", "text is not UTF-8") from None


def encode_resize(rows: int, columns: int) -> bytes:
    """Encode a RESIZE frame."""
    return encode_frame(FrameKind.RESIZE, _pack(_SIZES, "resize", rows, columns))


def decode_resize(payload: memoryview) -> tuple[int, int]:
    """Return rows and columns."""
    rows, columns = _unpack(_SIZES, payload, "resize")
    return rows, columns


def encode_signal(number: int) -> bytes:
    """Encode a SIGNAL frame."""
    return encode_frame(FrameKind.SIGNAL, _pack(_SIGNAL, "signal", number))


def decode_signal(payload: memoryview) -> int:
    """Return the signal's number, which need not be one of a signal."""
    (number,) = _unpack(_SIGNAL, payload, "signal")
    return number


def encode_exit(status: int) -> bytes:
    """Encode an EXIT frame."""
    return encode_frame(FrameKind.EXIT, _pack(_EXIT, "exit", status))


def decode_exit(payload: memoryview) -> int:
    """Return the exit status, negative for a signal."""
    (status,) = _unpack(_EXIT, payload, "exit")
    return status


def encode_file(mode: int, size: int, path: bytes) -> bytes:
    """Encode a FILE frame. LocalError for what `decode_file` would refuse."""
    fault = _find_file_fault(mode, path)
    if fault:
        raise LocalError(f"file: {fault}")
    return encode_frame(FrameKind.FILE, _pack(_FILE, "file", mode, size) + path)


def decode_file(payload: memoryview) -> tuple[int, int, bytes]:
    """Return permissions, size and path.

    The path has 1 … MAX_PATH_BYTES bytes and no NUL. Where it leads is not checked here.
    """
    if len(payload) <= _FILE.size:
        raise MalformedError("bad frame", "file")
    mode, size = _FILE.unpack(payload[: _FILE.size])
    path = bytes(payload[_FILE.size :])
    fault = _find_file_fault(mode, path)
    if fault:
        raise MalformedError("bad frame", f"file: {fault}")
    return mode, size, path


def encode_check(digest: bytes) -> bytes:
    """Encode a CHECK frame."""
    if len(digest) != CHECK_BYTES:
        raise LocalError(f"check of {len(digest)} bytes, expected {CHECK_BYTES}")
    return encode_frame(FrameKind.CHECK, digest)


def decode_check(payload: memoryview) -> Digest:
    """Return the SHA-256 of the file that was just sent."""
    if len(payload) != CHECK_BYTES:
        raise MalformedError("bad frame", "check")
    return Digest(bytes(payload))


def encode_resume(offset: int) -> bytes:
    """Encode a RESUME frame."""
    return encode_frame(FrameKind.RESUME, _pack(_OFFSET, "resume", offset))


def decode_resume(payload: memoryview) -> int:
    """Return the number of bytes that are there already."""
    (offset,) = _unpack(_OFFSET, payload, "resume")
    return offset


def encode_tree(files: int, size: int, left_out: int) -> bytes:
    """Encode a TREE frame."""
    return encode_frame(FrameKind.TREE, _pack(_TREE, "tree", files, size, left_out))


def decode_tree(payload: memoryview) -> tuple[int, int, int]:
    """Return the number of files, the bytes of all of them, and how many things are not sent."""
    files, size, left_out = _unpack(_TREE, payload, "tree")
    return files, size, left_out


def encode_have(offset: int, digest: bytes) -> bytes:
    """Encode a HAVE frame; the digest is of CHECK_BYTES bytes."""
    if len(digest) != CHECK_BYTES:
        raise LocalError(f"have: digest of {len(digest)} bytes, expected {CHECK_BYTES}")
    return encode_frame(FrameKind.HAVE, _pack(_OFFSET, "have", offset) + digest)


def decode_have(payload: memoryview) -> tuple[int, Digest]:
    """Return the number of bytes that the receiver has, and their SHA-256."""
    if len(payload) != _OFFSET.size + CHECK_BYTES:
        raise MalformedError("bad frame", "have")
    (offset,) = _OFFSET.unpack(payload[: _OFFSET.size])
    return offset, Digest(bytes(payload[_OFFSET.size :]))


def _find_file_fault(mode: int, path: bytes) -> str | None:
    if not 0 <= mode <= MAX_MODE:
        return f"mode {mode:o}"
    if not 1 <= len(path) <= MAX_PATH_BYTES:
        return f"path of {len(path)} bytes"
    return "path with a NUL" if b"\0" in path else None


def _pack(form: struct.Struct, name: str, *numbers: int) -> bytes:
    try:
        return form.pack(*numbers)
    except struct.error:
        raise LocalError(f"{name}: {numbers} does not fit") from None


def _unpack(form: struct.Struct, payload: memoryview, name: str) -> tuple[int, ...]:
    if len(payload) != form.size:
        raise MalformedError("bad frame", name)
    return form.unpack(payload)

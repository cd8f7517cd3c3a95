"""Frames on a granted stream of a lease: one byte for the kind, then its payload.

DATA      bytes: standard input and output, a file's or a connection's content, logs
ERRORS    bytes of standard error
END       nothing more comes in this direction of DATA; empty
TEXT      UTF-8 for people: progress of a deployment; a status as JSON
RESIZE    rows and columns, 16 bits each
SIGNAL    number of a signal for the command, 8 bits
EXIT      32 bits, signed: exit status, or −n for death by signal n; the last frame of a run
FILE      mode (16 bits: permissions), size (64 bits), path: a file's content follows as DATA
CHECK     32 bytes: SHA-256 of the file that was just sent
RESUME    64 bits: of this file so many bytes are here already
DONE      everything arrived and is in place; empty
FAILURE   UTF-8: what was asked for failed, and why; the last frame
"""

import struct
from enum import IntEnum
from typing import Final

from protocols.errors import MalformedError

MAX_FRAME_BYTES: Final = 1 + (512 << 10)
"""A frame with its kind. Half a MiB at once keeps the cost per byte low, and fits the window of a
stream twice."""

MAX_DATA_BYTES: Final = MAX_FRAME_BYTES - 1
MAX_TEXT_BYTES: Final = 64 << 10

_SIZES: Final = struct.Struct("!HH")
_FILE: Final = struct.Struct("!HQ")
_EXIT: Final = struct.Struct("!i")
_OFFSET: Final = struct.Struct("!Q")


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


def encode_frame(kind: FrameKind, payload: bytes = b"") -> bytes:
    """Put a kind before a payload."""
    return bytes([kind]) + payload


def decode_frame(data: bytes) -> tuple[FrameKind, memoryview]:
    """Split a frame into its kind and a view of its payload; MalformedError for none or no kind."""
    if not data:
        raise MalformedError("empty frame")
    try:
        return FrameKind(data[0]), memoryview(data)[1:]
    except ValueError:
        raise MalformedError("unknown frame", f"kind {data[0]}") from None


def encode_resize(rows: int, columns: int) -> bytes:
    """Encode a RESIZE frame."""
    return encode_frame(FrameKind.RESIZE, _SIZES.pack(rows, columns))


def decode_resize(payload: memoryview) -> tuple[int, int]:
    """Return rows and columns."""
    rows, columns = _unpack(_SIZES, payload, "resize")
    return rows, columns


def encode_exit(status: int) -> bytes:
    """Encode an EXIT frame."""
    return encode_frame(FrameKind.EXIT, _EXIT.pack(status))


def decode_exit(payload: memoryview) -> int:
    """Return the exit status, negative for a signal."""
    (status,) = _unpack(_EXIT, payload, "exit")
    return status


def encode_file(mode: int, size: int, path: bytes) -> bytes:
    """Encode a FILE frame."""
    return encode_frame(FrameKind.FILE, _FILE.pack(mode, size) + path)


def decode_file(payload: memoryview) -> tuple[int, int, bytes]:
    """Return permissions, size and path, which is not checked here."""
    if len(payload) <= _FILE.size:
        raise MalformedError("bad frame", "file")
    mode, size = _FILE.unpack(payload[: _FILE.size])
    return mode, size, bytes(payload[_FILE.size :])


def encode_resume(offset: int) -> bytes:
    """Encode a RESUME frame."""
    return encode_frame(FrameKind.RESUME, _OFFSET.pack(offset))


def decode_resume(payload: memoryview) -> int:
    """Return the number of bytes that are there already."""
    (offset,) = _unpack(_OFFSET, payload, "resume")
    return offset


def _unpack(form: struct.Struct, payload: memoryview, name: str) -> tuple[int, ...]:
    if len(payload) != form.size:
        raise MalformedError("bad frame", name)
    return form.unpack(payload)

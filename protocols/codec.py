"""Canonical msgpack: one value, one encoding.

The values are integers (0 ≤ i < 2^64), byte strings, UTF-8 text and arrays of these. Maps, floats,
nil, booleans, extensions and negative integers do not exist on this wire: none of our messages
needs one, and each would bring a second way to write the same thing.
"""

from collections.abc import Sequence
from typing import TypeAlias

import msgpack

from protocols.errors import LocalError, MalformedError

Value: TypeAlias = "int | bytes | str | Sequence[Value]"
"""What may stand in a message."""

MAX_DEPTH = 3
"""Deepest nesting used by a message: a message, a list in it, a pair in that list."""

MAX_ITEMS = 32
"""Longest array of any message is below this. The parser allocates an array before it has seen
its items, so an announced length must never be worth more than a few hundred bytes."""


def encode(value: Value) -> bytes:
    """Encode `value` in its only valid form (shortest integers and lengths).

    Raises LocalError for a value that this wire does not have: another type, an integer outside
    64 bits, text that is not Unicode, arrays deeper than MAX_DEPTH or longer than MAX_ITEMS.
    """
    _require_encodable(value, MAX_DEPTH)
    try:
        packed: bytes = msgpack.packb(value, use_bin_type=True)
    except UnicodeEncodeError as error:
        raise LocalError("text is not Unicode") from error
    return packed


def decode(data: bytes, max_bytes: int) -> list[Value]:
    """Decode one array out of at most `max_bytes` bytes.

    Raises MalformedError for anything but the canonical encoding of an array of allowed values;
    the length is checked before parsing, that of an array before anything is allocated for it.
    """
    if len(data) > max_bytes:
        raise MalformedError("oversized", f"{len(data)} bytes, at most {max_bytes}")
    try:
        value = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            max_str_len=max_bytes,
            max_bin_len=max_bytes,
            max_array_len=MAX_ITEMS,
            max_map_len=0,
            max_ext_len=0,
        )
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise MalformedError("not msgpack", type(error).__name__) from error
    if not isinstance(value, list):
        raise MalformedError("not an array", type(value).__name__)
    try:
        canonical = encode(value)
    except LocalError as error:
        raise MalformedError("value not allowed", str(error)) from error
    if canonical != data:
        raise MalformedError("not canonical")
    return value


def _require_encodable(value: object, depth: int) -> None:
    if isinstance(value, bool):
        raise LocalError("booleans are written as integers")
    if isinstance(value, int):
        if not 0 <= value < 1 << 64:
            raise LocalError("integer outside 0 … 2^64 − 1")
    elif isinstance(value, msgpack.ExtType):
        # It is a tuple too, and would be written as the extension that it stands for.
        raise LocalError("extensions cannot be encoded")
    elif isinstance(value, (list, tuple)):
        if depth == 0:
            raise LocalError(f"nested deeper than {MAX_DEPTH}")
        if len(value) > MAX_ITEMS:
            raise LocalError(f"array of {len(value)}, at most {MAX_ITEMS}")
        for item in value:
            _require_encodable(item, depth - 1)
    elif not isinstance(value, (bytes, str)):
        raise LocalError(f"{type(value).__name__} cannot be encoded")

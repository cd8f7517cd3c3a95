"""tests/vectors/codec: canonical msgpack, and bytes that are not."""

from collections.abc import Iterator
from typing import Any

from tests.protocols import wire_reference as ref

MAX_BYTES = 1024


def tagged(value: Any) -> dict[str, Any]:
    """Write a value so that JSON keeps its type."""
    if isinstance(value, int):
        return {"uint": str(value)}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, str):
        return {"text": value}
    return {"array": [tagged(item) for item in value]}


def untagged(value: dict[str, Any]) -> Any:
    """Inverse of `tagged`; arrays become lists."""
    match value:
        case {"uint": digits}:
            return int(digits)
        case {"bytes": digits}:
            return bytes.fromhex(digits)
        case {"text": text}:
            return text
        case {"array": items}:
            return [untagged(item) for item in items]
    raise AssertionError(value)


def valid() -> list[dict[str, Any]]:
    """Every form of every type at both ends of its range."""
    return [
        {"name": name, "value": tagged(value), "encoded": ref.pack(value).hex()}
        for name, value in _values()
    ]


def _values() -> Iterator[tuple[str, Any]]:
    yield "empty_array", []
    for bits in (7, 8, 16, 32, 64):
        yield f"largest_{bits}_bits", [(1 << bits) - 1]
        if bits < 64:
            yield f"smallest_above_{bits}_bits", [1 << bits]
    yield "zero", [0]
    for size in (0, 1, 31, 32, 255, 256, 900):
        yield f"bytes_{size}", [b"\xa5" * size]
        yield f"text_{size}", ["x" * size]
    yield "text_is_utf8", ["ä€𝄞"]
    yield "array_15", [list(range(15))]
    yield "array_16", [list(range(16))]
    yield "longest_array", [7] * 32
    yield "deepest", [[[1, b"2"], [3, "4"]], 5]


def invalid() -> list[dict[str, Any]]:
    """Bytes that a decoder with a limit of 1,024 bytes refuses, and why."""
    return [
        {"name": name, "encoded": encoded.hex(), "max_bytes": MAX_BYTES, "reason": reason}
        for name, reason, encoded in _refused()
    ]


def _refused() -> Iterator[tuple[str, str, bytes]]:
    one = ref.pack([1])
    yield "longer_than_the_limit", "oversized", ref.pack([bytes(MAX_BYTES)])
    yield "empty", "not msgpack", b""
    yield "truncated_array", "not msgpack", b"\x92\x01"
    yield "truncated_bytes", "not msgpack", b"\x91\xc4\x05abcd"
    yield "trailing_byte", "not msgpack", one + b"\x00"
    yield "second_value", "not msgpack", one + one
    yield "never_used_byte", "not msgpack", b"\x91\xc1"
    yield "text_not_utf8", "not msgpack", b"\x91\xa2\xc3\x28"
    yield "text_surrogate", "not msgpack", b"\x91\xa3\xed\xa0\x80"
    yield "map_with_text_key", "not msgpack", b"\x91\x81\xa1a\x02"
    yield "map_with_entry", "not msgpack", b"\x91\x81\x01\x02"
    yield "extension_with_data", "not msgpack", b"\x91\xd4\x05\x00"
    yield "timestamp", "not msgpack", b"\x91\xd6\xff\x00\x00\x00\x00"
    yield "huge_array_announced", "not msgpack", b"\xdd\xff\xff\xff\xff"
    yield "array_of_33", "not msgpack", ref.pack([0] * 33)
    yield "huge_bytes_announced", "not msgpack", b"\x91\xc6\xff\xff\xff\xff"
    yield "huge_text_announced", "not msgpack", b"\x91\xdb\xff\xff\xff\xff"
    yield "very_deep", "not msgpack", b"\x91" * MAX_BYTES
    yield "integer", "not an array", b"\x01"
    yield "bytes", "not an array", ref.pack(b"abc")
    yield "empty_map", "not an array", b"\x80"
    yield "nil", "value not allowed", b"\x91\xc0"
    yield "true", "value not allowed", b"\x91\xc3"
    yield "false", "value not allowed", b"\x91\xc2"
    yield "negative_fixint", "value not allowed", b"\x91\xff"
    yield "negative_int64", "value not allowed", b"\x91\xd3" + b"\x80" + bytes(7)
    yield "float32", "value not allowed", b"\x91\xca" + bytes(4)
    yield "float64", "value not allowed", b"\x91\xcb" + bytes(8)
    yield "empty_map_inside", "value not allowed", b"\x91\x80"
    yield "empty_extension", "value not allowed", b"\x91\xc7\x00\x05"
    yield "too_deep", "value not allowed", ref.pack([[[[1]]]])
    yield "uint8_for_fixint", "not canonical", b"\x91\xcc\x05"
    yield "uint16_for_uint8", "not canonical", b"\x91\xcd\x00\xff"
    yield "uint32_for_uint16", "not canonical", b"\x91\xce\x00\x00\xff\xff"
    yield "uint64_for_uint32", "not canonical", b"\x91\xcf" + bytes(4) + b"\xff" * 4
    yield "signed_for_unsigned", "not canonical", b"\x91\xd0\x05"
    yield "str8_for_fixstr", "not canonical", b"\x91\xd9\x01a"
    yield "str16_for_str8", "not canonical", b"\x91\xda\x00\x20" + b"a" * 32
    yield "bin16_for_bin8", "not canonical", b"\x91\xc5\x00\x01a"
    yield "bin32_for_bin16", "not canonical", b"\x91\xc6\x00\x00\x00\x01a"
    yield "array16_for_fixarray", "not canonical", b"\xdc\x00\x01\x01"
    yield "array32_for_array16", "not canonical", b"\xdd\x00\x00\x00\x10" + bytes(16)


FILES = {"codec/valid.json": valid, "codec/invalid.json": invalid}

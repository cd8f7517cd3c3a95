"""Hexadecimal text as JSON-RPC uses it, parsed strictly. ValueError for anything else."""


def parse_hex_quantity(value: object) -> int:
    """Parse a number of at most 256 bits, such as 0x1f."""
    if not isinstance(value, str) or not value.startswith("0x") or not 3 <= len(value) <= 66:
        raise ValueError("not a hexadecimal number such as 0x1f")
    if not value.isalnum() or not value.isascii():
        # int() would also take signs, underscores and other scripts' digits.
        raise ValueError("not a hexadecimal number such as 0x1f")
    return int(value[2:], 16)


def parse_hex_bytes(value: object, length: int | None = None) -> bytes:
    """Parse bytes with 0x in front, exactly `length` of them if that is given."""
    if not isinstance(value, str) or not value.startswith("0x") or not value.isalnum():
        raise ValueError("not hexadecimal bytes with 0x in front")
    parsed = bytes.fromhex(value[2:])
    if length is not None and len(parsed) != length:
        raise ValueError(f"{len(parsed)} bytes instead of {length}")
    return parsed


def to_hex(value: bytes | int) -> str:
    """Write bytes or a number."""
    return "0x" + value.hex() if isinstance(value, bytes) else hex(value)

"""What people write on the command line of `kaisar rent`, read into exact values.

All readers are for argparse: they raise ArgumentTypeError, which says what was found and expected.
"""

import argparse
import re
from fractions import Fraction
from typing import Final

BPS: Final = 10_000
MAX_SECONDS: Final = 366 * 86_400
MAX_PORT: Final = 65_535

_DECIMAL: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?")
_SIZES: Final = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_NAME: Final = re.compile(r"[0-9]{1,18}|[0-9a-f]{16}")


def hours(text: str) -> int:
    """Read hours, such as 1.5, into seconds."""
    return _length(text, _scaled(text, 3600, "hours such as 1.5"), "hours")


def seconds(text: str) -> int:
    """Read whole seconds."""
    return _length(text, _scaled(text, 1, "whole seconds"), "seconds")


def rate(text: str) -> int:
    """Read a number with decimals into millionths: of 10^12 operations, or of Mbit."""
    return _scaled(text, 10**6, "a number such as 12.5")


def percent(text: str) -> int:
    """Read a percentage into ten-thousandths."""
    value = _scaled(text.removesuffix("%"), 100, "0 … 100")
    if value > BPS:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected 0 … 100")
    return value


def size(text: str) -> int:
    """Read a size in bytes, such as 24GB or 512MB."""
    match = re.fullmatch(r"([0-9.]+)\s*([A-Za-z]*)", text)
    unit: int | None = _SIZES.get(match[2].upper()) if match else None
    if match is None or unit is None:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a size such as 24GB")
    return _scaled(match[1], unit, "a size such as 24GB")


def lease_name(text: str) -> str:
    """Check a lease's number or name."""
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected the number of a lease, or the name of its folder"
        )
    return text


def forward_ports(text: str) -> tuple[int, int]:
    """Read LOCAL:REMOTE, or one port for both; a LOCAL of 0 takes any that is free."""
    local, colon, remote = text.partition(":")
    ports = [local, remote if colon else local]
    if not all(each.isascii() and each.isdecimal() and int(each) <= MAX_PORT for each in ports):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected ports such as 8888:8888")
    if not int(ports[1]):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a port above 0 on the right")
    return int(ports[0]), int(ports[1])


def fetch_target(text: str) -> tuple[str, str | None]:
    """Read PATH[:LOCAL]: what to copy back, and the folder here that it goes to, if any."""
    path, _, local = text.partition(":")
    if not path:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected PATH or PATH:LOCAL")
    return path, local or None


def environment_entry(text: str) -> bytes:
    """Check NAME=VALUE."""
    name, equals, _ = text.partition("=")
    if not name or not equals or "\0" in text:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected NAME=VALUE")
    return text.encode("utf-8", "surrogateescape")


def _scaled(text: str, scale: int, expected: str) -> int:
    match = _DECIMAL.fullmatch(text)
    value = Fraction(text) * scale if match is not None else Fraction(1, 2)
    if value.denominator != 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected {expected}")
    return value.numerator


def _length(text: str, found: int, unit: str) -> int:
    if not 1 <= found <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected {unit} for 1 … {MAX_SECONDS:,} seconds"
        )
    return found

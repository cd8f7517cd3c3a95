"""What commands show: tables, fields and amounts as plain text, or one JSON document."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any, Final

TOKEN_DECIMALS: Final = 18

MAX_AMOUNT_DIGITS: Final = 20
"""Digits before the point that an amount may have: more than any supply."""


def show_json(value: Any, stream: IO[str] | None = None) -> None:
    """Print one JSON document. Amounts are passed as texts: JSON readers round beyond 2^53."""
    print(json.dumps(value, indent=2), file=stream or sys.stdout, flush=True)


def format_amount(amount: int, unit: str = "KAI", decimals: int = TOKEN_DECIMALS) -> str:
    """Write an amount of smallest units as people do: 1234500000000000000 → "1.2345 KAI"."""
    sign = "-" if amount < 0 else ""
    whole, part = divmod(abs(amount), 10**decimals)
    digits = f"{part:0{decimals}}".rstrip("0") if part else ""
    return f"{sign}{whole:,}{'.' if digits else ''}{digits} {unit}".rstrip()


def parse_amount(text: str) -> int:
    """Read an amount of tokens as people write it, "1,234.5", into smallest units, at least one.

    For argparse: raises ArgumentTypeError that says what was found and expected.
    """
    whole, dot, part = text.replace(",", "").partition(".")
    digits = whole + part
    is_number = digits.isascii() and digits.isdecimal() and bool(whole) and bool(part) == bool(dot)
    if not is_number or len(part) > TOKEN_DECIMALS or len(whole) > MAX_AMOUNT_DIGITS:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected an amount such as 12.5, with {TOKEN_DECIMALS} decimals at "
            "most"
        )
    amount = int(whole) * 10**TOKEN_DECIMALS + int(part.ljust(TOKEN_DECIMALS, "0"))
    if not amount:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected more than nothing")
    return amount


def show_lines(lines: Sequence[str], stream: IO[str] | None = None) -> None:
    """Print lines of text."""
    print("\n".join(lines), file=stream or sys.stdout, flush=True)


def format_fields(fields: Mapping[str, object]) -> list[str]:
    """Align names and values in two columns."""
    width = max(map(len, fields), default=0)
    return [f"{name:{width}}  {value}" for name, value in fields.items()]


def format_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Align columns under their headers; a column of numbers only is flush right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    is_number = [
        bool(rows) and all(isinstance(cell, int | float) for cell in column)
        for column in (zip(*rows, strict=True) if rows else ([()] * len(headers)))
    ]

    def line(texts: Sequence[str]) -> str:
        aligned = [
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(texts, widths, is_number, strict=True)
        ]
        return "  ".join(aligned).rstrip()

    return [line(headers), line(["-" * width for width in widths]), *map(line, cells)]

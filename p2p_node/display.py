"""What commands show: tables, fields and amounts as plain text, or one JSON document."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any, Final

TOKEN_DECIMALS: Final = 18


def show_json(value: Any, stream: IO[str] | None = None) -> None:
    """Print one JSON document. Amounts are passed as texts: JSON readers round beyond 2^53."""
    print(json.dumps(value, indent=2), file=stream or sys.stdout, flush=True)


def format_amount(amount: int, unit: str = "KAI", decimals: int = TOKEN_DECIMALS) -> str:
    """Write an amount of smallest units as people do: 1234500000000000000 → "1.2345 KAI"."""
    sign = "-" if amount < 0 else ""
    whole, part = divmod(abs(amount), 10**decimals)
    digits = f"{part:0{decimals}}".rstrip("0") if part else ""
    return f"{sign}{whole:,}{'.' if digits else ''}{digits} {unit}".rstrip()


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

"""Fields of JSON objects that others send: how each is read, and what it may hold.

The counterpart of `wire` for what browsers read and write. A field is read strictly: no other
type, spelling or range stands for the same value.
"""

from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field
from typing import Any, Final

_HEX_DIGITS: Final = frozenset("0123456789abcdef")


class Problem(Exception):
    """What keeps a value from its field: whoever reads or writes the object names it."""


@dataclass(frozen=True, slots=True)
class JsonForm:
    """How a field is read from JSON, and how it is written."""

    read: Callable[[object], object]
    write: Callable[[Any], object]


def _read_hex(size: int) -> Callable[[object], object]:
    def read(value: object) -> bytes:
        if not isinstance(value, str) or len(value) != 2 * size or set(value) - _HEX_DIGITS:
            raise Problem(f"expected {2 * size} lower-case hexadecimal digits")
        return bytes.fromhex(value)

    return read


def _read_number(maximum: int) -> Callable[[object], object]:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= maximum:
            raise Problem(f"expected an integer 0 … {maximum}")
        return value

    return read


def _read_text(maximum: int) -> Callable[[object], object]:
    def read(value: object) -> str:
        if not isinstance(value, str) or len(value) > maximum:
            raise Problem(f"expected text of at most {maximum} characters")
        if not (value.isascii() and value.isprintable()):
            raise Problem("expected printable ASCII")
        return value

    return read


def _read_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Problem("expected true or false")
    return value


def _read_document(value: object) -> Mapping[str, object] | None:
    if value is not None and not isinstance(value, dict):
        raise Problem("expected an object or null")
    return value


def _read_constant(expected: int) -> Callable[[object], object]:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value != expected:
            raise Problem(f"expected {expected}")
        return value

    return read


def _same(value: object) -> object:
    return value


def hexadecimal(size: int) -> Any:
    """Declare a byte field of exactly `size` bytes, lower-case hexadecimal."""
    return field(metadata={"form": JsonForm(_read_hex(size), lambda value: value.hex())})


def number(maximum: int) -> Any:
    """Declare an integer field, 0 ≤ i ≤ `maximum`."""
    return field(metadata={"form": JsonForm(_read_number(maximum), _same)})


def phrase(maximum: int) -> Any:
    """Declare a field of printable ASCII, at most `maximum` characters: it ends up in logs."""
    return field(metadata={"form": JsonForm(_read_text(maximum), _same)})


def flag() -> Any:
    """Declare a field that is true or false."""
    return field(metadata={"form": JsonForm(_read_flag, _same)})


def document() -> Any:
    """Declare a field that holds an object of any content, or null."""
    return field(metadata={"form": JsonForm(_read_document, _same)})


def constant(value: int) -> Any:
    """Declare a field that always holds this one integer."""
    form = JsonForm(_read_constant(value), _same)
    return field(default=value, kw_only=True, metadata={"form": form})


def form_of(declared: Field[Any]) -> JsonForm:
    """The form that a field was declared with."""
    form: JsonForm = declared.metadata["form"]
    return form

"""Shapes of JSON: the part of JSON Schema that the API needs, for checking and for describing.

The same shape is published in the OpenAPI description and applied to what a client sends, so that
the two cannot differ.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from protocols.errors import LocalError, MalformedError

Schema = Mapping[str, Any]

MAX_INTEGER: Final = (1 << 53) - 1
"""JavaScript's largest exact integer; larger ones travel as text."""


def text(pattern: str, longest: int, about: str = "") -> Schema:
    """A string that matches `pattern` as a whole. The length is looked at first."""
    return _describe({"type": "string", "maxLength": longest, "pattern": f"^(?:{pattern})$"}, about)


def words(longest: int, about: str = "") -> Schema:
    """Any string up to a length."""
    return _describe({"type": "string", "maxLength": longest}, about)


def hexadecimal(count: int, about: str = "") -> Schema:
    """So many bytes as lower-case hexadecimal."""
    return text(f"[0-9a-f]{{{2 * count}}}", 2 * count, about)


def number(least: int = 0, most: int = MAX_INTEGER, about: str = "") -> Schema:
    """An integer between two others."""
    return _describe({"type": "integer", "minimum": least, "maximum": most}, about)


def flag(about: str = "") -> Schema:
    """True or false."""
    return _describe({"type": "boolean"}, about)


def choice(*values: str, about: str = "") -> Schema:
    """One of some strings."""
    return _describe({"type": "string", "enum": list(values)}, about)


def listing(item: Schema, longest: int, about: str = "", *, least: int = 0) -> Schema:
    """A list of at most so many."""
    shape = {"type": "array", "items": item, "minItems": least, "maxItems": longest}
    return _describe(shape, about)


def entries(value: Schema, about: str = "") -> Schema:
    """An object whose names are free."""
    return _describe({"type": "object", "additionalProperties": value}, about)


def fields(
    about: str = "", *, optional: Mapping[str, Schema] | None = None, **required: Schema
) -> Schema:
    """An object of exactly these fields; those in `optional` may be missing."""
    shape = {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }
    return _describe(shape, about)


def nullable(shape: Schema) -> Schema:
    """The same, or null."""
    return {"anyOf": [shape, {"type": "null"}]}


def anything(about: str = "") -> Schema:
    """Any JSON value."""
    return _describe({}, about)


def check(shape: Schema, value: Any, where: str = "body") -> None:
    """Raise MalformedError, which says where and what is expected, unless a value has a shape."""
    if "anyOf" in shape:
        _check_any(shape["anyOf"], value, where)
        return
    kind = shape.get("type")
    if kind is None:
        return
    checker = _CHECKERS.get(kind)
    if checker is None:
        raise LocalError(f"no shape has the type {kind!r}")
    checker(shape, value, where)


def _describe(shape: dict[str, Any], about: str) -> Schema:
    return {**shape, "description": about} if about else shape


def _check_any(shapes: list[Schema], value: Any, where: str) -> None:
    failures = []
    for shape in shapes:
        try:
            check(shape, value, where)
        except MalformedError as error:
            failures.append(error)
        else:
            return
    raise failures[0]


def _check_string(shape: Schema, value: Any, where: str) -> None:
    if not isinstance(value, str):
        _refuse(where, "text", value)
    if len(value) > shape.get("maxLength", len(value)):
        _refuse(where, f"at most {shape['maxLength']} characters", value)
    if "pattern" in shape and re.fullmatch(shape["pattern"], value) is None:
        _refuse(where, shape["pattern"], value)
    if "enum" in shape and value not in shape["enum"]:
        _refuse(where, f"one of {', '.join(shape['enum'])}", value)
    if any("\ud800" <= character <= "\udfff" for character in value):
        # JSON can name half of a character, which neither a database nor UTF-8 holds.
        _refuse(where, "whole characters", "half of one")


def _check_integer(shape: Schema, value: Any, where: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        _refuse(where, "a whole number", value)
    if not shape["minimum"] <= value <= shape["maximum"]:
        _refuse(where, f"{shape['minimum']} to {shape['maximum']}", value)


def _check_boolean(_: Schema, value: Any, where: str) -> None:
    if not isinstance(value, bool):
        _refuse(where, "true or false", value)


def _check_null(_: Schema, value: Any, where: str) -> None:
    if value is not None:
        _refuse(where, "null", value)


def _check_array(shape: Schema, value: Any, where: str) -> None:
    if not isinstance(value, list):
        _refuse(where, "a list", value)
    if not shape["minItems"] <= len(value) <= shape["maxItems"]:
        _refuse(where, f"{shape['minItems']} to {shape['maxItems']} of them", len(value))
    for number_, item in enumerate(value):
        check(shape["items"], item, f"{where}[{number_}]")


def _check_object(shape: Schema, value: Any, where: str) -> None:
    if not isinstance(value, dict):
        _refuse(where, "an object", value)
    known = shape.get("properties", {})
    for name in shape.get("required", ()):
        if name not in value:
            _refuse(where, f"a field {name!r}", "none")
    for name, each in value.items():
        if name in known:
            check(known[name], each, f"{where}.{name}")
        elif shape["additionalProperties"] is False:
            _refuse(where, f"no field but {', '.join(known) or 'none'}", name)
        else:
            check(shape["additionalProperties"], each, f"{where}.{name[:40]}")


def _refuse(where: str, expected: str, found: Any) -> None:
    raise MalformedError("malformed request", f"{where}: found {found!r:.60}, expected {expected}")


_CHECKERS: Final = {
    "string": _check_string,
    "integer": _check_integer,
    "boolean": _check_boolean,
    "null": _check_null,
    "array": _check_array,
    "object": _check_object,
}


WALLET: Final = text("0x[0-9a-f]{40}", 42, "A wallet, in lower case.")
KEY: Final = hexadecimal(32, "An extension's Ed25519 key.")
SERVICE: Final = hexadecimal(32, "A service's node key.")
TIME: Final = number(about="Unix time in milliseconds.")
UNITS: Final = number(about="Points in units of 1/2880 point.")
TICKETS: Final = number(about="Whole tickets.")
DAY: Final = number(0, 2**31 - 1, "A day, counted from the Unix epoch.")

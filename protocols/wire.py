"""Turning frozen dataclasses into canonical arrays and back, field by field, with limits.

A message declares each field with its wire form; there are no optional fields and no unknown
ones, so that one meaning has one encoding. A change of fields is a new protocol version.
"""

from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar, Protocol, Self

from protocols.codec import decode, encode
from protocols.errors import LocalError, MalformedError


class Form(Protocol):
    """How one field is written, and what it may hold."""

    def find_problem(self, value: object) -> str | None:
        """Say what keeps `value` from this form, or None when it fits."""


@dataclass(frozen=True, slots=True)
class Uint:
    """An integer 0 ≤ i ≤ `maximum`."""

    maximum: int

    def find_problem(self, value: object) -> str | None:
        """See `Form`."""
        if not isinstance(value, int):
            return f"found {type(value).__name__}, expected an integer"
        if not 0 <= value <= self.maximum:
            return f"found {value}, expected 0 … {self.maximum}"
        return None


@dataclass(frozen=True, slots=True)
class Bytes:
    """A byte string of `minimum` to `maximum` bytes."""

    minimum: int
    maximum: int

    def find_problem(self, value: object) -> str | None:
        """See `Form`."""
        if not isinstance(value, bytes):
            return f"found {type(value).__name__}, expected bytes"
        if not self.minimum <= len(value) <= self.maximum:
            return f"found {len(value)} bytes, expected {self.minimum} … {self.maximum}"
        return None


@dataclass(frozen=True, slots=True)
class Text:
    """UTF-8 text of at most `maximum` characters, printable ASCII only: it ends up in logs."""

    maximum: int

    def find_problem(self, value: object) -> str | None:
        """See `Form`."""
        if not isinstance(value, str):
            return f"found {type(value).__name__}, expected text"
        if len(value) > self.maximum:
            return f"found {len(value)} characters, expected at most {self.maximum}"
        return None if value.isascii() and value.isprintable() else "not printable ASCII"


@dataclass(frozen=True, slots=True)
class ListOf:
    """At most `maximum` values of one form."""

    item: Form
    maximum: int

    def find_problem(self, value: object) -> str | None:
        """See `Form`."""
        if not isinstance(value, (list, tuple)):
            return f"found {type(value).__name__}, expected a list"
        if len(value) > self.maximum:
            return f"found {len(value)} items, expected at most {self.maximum}"
        return next((p for p in map(self.item.find_problem, value) if p is not None), None)


def uint(bits: int) -> Any:
    """Declare an unsigned integer field."""
    return field(metadata={"form": Uint((1 << bits) - 1)})


def fixed(size: int) -> Any:
    """Declare a byte field of exactly `size` bytes."""
    return field(metadata={"form": Bytes(size, size)})


def blob(maximum: int) -> Any:
    """Declare a byte field of at most `maximum` bytes."""
    return field(metadata={"form": Bytes(0, maximum)})


def text(maximum: int) -> Any:
    """Declare a text field."""
    return field(metadata={"form": Text(maximum)})


def list_of(item: Form, maximum: int) -> Any:
    """Declare a list field; it becomes a tuple."""
    return field(metadata={"form": ListOf(item, maximum)})


@dataclass(frozen=True, slots=True)
class Message:
    """Base of all messages: a frozen dataclass whose fields carry wire forms."""

    KIND: ClassVar[int]
    """Number of the message on the wire; part of the domain tag of its signature."""
    MAX_BYTES: ClassVar[int]
    """Cap on the encoded body, checked before parsing."""

    def encode(self) -> bytes:
        """Encode the body; LocalError when a field breaks its own limits, or the body its cap."""
        values = []
        for declared in fields(self):
            value = getattr(self, declared.name)
            problem = _form_of(declared).find_problem(value)
            if problem:
                raise LocalError(f"{type(self).__name__}.{declared.name}: {problem}")
            values.append(list(value) if isinstance(value, tuple) else value)
        body = encode(values)
        if len(body) > self.MAX_BYTES:
            raise LocalError(f"{type(self).__name__}: {len(body)} bytes, at most {self.MAX_BYTES}")
        return body

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Parse a body; MalformedError names the field that does not fit."""
        values = decode(body, cls.MAX_BYTES)
        declared = fields(cls)
        if len(values) != len(declared):
            raise MalformedError("wrong field count", f"{len(values)} for {cls.__name__}")
        parsed: list[Any] = []
        for value, each in zip(values, declared, strict=True):
            problem = _form_of(each).find_problem(value)
            if problem:
                raise MalformedError("bad field", f"{cls.__name__}.{each.name}: {problem}")
            parsed.append(tuple(value) if isinstance(value, list) else value)
        return cls(*parsed)


def _form_of(declared: Field[Any]) -> Form:
    form: Form = declared.metadata["form"]
    return form

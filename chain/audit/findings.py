"""What an audit comes to: things that were compared, or the first two that differ."""

from collections import Counter
from dataclasses import dataclass
from typing import NoReturn

from chain.errors import ChainError
from chain.hexes import to_hex

MAX_SHOWN = 200
"""Characters of a value that a difference shows; a vector of scores is compared lane by lane."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in an epoch something is; None for what does not apply.

    `lane` is a provider's place in its shard, `seat` a checker's in its committee, `index` a slot
    of the Registry.
    """

    epoch: int
    shard: int | None = None
    lane: int | None = None
    seat: int | None = None
    index: int | None = None

    def __str__(self) -> str:
        named = (
            ("epoch", self.epoch),
            ("shard", self.shard),
            ("lane", self.lane),
            ("seat", self.seat),
            ("index", self.index),
        )
        return ", ".join(f"{name} {value}" for name, value in named if value is not None)


@dataclass(frozen=True, slots=True)
class Difference:
    """Something on the chain that is not what the chain's own data make it.

    `contract` and `field` name what was looked at, `found` is what is there, `expected` what was
    computed.
    """

    contract: str
    field: str
    place: Place
    found: str
    expected: str

    def __str__(self) -> str:
        return (
            f"{self.contract}.{self.field} ({self.place}): "
            f"found {self.found}, expected {self.expected}"
        )


class DifferenceError(ChainError):
    """Ends a judgement at its first difference."""

    def __init__(self, difference: Difference) -> None:
        super().__init__("audit found a difference", str(difference))
        self.difference = difference


class Checks:
    """Compares, and counts what was equal by contract and field."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def equal(
        self, contract: str, field: str, place: Place, found: object, expected: object
    ) -> None:
        """Count a field as equal; DifferenceError if it is not."""
        if found != expected:
            differ(contract, field, place, show(found), show(expected))
        self.counts[f"{contract}.{field}"] += 1

    def holds(
        self, contract: str, field: str, place: Place, condition: bool, found: str, expected: str
    ) -> None:
        """Count a rule as kept; DifferenceError with these words if it is not."""
        if not condition:
            differ(contract, field, place, found, expected)
        self.counts[f"{contract}.{field}"] += 1


def differ(contract: str, field: str, place: Place, found: str, expected: str) -> NoReturn:
    """Raise a DifferenceError."""
    raise DifferenceError(Difference(contract, field, place, found, expected))


def show(value: object) -> str:
    """Write a value for people."""
    text = to_hex(value) if isinstance(value, bytes) else str(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"

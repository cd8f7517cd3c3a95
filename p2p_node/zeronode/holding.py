"""Who held a linked token at the end of a day."""

from dataclasses import dataclass

from protocols.types import TimeMs


@dataclass(frozen=True, slots=True)
class Holding:
    """An account's token: its uptime of the day from `linked_ms` on counts twice."""

    token: int
    linked_ms: TimeMs

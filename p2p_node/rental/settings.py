"""What an operator asks for the machine, and how much of it a renter gets.

People think of a price per hour, the contract counts seconds: the price is turned into the token's
smallest units per second, rounded down, so that an hour costs at most what was asked for (short by
less than 3,600 of 10^18 parts of a KAI).
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

from protocols.errors import LocalError

RUNNERS: Final = ("auto", "docker", "bubblewrap")

TOKEN: Final = 10**18
"""`params.TOKEN`; importing it would cost every command NumPy's start."""

HOUR: Final = 3600
MEGABYTE: Final = 1_000_000

MAX_PRICE: Final = 10**6
"""Whole KAI per hour; more than anybody means."""

MAX_DURATION: Final = 92 * 86_400
"""The contract's bound, in seconds."""

DEFAULT_MINIMUM: Final = HOUR
DEFAULT_MAXIMUM: Final = 7 * 86_400
DEFAULT_DISK: Final = 20_000 * MEGABYTE
DEFAULT_PROCESSES: Final = 1024

MAX_PROCESSES: Final = 1 << 20
MAX_RENTED_CORES: Final = 4096

_PRICE: Final = re.compile(r"[0-9]{1,7}(\.[0-9]{1,18})?")
_DURATION: Final = re.compile(r"([0-9]{1,8})([smhd]?)")
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": HOUR, "d": 86_400}


class RentalSettingsError(LocalError):
    """Settings of renting that contradict each other, or the network's rules."""


@dataclass(frozen=True, slots=True)
class RentalSettings:
    """How the machine is rented out; `price` is in smallest units per second, 0 for not at all.

    Times are in seconds, sizes in bytes; None stands for what the host allows. `templates` is the
    operator's file, None for the one in the data directory.
    """

    price: int = 0
    minimum_seconds: int = DEFAULT_MINIMUM
    maximum_seconds: int = DEFAULT_MAXIMUM
    runner: str = "auto"
    cores: int | None = None
    memory_bytes: int | None = None
    disk_bytes: int = DEFAULT_DISK
    processes: int = DEFAULT_PROCESSES
    network: bool = False
    templates: Path | None = None

    @property
    def is_on(self) -> bool:
        """Whether the machine is offered at all."""
        return self.price > 0

    def require_sense(self, longest: int) -> None:
        """Raise RentalSettingsError for durations that make no offer.

        `longest` is what the network allows, in seconds.
        """
        if self.minimum_seconds > self.maximum_seconds:
            raise RentalSettingsError(
                f"rental_minimum: found {format_duration(self.minimum_seconds)}, expected at most "
                f"rental_maximum, which is {format_duration(self.maximum_seconds)}"
            )
        if self.maximum_seconds > longest:
            raise RentalSettingsError(
                f"rental_maximum: found {format_duration(self.maximum_seconds)}, expected at most "
                f"{format_duration(longest)}, the longest lease of this network"
            )


def parse_price(text: str) -> int:
    """Turn KAI per hour into smallest units per second, rounded down; ValueError.

    0 stands for not renting out. A price too small to be one is refused.
    """
    if not _PRICE.fullmatch(text):
        raise ValueError
    amount = Decimal(text)
    price = int(amount * TOKEN) // HOUR
    if amount > MAX_PRICE or (amount and not price):
        raise ValueError
    return price


def parse_duration(text: str) -> int:
    """Turn 90, 90s, 30m, 2h or 7d into seconds, 1 … MAX_DURATION; ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError
    seconds = int(match[1]) * _UNITS[match[2]]
    if not 0 < seconds <= MAX_DURATION:
        raise ValueError
    return seconds


def format_duration(seconds: int) -> str:
    """Write seconds as `parse_duration` reads them, in the largest unit that fits."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds // _UNITS[unit]}{unit}"
    return f"{seconds}s"

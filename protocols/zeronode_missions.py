"""Missions: what has to be true, how often it pays, and in which window of time.

A mission is claimed at most once in each of its windows. Days count from the Unix epoch, which was
a Thursday; weeks begin on Monday.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from protocols.errors import LocalError

_MONDAY: Final = 3
_WEEK: Final = 7

IDENTIFIER: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
MAX_CODE_LENGTH: Final = 64


class Period(StrEnum):
    """How often a mission pays."""

    DAILY = "daily"
    WEEKLY = "weekly"
    ONCE = "once"


class Measure(StrEnum):
    """What a mission looks at; `Progress` has a number for each but the code."""

    UPTIME_TODAY = "uptime_today_s"
    UPTIME_WEEK = "uptime_week_s"
    UPTIME_TOTAL = "uptime_total_s"
    RUN = "run_s"
    STREAK = "streak_days"
    REFERRALS = "referrals"
    NFT = "nft"
    CODE = "code"


@dataclass(frozen=True)
class Condition:
    """`measure` has reached `least` (≥ 1); for a code, its hash (see `hash_code`)."""

    measure: Measure
    least: int = 1
    code_hash: bytes = b""

    def __post_init__(self) -> None:
        if self.least < 1:
            raise LocalError(f"a condition of at least {self.least} is always true")
        if (self.measure is Measure.CODE) != bool(self.code_hash):
            raise LocalError(f"{self.measure} with a hash of {len(self.code_hash)} bytes")


@dataclass(frozen=True)
class Progress:
    """What an account has reached: seconds, days and counts.

    Seconds of today and of the week are durable but not booked yet where their day is open; `total`
    counts booked days. `run_s` is the longest run in a row that ended today or goes on. A linked
    NFT that was held at the end of a day counts 1.
    """

    uptime_today_s: int = 0
    uptime_week_s: int = 0
    uptime_total_s: int = 0
    run_s: int = 0
    streak_days: int = 0
    referrals: int = 0
    nft: int = 0


@dataclass(frozen=True)
class Task:
    """A condition and what meeting it is worth: `units` of points, `tickets`, or both."""

    name: str
    title: str
    summary: str
    condition: Condition
    units: int = 0
    tickets: int = 0

    def __post_init__(self) -> None:
        if min(self.units, self.tickets) < 0 or not self.units + self.tickets:
            raise LocalError(f"{self.name}: {self.units} units and {self.tickets} tickets")


@dataclass(frozen=True)
class Mission:
    """A task that pays once in each window of its period."""

    task: Task
    period: Period


def window_of(period: Period, day: int) -> int:
    """Return the number of the window that `day` lies in: the day, the week, or always 0."""
    match period:
        case Period.DAILY:
            return day
        case Period.WEEKLY:
            return (day + _MONDAY) // _WEEK
        case _:
            return 0


def first_day_of_week(day: int) -> int:
    """Return the Monday at or before `day`."""
    return day - (day + _MONDAY) % _WEEK


def days_left(period: Period, day: int) -> int | None:
    """Return how many days after `day` begins the next window begins; None if there is none."""
    match period:
        case Period.DAILY:
            return 1
        case Period.WEEKLY:
            return _WEEK - (day + _MONDAY) % _WEEK
        case _:
            return None


def reached(condition: Condition, progress: Progress) -> int:
    """Return the number that the condition looks at; 0 for a code, which has to be typed."""
    if condition.measure is Measure.CODE:
        return 0
    value: int = getattr(progress, condition.measure.value)
    return value


def is_met(condition: Condition, progress: Progress, code: str | None = None) -> bool:
    """Return whether the condition holds; a code is compared in constant time."""
    if condition.measure is Measure.CODE:
        return code is not None and hmac.compare_digest(hash_code(code), condition.code_hash)
    return reached(condition, progress) >= condition.least


def hash_code(code: str) -> bytes:
    """Return the hash of a code as people type it: letter case and blanks around it do not count.

    Longer codes than MAX_CODE_LENGTH are nobody's, and hash to nothing that was configured.
    """
    if len(code) > MAX_CODE_LENGTH:
        return b""
    return hashlib.sha256(code.strip().casefold().encode("utf-8", "replace")).digest()

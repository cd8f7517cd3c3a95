"""Consecutive days: who checked in on which day, and what the day is worth.

A streak counts the days in a row, without end; what a day is worth repeats after the last entry of
the table. A day that was missed begins again at day 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from protocols.errors import LocalError


@dataclass(frozen=True)
class Streak:
    """`days` in a row, the last of them on `last_day`; no check-in yet is 0 days and day -1."""

    days: int = 0
    last_day: int = -1

    def __post_init__(self) -> None:
        if self.days < 0 or self.last_day < -1 or (self.days == 0) != (self.last_day == -1):
            raise LocalError(f"no streak: {self.days} days until day {self.last_day}")


def extend_streak(streak: Streak, day: int) -> Streak:
    """Return the streak after a check-in on `day`.

    A second check-in of a day changes nothing, and neither does one of an earlier day: the clock
    of a service may have been set back, and a streak is never shortened by that.
    """
    if streak.days and day <= streak.last_day:
        return streak
    if streak.days and day == streak.last_day + 1:
        return Streak(streak.days + 1, day)
    return Streak(1, day)


def days_alive(streak: Streak, day: int) -> int:
    """Return how many days in a row stand on `day`: 0 once a whole day was missed."""
    return streak.days if streak.days and day <= streak.last_day + 1 else 0


def is_checked_in(streak: Streak, day: int) -> bool:
    """Return whether a check-in on `day` would change nothing."""
    return streak.days > 0 and day <= streak.last_day


def reward_of(days: int, rewards: Sequence[int]) -> int:
    """Return what the `days`-th day in a row is worth (days ≥ 1), in the table's own measure."""
    if days < 1 or not rewards:
        raise LocalError(f"nothing is paid for day {days} of a table of {len(rewards)} rewards")
    return rewards[(days - 1) % len(rewards)]


def next_reward(streak: Streak, day: int, rewards: Sequence[int]) -> int:
    """Return what the next check-in is worth: that of `day`, or of the day after it once done."""
    following = day + 1 if is_checked_in(streak, day) else day
    return reward_of(extend_streak(streak, following).days, rewards)

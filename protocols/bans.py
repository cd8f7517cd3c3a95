"""Kaisar's rule for checkers whose reports were wrong, as Penalties.vy keeps it.

A report is *wrong* when more than half of the lanes of its shard deviate (`reports.is_wrong`). At
most one counts per epoch. Two within a week keep the checker out for a month, five within a month
for half a year, more than ten in total for good.
"""

from dataclasses import dataclass

from protocols.errors import LocalError
from protocols.params import BAN_WRONG_IN_MONTH, BAN_WRONG_IN_TOTAL, BAN_WRONG_IN_WEEK, Preset
from protocols.types import Epoch

FOREVER = (1 << 32) - 1
"""A ban of so many epochs has no end: epochs have 32 bits."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The wrong reports of one wallet: how many in total, and the epochs of the latest five, the
    newest first."""

    total: int = 0
    latest: tuple[Epoch, ...] = ()


def record_wrong(standing: Standing, epoch: Epoch) -> Standing:
    """Count a wrong report; LocalError unless its epoch comes after all that were counted.

    The contract starts from an epoch of 0, in which nobody can have reported anything.
    """
    newest = standing.latest[0] if standing.latest else 0
    if epoch <= newest:
        raise LocalError(f"epoch {epoch} does not come after {newest}")
    return Standing(standing.total + 1, (epoch, *standing.latest)[:BAN_WRONG_IN_MONTH])


def compute_ban(standing: Standing, preset: Preset) -> int:
    """Epochs for which the newest wrong report bans its checker: 0 for none, FOREVER for good."""
    if standing.total > BAN_WRONG_IN_TOTAL:
        return FOREVER
    if _fit(standing, BAN_WRONG_IN_MONTH, preset.ban_month_epochs):
        return preset.ban_half_year_epochs
    if _fit(standing, BAN_WRONG_IN_WEEK, preset.ban_week_epochs):
        return preset.ban_month_epochs
    return 0


def find_return(current: Epoch, ban: int) -> Epoch:
    """First epoch in which a checker banned in the epoch `current` takes part again.

    A ban counts from the next epoch: what happens in an epoch does not change who is active in it.
    """
    return Epoch(min(current + 1 + ban, FOREVER))


def _fit(standing: Standing, count: int, epochs: int) -> bool:
    """Whether the latest `count` wrong reports lie within so many epochs."""
    latest = standing.latest
    return len(latest) >= count and latest[0] - latest[count - 1] < epochs

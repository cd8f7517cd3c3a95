"""The daily check-in: worth more each day in a row up to the seventh, then from the first again.

The day is the service's, from midnight to midnight UTC.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, insert, select, update

from p2p_node.zeronode.account_tables import streaks
from p2p_node.zeronode.accounts import require_account, wallet_text
from p2p_node.zeronode.ledger import Line, Transfer, Unit, post, user_account
from protocols.types import TimeMs, Wallet
from protocols.zeronode_rules import CHECK_IN_POINTS, UNITS_PER_POINT, ZeroNodeRules
from protocols.zeronode_streaks import Streak, extend_streak, is_checked_in, reward_of

ISSUE: Final = "issue:check-in"


@dataclass(frozen=True)
class CheckIn:
    """A day's check-in: the days in a row that it makes, and what it was worth in units."""

    day: int
    days: int
    units: int


def check_in(connection: Connection, wallet: Wallet, rules: ZeroNodeRules, now_ms: int) -> CheckIn:
    """Check an account in for today; again on the same day returns the same and pays nothing."""
    require_account(connection, wallet)
    streak, today = read_streak(connection, wallet), rules.day_of(TimeMs(now_ms))
    if is_checked_in(streak, today):
        return _describe(streak)
    extended = extend_streak(streak, today)
    done = _describe(extended)
    lines = (
        Line(ISSUE, Unit.POINTS, -done.units),
        Line(user_account(wallet), Unit.POINTS, done.units),
    )
    key = f"checkin:{wallet_text(wallet)}:{today}"
    post(connection, Transfer(key, "check-in", lines, f"day {extended.days} in a row"), now_ms)
    _write_streak(connection, wallet, extended, is_new=not streak.days)
    return done


def read_streak(connection: Connection, wallet: Wallet) -> Streak:
    """Return the days in a row of an account, whether or not they still stand today."""
    query = select(streaks).where(streaks.c.wallet == wallet_text(wallet))
    row = connection.execute(query).one_or_none()
    return Streak() if row is None else Streak(row.days, row.last_day)


def _describe(streak: Streak) -> CheckIn:
    units = reward_of(streak.days, CHECK_IN_POINTS) * UNITS_PER_POINT
    return CheckIn(streak.last_day, streak.days, units)


def _write_streak(connection: Connection, wallet: Wallet, streak: Streak, is_new: bool) -> None:
    values = {"days": streak.days, "last_day": streak.last_day}
    if is_new:
        connection.execute(insert(streaks).values(wallet=wallet_text(wallet), **values))
    else:
        connection.execute(
            update(streaks).where(streaks.c.wallet == wallet_text(wallet)).values(**values)
        )

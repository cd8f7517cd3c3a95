"""All that the popup shows of an account, read in one transaction.

Points and tickets are those of the ledger. Uptime of days that are not booked yet stands beside
them, never in them.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection

from p2p_node.zeronode.accounts import require_account, wallet_text
from p2p_node.zeronode.check_in import read_streak
from p2p_node.zeronode.ledger import Unit, balances_of, user_account
from p2p_node.zeronode.location import Location, read_location
from p2p_node.zeronode.nft import find_link
from p2p_node.zeronode.referrals import (
    Referral,
    count_invited,
    current_run_ms,
    find_referral,
)
from p2p_node.zeronode.uptime_book import booked_days_of, unpaid_stretches_of
from protocols.types import NodeKey, TimeMs, Wallet
from protocols.uptime import Stretch, compute_day
from protocols.uptime_display import join_nearest
from protocols.zeronode_referrals import Waiting
from protocols.zeronode_rules import CHECK_IN_POINTS, UNITS_PER_POINT, ZeroNodeRules
from protocols.zeronode_streaks import Streak, days_alive, is_checked_in, next_reward

MAX_SEGMENTS: Final = 48
"""Stretches of the day's bar; over more of them the shortest gaps are closed, for the eye only."""


@dataclass(frozen=True)
class NextDraw:
    """The next draw that takes tickets, and until when."""

    draw: str
    closes_ms: int


@dataclass(frozen=True)
class Live:
    """What a service knows at this moment and no table says.

    `service` is its own key, `home` that of the account's home; `earning` and `reason` are about
    the session of the key that asks, `link_base` is the address before a referral code.
    """

    service: NodeKey
    home: NodeKey
    earning: bool
    reason: str
    link_base: str = ""
    next_draw: NextDraw | None = None


@dataclass(frozen=True)
class StreakStanding:
    """Days in a row that stand, what the next check-in pays, and when the row would end."""

    days: int
    checked_in: bool
    next_units: int
    resets_ms: int | None


@dataclass(frozen=True)
class ReferralStanding:
    """An account's own code and who it invited; and how far its own invitation is."""

    code: str
    link: str
    referral: Referral | None
    run_ms: int
    gate_ms: int
    invited: int
    invited_gated: int


@dataclass(frozen=True)
class Standing:
    """What the popup shows; amounts of points in units, times in milliseconds."""

    wallet: Wallet
    live: Live
    token: int | None
    now_ms: int
    day: int
    day_ends_ms: int
    uptime_today_s: int
    segments_today: tuple[Stretch, ...]
    today_units: int
    pending_units: int
    points_units: int
    tickets: int
    streak: StreakStanding
    referral: ReferralStanding
    location: Location = field(default_factory=Location)

    def to_json(self) -> dict[str, Any]:
        """Return the answer of GET /v1/account."""
        live, invitation = self.live, self.referral.referral
        waiting = Waiting.NONE if invitation is None else invitation.waiting
        token, draw, coarse = self.token, live.next_draw, self.location.coarse
        return {
            "wallet": wallet_text(self.wallet),
            "home": live.home == live.service,
            "home_service": live.home.hex(),
            "now_ms": self.now_ms,
            "day": self.day,
            "day_ends_ms": self.day_ends_ms,
            "uptime_today_s": self.uptime_today_s,
            "segments_today": [[each.start_ms, each.end_ms] for each in self.segments_today],
            "today_units": self.today_units,
            "pending_units": self.pending_units,
            "points_units": self.points_units,
            "tickets": self.tickets,
            "multiplier": 1 if token is None else 2,
            "nft": {
                # A token's number may be larger than what JSON readers keep exact.
                "token": None if token is None else str(token),
                "state": "none" if token is None else "linked",
            },
            "streak": {
                "days": self.streak.days,
                "checked_in": self.streak.checked_in,
                "next_units": self.streak.next_units,
                "resets_ms": self.streak.resets_ms,
            },
            "referral": {
                "code": self.referral.code,
                "link": self.referral.link,
                "referred": invitation is not None,
                "run_s": self.referral.run_ms // 1000,
                "gate_s": self.referral.gate_ms // 1000,
                "gated": invitation is not None and invitation.granted_day is not None,
                "waiting_reason": waiting.value,
                "invited": self.referral.invited,
                "invited_gated": self.referral.invited_gated,
            },
            "location": {
                "country": self.location.country,
                "region": self.location.region,
                "network": self.location.network,
                "coarse": None if coarse is None else [coarse.lat_tenths, coarse.lon_tenths],
                "mismatch": self.location.mismatch,
            },
            "status": {"earning": live.earning, "reason": live.reason},
            "next_draw": None if draw is None else {"id": draw.draw, "closes_ms": draw.closes_ms},
        }


def read_standing(
    connection: Connection, wallet: Wallet, rules: ZeroNodeRules, now_ms: int, live: Live
) -> Standing:
    """Return what an account has and does at `now_ms`; NotFound if it never signed in here."""
    account = require_account(connection, wallet)
    today = rules.day_of(TimeMs(now_ms))
    link = find_link(connection, wallet)
    linked_ms = None if link is None else link.linked_ms
    stretches = unpaid_stretches_of(connection, wallet, today)
    uptime = compute_day(stretches, today, rules, linked_ms, None)
    held = balances_of(connection, user_account(wallet))
    invited, invited_gated = count_invited(connection, wallet)
    return Standing(
        wallet=wallet,
        live=live,
        token=None if link is None else link.token,
        now_ms=now_ms,
        day=today,
        day_ends_ms=rules.day_end(today),
        uptime_today_s=uptime.seconds,
        segments_today=join_nearest(stretches, MAX_SEGMENTS),
        today_units=uptime.units + uptime.doubled_units,
        pending_units=_read_pending(connection, wallet, today, rules, linked_ms),
        points_units=held[Unit.POINTS],
        tickets=held[Unit.TICKETS],
        streak=_describe_streak(read_streak(connection, wallet), today, rules),
        referral=ReferralStanding(
            code=account.code,
            link=f"{live.link_base}{account.code}" if live.link_base else "",
            referral=find_referral(connection, wallet),
            run_ms=current_run_ms(connection, wallet, rules, now_ms),
            gate_ms=rules.gate_ms,
            invited=invited,
            invited_gated=invited_gated,
        ),
        location=read_location(connection, wallet),
    )


def _read_pending(
    connection: Connection,
    wallet: Wallet,
    today: int,
    rules: ZeroNodeRules,
    linked_ms: TimeMs | None,
) -> int:
    """Return what yesterday brings once it is booked; 0 when that is done."""
    yesterday = today - 1
    if yesterday < 0 or booked_days_of(connection, wallet, after=yesterday - 1, limit=1):
        return 0
    stretches = unpaid_stretches_of(connection, wallet, yesterday)
    uptime = compute_day(stretches, yesterday, rules, linked_ms, None)
    return uptime.units + uptime.doubled_units


def _describe_streak(streak: Streak, today: int, rules: ZeroNodeRules) -> StreakStanding:
    days = days_alive(streak, today)
    return StreakStanding(
        days=days,
        checked_in=is_checked_in(streak, today),
        next_units=next_reward(streak, today, CHECK_IN_POINTS) * UNITS_PER_POINT,
        resets_ms=rules.day_end(streak.last_day + 1) if days else None,
    )

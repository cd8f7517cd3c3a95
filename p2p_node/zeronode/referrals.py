"""Who invited whom, the gate of six consecutive hours, and what comes of passing it.

At the gate both accounts get a ticket, in one entry of the ledger; from then on the referrer has a
share of the referee's uptime, which the close of each day pays. Whether the gate was passed is only
ever judged from durable stretches, so it does not matter when, or how often, that is done.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Row, func, insert, select, update

from p2p_node.zeronode.account_tables import referrals
from p2p_node.zeronode.accounts import find_code, parse_wallet, require_account, wallet_text
from p2p_node.zeronode.address_hashes import share_address
from p2p_node.zeronode.ledger import Line, Transfer, Unit, post, user_account
from p2p_node.zeronode.refusals import Conflict, NotFound
from p2p_node.zeronode.uptime_book import stretches_of
from p2p_node.zeronode.uptime_tables import stretches as stretches_table
from protocols.types import TimeMs, Wallet
from protocols.uptime import Stretch, clip, find_current_run, find_gate
from protocols.zeronode_referrals import (
    Waiting,
    choose_day,
    explain_waiting,
    may_be_invited,
    parse_code,
)
from protocols.zeronode_rules import GATES_PER_DAY, ZeroNodeRules

MAX_SETTLED: Final = 100
"""Referrals that one call looks at: a transaction holds up all other writers."""

ISSUE: Final = "issue:referral"

IsHome = Callable[[Connection, Wallet], bool]


@dataclass(frozen=True)
class Referral:
    """What is known of an account that was invited; times are None until they are reached."""

    referee: Wallet
    referrer: Wallet
    bound_ms: int
    shared_ms: int | None
    gate_ms: int | None
    granted_day: int | None
    share_from_ms: int | None

    @property
    def waiting(self) -> Waiting:
        """What it waits for."""
        return explain_waiting(
            self.gate_ms is not None, self.granted_day is not None, self.shared_ms is not None
        )


@dataclass(frozen=True)
class Share:
    """Who has a share of an account's uptime, and from which moment on."""

    referrer: Wallet
    from_ms: TimeMs


@dataclass(frozen=True)
class Settled:
    """What a call of `settle_gates` did: the referees whose tickets were given, where to go on.

    `cursor` is empty when all referrals were looked at.
    """

    granted: tuple[Wallet, ...]
    cursor: str


def bind_referral(
    connection: Connection, referee: Wallet, code: str, rules: ZeroNodeRules, now_ms: int
) -> None:
    """Write down who invited an account, for good; the same again changes nothing.

    MalformedError for a text that is no code; NotFound for nobody's; Conflict for the account's
    own, for an account that is not new, and for one that somebody else invited.
    """
    account = require_account(connection, referee)
    inviting = find_code(connection, parse_code(code))
    if inviting is None:
        raise NotFound("nobody has this referral code")
    if inviting.wallet == referee:
        raise Conflict("this is the account's own referral code")
    present = find_referral(connection, referee)
    if present is not None:
        if present.referrer != inviting.wallet:
            raise Conflict("somebody else invited this account")
        return
    if not may_be_invited(account.opened_ms, now_ms, rules.day_ms):
        raise Conflict("only a new account can say who invited it")
    if _is_invited_by(connection, inviting.wallet, referee):
        raise Conflict("two accounts cannot invite each other")
    shared = share_address(connection, referee, inviting.wallet)
    connection.execute(
        insert(referrals).values(
            referee=wallet_text(referee),
            referrer=wallet_text(inviting.wallet),
            bound_ms=now_ms,
            shared_ms=now_ms if shared else None,
        )
    )


def find_referral(connection: Connection, referee: Wallet) -> Referral | None:
    """Return who invited an account and how far that is; None if nobody did."""
    query = select(referrals).where(referrals.c.referee == wallet_text(referee))
    row = connection.execute(query).one_or_none()
    return None if row is None else _referral_of(row)


def find_share(connection: Connection, referee: Wallet) -> Share | None:
    """Return who has a share of an account's uptime; None before its gate, and without referrer."""
    referral = find_referral(connection, referee)
    if referral is None or referral.share_from_ms is None:
        return None
    return Share(referral.referrer, TimeMs(referral.share_from_ms))


def make_share_finder(
    rules: ZeroNodeRules, now_ms: int
) -> Callable[[Connection, Wallet], Share | None]:
    """Return `find_share` for booking a day: it first looks whether the gate was passed."""

    def find(connection: Connection, referee: Wallet) -> Share | None:
        settle_gate(connection, referee, rules, now_ms)
        return find_share(connection, referee)

    return find


def count_invited(connection: Connection, referrer: Wallet) -> tuple[int, int]:
    """Return how many accounts somebody invited, and how many of them passed the gate."""
    row = connection.execute(
        select(func.count(), func.count(referrals.c.granted_day)).where(
            referrals.c.referrer == wallet_text(referrer)
        )
    ).one()
    return row[0], row[1]


def settle_gate(connection: Connection, referee: Wallet, rules: ZeroNodeRules, now_ms: int) -> bool:
    """Look whether an account's referral passed the gate; return whether tickets were given now.

    Call it before a day of the account is booked, so that the referrer's share begins in time.
    """
    referral = find_referral(connection, referee)
    if referral is None or referral.granted_day is not None or referral.shared_ms is not None:
        return False
    gate_ms = referral.gate_ms
    if gate_ms is None:
        gate_ms = _find_gate(connection, referral, rules, now_ms)
        if gate_ms is None:
            return False
        _change(connection, referral, gate_ms=gate_ms)
    return _grant(connection, referral, gate_ms, rules, now_ms)


def settle_gates(
    connection: Connection,
    rules: ZeroNodeRules,
    now_ms: int,
    cursor: str = "",
    is_home: IsHome = lambda connection, wallet: True,
) -> Settled:
    """Settle the next referrals that wait, MAX_SETTLED at most, from `cursor` on.

    Accounts whose home is elsewhere are left to their home.
    """
    table = referrals.c
    rows = connection.execute(
        select(table.referee, table.gate_ms)
        .where(table.granted_day.is_(None), table.shared_ms.is_(None))
        .where(table.referee > cursor)
        .order_by(table.referee)
        .limit(MAX_SETTLED)
    ).all()
    waiting = {parse_wallet(row.referee): row.gate_ms for row in rows}
    running = [wallet for wallet, gate_ms in waiting.items() if gate_ms is None]
    enough = _find_enough(connection, running, rules, now_ms)
    granted = tuple(
        referee
        for referee, gate_ms in waiting.items()
        if (gate_ms is not None or referee in enough)
        and is_home(connection, referee)
        and settle_gate(connection, referee, rules, now_ms)
    )
    return Settled(granted, rows[-1].referee if len(rows) == MAX_SETTLED else "")


def current_run_ms(
    connection: Connection, wallet: Wallet, rules: ZeroNodeRules, now_ms: int
) -> int:
    """Return the uptime of the run that an account is in, in milliseconds; 0 outside of one."""
    since = max(0, now_ms - run_window_ms(rules))
    stretches = read_stretches(connection, wallet, since, now_ms, rules)
    run = find_current_run(stretches, rules, TimeMs(now_ms))
    return 0 if run is None else run.paid_ms


def read_stretches(
    connection: Connection, wallet: Wallet, since_ms: int, now_ms: int, rules: ZeroNodeRules
) -> tuple[Stretch, ...]:
    """Return an account's uptime from `since_ms` to `now_ms`, of all services."""
    first, last = rules.day_of(TimeMs(since_ms)), rules.day_of(TimeMs(now_ms))
    return clip(stretches_of(connection, wallet, first, last), since_ms, now_ms)


def run_window_ms(rules: ZeroNodeRules) -> int:
    """Return how far back a run is looked at: no longer one decides about the gate.

    A run of six paid hours in which every shortest credit is followed by the longest gap that
    does not end it takes less than this.
    """
    least_credit = rules.challenge_min_ms
    return rules.gate_ms * (least_credit + rules.join_gap_ms) // least_credit + rules.day_ms


def _find_enough(
    connection: Connection, wallets: Sequence[Wallet], rules: ZeroNodeRules, now_ms: int
) -> set[Wallet]:
    """Return those accounts that may have passed the gate, by what a single query can tell.

    It counts uptime that two services saw at once twice, and does not ask for a single run.
    """
    table = stretches_table.c
    first = rules.day_of(TimeMs(max(0, now_ms - run_window_ms(rules))))
    length = func.sum(table.end_ms - table.start_ms)
    rows = connection.execute(
        select(table.wallet)
        .where(table.wallet.in_(wallets), table.day >= first)
        .group_by(table.wallet)
        .having(length >= rules.gate_ms)
    ).scalars()
    return {Wallet(bytes(wallet)) for wallet in rows}


def _find_gate(
    connection: Connection, referral: Referral, rules: ZeroNodeRules, now_ms: int
) -> int | None:
    since = max(referral.bound_ms, now_ms - run_window_ms(rules))
    return find_gate(read_stretches(connection, referral.referee, since, now_ms, rules), rules)


def _grant(
    connection: Connection, referral: Referral, gate_ms: int, rules: ZeroNodeRules, now_ms: int
) -> bool:
    today, gate_day = rules.day_of(TimeMs(now_ms)), rules.day_of(TimeMs(gate_ms))
    table = referrals.c
    granted = {
        row.granted_day: row.times
        for row in connection.execute(
            select(table.granted_day, func.count().label("times"))
            .where(table.referrer == wallet_text(referral.referrer))
            .where(table.granted_day >= gate_day)
            .group_by(table.granted_day)
        )
    }
    day = choose_day(gate_day, today, granted, GATES_PER_DAY)
    if day is None:
        return False
    referee, referrer = user_account(referral.referee), user_account(referral.referrer)
    lines = (
        Line(ISSUE, Unit.TICKETS, -2),
        Line(referee, Unit.TICKETS, 1),
        Line(referrer, Unit.TICKETS, 1),
    )
    key = f"refticket:{wallet_text(referral.referee)}"
    post(connection, Transfer(key, "referral", lines, "six hours in a row"), now_ms)
    _change(
        connection,
        referral,
        granted_day=day,
        share_from_ms=max(gate_ms, rules.day_start(day)),
    )
    return True


def _change(connection: Connection, referral: Referral, **values: int) -> None:
    connection.execute(
        update(referrals)
        .where(referrals.c.referee == wallet_text(referral.referee))
        .values(**values)
    )


def _is_invited_by(connection: Connection, referee: Wallet, referrer: Wallet) -> bool:
    referral = find_referral(connection, referee)
    return referral is not None and referral.referrer == referrer


def _referral_of(row: Row[tuple[object, ...]]) -> Referral:
    return Referral(
        parse_wallet(row.referee),
        parse_wallet(row.referrer),
        row.bound_ms,
        row.shared_ms,
        row.gate_ms,
        row.granted_day,
        row.share_from_ms,
    )

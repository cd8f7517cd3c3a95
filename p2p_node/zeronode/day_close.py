"""Books a day of uptime when it is over, once, however often it is begun.

Accounts are booked a batch at a time, each batch in a transaction of its own that also notes which
accounts it had; then the day gets its root. Whoever is stopped in between goes on where it was, and
two processes that do it at once do it together.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from sqlalchemy import Connection, exists, func, insert, select

from p2p_node.zeronode.database import AsyncDatabase
from p2p_node.zeronode.day_roots import ClosedDay, last_day, seal_day
from p2p_node.zeronode.ledger import Line, Transfer, Unit, chunks, post_many, user_account
from p2p_node.zeronode.ledger_tables import head
from p2p_node.zeronode.uptime_book import KEPT_DAYS, prune, read_payable
from p2p_node.zeronode.uptime_tables import booked, stretches, tokens
from protocols.types import TimeMs, Wallet
from protocols.uptime import DayUptime, compute_day
from protocols.zeronode_rules import ZeroNodeRules

BATCH: Final = 250
"""Accounts that are booked in one transaction: a fraction of a second, in which others wait."""


ON_ARRIVAL: Final = "booked on arrival"
"""Note of uptime that is paid for a day which was closed here before its account arrived."""


@dataclass(frozen=True, slots=True)
class Holding:
    """An NFT that an account linked, and still held when the day was over."""

    token: int
    linked_ms: TimeMs


class Share(Protocol):
    """Who gets a tenth of an account's uptime, and from when on."""

    @property
    def referrer(self) -> Wallet:
        """Who brought the account."""

    @property
    def from_ms(self) -> TimeMs:
        """The moment from which on it counts."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What booking needs to know beside the stretches. Asked in the transaction that books."""

    holders: Mapping[Wallet, Holding]
    is_home: Callable[[Connection, Wallet, int], bool]
    """Whether an account's uptime of a day belongs into these books."""
    find_share: Callable[[Connection, Wallet], Share | None]


@dataclass(frozen=True, slots=True)
class Closing:
    """What closing a day came to in this call."""

    day: ClosedDay
    accounts: int
    """Booked by this call; those of earlier, interrupted ones are not in it."""
    seconds: int
    """Uptime that it paid, without what was doubled."""


def find_day(connection: Connection, rules: ZeroNodeRules, now_ms: int) -> int | None:
    """The next day to close, or None.

    Days follow each other upwards. One without uptime is passed over, except the last one that may
    be closed: it is closed when there are entries that no root covers yet.
    """
    due = rules.day_of(TimeMs(max(0, now_ms - rules.close_delay_ms))) - 1
    closed = last_day(connection)
    floor = -1 if closed is None else closed.summary.day
    waiting = connection.execute(
        select(func.min(stretches.c.day)).where(stretches.c.day > floor, stretches.c.day <= due)
    ).scalar_one()
    if waiting is not None:
        return int(waiting)
    covered = 0 if closed is None else closed.summary.first + closed.summary.entries - 1
    number = connection.execute(select(head.c.number)).scalar_one()
    return due if due > floor and number > covered else None


async def close_day(
    database: AsyncDatabase, day: int, rules: ZeroNodeRules, now_ms: int, facts: Facts
) -> Closing:
    """Book all accounts of `day`, give it its root, forget stretches that are no longer needed.

    Safe to call again after any interruption, also for a day that is closed already.
    """
    accounts = paid = 0
    after = b""
    while batch := await database.run(_book_batch, day, rules, now_ms, facts, after):
        accounts += len(batch)
        paid += sum(uptime.seconds for uptime in batch.values())
        after = max(batch)
    closed = await database.run(_seal, day, rules, now_ms, facts)
    while await database.run(prune, day - KEPT_DAYS + 1):
        pass
    return Closing(closed, accounts, paid)


def mark_booked(connection: Connection, wallet: Wallet, through: int) -> None:
    """Never book an account's days up to `through` here: another service's books have them."""
    closed = last_day(connection)
    first = max(through - KEPT_DAYS, -1 if closed is None else closed.summary.day) + 1
    done = set(
        connection.execute(
            select(booked.c.day).where(booked.c.wallet == wallet, booked.c.day >= first)
        ).scalars()
    )
    rows = [
        _make_row(wallet, day, False, _NOTHING)
        for day in range(first, through + 1)
        if day not in done
    ]
    if rows:
        connection.execute(insert(booked), rows)


def first_unbooked_day(connection: Connection, wallet: Wallet) -> int:
    """The first day that these books could still pay the account for."""
    closed = last_day(connection)
    newest = connection.execute(
        select(func.max(booked.c.day)).where(booked.c.wallet == wallet)
    ).scalar_one()
    return 1 + max(
        -1 if closed is None else closed.summary.day, -1 if newest is None else int(newest)
    )


_NOTHING: Final = DayUptime(0, 0, 0, 0)


def _book_batch(
    connection: Connection,
    day: int,
    rules: ZeroNodeRules,
    now_ms: int,
    facts: Facts,
    after: bytes,
) -> dict[Wallet, DayUptime]:
    """Book up to BATCH accounts above `after`; none when there is none left."""
    wallets = _find_unbooked(connection, day, after, BATCH)
    if not wallets:
        return {}
    uptimes = read_payable(connection, day, wallets)
    taken = _read_tokens(
        connection, day, [facts.holders[w].token for w in wallets if w in facts.holders]
    )
    results: dict[Wallet, DayUptime] = {}
    transfers: list[Transfer] = []
    rows = []
    for wallet in wallets:
        here = facts.is_home(connection, wallet, day)
        uptime = _NOTHING
        if here:
            holding = facts.holders.get(wallet)
            if holding is not None and taken.setdefault(holding.token, wallet) != wallet:
                holding = None
            share = facts.find_share(connection, wallet)
            uptime = compute_day(
                uptimes.get(wallet, ()),
                day,
                rules,
                None if holding is None else holding.linked_ms,
                None if share is None else share.from_ms,
            )
            transfers += _make_transfers(wallet, day, uptime, share)
            if holding is not None and uptime.doubled_seconds:
                token = {"token": str(holding.token), "day": day, "wallet": wallet}
                connection.execute(insert(tokens).values(token))
        rows.append(_make_row(wallet, day, here, uptime))
        results[wallet] = uptime
    post_many(connection, transfers, now_ms)
    connection.execute(insert(booked), rows)
    return results


def _seal(
    connection: Connection, day: int, rules: ZeroNodeRules, now_ms: int, facts: Facts
) -> ClosedDay:
    """Book who came in since the last batch, and give the day its root, in one transaction."""
    while _book_batch(connection, day, rules, now_ms, facts, b""):
        pass
    return seal_day(connection, day, now_ms)


def _find_unbooked(
    connection: Connection, day: int, after: bytes, limit: int
) -> tuple[Wallet, ...]:
    closed = last_day(connection)
    if closed is not None and day <= closed.summary.day:
        return ()
    rows = connection.execute(
        select(stretches.c.wallet)
        .where(
            stretches.c.day == day,
            stretches.c.wallet > after,
            ~exists().where(booked.c.wallet == stretches.c.wallet, booked.c.day == day),
        )
        .distinct()
        .order_by(stretches.c.wallet)
        .limit(limit)
    ).scalars()
    return tuple(Wallet(bytes(wallet)) for wallet in rows)


def _read_tokens(connection: Connection, day: int, wanted: Sequence[int]) -> dict[int, Wallet]:
    """Which of these tokens doubled an account's day already."""
    taken: dict[int, Wallet] = {}
    for chunk in chunks([str(token) for token in wanted]):
        for row in connection.execute(
            select(tokens.c.token, tokens.c.wallet).where(
                tokens.c.day == day, tokens.c.token.in_(chunk)
            )
        ):
            taken[int(row.token)] = Wallet(bytes(row.wallet))
    return taken


def _make_transfers(
    wallet: Wallet, day: int, uptime: DayUptime, share: Share | None
) -> list[Transfer]:
    name = f"0x{wallet.hex()}:{day}"
    made = [
        _make_transfer(f"uptime:{name}", "uptime", "issue:uptime", wallet, uptime.units),
        _make_transfer(f"nft:{name}", "nft", "issue:nft", wallet, uptime.doubled_units),
    ]
    if share is not None:
        made.append(
            _make_transfer(
                f"ref:{name}", "referral", "issue:referral", share.referrer, uptime.referred_units
            )
        )
    return [transfer for transfer in made if transfer.lines[0].amount]


def _make_transfer(key: str, kind: str, source: str, wallet: Wallet, units: int) -> Transfer:
    lines = Line(source, Unit.POINTS, -units), Line(user_account(wallet), Unit.POINTS, units)
    return Transfer(key, kind, lines)


def _make_row(wallet: Wallet, day: int, here: bool, uptime: DayUptime) -> dict[str, object]:
    return {
        "wallet": wallet,
        "day": day,
        "here": here,
        "seconds": uptime.seconds,
        "doubled_seconds": uptime.doubled_seconds,
        "referred_units": uptime.referred_units,
    }

"""Durable uptime: which stretches of which account some service has answered for.

Everything here is a union: a receipt that is told again, in pieces or grown, changes nothing that
was there already. Uptime is paid from it when a day is booked (`day_close`), and only then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, func, select, update

from p2p_node.zeronode.ledger import chunks
from p2p_node.zeronode.uptime_changes import (
    NO_SESSION,
    Changes,
    Receipt,
    Recorded,
    read_stretch,
    split,
)
from p2p_node.zeronode.uptime_tables import booked, counter, stretches
from protocols.types import NodeKey, TimeMs, Wallet
from protocols.uptime import Stretch, merge
from protocols.zeronode_rules import ZeroNodeRules

__all__ = [
    "KEPT_DAYS",
    "NO_SESSION",
    "BookedDay",
    "Changed",
    "Receipt",
    "Recorded",
    "booked_days_of",
    "booked_seconds",
    "changed_since",
    "prune",
    "read_payable",
    "record",
    "stretches_of",
    "stretches_on",
    "unpaid_stretches_of",
    "wallets_on",
]

KEPT_DAYS: Final = 8
"""Closed days whose stretches are kept: what runs of uptime and late receipts are judged by."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A stretch that is new or has grown. Of one day."""

    number: int
    """Ask again from here."""
    wallet: Wallet
    stretch: Stretch


@dataclass(frozen=True, slots=True)
class BookedDay:
    """What became of an account's day."""

    day: int
    here: bool
    """False where another service's books have it; then all else is 0."""
    seconds: int
    doubled_seconds: int
    referred_units: int


def record(
    connection: Connection,
    service: NodeKey,
    receipts: Sequence[Receipt],
    rules: ZeroNodeRules,
    now_ms: int,
) -> Recorded:
    """Add what `service` answered for to the union.

    A receipt that reaches over the end of a day counts by its parts.
    """
    place = connection.execute(select(counter)).one()
    book = Changes(connection, service, int(place.changed))
    newest = rules.day_of(TimeMs(now_ms)) + 1
    kept = late = dropped = 0
    for chunk in chunks(split(receipts, rules), 500):
        usable = [part for part in chunk if place.kept_from <= part.day <= newest]
        dropped += len(chunk) - len(usable)
        done = book.add(usable)
        kept += done.kept
        late += done.late
        dropped += done.dropped
    if book.number != place.changed:
        connection.execute(update(counter).values(changed=book.number))
    return Recorded(kept, late, dropped)


def stretches_of(
    connection: Connection, wallet: Wallet, days_from: int, days_to: int
) -> tuple[Stretch, ...]:
    """The union over all services of an account's stretches on the days from … to, both included.

    Late ones are in it too: they were uptime, if unpaid.
    """
    rows = connection.execute(
        select(stretches.c.start_ms, stretches.c.end_ms).where(
            stretches.c.wallet == wallet, stretches.c.day.between(days_from, days_to)
        )
    )
    return merge(read_stretch(row) for row in rows)


def unpaid_stretches_of(connection: Connection, wallet: Wallet, day: int) -> tuple[Stretch, ...]:
    """The union of what would be paid if the account's day were booked now."""
    return read_payable(connection, day, (wallet,)).get(wallet, ())


def wallets_on(
    connection: Connection, day: int, after: bytes = b"", limit: int = 1_000
) -> tuple[Wallet, ...]:
    """Accounts with stretches on `day`, in order, those above `after`."""
    rows = connection.execute(
        select(stretches.c.wallet)
        .where(stretches.c.day == day, stretches.c.wallet > after)
        .distinct()
        .order_by(stretches.c.wallet)
        .limit(limit)
    ).scalars()
    return tuple(Wallet(bytes(wallet)) for wallet in rows)


def changed_since(
    connection: Connection, service: NodeKey, after: int, limit: int = 1_000
) -> tuple[Changed, ...]:
    """Stretches that `service` answered for and that changed after number `after`, in order.

    One that has grown comes again, as a whole.
    """
    rows = connection.execute(
        select(stretches)
        .where(stretches.c.service == service, stretches.c.changed > after)
        .order_by(stretches.c.changed)
        .limit(limit)
    )
    return tuple(
        Changed(int(row.changed), Wallet(bytes(row.wallet)), read_stretch(row)) for row in rows
    )


def stretches_on(
    connection: Connection, service: NodeKey, day: int, after: bytes = b"", limit: int = 1_000
) -> tuple[tuple[Wallet, tuple[Stretch, ...]], ...]:
    """What `service` answered for on `day`, as a union for each of up to `limit` accounts."""
    wallets = (
        connection.execute(
            select(stretches.c.wallet)
            .where(
                stretches.c.day == day,
                stretches.c.wallet > after,
                stretches.c.service == service,
            )
            .distinct()
            .order_by(stretches.c.wallet)
            .limit(limit)
        )
        .scalars()
        .all()
    )
    found: dict[bytes, list[Stretch]] = {bytes(wallet): [] for wallet in wallets}
    for chunk in chunks(wallets):
        for row in connection.execute(
            select(stretches).where(
                stretches.c.day == day,
                stretches.c.service == service,
                stretches.c.wallet.in_(chunk),
            )
        ):
            found[bytes(row.wallet)].append(read_stretch(row))
    return tuple((Wallet(wallet), merge(each)) for wallet, each in found.items())


def booked_days_of(
    connection: Connection, wallet: Wallet, after: int = -1, limit: int = 1_000
) -> tuple[BookedDay, ...]:
    """What became of an account's days above `after`, oldest first."""
    rows = connection.execute(
        select(booked)
        .where(booked.c.wallet == wallet, booked.c.day > after)
        .order_by(booked.c.day)
        .limit(limit)
    )
    return tuple(
        BookedDay(row.day, row.here, row.seconds, row.doubled_seconds, row.referred_units)
        for row in rows
    )


def booked_seconds(connection: Connection, wallet: Wallet) -> int:
    """All uptime of an account that these books have paid, in seconds."""
    total = select(func.coalesce(func.sum(booked.c.seconds), 0)).where(booked.c.wallet == wallet)
    return int(connection.execute(total).scalar_one())


def prune(connection: Connection, before: int, limit: int = 200) -> int:
    """Forget stretches of days below `before`, of at most `limit` accounts; how many rows went.

    Call it again until it returns 0. What was booked stays.
    """
    connection.execute(update(counter).where(counter.c.kept_from < before).values(kept_from=before))
    day = connection.execute(
        select(func.min(stretches.c.day)).where(stretches.c.day < before)
    ).scalar_one()
    if day is None:
        return 0
    wallets = wallets_on(connection, day, limit=limit)
    gone = connection.execute(
        delete(stretches).where(stretches.c.day == day, stretches.c.wallet.in_(wallets))
    )
    return gone.rowcount


def read_payable(
    connection: Connection, day: int, wallets: Sequence[Wallet]
) -> dict[Wallet, tuple[Stretch, ...]]:
    """For each account the union of its stretches on `day` that were in time."""
    found: dict[Wallet, list[Stretch]] = {}
    for chunk in chunks(wallets):
        for row in connection.execute(
            select(stretches).where(
                stretches.c.day == day,
                stretches.c.wallet.in_(chunk),
                stretches.c.late.is_(False),
            )
        ):
            found.setdefault(Wallet(bytes(row.wallet)), []).append(read_stretch(row))
    return {wallet: merge(each) for wallet, each in found.items()}

"""Durable uptime: which stretches of which account some service has answered for.

Everything here is a union: a receipt that is told again, in pieces or grown, changes nothing that
was there already. Uptime is paid from it when a day is booked (`day_close`), and only then.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, and_, bindparam, delete, func, insert, select, update

from p2p_node.zeronode.ledger import chunks
from p2p_node.zeronode.ledger_tables import days
from p2p_node.zeronode.uptime_tables import booked, counter, stretches
from protocols.types import NodeKey, TimeMs, Wallet
from protocols.uptime import Stretch, merge
from protocols.zeronode_rules import ZeroNodeRules

NO_SESSION: Final = bytes(16)
"""Session of receipts from another service, which does not tell them apart."""

KEPT_DAYS: Final = 8
"""Closed days whose stretches are kept: what runs of uptime and late receipts are judged by."""

MAX_ROWS: Final = 4_096
"""Stretches of one account, day and service. A session answers every 22 s at the latest, so that no
honest day comes near it."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """An account had this uptime in a session of some service."""

    wallet: Wallet
    stretch: Stretch
    session: bytes = NO_SESSION


@dataclass(frozen=True, slots=True)
class Recorded:
    """How many receipts met which fate."""

    kept: int = 0
    """Those in the book now, whether they brought anything new or not."""
    late: int = 0
    """Those that brought something new to a day that was booked before: kept, and never paid."""
    dropped: int = 0
    """Those of days too old or too far ahead, or above MAX_ROWS."""


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
    book = _Changes(connection, service, int(place.changed))
    newest = rules.day_of(TimeMs(now_ms)) + 1
    kept = late = dropped = 0
    for chunk in chunks(_split(receipts, rules), 500):
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
    return merge(_stretch(row) for row in rows)


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
        Changed(int(row.changed), Wallet(bytes(row.wallet)), _stretch(row)) for row in rows
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
            found[bytes(row.wallet)].append(_stretch(row))
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
            found.setdefault(Wallet(bytes(row.wallet)), []).append(_stretch(row))
    return {wallet: merge(each) for wallet, each in found.items()}


@dataclass(frozen=True, slots=True)
class _Part:
    """A receipt's part on one day."""

    day: int
    wallet: bytes
    session: bytes
    stretch: Stretch


@dataclass(frozen=True, slots=True)
class _Row:
    """Where stretches belong."""

    wallet: bytes
    day: int
    session: bytes
    late: bool


@dataclass(slots=True)
class _Group:
    """All rows of an account, day and session that a chunk of receipts can touch."""

    rows: dict[int, int] = field(default_factory=dict)
    """start_ms → end_ms, of those that were in time."""
    late: list[Stretch] = field(default_factory=list)
    new: list[Stretch] = field(default_factory=list)


class _Changes:
    """Adds receipts of one service, chunk by chunk."""

    def __init__(self, connection: Connection, service: NodeKey, number: int) -> None:
        self._connection = connection
        self._service = service
        self.number = number
        self._gone: list[dict[str, Any]] = []
        self._grown: list[dict[str, Any]] = []
        self._added: list[dict[str, Any]] = []

    def add(self, parts: Sequence[_Part]) -> Recorded:
        """Add a chunk."""
        if not parts:
            return Recorded()
        closed = self._find_closed(parts)
        room = self._count_room(parts)
        groups = self._read(parts)
        for part in parts:
            groups[part.wallet, part.day, part.session].new.append(part.stretch)
        kept = late = dropped = 0
        for (wallet, day, session), group in groups.items():
            place = wallet, day
            is_closed = place in closed
            fresh: list[Stretch] = []
            rows: Mapping[int, int] = group.rows
            if is_closed:
                # What was there when the day was booked stays as it was: this only adds to it.
                present = merge((*_stretches(rows), *group.late))
                rows = {}
                fresh = [each for each in group.new if not _is_inside(each, present)]
                target = tuple(_subtract(merge(fresh), present))
            else:
                target = merge((*_stretches(rows), *group.new))
            growth = max(0, len(target) - len(rows))
            if growth > room[place]:
                dropped += len(group.new)
                continue
            room[place] -= growth
            self._change(rows, target, _Row(wallet, day, session, is_closed))
            late += len(fresh)
            kept += len(group.new) - len(fresh)
        self._write()
        return Recorded(kept, late, dropped)

    def _find_closed(self, parts: Sequence[_Part]) -> set[tuple[bytes, int]]:
        """Which accounts' days among these are booked."""
        last = self._connection.execute(select(func.max(days.c.day))).scalar_one()
        places = {(part.wallet, part.day) for part in parts}
        rows = self._connection.execute(
            select(booked.c.wallet, booked.c.day).where(
                booked.c.wallet.in_({wallet for wallet, _ in places}),
                booked.c.day.in_({day for _, day in places}),
            )
        )
        done = {(bytes(row.wallet), row.day) for row in rows}
        return {
            place for place in places if place in done or (last is not None and place[1] <= last)
        }

    def _count_room(self, parts: Sequence[_Part]) -> dict[tuple[bytes, int], int]:
        """How many more rows each account's day may have."""
        room = {(part.wallet, part.day): MAX_ROWS for part in parts}
        rows = self._connection.execute(
            select(stretches.c.wallet, stretches.c.day, func.count().label("rows"))
            .where(
                stretches.c.wallet.in_({wallet for wallet, _ in room}),
                stretches.c.day.in_({day for _, day in room}),
                stretches.c.service == self._service,
            )
            .group_by(stretches.c.wallet, stretches.c.day)
        )
        for row in rows:
            room[bytes(row.wallet), row.day] = MAX_ROWS - row.rows
        return room

    def _read(self, parts: Sequence[_Part]) -> dict[tuple[bytes, int, bytes], _Group]:
        groups = {(part.wallet, part.day, part.session): _Group() for part in parts}
        rows = self._connection.execute(
            select(stretches).where(
                stretches.c.wallet.in_({part.wallet for part in parts}),
                stretches.c.day.in_({part.day for part in parts}),
                stretches.c.service == self._service,
                stretches.c.session.in_({part.session for part in parts}),
                stretches.c.start_ms <= max(part.stretch.end_ms for part in parts),
                stretches.c.end_ms >= min(part.stretch.start_ms for part in parts),
            )
        )
        for row in rows:
            group = groups.get((bytes(row.wallet), row.day, bytes(row.session)))
            if group is None:
                continue
            if row.late:
                group.late.append(_stretch(row))
            else:
                group.rows[row.start_ms] = row.end_ms
        return groups

    def _change(self, rows: Mapping[int, int], target: Sequence[Stretch], row: _Row) -> None:
        """Note what turns `rows` (start → end) into `target`."""
        of_row = {"of_wallet": row.wallet, "of_day": row.day, "of_session": row.session}
        kept = {each.start_ms for each in target}
        self._gone += [of_row | {"of_start": start} for start in rows.keys() - kept]
        for stretch in target:
            end = rows.get(stretch.start_ms)
            if end == stretch.end_ms:
                continue
            self.number += 1
            if end is not None:
                self._grown.append(
                    of_row
                    | {"of_start": stretch.start_ms}
                    | {"new_end": stretch.end_ms, "new_changed": self.number}
                )
                continue
            self._added.append(
                {
                    "wallet": row.wallet,
                    "day": row.day,
                    "service": self._service,
                    "session": row.session,
                    "start_ms": stretch.start_ms,
                    "end_ms": stretch.end_ms,
                    "changed": self.number,
                    "late": row.late,
                }
            )

    def _write(self) -> None:
        this_row = and_(
            stretches.c.wallet == bindparam("of_wallet"),
            stretches.c.day == bindparam("of_day"),
            stretches.c.service == self._service,
            stretches.c.session == bindparam("of_session"),
            stretches.c.start_ms == bindparam("of_start"),
        )
        if self._gone:
            self._connection.execute(delete(stretches).where(this_row), self._gone)
        if self._grown:
            change = update(stretches).where(this_row)
            self._connection.execute(
                change.values(end_ms=bindparam("new_end"), changed=bindparam("new_changed")),
                self._grown,
            )
        if self._added:
            self._connection.execute(insert(stretches), self._added)
        self._gone, self._grown, self._added = [], [], []


def _split(receipts: Iterable[Receipt], rules: ZeroNodeRules) -> Iterator[_Part]:
    for receipt in receipts:
        stretch = receipt.stretch
        while True:
            day = rules.day_of(stretch.start_ms)
            end = rules.day_end(day)
            if stretch.end_ms <= end:
                yield _Part(day, receipt.wallet, receipt.session, stretch)
                break
            first = Stretch(stretch.start_ms, end)
            yield _Part(day, receipt.wallet, receipt.session, first)
            stretch = Stretch(end, stretch.end_ms)


def _stretch(row: Any) -> Stretch:
    return Stretch(TimeMs(int(row.start_ms)), TimeMs(int(row.end_ms)))


def _stretches(rows: Mapping[int, int]) -> Iterator[Stretch]:
    return (Stretch(TimeMs(start), TimeMs(end)) for start, end in rows.items())


def _is_inside(stretch: Stretch, others: Sequence[Stretch]) -> bool:
    """Tell whether a union has all of `stretch`."""
    place = bisect_right(others, stretch.start_ms, key=lambda each: each.start_ms) - 1
    return place >= 0 and stretch.end_ms <= others[place].end_ms


def _subtract(wanted: Sequence[Stretch], others: Sequence[Stretch]) -> Iterator[Stretch]:
    """What of a union is not in another one."""
    for stretch in wanted:
        start = stretch.start_ms
        place = bisect_right(others, start, key=lambda each: each.end_ms)
        while place < len(others) and others[place].start_ms < stretch.end_ms:
            if start < others[place].start_ms:
                yield Stretch(start, others[place].start_ms)
            start = others[place].end_ms
            place += 1
        if start < stretch.end_ms:
            yield Stretch(start, stretch.end_ms)

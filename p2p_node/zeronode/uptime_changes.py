"""Adding receipts to the durable union of uptime: which rows come, grow and go."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, and_, bindparam, delete, func, insert, select, update

from p2p_node.zeronode.ledger_tables import days
from p2p_node.zeronode.uptime_tables import booked, stretches
from protocols.types import NodeKey, TimeMs, Wallet
from protocols.uptime import Stretch, merge
from protocols.zeronode_rules import ZeroNodeRules

NO_SESSION: Final = bytes(16)
"""Session of receipts from another service, which does not tell them apart."""

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
class Part:
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


class Changes:
    """Adds receipts of one service, chunk by chunk."""

    def __init__(self, connection: Connection, service: NodeKey, number: int) -> None:
        self._connection = connection
        self._service = service
        self.number = number
        self._gone: list[dict[str, Any]] = []
        self._grown: list[dict[str, Any]] = []
        self._added: list[dict[str, Any]] = []

    def add(self, parts: Sequence[Part]) -> Recorded:
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

    def _find_closed(self, parts: Sequence[Part]) -> set[tuple[bytes, int]]:
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

    def _count_room(self, parts: Sequence[Part]) -> dict[tuple[bytes, int], int]:
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

    def _read(self, parts: Sequence[Part]) -> dict[tuple[bytes, int, bytes], _Group]:
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
                group.late.append(read_stretch(row))
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


def split(receipts: Iterable[Receipt], rules: ZeroNodeRules) -> Iterator[Part]:
    """Cut receipts where days end."""
    for receipt in receipts:
        stretch = receipt.stretch
        while True:
            day = rules.day_of(stretch.start_ms)
            end = rules.day_end(day)
            if stretch.end_ms <= end:
                yield Part(day, receipt.wallet, receipt.session, stretch)
                break
            first = Stretch(stretch.start_ms, end)
            yield Part(day, receipt.wallet, receipt.session, first)
            stretch = Stretch(end, stretch.end_ms)


def read_stretch(row: Any) -> Stretch:
    """The stretch of a row."""
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

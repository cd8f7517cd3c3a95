"""The root of each closed day, and proofs of what is under it."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, func, insert, select

from p2p_node.zeronode.errors import DatabaseError
from p2p_node.zeronode.ledger import entry_by_number
from p2p_node.zeronode.ledger_tables import balances, days, entries, head, lines
from protocols.errors import LocalError
from protocols.ledger_records import (
    BalanceProof,
    DaySummary,
    EntryProof,
    Unit,
    compute_day_root,
    compute_tree_root,
    hash_balance,
    order_balances,
)
from protocols.merkle import MerkleTree, build_tree
from protocols.types import Digest

PAGE: Final = 5_000
"""Rows that are read at once."""


@dataclass(frozen=True, slots=True)
class ClosedDay:
    """A day that is booked, and the root that binds it."""

    summary: DaySummary
    root: Digest
    closed_ms: int

    @property
    def last(self) -> int:
        """Number of the last entry under this root or an earlier one; 0 without any."""
        return self.summary.first + self.summary.entries - 1


def seal_day(connection: Connection, day: int, now_ms: int) -> ClosedDay:
    """Give `day` its root: over all entries that have none yet, and all balances as they are now.

    Returns the one it has, if it has one. LocalError where a later day was closed before.
    """
    present = read_day(connection, day)
    if present is not None:
        return present
    place = connection.execute(select(head)).one()
    previous = last_day(connection)
    if previous is not None and previous.summary.day > day:
        raise LocalError(f"day {day} after day {previous.summary.day} was closed")
    first = 1 if previous is None else previous.last + 1
    leaves = _read_hashes(connection, first, place.number)
    _, balance_leaves = _read_balances(connection, None)
    summary = DaySummary(
        ledger=Digest(bytes(place.ledger)),
        day=day,
        first=first,
        entries=len(leaves),
        entries_root=compute_tree_root(leaves),
        balances=len(balance_leaves),
        balances_root=compute_tree_root(balance_leaves),
        head=Digest(bytes(place.hash)),
    )
    closed = ClosedDay(summary, compute_day_root(summary), now_ms)
    connection.execute(
        insert(days).values(
            day=day,
            first=summary.first,
            entries=summary.entries,
            entries_root=summary.entries_root,
            balances=summary.balances,
            balances_root=summary.balances_root,
            head=summary.head,
            root=closed.root,
            closed_ms=now_ms,
        )
    )
    return closed


def read_day(connection: Connection, day: int) -> ClosedDay | None:
    """A closed day."""
    return next(iter(_read_days(connection, days.c.day == day, 1)), None)


def days_after(connection: Connection, day: int, limit: int = 1_000) -> tuple[ClosedDay, ...]:
    """Closed days above `day`, in order."""
    return _read_days(connection, days.c.day > day, limit)


def last_day(connection: Connection) -> ClosedDay | None:
    """The last day that was closed."""
    newest = select(func.max(days.c.day)).scalar_subquery()
    return next(iter(_read_days(connection, days.c.day == newest, 1)), None)


def find_day_of_entry(connection: Connection, number: int) -> ClosedDay | None:
    """The day under whose root an entry is; None while it is under none."""
    found = _read_days(
        connection, and_(days.c.first <= number, days.c.first + days.c.entries > number), 1
    )
    return next(iter(found), None)


class Prover:
    """Makes proofs, and keeps the trees of a few days for the next ones. For one thread."""

    def __init__(self, kept: int = 4) -> None:
        self._kept = kept
        self._entries: OrderedDict[int, MerkleTree] = OrderedDict()
        self._balances: OrderedDict[int, _Balances] = OrderedDict()

    def prove_entry(self, connection: Connection, number: int) -> EntryProof | None:
        """Show that an entry is under its day's root; None while it is under none."""
        closed = find_day_of_entry(connection, number)
        entry = entry_by_number(connection, number)
        if closed is None or entry is None:
            return None
        summary = closed.summary
        tree = self._entries.get(summary.day)
        if tree is None:
            leaves = _read_hashes(connection, summary.first, closed.last)
            tree = build_tree(b"".join(leaves))
            _keep(self._entries, summary.day, tree, self._kept)
        return EntryProof(summary, entry, tree.path(number - summary.first))

    def prove_balance(
        self, connection: Connection, account: str, unit: Unit, day: int
    ) -> BalanceProof | None:
        """Show what an account had when `day` was closed.

        None where the day is not closed, or where no entry had touched that balance.
        """
        closed = read_day(connection, day)
        if closed is None or not _was_touched(connection, account, unit, closed.last):
            return None
        known = self._balances.get(day)
        if known is None:
            values, leaves = _read_balances(connection, closed.last)
            places = {key: index for index, key in enumerate(order_balances(values))}
            known = _Balances(values, places, build_tree(b"".join(leaves)))
            _keep(self._balances, day, known, self._kept)
        index = known.places.get((account, unit))
        if index is None:
            return None
        value = known.values[account, unit]
        path = known.tree.path(index)
        return BalanceProof(closed.summary, account, unit, value, index, path)


@dataclass(frozen=True, slots=True)
class _Balances:
    values: dict[tuple[str, Unit], int]
    places: dict[tuple[str, Unit], int]
    tree: MerkleTree


def _was_touched(connection: Connection, account: str, unit: Unit, last: int) -> bool:
    """Whether the account had such a balance then: asked first, as reading all takes long."""
    touching = (
        select(lines.c.number)
        .where(lines.c.account == account, lines.c.unit == unit, lines.c.number <= last)
        .limit(1)
    )
    return connection.execute(touching).first() is not None


def _keep(trees: OrderedDict[int, Any], day: int, tree: object, kept: int) -> None:
    trees[day] = tree
    while len(trees) > kept:
        trees.popitem(last=False)


def _read_days(connection: Connection, condition: Any, limit: int) -> tuple[ClosedDay, ...]:
    found = connection.execute(
        select(days).where(condition).order_by(days.c.day).limit(limit)
    ).all()
    if not found:
        return ()
    ledger = Digest(bytes(connection.execute(select(head.c.ledger)).scalar_one()))
    return tuple(_make_day(ledger, row) for row in found)


def _make_day(ledger: Digest, row: Row[Any]) -> ClosedDay:
    summary = DaySummary(
        ledger=ledger,
        day=int(row.day),
        first=int(row.first),
        entries=int(row.entries),
        entries_root=Digest(bytes(row.entries_root)),
        balances=int(row.balances),
        balances_root=Digest(bytes(row.balances_root)),
        head=Digest(bytes(row.head)),
    )
    return ClosedDay(summary, Digest(bytes(row.root)), int(row.closed_ms))


def _read_hashes(connection: Connection, first: int, last: int) -> Sequence[Digest]:
    found: list[Digest] = []
    while first <= last:
        until = min(last, first + PAGE - 1)
        rows = connection.execute(
            select(entries.c.hash)
            .where(entries.c.number.between(first, until))
            .order_by(entries.c.number)
        ).scalars()
        page = [Digest(bytes(each)) for each in rows]
        if len(page) != until - first + 1:
            raise DatabaseError(f"some of the entries {first} … {until} are missing from the books")
        found += page
        first = until + 1
    return found


def _read_balances(
    connection: Connection, last: int | None
) -> tuple[dict[tuple[str, Unit], int], list[Digest]]:
    """All balances after entry `last` (None: as they are now), and their leaves in order."""
    if last is None:
        rows = connection.execute(select(balances)).all()
    else:
        newest = (
            select(lines.c.account, lines.c.unit, func.max(lines.c.number).label("number"))
            .where(lines.c.number <= last)
            .group_by(lines.c.account, lines.c.unit)
            .subquery()
        )
        rows = connection.execute(
            select(lines.c.account, lines.c.unit, lines.c.balance).join(
                newest,
                and_(
                    lines.c.account == newest.c.account,
                    lines.c.unit == newest.c.unit,
                    lines.c.number == newest.c.number,
                ),
            )
        ).all()
    values = {(str(row.account), Unit(row.unit)): int(row.balance) for row in rows}
    return values, [hash_balance(*key, values[key]) for key in order_balances(values)]

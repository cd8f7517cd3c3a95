"""Recomputes the books from their first entry on, and says what does not agree.

Nothing that is stored is believed: hashes, sums, balances and roots are all made again from the
lines of the entries.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, func, select, text

from p2p_node.zeronode.day_close import ON_ARRIVAL
from p2p_node.zeronode.day_roots import ClosedDay, days_after
from p2p_node.zeronode.ledger_tables import balances, entries, head, lines
from p2p_node.zeronode.uptime_tables import booked
from protocols.errors import LocalError
from protocols.ledger_records import (
    DaySummary,
    Line,
    Transfer,
    Unit,
    compute_day_root,
    compute_tree_root,
    hash_balance,
    make_entry,
    may_be_negative,
    order_transfer,
    user_account,
)
from protocols.types import Digest, Wallet
from protocols.zeronode_rules import UNITS_PER_SECOND

MAX_PROBLEMS: Final = 100
"""Problems that are told in words; all are counted."""

PAGE: Final = 1_000

ReadAnchor = Callable[[int], Digest | None]
"""The root of a day as the chain has it; None while it has none."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found."""

    ledger: Digest
    entries: int
    accounts: int
    """Balances, counted by account and unit."""
    days: int
    anchored: int
    """Days whose root the chain confirms; 0 where it was not asked."""
    totals: dict[Unit, int]
    """What all users have together."""
    head: Digest
    problem_count: int
    problems: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether everything agrees."""
        return self.problem_count == 0


def check_books(connection: Connection, read_anchor: ReadAnchor | None = None) -> Report:
    """Check everything, in one state of the database. Errors are found, not raised."""
    return _Check(connection, read_anchor).run()


class _Check:
    def __init__(self, connection: Connection, read_anchor: ReadAnchor | None) -> None:
        self._connection = connection
        self._read_anchor = read_anchor
        self._problems: list[str] = []
        self._count = 0
        self._totals: dict[tuple[str, Unit], int] = {}
        self._order: list[tuple[str, Unit]] = []
        self._leaves: dict[tuple[str, Unit], Digest] = {}
        self._touched: set[tuple[str, Unit]] = set()
        self._hashes: list[Digest] = []
        """Of entries that no root covers yet."""
        self._days = 0
        self._anchored = 0
        self._uptime: dict[str, int] = {}

    def run(self) -> Report:
        connection = self._connection
        place = connection.execute(select(head)).one()
        ledger = Digest(bytes(place.ledger))
        self._check_file()
        closed = _Ahead(self._iterate_days())
        last, number = ledger, 0
        while (first := closed.peek()) is not None and first.summary.entries == 0:
            if first.last != 0:
                break
            self._check_day(closed.take(), ledger, 1)
        for row, its_lines in self._iterate_entries():
            if row.number != number + 1:
                self._note(f"entry {number + 1} is missing")
            number = int(row.number)
            last = self._check_entry(row, its_lines, last)
            while (day := closed.peek()) is not None and day.last == number:
                self._check_day(closed.take(), last, number + 1 - len(self._hashes))
        while closed.peek() is not None:
            day = closed.take()
            self._note(
                f"day {day.summary.day} ends with entry {day.last}, which is no end of a day"
            )
        if (place.number, bytes(place.hash)) != (number, last):
            self._note(f"the head is entry {place.number}, the chain ends with {number}")
        self._check_lines()
        self._check_balances()
        self._check_uptime()
        users = {
            unit: sum(
                value
                for (account, of), value in self._totals.items()
                if of is unit and account.startswith("user:")
            )
            for unit in Unit
        }
        return Report(
            ledger=ledger,
            entries=number,
            accounts=len(self._totals),
            days=self._days,
            anchored=self._anchored,
            totals=users,
            head=last,
            problem_count=self._count,
            problems=tuple(self._problems),
        )

    def _note(self, problem: str) -> None:
        self._count += 1
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(problem)

    def _check_file(self) -> None:
        if self._connection.dialect.name != "sqlite":
            return
        for (answer,) in self._connection.execute(text("PRAGMA quick_check(10)")):
            if answer != "ok":
                self._note(f"the file is damaged: {answer}")

    def _iterate_days(self) -> Iterator[ClosedDay]:
        day = -1
        while page := days_after(self._connection, day, PAGE):
            yield from page
            day = page[-1].summary.day

    def _iterate_entries(self) -> Iterator[tuple[Row[Any], Sequence[Row[Any]]]]:
        number = 0
        while page := self._connection.execute(
            select(entries).where(entries.c.number > number).order_by(entries.c.number).limit(PAGE)
        ).all():
            of_page: dict[int, list[Row[Any]]] = {row.number: [] for row in page}
            number = page[-1].number
            for line in self._connection.execute(
                select(lines).where(lines.c.number.between(page[0].number, number))
            ):
                of_page.get(line.number, []).append(line)
            for row in page:
                yield row, of_page[row.number]

    def _check_entry(self, row: Row[Any], rows: Sequence[Row[Any]], previous: Digest) -> Digest:
        number = int(row.number)
        stored = Digest(bytes(row.hash))
        self._hashes.append(stored)
        try:
            read = tuple(Line(line.account, Unit(line.unit), int(line.amount)) for line in rows)
            transfer = order_transfer(Transfer(row.key, row.kind, read, row.note))
            made = make_entry(number, int(row.at_ms), previous, transfer)
        except (LocalError, ValueError, OverflowError) as error:
            self._note(f"entry {number}: {error}")
            return stored
        if made.hash != stored:
            self._note(f"entry {number}: its hash is not that of its content and the one before")
        for line in rows:
            key = str(line.account), Unit(line.unit)
            if key not in self._totals:
                self._order.append(key)
            after = self._totals.get(key, 0) + int(line.amount)
            self._totals[key] = after
            self._touched.add(key)
            if after != line.balance:
                self._note(f"entry {number}: {line.account} has {after}, found {line.balance}")
            if after < 0 and not may_be_negative(line.account):
                self._note(f"entry {number}: {line.account} has {after}")
        if row.kind == "uptime" and row.note != ON_ARRIVAL:
            self._uptime[row.key] = max(line.amount for line in rows)
        return stored

    def _check_day(self, closed: ClosedDay, last: Digest, first: int) -> None:
        for key in self._touched:
            self._leaves[key] = hash_balance(*key, self._totals[key])
        self._touched.clear()
        self._order.sort()
        found = closed.summary
        made = DaySummary(
            ledger=found.ledger,
            day=found.day,
            first=first,
            entries=len(self._hashes),
            entries_root=compute_tree_root(self._hashes),
            balances=len(self._order),
            balances_root=compute_tree_root([self._leaves[key] for key in self._order]),
            head=last,
        )
        self._hashes.clear()
        self._days += 1
        if made != found:
            self._note(f"day {found.day}: its root covers other entries or balances than there are")
        if compute_day_root(made) != closed.root:
            self._note(f"day {found.day}: its root is not the one of the books")
        if self._read_anchor is None:
            return
        anchor = self._read_anchor(found.day)
        if anchor is None:
            return
        if anchor == compute_day_root(made):
            self._anchored += 1
        else:
            self._note(f"day {found.day}: the chain has the root {anchor.hex()}")

    def _check_lines(self) -> None:
        strays = select(func.count()).where(
            lines.c.number.not_in(select(entries.c.number)),
        )
        count = self._connection.execute(strays).scalar_one()
        if count:
            self._note(f"{count} lines belong to no entry")

    def _check_balances(self) -> None:
        stored = {
            (str(row.account), row.unit): int(row.balance)
            for row in self._connection.execute(select(balances))
        }
        made = {(account, int(unit)): value for (account, unit), value in self._totals.items()}
        for key in sorted(stored.keys() | made.keys()):
            if stored.get(key) != made.get(key):
                self._note(
                    f"balance of {key[0]} in unit {key[1]}: found {stored.get(key)}, "
                    f"expected {made.get(key)}"
                )

    def _check_uptime(self) -> None:
        """Compare what was paid for uptime with what was booked as such, account by account."""
        # What was paid on arrival is booked nowhere else: a row of its day finds no sum here.
        left = self._uptime
        for row in self._connection.execute(select(booked).where(booked.c.seconds > 0)):
            account = user_account(Wallet(bytes(row.wallet)))
            key = f"uptime:{account.removeprefix('user:')}:{row.day}"
            if left.pop(key, None) != row.seconds * UNITS_PER_SECOND:
                self._note(f"{key}: {row.seconds} s were booked, and another sum was paid")
        for key in sorted(left):
            self._note(f"{key}: paid, and not booked as uptime")


class _Ahead:
    """An iterator whose next item can be looked at."""

    def __init__(self, items: Iterator[ClosedDay]) -> None:
        self._items = items
        self._next = next(items, None)

    def peek(self) -> ClosedDay | None:
        return self._next

    def take(self) -> ClosedDay:
        taken = self._next
        if taken is None:
            raise LocalError("there is no further day")
        self._next = next(self._items, None)
        return taken

"""Double-entry books: transfers are posted once each, and no user's balance goes below nothing.

Every function works in the transaction of the connection that it is given; those that post must be
given one of `Database.transaction()`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Row, and_, bindparam, insert, select, update

from p2p_node.zeronode.errors import DatabaseError, InsufficientError, KeyReusedError
from p2p_node.zeronode.ledger_tables import balances, entries, head, lines
from protocols.errors import LocalError
from protocols.ledger_records import (
    MAX_AMOUNT,
    Entry,
    Line,
    Transfer,
    Unit,
    draw_account,
    make_entry,
    may_be_negative,
    moved_account,
    order_transfer,
    user_account,
)
from protocols.types import Digest

__all__ = [
    "Entry",
    "Head",
    "Line",
    "Transfer",
    "Unit",
    "balance",
    "balances_of",
    "draw_account",
    "entries_of",
    "entry_by_key",
    "entry_by_number",
    "iterate_entries",
    "moved_account",
    "newest_entries_of",
    "post",
    "post_many",
    "read_head",
    "user_account",
]

MAX_PAGE: Final = 1_000
"""Most entries that one call returns, and most values in one statement."""

Item = TypeVar("Item")


def post(connection: Connection, transfer: Transfer, now_ms: int) -> Entry:
    """Book `transfer`, or return the entry that its key already has.

    Raises InsufficientError when an account that may not owe would, KeyReusedError when the key was
    used for other lines, another kind or another note, and LocalError for a transfer that
    `order_transfer` refuses. Whatever it raises, it has written nothing.
    """
    return post_many(connection, (transfer,), now_ms)[0]


def post_many(
    connection: Connection, transfers: Sequence[Transfer], now_ms: int
) -> tuple[Entry, ...]:
    """Book several, in order, as `post` books one: all of them, or nothing when it raises."""
    wanted = [order_transfer(transfer) for transfer in transfers]
    place = connection.execute(select(head).with_for_update()).one()
    known = _read_by_keys(connection, {transfer.key for transfer in wanted})
    book = _Book(connection, wanted, known.keys())
    number, previous = int(place.number), Digest(bytes(place.hash))
    fresh: list[Entry] = []
    results: list[Entry] = []
    for transfer in wanted:
        entry = known.get(transfer.key)
        if entry is None:
            book.take(transfer)
            entry = make_entry(number + 1, now_ms, previous, transfer)
            number, previous = entry.number, entry.hash
            known[transfer.key] = entry
            fresh.append(entry)
        elif entry.transfer != transfer:
            raise KeyReusedError(transfer.key)
        results.append(entry)
    if fresh:
        connection.execute(
            insert(entries),
            [
                {
                    "number": entry.number,
                    "at_ms": entry.at_ms,
                    "key": entry.transfer.key,
                    "kind": entry.transfer.kind,
                    "note": entry.transfer.note,
                    "hash": entry.hash,
                }
                for entry in fresh
            ],
        )
        book.write(fresh)
        connection.execute(update(head).values(number=number, hash=previous))
    return tuple(results)


@dataclass(frozen=True, slots=True)
class Head:
    """Where the chain of entries stands."""

    ledger: Digest
    number: int
    """Of the last entry; 0 before the first."""
    hash: Digest


def read_head(connection: Connection) -> Head:
    """Where the chain of entries stands."""
    row = connection.execute(select(head)).one()
    return Head(Digest(bytes(row.ledger)), int(row.number), Digest(bytes(row.hash)))


def balance(connection: Connection, account: str, unit: Unit) -> int:
    """What `account` has; 0 for one that no entry has touched."""
    found = connection.execute(
        select(balances.c.balance).where(balances.c.account == account, balances.c.unit == unit)
    ).scalar_one_or_none()
    return 0 if found is None else int(found)


def balances_of(connection: Connection, account: str) -> dict[Unit, int]:
    """What `account` has of every unit."""
    rows = connection.execute(
        select(balances.c.unit, balances.c.balance).where(balances.c.account == account)
    )
    return {**dict.fromkeys(Unit, 0), **{Unit(row.unit): int(row.balance) for row in rows}}


def entries_of(
    connection: Connection, account: str, after: int = 0, limit: int = 100
) -> tuple[Entry, ...]:
    """Entries numbered above `after` that touch `account`, at most `limit` ≤ MAX_PAGE."""
    numbers = connection.execute(
        select(lines.c.number)
        .where(lines.c.account == account, lines.c.number > after)
        .distinct()
        .order_by(lines.c.number)
        .limit(min(limit, MAX_PAGE))
    ).scalars()
    return _read(connection, list(numbers))


def newest_entries_of(connection: Connection, account: str, limit: int = 100) -> tuple[Entry, ...]:
    """The last entries with a line of `account`, oldest first."""
    numbers = connection.execute(
        select(lines.c.number)
        .where(lines.c.account == account)
        .distinct()
        .order_by(lines.c.number.desc())
        .limit(min(limit, MAX_PAGE))
    ).scalars()
    return _read(connection, sorted(numbers))


def entry_by_key(connection: Connection, key: str) -> Entry | None:
    """The entry of an idempotency key."""
    return _read_by_keys(connection, {key}).get(key)


def entry_by_number(connection: Connection, number: int) -> Entry | None:
    """The entry with a number."""
    return next(iter(_read(connection, [number])), None)


def iterate_entries(connection: Connection, after: int = 0) -> Iterator[Entry]:
    """All entries above number `after`, in order, a page at a time.

    What their hashes should be is for the caller to check.
    """
    while page := _read(
        connection,
        list(
            connection.execute(
                select(entries.c.number)
                .where(entries.c.number > after)
                .order_by(entries.c.number)
                .limit(MAX_PAGE)
            ).scalars()
        ),
    ):
        yield from page
        after = page[-1].number


def chunks(items: Iterable[Item], size: int = MAX_PAGE) -> Iterator[list[Item]]:
    """Cut `items` into lists of at most `size`."""
    chunk: list[Item] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


class _Book:
    """Balances that some transfers touch: read once, changed in memory, written once."""

    def __init__(
        self, connection: Connection, transfers: Sequence[Transfer], known: Iterable[str]
    ) -> None:
        self._connection = connection
        booked = set(known)
        accounts = {
            line.account for each in transfers if each.key not in booked for line in each.lines
        }
        self._balances: dict[tuple[str, int], int] = {}
        for chunk in chunks(sorted(accounts)):
            for row in connection.execute(select(balances).where(balances.c.account.in_(chunk))):
                self._balances[row.account, row.unit] = int(row.balance)
        self._present = set(self._balances)
        self._lines: list[dict[str, Any]] = []
        self._pending: list[int] = []

    def take(self, transfer: Transfer) -> None:
        """Change the balances; InsufficientError when one may not become what it would."""
        for line in transfer.lines:
            place = line.account, int(line.unit)
            after = self._balances.get(place, 0) + line.amount
            if after < 0 and not may_be_negative(line.account):
                has = after - line.amount
                raise InsufficientError(
                    f"{transfer.key}: {line.account} has {has}, asked {-line.amount}"
                )
            if abs(after) > MAX_AMOUNT:
                raise LocalError(f"{transfer.key}: {line.account} would have {after}")
            self._balances[place] = after
            self._pending.append(after)

    def write(self, fresh: Sequence[Entry]) -> None:
        """Write the lines of the entries that were taken, in the same order, and the balances."""
        after = iter(self._pending)
        rows = [
            {
                "number": entry.number,
                "account": line.account,
                "unit": int(line.unit),
                "amount": line.amount,
                "balance": next(after),
            }
            for entry in fresh
            for line in entry.transfer.lines
        ]
        self._connection.execute(insert(lines), rows)
        touched = {
            (line.account, int(line.unit)) for entry in fresh for line in entry.transfer.lines
        }
        new = [
            {"account": account, "unit": unit, "balance": self._balances[account, unit]}
            for account, unit in sorted(touched - self._present)
        ]
        old = [
            {"of_account": account, "of_unit": unit, "balance": self._balances[account, unit]}
            for account, unit in sorted(touched & self._present)
        ]
        if new:
            self._connection.execute(insert(balances), new)
        if old:
            change = update(balances).where(
                and_(
                    balances.c.account == bindparam("of_account"),
                    balances.c.unit == bindparam("of_unit"),
                )
            )
            self._connection.execute(change.values(balance=bindparam("balance")), old)


def _read_by_keys(connection: Connection, keys: Iterable[str]) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for chunk in chunks(sorted(keys)):
        numbers = connection.execute(select(entries.c.number).where(entries.c.key.in_(chunk)))
        for entry in _read(connection, sorted(numbers.scalars())):
            found[entry.transfer.key] = entry
    return found


def _read(connection: Connection, numbers: Sequence[int]) -> tuple[Entry, ...]:
    """Entries with these numbers, at most MAX_PAGE, in order."""
    if not numbers:
        return ()
    with_previous = {*numbers, *(number - 1 for number in numbers)}
    rows: dict[int, Row[Any]] = {}
    for chunk in chunks(sorted(with_previous)):
        for row in connection.execute(select(entries).where(entries.c.number.in_(chunk))):
            rows[row.number] = row
    of_entry: dict[int, list[Line]] = {}
    for chunk in chunks(sorted(numbers)):
        for row in connection.execute(select(lines).where(lines.c.number.in_(chunk))):
            line = Line(row.account, Unit(row.unit), int(row.amount))
            of_entry.setdefault(row.number, []).append(line)
    read = []
    for number in sorted(numbers):
        if number not in rows:
            continue
        row = rows[number]
        if number == 1:
            previous = connection.execute(select(head.c.ledger)).scalar_one()
        elif number - 1 in rows:
            previous = rows[number - 1].hash
        else:
            raise DatabaseError(f"entry {number - 1} is missing from the books")
        ordered = sorted(of_entry.get(number, ()), key=lambda line: (line.account, line.unit))
        transfer = Transfer(row.key, row.kind, tuple(ordered), row.note)
        digest = Digest(bytes(row.hash))
        read.append(Entry(number, int(row.at_ms), Digest(bytes(previous)), transfer, digest))
    return tuple(read)

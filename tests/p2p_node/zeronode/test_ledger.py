"""The books: posting, idempotency, balances, and what the database itself refuses."""

import sqlite3
from typing import Any

import pytest
from sqlalchemy import Connection, delete, select, text, update

from p2p_node.zeronode.database import Database
from p2p_node.zeronode.errors import DatabaseError, InsufficientError, KeyReusedError
from p2p_node.zeronode.ledger import (
    Line,
    Transfer,
    Unit,
    balance,
    balances_of,
    entries_of,
    entry_by_key,
    entry_by_number,
    iterate_entries,
    newest_entries_of,
    post,
    post_many,
    user_account,
)
from p2p_node.zeronode.ledger_tables import balances, days, entries, head, lines
from protocols.errors import LocalError
from protocols.ledger_records import MAX_AMOUNT, make_entry
from protocols.types import Wallet

ALICE = user_account(Wallet(b"a" * 20))
BOB = user_account(Wallet(b"b" * 20))
NOW = 1_790_000_000_000


def give(key: str, amount: int, account: str = ALICE, unit: Unit = Unit.POINTS) -> Transfer:
    issue = Line("issue:uptime", unit, -amount)
    return Transfer(key, "uptime", (issue, Line(account, unit, amount)))


def move(key: str, amount: int, source: str = ALICE, target: str = BOB) -> Transfer:
    return Transfer(
        key,
        "mission",
        (Line(source, Unit.POINTS, -amount), Line(target, Unit.POINTS, amount)),
    )


def test_an_entry_moves_what_its_lines_say(database: Database) -> None:
    with database.transaction() as connection:
        first = post(connection, give("a", 10), NOW)
        second = post(connection, move("b", 4), NOW + 1)
    with database.reading() as connection:
        assert balance(connection, ALICE, Unit.POINTS) == 6
        assert balance(connection, BOB, Unit.POINTS) == 4
        assert balance(connection, BOB, Unit.TICKETS) == 0
        assert balance(connection, "issue:uptime", Unit.POINTS) == -10
        assert balances_of(connection, ALICE) == {Unit.POINTS: 6, Unit.TICKETS: 0}
        assert entries_of(connection, ALICE) == (first, second)
        assert entries_of(connection, BOB) == (second,)
        assert entries_of(connection, ALICE, after=1) == (second,)
        assert entries_of(connection, ALICE, limit=1) == (first,)
        assert newest_entries_of(connection, ALICE, limit=1) == (second,)
        assert entry_by_key(connection, "b") == second
        assert entry_by_key(connection, "c") is None
        assert entry_by_number(connection, 2) == second
        assert entry_by_number(connection, 3) is None
        assert list(iterate_entries(connection)) == [first, second]
        ledger = connection.execute(select(head.c.ledger)).scalar_one()
    assert (first.number, second.number) == (1, 2)
    assert first.previous == ledger
    assert second.previous == first.hash
    assert first == make_entry(1, NOW, first.previous, first.transfer)


def test_a_key_is_booked_once(database: Database) -> None:
    with database.transaction() as connection:
        first = post(connection, give("a", 10), NOW)
    with database.transaction() as connection:
        assert post(connection, give("a", 10), NOW + 5) == first
        turned = Transfer("a", "uptime", tuple(reversed(give("a", 10).lines)))
        assert post(connection, turned, NOW + 5) == first
        assert post_many(connection, (give("n", 1), give("n", 1)), NOW)[0].number == 2
        assert balance(connection, ALICE, Unit.POINTS) == 11


@pytest.mark.parametrize(
    "other",
    [
        give("a", 11),
        give("a", 10, BOB),
        Transfer("a", "mission", give("a", 10).lines),
        Transfer("a", "uptime", give("a", 10).lines, "a note"),
        give("a", 10, unit=Unit.TICKETS),
    ],
)
def test_a_key_has_one_content(database: Database, other: Transfer) -> None:
    with database.transaction() as connection:
        post(connection, give("a", 10), NOW)
    with pytest.raises(KeyReusedError), database.transaction() as connection:
        post(connection, other, NOW)


def test_nobody_pays_what_they_lack(database: Database) -> None:
    with database.transaction() as connection:
        post(connection, give("a", 10), NOW)
        with pytest.raises(InsufficientError):
            post_many(connection, (give("c", 1), move("b", 12)), NOW)
        assert entry_by_key(connection, "c") is None
        post(connection, move("b", 10), NOW)
    with database.reading() as connection:
        assert balances_of(connection, ALICE)[Unit.POINTS] == 0


def test_a_block_that_raises_leaves_nothing(database: Database) -> None:
    class Stop(Exception):
        pass

    def post_and_stop() -> None:
        with database.transaction() as connection:
            post(connection, give("a", 10), NOW)
            raise Stop

    with pytest.raises(Stop):
        post_and_stop()
    with database.reading() as connection:
        assert list(iterate_entries(connection)) == []
        assert balance(connection, ALICE, Unit.POINTS) == 0


def test_no_balance_outgrows_what_json_holds(database: Database) -> None:
    with database.transaction() as connection:
        post(connection, give("a", MAX_AMOUNT), NOW)
        with pytest.raises(LocalError, match="would have"):
            post(connection, give("b", 1), NOW)


def test_more_than_a_page_is_read_whole(database: Database) -> None:
    transfers = [give(f"k{number}", 1) for number in range(2_100)]
    with database.transaction() as connection:
        made = post_many(connection, transfers, NOW)
        assert post_many(connection, transfers, NOW) == made
        assert tuple(iterate_entries(connection)) == made
        assert len(entries_of(connection, ALICE, limit=5_000)) == 1_000


@pytest.mark.parametrize(
    "statement",
    [
        update(entries).values(note="x"),
        delete(entries),
        update(lines).values(amount=1),
        delete(lines),
        update(days).values(root=b""),
        delete(days),
        delete(head),
        delete(balances),
        update(balances).where(balances.c.account == ALICE).values(balance=-1),
    ],
    ids=str,
)
def test_the_database_itself_keeps_the_books(database: Database, statement: Any) -> None:
    def fill(connection: Connection) -> None:
        post(connection, give("a", 10), NOW)
        row = {column.name: 0 for column in days.columns}
        blobs = ("entries_root", "balances_root", "head", "root")
        connection.execute(days.insert().values(row | dict.fromkeys(blobs, bytes(32))))

    with database.transaction() as connection:
        fill(connection)
    with pytest.raises(DatabaseError), database.transaction() as connection:
        connection.execute(statement)


def test_postgresql_truncates_no_books(database: Database) -> None:
    if database.dialect == "sqlite":
        pytest.skip("SQLite has no TRUNCATE")
    with pytest.raises(DatabaseError, match="append-only"), database.transaction() as connection:
        connection.execute(text("TRUNCATE ledger_entries"))


def test_sqlite_commits_are_on_the_disk(database: Database) -> None:
    if database.dialect != "sqlite":
        with database.reading() as connection:
            assert connection.execute(text("SHOW synchronous_commit")).scalar_one() == "on"
        return
    with database.reading() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2
        assert isinstance(connection.connection.dbapi_connection, sqlite3.Connection)

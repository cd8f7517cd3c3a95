"""The check believes nothing: whatever is changed behind the books' back is found."""

import pytest
from sqlalchemy import text

from p2p_node.zeronode import ledger_check
from p2p_node.zeronode.database import Database
from p2p_node.zeronode.day_close import ON_ARRIVAL
from p2p_node.zeronode.day_roots import read_day
from p2p_node.zeronode.errors import KeyReusedError
from p2p_node.zeronode.ledger import Line, Transfer, Unit, post, user_account
from p2p_node.zeronode.ledger_check import check_books
from p2p_node.zeronode.schema import APPEND_ONLY, NEVER_DELETED
from protocols.types import Digest
from tests.p2p_node.zeronode.books import BOB, FIRST, fill_books_now

CHANGES = {
    "another amount": ("UPDATE ledger_lines SET amount = amount * 2 WHERE number = 2", "entry 2"),
    "one side of an entry": (
        "UPDATE ledger_lines SET amount = amount + 1 WHERE number = 2 AND amount > 0",
        "add up",
    ),
    "a balance after a line": (
        "UPDATE ledger_lines SET balance = balance + 1 WHERE number = 2 AND amount > 0",
        "found 72001",
    ),
    "another time": ("UPDATE ledger_entries SET at_ms = at_ms + 1 WHERE number = 3", "entry 3"),
    "another note": ("UPDATE ledger_entries SET note = 'x' WHERE number = 4", "entry 4"),
    "another hash": (
        "UPDATE ledger_entries SET hash = (SELECT hash FROM ledger_entries WHERE number = 1) "
        "WHERE number = 3",
        "entry 3",
    ),
    "a note that cannot be": ("UPDATE ledger_entries SET note = 'ä' WHERE number = 4", "note"),
    "a unit that there is not": ("UPDATE ledger_lines SET unit = 9 WHERE number = 4", "entry 4"),
    "a time that cannot be": ("UPDATE ledger_entries SET at_ms = -1 WHERE number = 4", "entry 4"),
    "an entry less": ("DELETE FROM ledger_entries WHERE number = 2", "entry 2 is missing"),
    "the last entry less": ("DELETE FROM ledger_entries WHERE number = 4", "the head is entry 4"),
    "a line less": (
        "DELETE FROM ledger_lines WHERE number = 2 AND amount > 0",
        "found 1 lines",
    ),
    "a line of nothing": (
        "INSERT INTO ledger_lines VALUES (9, 'burn:points', 1, 5, 5)",
        "1 lines belong to no entry",
    ),
    "a richer user": (
        "UPDATE ledger_balances SET balance = 99 WHERE balance = 72000",
        "found 99, expected 72000",
    ),
    "a balance from nowhere": (
        "INSERT INTO ledger_balances VALUES ('burn:points', 1, 5)",
        "found 5, expected None",
    ),
    "a root": ("UPDATE ledger_days SET root = head WHERE day = 20001", "day 20001: its root is"),
    "what a root covers": (
        "UPDATE ledger_days SET balances_root = head WHERE day = 20001",
        "day 20001: its root covers",
    ),
    "where a day ends": ("UPDATE ledger_days SET entries = 3 WHERE day = 20001", "day 20001"),
    "a day beyond the end": (
        "UPDATE ledger_days SET entries = 9 WHERE day = 20001",
        "ends with entry 10",
    ),
    "a day less": ("DELETE FROM ledger_days WHERE day = 20000", "day 20001"),
    "the head": ("UPDATE ledger_head SET number = 3", "the head is entry 3"),
    "another ledger": (
        "UPDATE ledger_head SET ledger = (SELECT hash FROM ledger_entries WHERE number = 1)",
        "entry 1",
    ),
    "another uptime": (
        "UPDATE uptime_days SET seconds = 5 WHERE day = 20000",
        "5 s were booked, and another sum",
    ),
    "uptime that was not booked": ("DELETE FROM uptime_days WHERE day = 20000", "not booked"),
}


def disarm(database: Database) -> None:
    """Take the database's own guards away, as somebody with its password can."""
    with database.transaction() as connection:
        for table in (*APPEND_ONLY, *NEVER_DELETED):
            if database.dialect == "postgresql":
                connection.execute(text(f"ALTER TABLE {table.name} DISABLE TRIGGER USER"))
                continue
            for action in ("update", "delete"):
                connection.execute(text(f"DROP TRIGGER IF EXISTS {table.name}_no_{action}"))


def test_sound_books(database: Database) -> None:
    with database.reading() as connection:
        assert check_books(connection).holds
    fill_books_now(database)
    with database.reading() as connection:
        report = check_books(connection)
        day = read_day(connection, FIRST + 1)
    assert day is not None
    assert report.problems == ()
    assert report.holds
    assert (report.entries, report.days, report.anchored) == (4, 2, 0)
    assert report.totals == {Unit.POINTS: 3 * 36_000, Unit.TICKETS: 1}
    assert report.accounts == 5


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_is_changed_is_found(database: Database, change: str) -> None:
    fill_books_now(database)
    disarm(database)
    statement, expected = CHANGES[change]
    with database.transaction() as connection:
        assert connection.execute(text(statement)).rowcount >= 1
    with database.reading() as connection:
        report = check_books(connection)
    assert not report.holds
    assert any(expected in problem for problem in report.problems), report.problems


def test_uptime_that_is_paid_on_arrival(database: Database) -> None:
    """It is booked by its entry alone, and never beside a booking."""
    fill_books_now(database)
    bob = user_account(BOB)

    def pay(day: int) -> tuple[str, ...]:
        lines = Line("issue:uptime", Unit.POINTS, -10), Line(bob, Unit.POINTS, 10)
        key = f"uptime:{bob.removeprefix('user:')}:{day}"
        with database.transaction() as connection:
            post(connection, Transfer(key, "uptime", lines, ON_ARRIVAL), 0)
            return check_books(connection).problems

    with pytest.raises(KeyReusedError):
        pay(FIRST + 1)
    assert pay(FIRST) == ()


def test_roots_are_those_of_the_chain(database: Database) -> None:
    fill_books_now(database)
    with database.reading() as connection:
        root = read_day(connection, FIRST)
        assert root is not None
        one = check_books(connection, {FIRST: root.root}.get)
        other = check_books(connection, {FIRST: Digest(b"x" * 32)}.get)
    assert one.holds
    assert one.anchored == 1
    assert (other.anchored, other.problem_count) == (0, 1)
    assert other.problems == (f"day {FIRST}: the chain has the root {(b'x' * 32).hex()}",)


def test_problems_are_counted_where_they_are_too_many(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_check, "MAX_PROBLEMS", 2)
    fill_books_now(database)
    disarm(database)
    with database.transaction() as connection:
        connection.execute(text("UPDATE ledger_lines SET amount = amount * 2"))
    with database.reading() as connection:
        report = check_books(connection)
    assert len(report.problems) == 2
    assert report.problem_count > 4

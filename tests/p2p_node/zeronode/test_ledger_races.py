"""Many at once, over connections of their own: one ticket is spent once."""

import os
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from p2p_node.zeronode.database import Database
from p2p_node.zeronode.errors import InsufficientError
from p2p_node.zeronode.ledger import (
    Entry,
    Line,
    Transfer,
    Unit,
    balance,
    draw_account,
    iterate_entries,
    post,
    user_account,
)
from p2p_node.zeronode.ledger_check import check_books
from protocols.types import Wallet

ALICE = user_account(Wallet(b"a" * 20))
DRAW = draw_account("weekly-1")
NOW = 1_790_000_000_000
REDEMPTIONS = 500
PROCESSES = 5


def give_ticket() -> Transfer:
    issue = Line("issue:mission", Unit.TICKETS, -1)
    return Transfer("mission:1", "mission", (issue, Line(ALICE, Unit.TICKETS, 1)))


def redeem(number: int) -> Transfer:
    lines = Line(ALICE, Unit.TICKETS, -1), Line(DRAW, Unit.TICKETS, 1)
    return Transfer(f"draw:weekly-1:{number}", "draw", lines)


def try_all(database: Database, numbers: range) -> int:
    """Redeem the ticket once for each number, all at the same time; how many succeeded."""
    together = threading.Barrier(len(numbers))

    def try_one(number: int) -> bool:
        together.wait(timeout=60)
        try:
            with database.transaction() as connection:
                post(connection, redeem(number), NOW)
        except InsufficientError:
            return False
        return True

    with ThreadPoolExecutor(len(numbers)) as threads:
        return sum(threads.map(try_one, numbers))


def require_one_redemption(database: Database) -> None:
    with database.reading() as connection:
        assert balance(connection, ALICE, Unit.TICKETS) == 0
        assert balance(connection, DRAW, Unit.TICKETS) == 1
        assert len(list(iterate_entries(connection))) == 2
        assert check_books(connection).problems == ()


def test_500_threads_redeem_one_ticket(database: Database) -> None:
    with database.transaction() as connection:
        post(connection, give_ticket(), NOW)
    assert try_all(database, range(REDEMPTIONS)) == 1
    require_one_redemption(database)


def test_5_processes_redeem_one_ticket_500_times(database_url: str) -> None:
    database = Database.open(database_url)
    with database.transaction() as connection:
        post(connection, give_ticket(), NOW)
    each = REDEMPTIONS // PROCESSES

    def redeem_some(process: int) -> int:
        own = Database.open(database_url)
        return try_all(own, range(process * each, (process + 1) * each))

    assert sum(fork(redeem_some, PROCESSES)) == 1
    require_one_redemption(database)
    database.close()


def test_processes_that_post_the_same_get_the_same_entry(database_url: str) -> None:
    Database.open(database_url).close()

    def post_all(process: int) -> int:
        own = Database.open(database_url)
        made: list[Entry] = []
        for number in range(20):
            issue = Line("issue:uptime", Unit.POINTS, -10)
            lines = issue, Line(ALICE, Unit.POINTS, 10)
            with own.transaction() as connection:
                made.append(post(connection, Transfer(f"u{number}", "uptime", lines), NOW))
        return len({entry.number for entry in made})

    assert fork(post_all, PROCESSES) == [20] * PROCESSES
    database = Database.open(database_url)
    with database.reading() as connection:
        assert balance(connection, ALICE, Unit.POINTS) == 200
        assert len(list(iterate_entries(connection))) == 20
    database.close()


def test_processes_that_open_a_new_database_together(database_url: str) -> None:
    def open_it(process: int) -> int:
        Database.open(database_url).close()
        return 1

    assert fork(open_it, PROCESSES) == [1] * PROCESSES


def fork(work: Callable[[int], int], processes: int) -> list[int]:
    """Do work(0), work(1), … each in a process of its own; what they return, below 200."""
    children = []
    for process in range(processes):
        child = os.fork()
        if child == 0:
            status = 255
            try:
                status = work(process)
            finally:
                if status == 255:
                    traceback.print_exc()
                os._exit(status)
        children.append(child)
    results = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    if any(not 0 <= result < 200 for result in results):
        pytest.fail(f"processes ended with {results}")
    return results

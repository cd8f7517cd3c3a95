"""Points become tickets in one entry, once per request, and never more than there are."""

import threading

import pytest

from p2p_node.zeronode.accounts import open_account
from p2p_node.zeronode.burning import MAX_TICKETS, Burned, burn
from p2p_node.zeronode.database import Database
from p2p_node.zeronode.errors import InsufficientError, KeyReusedError
from p2p_node.zeronode.ledger import Line, Transfer, Unit, balances_of, post, user_account
from p2p_node.zeronode.refusals import NotFound
from protocols.errors import MalformedError
from protocols.types import Wallet
from protocols.zeronode_rules import TICKET_UNITS

ALICE = Wallet(b"a" * 20)
NOW = 1_790_000_000_000


def fund(database: Database, units: int) -> None:
    account = user_account(ALICE)
    lines = (Line("issue:uptime", Unit.POINTS, -units), Line(account, Unit.POINTS, units))
    with database.transaction() as connection:
        open_account(connection, ALICE, NOW)
        post(connection, Transfer("fund", "uptime", lines), NOW)


def test_points_become_tickets_once_per_request(database: Database) -> None:
    fund(database, 5 * TICKET_UNITS + 7)
    with database.transaction() as connection:
        done = burn(connection, ALICE, 3, "r-1", NOW)
        assert done == Burned(3, 3 * TICKET_UNITS, 2 * TICKET_UNITS + 7, 3)
        assert burn(connection, ALICE, 3, "r-1", NOW + 9) == done
        with pytest.raises(KeyReusedError):
            burn(connection, ALICE, 2, "r-1", NOW)
        with pytest.raises(InsufficientError):
            burn(connection, ALICE, 3, "r-2", NOW)
        burn(connection, ALICE, 2, "r-3", NOW)
        found = balances_of(connection, user_account(ALICE))
        assert found == {Unit.POINTS: 7, Unit.TICKETS: 5}
        assert balances_of(connection, "burn:points")[Unit.POINTS] == 5 * TICKET_UNITS


@pytest.mark.parametrize(
    ("tickets", "request_name", "reason"),
    [
        (0, "r", "not a number of tickets"),
        (-1, "r", "not a number of tickets"),
        (MAX_TICKETS + 1, "r", "not a number of tickets"),
        (1, "", "not the name of a request"),
        (1, "a b", "not the name of a request"),
        (1, "r\n", "not the name of a request"),
        (1, "r" * 65, "not the name of a request"),
    ],
)
def test_what_cannot_be_meant(
    database: Database, tickets: int, request_name: str, reason: str
) -> None:
    fund(database, TICKET_UNITS)
    with database.transaction() as connection, pytest.raises(MalformedError, match=reason):
        burn(connection, ALICE, tickets, request_name, NOW)


def test_nobody_burns_without_an_account(database: Database) -> None:
    with database.transaction() as connection, pytest.raises(NotFound):
        burn(connection, ALICE, 1, "r", NOW)


def test_one_tickets_worth_is_burnt_by_one_of_many_at_once(database: Database) -> None:
    fund(database, TICKET_UNITS)
    outcomes: list[str] = []

    def try_it(number: int) -> None:
        try:
            with database.transaction() as connection:
                burn(connection, ALICE, 1, f"r-{number}", NOW)
        except InsufficientError:
            outcomes.append("refused")
        else:
            outcomes.append("burnt")

    threads = [threading.Thread(target=try_it, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(outcomes) == ["burnt"] + ["refused"] * 11

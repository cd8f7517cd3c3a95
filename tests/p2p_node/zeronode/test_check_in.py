"""Check-ins: once a day, growing, paid into the books."""

import pytest

from p2p_node.zeronode.accounts import open_account
from p2p_node.zeronode.check_in import CheckIn, check_in, read_streak
from p2p_node.zeronode.database import Database
from p2p_node.zeronode.ledger import Unit, balance, entries_of, user_account
from p2p_node.zeronode.refusals import NotFound
from protocols.types import Wallet
from protocols.zeronode_rules import CHECK_IN_POINTS, UNITS_PER_POINT, rules_of

RULES = rules_of("mainnet")
ALICE = Wallet(b"a" * 20)
DAY = 20_000


def at(day: int, offset_ms: int = 0) -> int:
    return day * RULES.day_ms + offset_ms


def test_a_day_pays_once(database: Database) -> None:
    with database.transaction() as connection:
        with pytest.raises(NotFound):
            check_in(connection, ALICE, RULES, at(DAY))
        open_account(connection, ALICE, at(DAY))
        first = check_in(connection, ALICE, RULES, at(DAY))
        assert first == CheckIn(DAY, 1, CHECK_IN_POINTS[0] * UNITS_PER_POINT)
        assert check_in(connection, ALICE, RULES, at(DAY, RULES.day_ms - 1)) == first
        assert balance(connection, user_account(ALICE), Unit.POINTS) == first.units
        assert len(entries_of(connection, user_account(ALICE))) == 1


def test_seven_days_in_a_row_then_again_from_the_first(database: Database) -> None:
    paid = []
    with database.transaction() as connection:
        open_account(connection, ALICE, at(DAY))
        for day in range(DAY, DAY + 9):
            paid.append(check_in(connection, ALICE, RULES, at(day)).units // UNITS_PER_POINT)
        assert paid == [*CHECK_IN_POINTS, *CHECK_IN_POINTS[:2]]
        assert read_streak(connection, ALICE).days == 9
        missed = check_in(connection, ALICE, RULES, at(DAY + 10))
        assert missed == CheckIn(DAY + 10, 1, CHECK_IN_POINTS[0] * UNITS_PER_POINT)
        expected = (sum(paid) + CHECK_IN_POINTS[0]) * UNITS_PER_POINT
        assert balance(connection, user_account(ALICE), Unit.POINTS) == expected


def test_a_clock_set_back_neither_pays_nor_shortens(database: Database) -> None:
    with database.transaction() as connection:
        open_account(connection, ALICE, at(DAY))
        check_in(connection, ALICE, RULES, at(DAY))
        second = check_in(connection, ALICE, RULES, at(DAY + 1))
        assert check_in(connection, ALICE, RULES, at(DAY)) == second
        assert check_in(connection, ALICE, RULES, at(DAY + 1)) == second
        assert len(entries_of(connection, user_account(ALICE))) == 2

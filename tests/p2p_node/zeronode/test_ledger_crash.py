"""A process that dies at any moment of its work leaves all of a transaction, or nothing."""

from functools import partial

import pytest
import trio

from p2p_node.zeronode import day_close
from p2p_node.zeronode.database import AsyncDatabase, Database
from p2p_node.zeronode.day_close import Closing, Facts, Holding, close_day
from p2p_node.zeronode.day_roots import read_day
from p2p_node.zeronode.ledger import (
    Line,
    Transfer,
    Unit,
    balance,
    entry_by_key,
    post_many,
    user_account,
)
from p2p_node.zeronode.ledger_check import check_books
from p2p_node.zeronode.uptime_book import Receipt, Recorded, record, stretches_of
from protocols.types import NodeKey, TimeMs, Wallet
from protocols.uptime import Stretch
from protocols.zeronode_rules import rules_of
from tests import require
from tests.p2p_node.zeronode.crashing import run_and_die

RULES = rules_of("mainnet")
FIRST = 20_000
NOW = FIRST * RULES.day_ms
SERVICE = NodeKey(b"s" * 32)
WALLETS = tuple(Wallet(number.to_bytes(20, "big")) for number in range(1, 4))
REFERRER = Wallet(b"r" * 20)
MOST = 300
"""Above the number of moments of any of the works."""


def require_sound(database: Database) -> None:
    with database.reading() as connection:
        assert check_books(connection).problems == ()


def test_posts_are_whole(database: Database, database_url: str) -> None:
    for moment in range(1, MOST):
        transfers = [
            Transfer(
                f"m{moment}-{number}",
                "mission",
                (
                    Line("issue:mission", Unit.POINTS, -1),
                    Line(user_account(wallet), Unit.POINTS, 1),
                ),
            )
            for number, wallet in enumerate(WALLETS)
        ]

        def work(own: Database, transfers: list[Transfer] = transfers) -> None:
            with own.transaction() as connection:
                post_many(connection, transfers, NOW)

        killed = run_and_die(database_url, work, moment)
        require_sound(database)
        with database.transaction() as connection:
            present = {entry_by_key(connection, each.key) is not None for each in transfers}
            assert len(present) == 1
            assert killed or present == {True}
            post_many(connection, transfers, NOW)
            for wallet in WALLETS:
                assert balance(connection, user_account(wallet), Unit.POINTS) == moment
        if not killed:
            assert moment > 8
            return
    pytest.fail("it never came to its end")


def test_receipts_are_whole(database: Database, database_url: str) -> None:
    start = FIRST * RULES.day_ms
    for moment in range(1, MOST):
        # Grows a stretch, swallows another one, and adds one to another account.
        place = start + moment * 100_000
        receipts = [
            Receipt(WALLETS[0], Stretch(TimeMs(place), TimeMs(place + 20_000))),
            Receipt(WALLETS[1], Stretch(TimeMs(place), TimeMs(place + 20_000))),
        ]
        with database.transaction() as connection:
            for part in (0, 10_000):
                piece = Stretch(TimeMs(place + part), TimeMs(place + part + 5_000))
                record(connection, SERVICE, [Receipt(WALLETS[0], piece)], RULES, start)

        def work(own: Database, receipts: list[Receipt] = receipts) -> None:
            with own.transaction() as connection:
                record(connection, SERVICE, receipts, RULES, start)

        killed = run_and_die(database_url, work, moment)
        with database.transaction() as connection:
            present = {
                receipt.stretch in stretches_of(connection, receipt.wallet, FIRST, FIRST)
                for receipt in receipts
            }
            assert len(present) == 1
            assert killed or present == {True}
            done = record(connection, SERVICE, receipts, RULES, start)
            assert done == Recorded(kept=2)
            for receipt in receipts:
                assert receipt.stretch in stretches_of(connection, receipt.wallet, FIRST, FIRST)
        if not killed:
            assert moment > 6
            return
    pytest.fail("it never came to its end")


def test_a_day_is_booked_once(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(day_close, "BATCH", 2)

    class Bond:
        referrer = REFERRER
        from_ms = TimeMs(0)

    facts = Facts(
        {wallet: Holding(number, TimeMs(0)) for number, wallet in enumerate(WALLETS)},
        lambda _connection, _wallet, _day: True,
        lambda _connection, _wallet: Bond(),
    )

    def close(own: Database, day: int) -> Closing:
        shell = AsyncDatabase(own, inline=True)
        return trio.run(partial(close_day, shell, day, RULES, RULES.close_time(day), facts))

    # Every other moment, to save a minute: those of a kind come many times.
    for days, moment in enumerate(range(1, MOST, 1 if require.is_full() else 2), start=1):
        day = FIRST + days
        start = RULES.day_start(day)
        with database.transaction() as connection:
            hour = Stretch(start, TimeMs(start + 3_600_000))
            receipts = [Receipt(wallet, hour) for wallet in WALLETS]
            record(connection, SERVICE, receipts, RULES, start)
        killed = run_and_die(database_url, partial(close, day=day), moment)
        require_sound(database)
        close(database, day)
        require_sound(database)
        with database.reading() as connection:
            for wallet in WALLETS:
                assert balance(connection, user_account(wallet), Unit.POINTS) == days * 72_000
            shares = balance(connection, user_account(REFERRER), Unit.POINTS)
            assert shares == days * 3 * 7_200
            assert read_day(connection, day) is not None
        if not killed:
            assert moment > 30
            return
    pytest.fail("it never came to its end")

"""Durable uptime: a union, whatever is told how often."""

from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from p2p_node.zeronode import uptime_changes
from p2p_node.zeronode.database import Database
from p2p_node.zeronode.day_close import first_unbooked_day, mark_booked
from p2p_node.zeronode.uptime_book import (
    Receipt,
    Recorded,
    booked_days_of,
    booked_seconds,
    changed_since,
    prune,
    record,
    stretches_of,
    stretches_on,
    unpaid_stretches_of,
    wallets_on,
)
from p2p_node.zeronode.uptime_tables import stretches
from protocols.types import NodeKey, TimeMs, Wallet
from protocols.uptime import Stretch, clip, merge
from protocols.zeronode_rules import rules_of

RULES = rules_of("minimal")
DAY = RULES.day_ms
NOW = 10 * DAY
HERE = NodeKey(b"h" * 32)
THERE = NodeKey(b"t" * 32)
ALICE = Wallet(b"a" * 20)
BOB = Wallet(b"b" * 20)
ONE = b"1" * 16
TWO = b"2" * 16

wallets = count(1)


def of(start: int, end: int) -> Stretch:
    return Stretch(TimeMs(start), TimeMs(end))


def receipt(start: int, end: int, wallet: Wallet = ALICE, session: bytes = ONE) -> Receipt:
    return Receipt(wallet, of(start, end), session)


def test_beats_of_a_session_become_one_stretch(database: Database) -> None:
    for number in range(5):
        with database.transaction() as connection:
            start = NOW + number * 1_000
            done = record(connection, HERE, (receipt(start, start + 1_000),), RULES, NOW)
            assert done == Recorded(kept=1)
    with database.reading() as connection:
        assert connection.execute(select(stretches)).all()[0].end_ms == NOW + 5_000
        assert stretches_of(connection, ALICE, 10, 10) == (of(NOW, NOW + 5_000),)
        (changed,) = changed_since(connection, HERE, 0)
        assert (changed.number, changed.stretch) == (5, of(NOW, NOW + 5_000))
        assert changed_since(connection, HERE, 5) == ()
        assert changed_since(connection, THERE, 0) == ()


def test_a_receipt_told_again_changes_nothing(database: Database) -> None:
    with database.transaction() as connection:
        record(connection, HERE, (receipt(NOW, NOW + 5_000),), RULES, NOW)
        again = (receipt(NOW, NOW + 5_000), receipt(NOW + 1_000, NOW + 2_000))
        assert record(connection, HERE, again, RULES, NOW) == Recorded(kept=2)
        assert changed_since(connection, HERE, 1) == ()


def test_sessions_and_services_are_apart_but_count_once(database: Database) -> None:
    with database.transaction() as connection:
        record(connection, HERE, (receipt(NOW, NOW + 5_000),), RULES, NOW)
        record(connection, HERE, (receipt(NOW + 3_000, NOW + 7_000, session=TWO),), RULES, NOW)
        record(connection, THERE, (receipt(NOW + 6_000, NOW + 9_000),), RULES, NOW)
        record(connection, THERE, (receipt(NOW, NOW + 1_000, BOB),), RULES, NOW)
        assert len(connection.execute(select(stretches)).all()) == 4
        assert stretches_of(connection, ALICE, 10, 10) == (of(NOW, NOW + 9_000),)
        assert unpaid_stretches_of(connection, ALICE, 10) == (of(NOW, NOW + 9_000),)
        assert stretches_on(connection, HERE, 10) == ((ALICE, (of(NOW, NOW + 7_000),)),)
        assert wallets_on(connection, 10) == (ALICE, BOB)
        assert wallets_on(connection, 10, after=ALICE) == (BOB,)


def test_a_stretch_over_midnight_belongs_to_both_days(database: Database) -> None:
    with database.transaction() as connection:
        over = receipt(NOW + DAY - 1_000, NOW + DAY + 2_000)
        assert record(connection, HERE, (over,), RULES, NOW) == Recorded(kept=2)
        assert stretches_of(connection, ALICE, 10, 10) == (of(NOW + DAY - 1_000, NOW + DAY),)
        assert stretches_of(connection, ALICE, 10, 11) == (over.stretch,)


def test_days_too_old_or_too_far_ahead_are_dropped(database: Database) -> None:
    with database.transaction() as connection:
        ahead = receipt(NOW + 2 * DAY, NOW + 2 * DAY + 1)
        assert record(connection, HERE, (ahead,), RULES, NOW) == Recorded(dropped=1)
        record(connection, HERE, (receipt(NOW - DAY, NOW - DAY + 5),), RULES, NOW)
        assert prune(connection, 10) == 1
        assert prune(connection, 10) == 0
        old = receipt(NOW - DAY, NOW - DAY + 5)
        assert record(connection, HERE, (old,), RULES, NOW) == Recorded(dropped=1)
        assert stretches_of(connection, ALICE, 0, 20) == ()


def test_a_day_has_only_so_many_stretches(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uptime_changes, "MAX_ROWS", 2)
    with database.transaction() as connection:
        for start, expected in ((0, 1), (100, 1), (200, 0), (10, 1)):
            done = record(connection, HERE, (receipt(NOW + start, NOW + start + 10),), RULES, NOW)
            assert done == Recorded(kept=expected, dropped=1 - expected)
        assert stretches_of(connection, ALICE, 10, 10) == (
            of(NOW, NOW + 20),
            of(NOW + 100, NOW + 110),
        )


def test_what_comes_after_the_booking_is_kept_apart(database: Database) -> None:
    with database.transaction() as connection:
        record(connection, HERE, (receipt(NOW, NOW + 5_000),), RULES, NOW)
        mark_booked(connection, ALICE, 10)
        mark_booked(connection, ALICE, 10)
        assert first_unbooked_day(connection, ALICE) == 11
        assert first_unbooked_day(connection, BOB) == 0
        told = (receipt(NOW + 1_000, NOW + 2_000), receipt(NOW - 1_000 + 1_000, NOW + 6_000))
        assert record(connection, HERE, told, RULES, NOW) == Recorded(kept=1, late=1)
        assert record(connection, HERE, told, RULES, NOW) == Recorded(kept=2)
        assert stretches_of(connection, ALICE, 10, 10) == (of(NOW, NOW + 6_000),)
        assert unpaid_stretches_of(connection, ALICE, 10) == (of(NOW, NOW + 5_000),)
        assert {day.day for day in booked_days_of(connection, ALICE)} == set(range(3, 11))
        assert not any(day.here for day in booked_days_of(connection, ALICE))
        assert booked_seconds(connection, ALICE) == 0


parts = st.tuples(
    st.integers(-30, 150).map(lambda n: n * 1_000),
    st.integers(1, 90).map(lambda n: n * 1_000),
    st.sampled_from((HERE, THERE)),
    st.sampled_from((ONE, TWO)),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(parts, max_size=6), max_size=6))
def test_the_book_is_the_union(
    database: Database, batches: list[list[tuple[int, int, NodeKey, bytes]]]
) -> None:
    wallet = Wallet(next(wallets).to_bytes(20, "big"))
    told: list[Stretch] = []
    for batch in batches:
        with database.transaction() as connection:
            for service in (HERE, THERE):
                receipts = [
                    receipt(NOW + start, NOW + min(start + length, 2 * DAY), wallet, session)
                    for start, length, of_service, session in batch
                    if of_service == service and start < 2 * DAY
                ]
                record(connection, service, receipts, RULES, NOW)
                told += [each.stretch for each in receipts]
    with database.reading() as connection:
        assert stretches_of(connection, wallet, 0, 20) == merge(told)
        for day in (9, 10, 11):
            here = clip(told, RULES.day_start(day), RULES.day_end(day))
            assert unpaid_stretches_of(connection, wallet, day) == here
        rows = connection.execute(select(stretches).where(stretches.c.wallet == wallet)).all()
    places = [(row.day, row.service, row.session) for row in rows]
    for place in places:
        of_place = [
            of(row.start_ms, row.end_ms)
            for row in rows
            if (row.day, row.service, row.session) == place
        ]
        assert tuple(sorted(of_place)) == merge(of_place)
    assert len({row.changed for row in rows}) == len(rows)

"""Booking a day: who is paid what, once, however often it is begun."""

from dataclasses import dataclass

import pytest
import trio
from sqlalchemy import Connection, func, select

from p2p_node.zeronode import day_close
from p2p_node.zeronode.database import AsyncDatabase, Database
from p2p_node.zeronode.day_close import Facts, Holding, close_day, find_day, mark_booked
from p2p_node.zeronode.day_roots import Prover, days_after, find_day_of_entry, last_day, read_day
from p2p_node.zeronode.ledger import (
    Line,
    Transfer,
    Unit,
    balance,
    entries_of,
    entry_by_key,
    iterate_entries,
    post,
    user_account,
)
from p2p_node.zeronode.uptime_book import Receipt, Recorded, booked_seconds, record, stretches_of
from p2p_node.zeronode.uptime_tables import booked
from protocols.errors import LocalError
from protocols.ledger_records import verify_balance_proof, verify_entry_proof
from protocols.types import NodeKey, TimeMs, Wallet
from protocols.uptime import Stretch
from protocols.zeronode_rules import rules_of

RULES = rules_of("mainnet")
DAY = RULES.day_ms
FIRST = 20_000
START = FIRST * DAY
HERE = NodeKey(b"h" * 32)
ALICE = Wallet(b"a" * 20)
BOB = Wallet(b"b" * 20)
CAROL = Wallet(b"c" * 20)
AFTER = START + DAY + RULES.close_delay_ms


@dataclass(frozen=True)
class Bond:
    referrer: Wallet
    from_ms: TimeMs


def make_facts(
    holders: dict[Wallet, Holding] | None = None,
    shares: dict[Wallet, Bond] | None = None,
    away: tuple[Wallet, ...] = (),
) -> Facts:
    return Facts(
        holders or {},
        lambda _connection, wallet, _day: wallet not in away,
        lambda _connection, wallet: (shares or {}).get(wallet),
    )


def fill(
    database: Database,
    wallet: Wallet = ALICE,
    start: int = START,
    end: int = START + DAY,
    service: NodeKey = HERE,
) -> None:
    with database.transaction() as connection:
        receipt = Receipt(wallet, Stretch(TimeMs(start), TimeMs(end)))
        record(connection, service, (receipt,), RULES, start)


def points(database: Database, wallet: Wallet) -> int:
    with database.reading() as connection:
        return balance(connection, user_account(wallet), Unit.POINTS)


async def close(database: Database, facts: Facts | None = None, now: int = AFTER) -> int | None:
    """Close what is due, and return the day."""
    shell = AsyncDatabase(database)
    day = await shell.read(find_day, RULES, now)
    if day is not None:
        await close_day(shell, day, RULES, now, facts or make_facts())
    return day


async def test_a_whole_day_is_300_points(database: Database) -> None:
    fill(database)
    assert await close(database, now=AFTER - 1) is None
    assert await close(database) == FIRST
    assert points(database, ALICE) == 300 * 2_880
    assert await close(database) is None
    with database.reading() as connection:
        entry = entry_by_key(connection, f"uptime:0x{ALICE.hex()}:{FIRST}")
        assert booked_seconds(connection, ALICE) == 86_400
    assert entry is not None
    assert entry.at_ms == AFTER


async def test_two_services_are_paid_once(database: Database) -> None:
    fill(database)
    fill(database, service=NodeKey(b"t" * 32))
    await close(database)
    assert points(database, ALICE) == 300 * 2_880


async def test_an_nft_doubles_what_came_after_it_was_linked(database: Database) -> None:
    fill(database)
    fill(database, BOB)
    holders = {
        ALICE: Holding(7, TimeMs(START - DAY)),
        BOB: Holding(8, TimeMs(START + DAY // 2)),
    }
    await close(database, make_facts(holders))
    assert points(database, ALICE) == 600 * 2_880
    assert points(database, BOB) == 450 * 2_880


async def test_a_token_doubles_one_account_a_day(database: Database) -> None:
    fill(database)
    fill(database, BOB)
    holders = {wallet: Holding(7, TimeMs(START)) for wallet in (ALICE, BOB)}
    await close(database, make_facts(holders))
    assert {points(database, ALICE), points(database, BOB)} == {600 * 2_880, 300 * 2_880}


@pytest.mark.parametrize("doubled", [False, True])
async def test_a_referrer_gets_a_tenth_of_what_came_after_the_gate(
    database: Database, doubled: bool
) -> None:
    fill(database)
    gate = TimeMs(START + DAY // 4)
    holders = {ALICE: Holding(7, TimeMs(START))} if doubled else {}
    await close(database, make_facts(holders, {ALICE: Bond(BOB, gate)}))
    tenth = 300 * 2_880 * 3 // 4 // 10
    assert points(database, BOB) == tenth * (1 + doubled)
    assert points(database, ALICE) == 300 * 2_880 * (1 + doubled)


async def test_who_lives_elsewhere_is_not_paid_here(database: Database) -> None:
    fill(database)
    fill(database, BOB)
    with database.transaction() as connection:
        mark_booked(connection, BOB, FIRST)
    await close(database, make_facts(away=(ALICE,)))
    assert points(database, ALICE) == points(database, BOB) == 0
    # Not even later, when they live here.
    assert await close(database) is None
    with database.transaction() as connection:
        told = Receipt(ALICE, Stretch(TimeMs(START), TimeMs(START + DAY)))
        assert record(connection, NodeKey(b"t" * 32), (told,), RULES, AFTER) == Recorded(late=1)
    assert await close(database) is None
    assert points(database, ALICE) == 0


async def test_late_stretches_are_not_paid(database: Database) -> None:
    fill(database, end=START + DAY // 2)
    await close(database)
    fill(database)
    assert await close(database) is None
    assert points(database, ALICE) == 150 * 2_880


async def test_days_are_closed_in_order(database: Database) -> None:
    fill(database, start=START + 5 * DAY, end=START + 6 * DAY)
    fill(database)
    late = AFTER + 9 * DAY
    assert await close(database, now=late) == FIRST
    assert await close(database, now=late) == FIRST + 5
    # Everything is under a root, and nothing else happened.
    assert await close(database, now=late) is None
    with database.transaction() as connection:
        lines = Line("issue:mission", Unit.TICKETS, -1), Line(user_account(BOB), Unit.TICKETS, 1)
        post(connection, Transfer("m", "mission", lines), late)
    assert await close(database, now=late) == FIRST + 9
    with database.reading() as connection:
        assert [each.summary.day for each in days_after(connection, FIRST)] == [
            FIRST + 5,
            FIRST + 9,
        ]
        # Stretches of closed days are kept for a while.
        assert stretches_of(connection, ALICE, FIRST, FIRST) == ()
        assert stretches_of(connection, ALICE, FIRST + 5, FIRST + 5) != ()


@pytest.mark.parametrize("failing", range(1, 6))
async def test_an_interrupted_close_goes_on(
    database: Database, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """Three batches, the look for a fourth, the root: each fails once before its commit."""
    wallets = [Wallet(number.to_bytes(20, "big")) for number in range(5)]
    for wallet in wallets:
        fill(database, wallet)
    monkeypatch.setattr(day_close, "BATCH", 2)
    facts = make_facts(
        {wallet: Holding(number, TimeMs(START)) for number, wallet in enumerate(wallets)},
        {wallet: Bond(CAROL, TimeMs(START)) for wallet in wallets},
    )
    shell = Interrupted(database, failing)
    with pytest.raises(Interruption):
        await close_day(shell, FIRST, RULES, AFTER, facts)
    done = await close_day(shell, FIRST, RULES, AFTER + 1, facts)
    assert done.accounts == 5 - min(2 * (failing - 1), 5)
    again = await close_day(shell, FIRST, RULES, AFTER + 2, facts)
    assert (again.day, again.accounts) == (done.day, 0)
    assert {points(database, wallet) for wallet in wallets} == {600 * 2_880}
    assert points(database, CAROL) == 5 * 60 * 2_880
    with database.reading() as connection:
        assert len(list(iterate_entries(connection))) == 15
        assert connection.execute(select(func.count()).select_from(booked)).scalar_one() == 5


class Interruption(Exception):
    pass


class Interrupted(AsyncDatabase):
    """Undoes one transaction just before its commit."""

    def __init__(self, database: Database, failing: int) -> None:
        super().__init__(database)
        self._left = failing

    async def run(self, function, /, *args, **kwargs):  # type: ignore[no-untyped-def]
        def call(connection: Connection) -> object:
            result = function(connection, *args, **kwargs)
            self._left -= 1
            if self._left == 0:
                raise Interruption
            return result

        return await super().run(call)


async def test_two_processes_close_together(database: Database) -> None:
    wallets = [Wallet(number.to_bytes(20, "big")) for number in range(40)]
    for wallet in wallets:
        fill(database, wallet)
    days = []

    async def close_one(name: str) -> None:
        done = await close_day(AsyncDatabase(database), FIRST, RULES, AFTER, make_facts())
        days.append(done.day)

    async with trio.open_nursery() as nursery:
        for name in "ab":
            nursery.start_soon(close_one, name)
    assert days[0] == days[1]
    assert {points(database, wallet) for wallet in wallets} == {300 * 2_880}


async def test_everything_under_a_root_can_be_shown(database: Database) -> None:
    prover = Prover(kept=1)
    for number in range(3):
        for wallet in (ALICE, BOB, CAROL)[: number + 1]:
            fill(database, wallet, START + number * DAY, START + number * DAY + 3_600_000)
        assert await close(database, now=AFTER + number * DAY) == FIRST + number
    expected = {FIRST: 1, FIRST + 1: 2, FIRST + 2: 3}
    with database.reading() as connection:
        for day, hours in expected.items():
            closed = read_day(connection, day)
            assert closed is not None
            proof = prover.prove_balance(connection, user_account(ALICE), Unit.POINTS, day)
            assert proof is not None
            assert proof.balance == hours * 36_000
            verify_balance_proof(proof, closed.root)
        assert prover.prove_balance(connection, user_account(CAROL), Unit.POINTS, FIRST) is None
        assert prover.prove_balance(connection, user_account(ALICE), Unit.TICKETS, FIRST) is None
        assert prover.prove_balance(connection, user_account(ALICE), Unit.POINTS, 5) is None
        seen = 0
        for entry in iterate_entries(connection):
            of_day = find_day_of_entry(connection, entry.number)
            shown = prover.prove_entry(connection, entry.number)
            assert shown is not None
            assert of_day is not None
            verify_entry_proof(shown, of_day.root)
            assert shown.entry == entry
            seen += 1
        assert seen == 6
        assert prover.prove_entry(connection, 7) is None
        closed = last_day(connection)
        assert closed is not None
        assert closed.last == 6
        assert [each.number for each in entries_of(connection, user_account(CAROL))] == [6]
    with database.transaction() as connection, pytest.raises(LocalError, match="was closed"):
        day_close.seal_day(connection, FIRST - 1, AFTER)

"""Receipts between services: told once and once more, taken as a union, refused with a reason."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from nacl.signing import SigningKey
from sqlalchemy import Connection
from trio.testing import MockClock

from p2p_node.clock import Clock
from p2p_node.net.settings import NetworkSettings
from p2p_node.zeronode.database import AsyncDatabase, Database
from p2p_node.zeronode.errors import DatabaseError
from p2p_node.zeronode.homes import claim_home, find_home, find_url
from p2p_node.zeronode.receipts import (
    QUEUED,
    ReceiptExchange,
    Speaker,
    end_repeat,
    find_repeatable,
    is_to_repeat,
    make_batch,
    make_repeat,
)
from p2p_node.zeronode.uptime_book import Receipt, record, stretches_of
from protocols.envelopes import open_envelope, seal
from protocols.types import NetworkId, NodeKey, TimeMs, Wallet
from protocols.uptime import Stretch
from protocols.uptime_gossip import (
    UPTIME_TOPIC,
    ReceiptMemory,
    ServiceView,
    validate_receipts_gossip,
)
from protocols.uptime_messages import Receipt as Row
from protocols.uptime_messages import ReceiptBatch, unpack_openings, unpack_receipts
from protocols.zeronode_rules import MINIMAL_RULES as RULES
from tests.fakes.network import FakeHub, FakeNetwork

NETWORK = NetworkId(b"\x09" * 32)
KEYS = [SigningKey(bytes([number] * 32)) for number in range(1, 4)]
SERVICES = [NodeKey(bytes(key.verify_key)) for key in KEYS]
VIEW = ServiceView(NETWORK, frozenset(SERVICES[:2]), RULES)
ALICE, BOB = Wallet(b"\xa1" * 20), Wallet(b"\xb0" * 20)
DAY = 29_403_000
START = RULES.day_start(DAY)
NOW = TimeMs(START + 30_000)


def stretch(first: int, last: int, day: int = DAY) -> Stretch:
    """Seconds of a day."""
    start = RULES.day_start(day)
    return Stretch(TimeMs(start + first * 1000), TimeMs(start + last * 1000))


def note(connection: Connection, wallet: Wallet, *stretches: Stretch, session: int = 1) -> None:
    receipts = [Receipt(wallet, each, bytes([session] * 16)) for each in stretches]
    record(connection, SERVICES[0], receipts, RULES, NOW)


def speaker(number: int = 0) -> Speaker:
    return Speaker(KEYS[number], f"https://{number}.example", RULES)


def rows_of(batch: ReceiptBatch | None) -> Sequence[Row]:
    assert batch is not None
    return unpack_receipts(batch.receipts)


def test_a_batch_has_what_changed_as_a_union_of_all_sessions(database: Database) -> None:
    with database.transaction() as connection:
        assert make_batch(connection, speaker(), NOW) is None
        note(connection, ALICE, stretch(0, 5), stretch(9, 12))
        note(connection, ALICE, stretch(3, 10), session=2)
        note(connection, BOB, stretch(1, 2))
        first = make_batch(connection, speaker(), NOW)
        assert rows_of(first) == (Row(ALICE, stretch(0, 12)), Row(BOB, stretch(1, 2)))
        assert first is not None
        assert (first.number, first.sent_ms, first.url) == (NOW, NOW, "https://0.example")
        assert make_batch(connection, speaker(), NOW) is None
        note(connection, BOB, stretch(2, 4))
        second = make_batch(connection, speaker(), NOW)
        assert rows_of(second) == (Row(BOB, stretch(1, 4)),)
        assert second is not None
        # Of the same millisecond: the number goes on, and the time with it.
        assert second.number == second.sent_ms == NOW + 1


def test_numbers_are_durable_before_they_are_sent(database: Database) -> None:
    for number in range(3):
        with database.transaction() as connection:
            batch = make_batch(connection, speaker(), NOW, is_greeting=True)
            assert batch is not None
            assert batch.number == batch.sent_ms == NOW + number
    with database.transaction() as connection:
        repeat = make_repeat(connection, speaker(), [Row(ALICE, stretch(0, 1))], NOW)
        assert repeat.number == NOW + 3
        later = make_batch(connection, speaker(), TimeMs(NOW + 500), is_greeting=True)
        assert later is not None
        assert later.number == NOW + 500


def test_a_session_over_midnight_is_told_by_days(database: Database) -> None:
    """The two rows of it touch; as one receipt they would be longer than a day."""
    end = RULES.day_end(DAY)
    with database.transaction() as connection:
        note(connection, ALICE, stretch(0, 60))
        note(connection, ALICE, Stretch(end, TimeMs(end + 4_000)))
        batch = make_batch(connection, speaker(), TimeMs(end + 5_000))
    assert rows_of(batch) == (
        Row(ALICE, stretch(0, 60)),
        Row(ALICE, Stretch(end, TimeMs(end + 4_000))),
    )
    assert batch is not None
    data = seal(KEYS[0], NETWORK, batch)
    validate_receipts_gossip(ReceiptMemory(), VIEW, data, TimeMs(end + 5_000))


def test_what_was_not_told_for_days_is_left_out(database: Database) -> None:
    later = RULES.day_start(DAY + 2)
    with database.transaction() as connection:
        note(connection, ALICE, stretch(0, 10), stretch(20, 30))
        batch = make_batch(connection, speaker(), TimeMs(later + 25_000))
    assert rows_of(batch) == (Row(ALICE, stretch(25, 30)),)


def test_openings_travel_with_the_receipts(database: Database) -> None:
    with database.transaction() as connection:
        claim_home(connection, ALICE, SERVICES[0], RULES, NOW)
        batch = make_batch(connection, speaker(), NOW)
        assert batch is not None
        (opening,) = unpack_openings(batch.openings)
        assert (opening.wallet, opening.opened_ms) == (ALICE, NOW)


def test_a_day_is_told_again_once_half_way_to_its_close(database: Database) -> None:
    half = RULES.close_delay_ms // 2
    end = RULES.day_end(DAY)
    assert find_repeatable(RULES, TimeMs(end + half - 1)) == DAY - 1
    assert find_repeatable(RULES, TimeMs(end + half)) == DAY
    with database.transaction() as connection:
        claim_home(connection, ALICE, SERVICES[0], RULES, NOW)
        assert make_batch(connection, speaker(), NOW) is not None
        assert is_to_repeat(connection, speaker(), DAY)
        end_repeat(connection, speaker(), DAY)
        assert not is_to_repeat(connection, speaker(), DAY)
        assert not is_to_repeat(connection, speaker(), DAY - 1)
        assert is_to_repeat(connection, speaker(), DAY + 1)
        again = make_batch(connection, speaker(), TimeMs(end + half))
        assert again is not None
        assert len(unpack_openings(again.openings)) == 1


class World:
    """Two listed services and a third that is not, in virtual time."""

    def __init__(
        self,
        clock: Clock,
        networks: Sequence[FakeNetwork],
        databases: Sequence[Database],
        exchanges: Sequence[ReceiptExchange],
    ) -> None:
        self.clock = clock
        self.networks = networks
        self.databases = databases
        self.exchanges = exchanges

    def note(self, service: int, wallet: Wallet, *stretches: Stretch) -> None:
        receipts = [Receipt(wallet, each, b"s" * 16) for each in stretches]
        with self.databases[service].transaction() as connection:
            record(connection, SERVICES[service], receipts, RULES, self.clock.now())

    def known_to(self, service: int, wallet: Wallet) -> tuple[Stretch, ...]:
        with self.databases[service].reading() as connection:
            return stretches_of(connection, wallet, DAY - 1, DAY + 1)

    async def publish(self, service: int, batch: ReceiptBatch) -> None:
        await self.networks[service].publish(UPTIME_TOPIC, seal(KEYS[service], NETWORK, batch))
        await trio.sleep(0.5)


@asynccontextmanager
async def open_world(directory: Path, hub: FakeHub | None = None) -> AsyncIterator[World]:
    hub = hub or FakeHub()
    clock = Clock(started_at=NOW)
    databases = [Database.open(f"sqlite:///{directory}/{number}.db") for number in range(3)]
    try:
        async with (
            hub.open_network(NetworkSettings(network="zn", seed=bytes(KEYS[0]))) as one,
            hub.open_network(NetworkSettings(network="zn", seed=bytes(KEYS[1]))) as two,
            hub.open_network(NetworkSettings(network="zn", seed=bytes(KEYS[2]))) as three,
            trio.open_nursery() as nursery,
        ):
            networks = (one, two, three)
            exchanges = [
                ReceiptExchange(
                    AsyncDatabase(database, inline=True),
                    network,
                    speaker(number),
                    lambda: VIEW,
                    clock,
                )
                for number, (network, database) in enumerate(zip(networks, databases, strict=True))
            ]
            for exchange in exchanges:
                nursery.start_soon(exchange.run)
            await trio.testing.wait_all_tasks_blocked()
            yield World(clock, networks, databases, exchanges)
            nursery.cancel_scope.cancel()
    finally:
        for database in databases:
            database.close()


async def test_what_one_answered_for_all_know(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_world(tmp_path) as world:
        world.note(0, ALICE, stretch(0, 5), stretch(8, 9))
        world.note(1, ALICE, stretch(4, 7))
        await trio.sleep(4)
        everything = (stretch(0, 7), stretch(8, 9))
        assert world.known_to(0, ALICE) == everything
        assert world.known_to(1, ALICE) == everything
        with world.databases[1].reading() as connection:
            assert find_url(connection, SERVICES[0]) == "https://0.example"


async def test_a_database_that_fails_for_a_while_stops_nothing(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_world(tmp_path) as world:
        world.note(0, ALICE, stretch(0, 5))

        async def fail(*_: object) -> None:
            raise DatabaseError("disk full")

        await world.publish(1, ReceiptBatch(5, NOW, "", b"", b"", b""))
        with monkeypatch.context() as patch:
            patch.setattr(world.exchanges[0]._database, "run", fail)
            await world.publish(1, ReceiptBatch(6, NOW, "", b"", b"", b""))
            await trio.sleep(3)
            assert world.known_to(1, ALICE) == ()
        await trio.sleep(3)
        assert world.known_to(1, ALICE) == (stretch(0, 5),)
        assert world.exchanges[0].counts["not written"] >= 1
        assert world.exchanges[0].counts["not read"] >= 1


async def test_who_is_not_listed_is_not_believed(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_world(tmp_path) as world:
        world.note(2, ALICE, stretch(0, 5))
        await trio.sleep(4)
        assert world.known_to(0, ALICE) == ()
        counters = world.networks[0].counters
        assert counters.refused[UPTIME_TOPIC, "unknown service"] >= 1
        assert not counters.bugs


async def test_forged_replayed_and_impossible_batches_are_counted(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_world(tmp_path) as world:
        now = world.clock.now()
        batch = ReceiptBatch(number=7, sent_ms=now, url="", receipts=b"", openings=b"", moves=b"")
        await world.publish(1, batch)
        late = replace(batch, number=7, url="http://x.example")
        await world.publish(1, late)
        await world.publish(1, replace(batch, number=8, sent_ms=TimeMs(now - 10**6)))
        sealed = bytearray(seal(KEYS[1], NETWORK, replace(batch, number=9)))
        sealed[-1] ^= 1
        await world.networks[1].publish(UPTIME_TOPIC, bytes(sealed))
        await world.networks[1].publish(UPTIME_TOPIC, b"\x00" * 70)
        await trio.sleep(1)
        refused = world.networks[0].counters.refused
        reasons = {reason for topic, reason in refused if topic == UPTIME_TOPIC}
        assert {"equivocation", "stale"} <= reasons
        assert len(reasons) >= 3
        assert not world.networks[0].counters.bugs


async def test_what_was_lost_is_told_again_when_the_day_is_over(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    hub = FakeHub()
    async with open_world(tmp_path, hub) as world:
        hub.cut(SERVICES[0], SERVICES[1])
        hub.cut(SERVICES[0], SERVICES[2])
        world.note(0, ALICE, stretch(0, 5))
        with world.databases[0].transaction() as connection:
            claim_home(connection, ALICE, SERVICES[0], RULES, NOW)
        await trio.sleep(25)
        assert world.known_to(1, ALICE) == ()
        # Gossip keeps recent messages for those who come late; these are not recent any more.
        for network in world.networks:
            network._recent.clear()
        hub.mend(SERVICES[0], SERVICES[1])
        before_close = RULES.close_time(DAY) - 500
        await world.clock.sleep_until(TimeMs(before_close))
        assert world.known_to(1, ALICE) == (stretch(0, 5),)
        await trio.sleep(2)
        with world.databases[1].reading() as connection:
            home = find_home(connection, ALICE)
        assert home is not None
        assert home.service == SERVICES[0]


async def test_numbers_taken_before_a_restart_are_not_taken_again(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_world(tmp_path) as world:
        await world.publish(1, ReceiptBatch(5, NOW, "", b"", b"", b""))
        await trio.sleep(1)
    async with open_world(tmp_path) as world:
        await world.publish(1, ReceiptBatch(4, NOW, "", b"", b"", b""))
        assert world.networks[0].counters.refused[UPTIME_TOPIC, "old number"] == 1


async def test_a_flood_finds_no_place_and_the_service_stays_up(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_world(tmp_path) as world:
        sealed = [
            seal(KEYS[1], NETWORK, ReceiptBatch(number, NOW, "", b"", b"", b""))
            for number in range(1, 2 * QUEUED)
        ]
        # At once, without a checkpoint in which the queue could be emptied.
        judge, _ = world.networks[0]._judges[UPTIME_TOPIC]
        for data in sealed[: QUEUED + 5]:
            judge(data, b"")
        assert world.exchanges[0].counts["no place"] >= 1
        world.note(1, ALICE, stretch(0, 5))
        await trio.sleep(3)
        assert world.exchanges[0].counts["taken"] >= QUEUED


def test_a_sealed_batch_is_what_the_rule_reads(database: Database) -> None:
    with database.transaction() as connection:
        note(connection, ALICE, stretch(0, 5))
        batch = make_batch(connection, speaker(), NOW)
    assert batch is not None
    assert open_envelope(seal(KEYS[0], NETWORK, batch), ReceiptBatch, NETWORK).message == batch

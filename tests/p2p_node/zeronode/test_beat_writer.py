"""Beats are written together, and again when the database did not take them."""

import pytest
import trio
from sqlalchemy import Connection
from trio.testing import MockClock

from p2p_node.zeronode import beat_writer
from p2p_node.zeronode.beat_writer import BeatWriter, WriterBusy
from p2p_node.zeronode.database import AsyncDatabase, Database
from p2p_node.zeronode.errors import DatabaseError
from p2p_node.zeronode.uptime_book import Receipt, unpaid_stretches_of
from protocols.types import NodeKey, TimeMs, Wallet
from protocols.uptime import Stretch
from protocols.zeronode_rules import MAINNET_RULES

WALLET = Wallet(bytes(range(20)))
NOW = TimeMs(1_790_000_000_000)
DAY = MAINNET_RULES.day_of(NOW)


def make_writer(database: Database) -> BeatWriter:
    inline = AsyncDatabase(database, inline=True)
    return BeatWriter(inline, NodeKey(bytes(32)), MAINNET_RULES, lambda: NOW)


def receipt(number: int) -> Receipt:
    start = NOW - 1_000_000 + number * 1000
    return Receipt(WALLET, Stretch(TimeMs(start), TimeMs(start + 500)), bytes(16))


async def test_many_receipts_are_one_commit(autojump_clock: MockClock, database: Database) -> None:
    writer = make_writer(database)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        await writer.record(receipt(0))
        async with trio.open_nursery() as waiting:
            for number in range(1, 50):
                waiting.start_soon(writer.record, receipt(number))
        assert (writer.commits, writer.written) == (2, 50)
        nursery.cancel_scope.cancel()
    with database.reading() as connection:
        assert len(unpaid_stretches_of(connection, WALLET, DAY)) == 50


async def test_failed_commit_is_tried_again_without_its_notes(
    autojump_clock: MockClock, database: Database
) -> None:
    writer = make_writer(database)

    def fail(_: Connection) -> None:
        raise DatabaseError("the disk is full")

    writer.note(fail)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        await writer.record(receipt(1))
        assert writer.failures == {"DatabaseError": 1}
        nursery.cancel_scope.cancel()
    with database.reading() as connection:
        assert len(unpaid_stretches_of(connection, WALLET, DAY)) == 1


async def test_what_waits_at_the_end_is_written(
    autojump_clock: MockClock, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = make_writer(database)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        await writer.record(receipt(0))
        nursery.start_soon(writer.record, receipt(1))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    with database.reading() as connection:
        assert len(unpaid_stretches_of(connection, WALLET, DAY)) == 2
    # Nobody writes any more: who waits is told, and so is who finds no place.
    with pytest.raises(WriterBusy):
        await writer.record(receipt(2))
    monkeypatch.setattr(beat_writer, "MAX_WAITING", 1)
    with pytest.raises(WriterBusy):
        await writer.record(receipt(3))

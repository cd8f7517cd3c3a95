"""Roots of closed days on a real chain: once each, whatever stops in between."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from chain.devchain.node import Devchain
from chain.errors import ObsoleteError, QueueFullError
from chain.flights import Confirmations
from chain.hexes import to_hex
from chain.records import Call, Receipt
from chain.rpc import Rpc
from chain.zeronode_calls import ZeroNodeCalls
from chain.zeronode_client import ZeroNodeClient
from p2p_node.zeronode.anchoring import (
    AnchoredRoot,
    Anchoring,
    Transactions,
    find_anchored,
    pending_roots,
)
from p2p_node.zeronode.database import AsyncDatabase, Database
from p2p_node.zeronode.ledger_tables import days
from protocols.types import Digest, NodeKey, TimeMs, Wallet
from tests.chain.network import Network, network

pytestmark = pytest.mark.integration

KEY = NodeKey(b"\x71" * 32)
NOW = TimeMs(1_800_000_000_000)


def root_of(day: int) -> Digest:
    return Digest(day.to_bytes(32, "big"))


class Scene:
    """A listed service with its books, on a devchain."""

    def __init__(self, net: Network, database: Database) -> None:
        self.net = net
        self.raw = database
        self.chain = net.running.chain
        self.database = AsyncDatabase(database)
        self.client = ZeroNodeClient(net.rpc, net.deployment)
        self.calls = ZeroNodeCalls(net.deployment)
        self.manager = net.providers[0].manager
        self.today = 0

    async def look(self) -> None:
        self.today = (await self.client.head()).timestamp // self.net.preset.day_seconds

    def make(self, transactions: Transactions | None = None) -> Anchoring:
        """The duty as it is after a start."""
        return Anchoring(
            self.database,
            self.client,
            self.manager if transactions is None else transactions,
            lambda: NOW,
            pause_seconds=0.01,
        )

    def close(self, *closed: int) -> None:
        """Close days in the books."""
        with self.raw.transaction() as connection:
            for day in closed:
                connection.execute(
                    days.insert().values(
                        day=day,
                        first=1,
                        entries=0,
                        entries_root=bytes(32),
                        balances=0,
                        balances_root=bytes(32),
                        head=bytes(32),
                        root=root_of(day),
                        closed_ms=NOW,
                    )
                )

    def pending(self) -> list[int]:
        with self.raw.reading() as connection:
            return [each.day for each in pending_roots(connection)]

    def noted(self, day: int) -> AnchoredRoot | None:
        with self.raw.reading() as connection:
            return find_anchored(connection, day)

    async def list_service(self) -> None:
        call = self.calls.add_service(self.manager.wallet, KEY)
        await self.net.execute(self.net.funder, call, "listing")
        self.finalize()

    def finalize(self, blocks: int = 4) -> None:
        for _ in range(blocks):
            self.chain.mine(self.chain.head().timestamp + 1)

    async def sent(self) -> int:
        wallet = to_hex(self.manager.wallet)
        return await self.net.rpc.quantity("eth_getTransactionCount", wallet, "latest")

    @asynccontextmanager
    async def mining(self) -> AsyncIterator[None]:
        """Blocks go on, whether something waits or not."""

        async def mine() -> None:
            while True:
                self.chain.mine(self.chain.head().timestamp + 1)
                await trio.sleep(0.02)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(mine)
            yield
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def scene_of(database: Database, *, listed: bool = True) -> AsyncIterator[Scene]:
    async with network(0, 1) as net:
        scene = Scene(net, database)
        if listed:
            await scene.list_service()
        await scene.look()
        yield scene


async def test_roots_of_closed_days_come_onto_the_chain(database: Database) -> None:
    async with scene_of(database) as scene:
        closed = [scene.today - 3, scene.today - 2, scene.today - 1]
        scene.close(*closed)
        before = await scene.sent()
        async with scene.mining():
            with trio.fail_after(30):
                assert await scene.make().step() == 3
        for day in closed:
            assert await scene.client.root_of(0, day, "finalized") == root_of(day)
            assert scene.noted(day) == AnchoredRoot(day, 0, root_of(day), NOW)
        assert (scene.pending(), await scene.sent()) == ([], before + 3)
        # Nothing is left to do, after a restart neither.
        assert await scene.make().step() == 0
        assert await scene.sent() == before + 3


async def test_a_restart_in_between_sends_nothing_twice(database: Database) -> None:
    async with scene_of(database) as scene:
        day = scene.today - 1
        scene.close(day)
        before = await scene.sent()
        # Without more blocks it is in one, but not final, when the program stops.
        with trio.move_on_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(scene.make().step)
                while await scene.client.root_of(0, day) is None:
                    await trio.sleep(0.01)
                nursery.cancel_scope.cancel()
        assert await scene.sent() == before + 1
        assert await scene.make().step() == 0
        assert scene.noted(day) is None
        scene.finalize()
        assert await scene.make().step() == 1
        assert scene.noted(day) == AnchoredRoot(day, 0, root_of(day), NOW)
        assert await scene.sent() == before + 1


async def test_a_block_that_is_taken_back_loses_no_root(database: Database) -> None:
    async with scene_of(database) as scene:
        day = scene.today - 1
        scene.close(day)
        chain = scene.chain
        assert isinstance(chain, Devchain)
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(scene.make().run)
                while await scene.client.root_of(0, day) is None:
                    await trio.sleep(0.01)
                chain.rewind(1, keep_transactions=False)
                chain.mine(chain.head().timestamp + 7)
                assert await scene.client.root_of(0, day) is None
                async with scene.mining():
                    while scene.noted(day) is None:
                        await trio.sleep(0.01)
                nursery.cancel_scope.cancel()
        assert scene.noted(day) == AnchoredRoot(day, 0, root_of(day), NOW)
        assert await scene.client.root_of(0, day, "finalized") == root_of(day)


async def test_another_root_on_the_chain_is_told_and_left(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with scene_of(database) as scene:
        day = scene.today - 1
        scene.close(day)
        other = Digest(b"\x99" * 32)
        await scene.net.execute(scene.manager, scene.calls.anchor(day, other), "other books")
        scene.finalize()
        before = await scene.sent()
        assert await scene.make().step() == 1
        assert scene.noted(day) == AnchoredRoot(day, 0, other, NOW)
        assert f"day {day}: the chain has the root {other.hex()}" in caplog.text
        assert (scene.pending(), await scene.sent()) == ([], before)


async def test_who_is_not_listed_waits_and_says_so_once(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with scene_of(database, listed=False) as scene:
        day = scene.today - 1
        scene.close(day)
        duty = scene.make()
        before = await scene.sent()
        for _ in range(3):
            assert await duty.step() == 0
        assert caplog.text.count("is not the wallet of an active service") == 1
        assert scene.manager.wallet.hex() in caplog.text
        assert await scene.sent() == before
        await scene.list_service()
        async with scene.mining(), trio.open_nursery() as nursery:
            nursery.start_soon(duty.run)
            with trio.fail_after(30):
                while scene.pending():
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        assert await scene.client.root_of(0, day) == root_of(day)


async def test_a_day_that_is_not_over_on_the_chain_waits(database: Database) -> None:
    async with scene_of(database) as scene:
        # By this service's clock it is; the newest block is older.
        scene.close(scene.today)
        before = await scene.sent()
        assert await scene.make().step() == 0
        assert await scene.sent() == before
        assert scene.pending() == [scene.today]
        scene.chain.mine((scene.today + 1) * scene.net.preset.day_seconds)
        async with scene.mining():
            with trio.fail_after(30):
                assert await scene.make().step() == 1


class Refusing:
    """Sends nothing, and says why."""

    def __init__(self, wallet: Wallet, error: Exception) -> None:
        self.wallet = wallet
        self._error = error

    async def execute(
        self,
        call: Call,
        *,
        label: str,
        deadline: float,
        confirmations: Confirmations = "finalized",
        is_obsolete: Callable[[], Awaitable[bool]] | None = None,
    ) -> Receipt:
        raise self._error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ObsoleteError("root"), ""),
        (QueueFullError("root: 64 transactions wait already"), "64 transactions wait"),
    ],
    ids=["obsolete", "queue full"],
)
async def test_what_could_not_be_sent_is_tried_again(
    database: Database, error: Exception, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with scene_of(database) as scene:
        day = scene.today - 1
        scene.close(day)
        with caplog.at_level(logging.WARNING):
            assert await scene.make(Refusing(scene.manager.wallet, error)).step() == 0
        assert words in caplog.text
        async with scene.mining():
            with trio.fail_after(30):
                assert await scene.make().step() == 1


async def test_an_outage_of_the_chain_is_waited_out(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with scene_of(database) as scene:
        scene.close(scene.today - 1)
        # Nobody listens there.
        gone = ZeroNodeClient(Rpc("http://127.0.0.1:1"), scene.net.deployment)
        lost = Anchoring(scene.database, gone, scene.manager, lambda: NOW)
        assert await lost.step() == 0
        assert "roots of closed days are not anchored" in caplog.text
        async with scene.mining():
            with trio.fail_after(30):
                assert await scene.make().step() == 1

"""The watcher turns chain reads into views, once per epoch and once more after the checks."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from nacl.signing import SigningKey

from p2p_node.clock import Clock
from p2p_node.watcher import EPOCHS_KEPT, Watcher
from protocols.epochs import Timeline
from protocols.hashing import keccak256
from protocols.params import MINIMAL
from protocols.types import Epoch, NetworkId, TimeMs, Wallet
from tests.fakes.epochs import CHAIN_ID, REGISTRY, FakeEpochSource, make_slot

GENESIS = 1_000_000
ALICE = SigningKey(b"\x01" * 32)
BOB = SigningKey(b"\x02" * 32)
NETWORK = NetworkId(bytes(32))


@asynccontextmanager
async def watching(source: FakeEpochSource) -> AsyncIterator[Watcher]:
    clock = Clock(started_at=TimeMs(source.timestamp * 1000))
    watcher = Watcher(
        source,
        clock,
        network=NETWORK,
        domain=keccak256(b"domain"),
        timeline=Timeline(TimeMs(GENESIS * 1000), MINIMAL),
        chain_id=CHAIN_ID,
        registry=REGISTRY,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watcher.run)
        yield watcher
        nursery.cancel_scope.cancel()


async def test_reads_the_epoch_of_the_newest_block(autojump_clock) -> None:
    source = FakeEpochSource(GENESIS + 2 * MINIMAL.epoch_seconds + 5)
    source.provider_slots = [make_slot(0, ALICE, Wallet(b"\xaa" * 20))]
    source.checker_slots = [make_slot(0, BOB, Wallet(b"\xbb" * 20), created=2)]
    async with watching(source) as watcher:
        with trio.fail_after(5):
            view = await watcher.next_view(Epoch(1))
    assert view.seed == keccak256(b"seed", (2).to_bytes(8, "big"))
    assert view.provider_slots == 1
    assert view.checker_slots == 0, "a slot created in this epoch is drawn from the next one on"
    assert view.providers[0].node_key == bytes(ALICE.verify_key)


async def test_ignores_slots_whose_binding_is_false(autojump_clock) -> None:
    source = FakeEpochSource(GENESIS + MINIMAL.epoch_seconds)
    source.provider_slots = [
        make_slot(0, ALICE, Wallet(b"\xaa" * 20), binding=bytes(64)),
        make_slot(1, BOB, Wallet(b"\xbb" * 20)),
    ]
    async with watching(source) as watcher:
        with trio.fail_after(5):
            view = await watcher.next_view(Epoch(0))
    assert set(view.providers) == {1}
    assert view.provider_slots == 2, "the slot still has its lane"


async def test_reads_members_again_after_the_check_phase(autojump_clock) -> None:
    source = FakeEpochSource(GENESIS)
    async with watching(source) as watcher:
        with trio.fail_after(60):
            await watcher.next_view(Epoch(-1))
            source.checker_slots = [make_slot(0, BOB, Wallet(b"\xbb" * 20), joined=1)]
            await trio.sleep(5)
            assert watcher.view.epochs[Epoch(0)].checkers == {}
            source.timestamp = GENESIS + MINIMAL.epoch_seconds - 1
            await watcher.wait_for_change()
    assert set(watcher.view.epochs[Epoch(0)].checkers) == {0}
    assert source.seed_reads == [0, 0], "one read when the epoch began, one after the checks"


async def test_keeps_few_epochs(autojump_clock) -> None:
    source = FakeEpochSource(GENESIS)
    async with watching(source) as watcher:
        with trio.fail_after(600):
            for epoch in map(Epoch, range(10)):
                source.timestamp = GENESIS + epoch * MINIMAL.epoch_seconds
                await watcher.next_view(Epoch(epoch - 1))
    assert sorted(watcher.view.epochs) == list(range(10 - EPOCHS_KEPT, 10))


async def test_next_view_leaves_out_epochs_that_an_outage_swallowed(autojump_clock) -> None:
    source = FakeEpochSource(GENESIS)
    async with watching(source) as watcher:
        with trio.fail_after(60):
            first = await watcher.next_view(Epoch(-1))
            source.fails = True
            await trio.sleep(5)
            source.fails = False
            source.timestamp = GENESIS + 4 * MINIMAL.epoch_seconds
            second = await watcher.next_view(first.epoch)
    assert (first.epoch, second.epoch) == (0, 4)


async def test_outlives_an_outage_of_the_chain(autojump_clock) -> None:
    source = FakeEpochSource(GENESIS)
    source.fails = True
    async with watching(source) as watcher:
        await trio.sleep(30)
        assert watcher.view.epochs == {}
        source.fails = False
        with trio.fail_after(5):
            await watcher.next_view(Epoch(-1))


async def test_waits_for_the_genesis(autojump_clock) -> None:
    source = FakeEpochSource(GENESIS - 10)
    async with watching(source) as watcher:
        await trio.sleep(5)
        assert source.seed_reads == []
        assert watcher.current_epoch() == 0
        source.timestamp = GENESIS
        with trio.fail_after(5):
            await watcher.next_view(Epoch(-1))

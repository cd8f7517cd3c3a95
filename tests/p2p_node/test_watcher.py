"""The watcher turns chain reads into views, once per epoch and once more after the checks."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from nacl.signing import SigningKey

from chain.errors import WrongChainError
from chain.records import Head
from p2p_node.clock import Clock
from p2p_node.watcher import EPOCHS_KEPT, Watcher
from protocols.epochs import Timeline
from protocols.hashing import keccak256
from protocols.membership import EpochView
from protocols.params import MAINNET, MINIMAL, Preset
from protocols.types import Epoch, NetworkId, TimeMs, Wallet
from tests.fakes.epochs import CHAIN_ID, REGISTRY, FakeEpochSource, make_slot

GENESIS = 1_000_000
ALICE = SigningKey(b"\x01" * 32)
BOB = SigningKey(b"\x02" * 32)
NETWORK = NetworkId(bytes(32))


@asynccontextmanager
async def watching(source: FakeEpochSource, preset: Preset = MINIMAL) -> AsyncIterator[Watcher]:
    clock = Clock(started_at=TimeMs(source.timestamp * 1000))
    watcher = Watcher(
        source,
        clock,
        network=NETWORK,
        domain=keccak256(b"domain"),
        timeline=Timeline(TimeMs(GENESIS * 1000), preset),
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


# Reorganisations


async def watch_epoch(source: FakeEpochSource, watcher: Watcher, epoch: int) -> EpochView:
    with trio.fail_after(60):
        return await watcher.next_view(Epoch(epoch - 1))


def reorganise(source: FakeEpochSource, depth: int) -> None:
    """Put other blocks in the place of the newest `depth`, and one more on top."""
    source.branch = b"other"
    source.forked_at = source.number - depth + 1
    source.number += 1


async def test_reads_again_when_the_block_it_read_at_is_another(autojump_clock, caplog) -> None:
    source = FakeEpochSource(GENESIS + MINIMAL.epoch_seconds)
    async with watching(source) as watcher:
        first = await watch_epoch(source, watcher, 1)
        source.number += 3
        await trio.sleep(1)
        reorganise(source, 4)
        with trio.fail_after(2):
            second = await watcher.wait_for_replacement(first)
    assert second is not None
    assert second == watcher.view.epochs[Epoch(1)]
    assert second.seed != first.seed
    assert "drawn anew" in caplog.text
    assert "skipped" not in caplog.text


async def test_blocks_above_the_one_it_read_at_do_not_matter(autojump_clock) -> None:
    source = FakeEpochSource(GENESIS + MINIMAL.epoch_seconds)
    async with watching(source) as watcher:
        await watch_epoch(source, watcher, 1)
        source.number += 3
        await trio.sleep(1)
        reorganise(source, 3)
        await trio.sleep(1)
        assert source.seed_reads == [1]


async def test_a_shorter_chain_is_waited_for(autojump_clock) -> None:
    source = FakeEpochSource(GENESIS + MINIMAL.epoch_seconds)
    source.number = 10
    async with watching(source) as watcher:
        first = await watch_epoch(source, watcher, 1)
        source.branch, source.forked_at, source.number = b"other", 5, 6
        await trio.sleep(2)
        assert source.seed_reads == [1]
        source.number = 10
        with trio.fail_after(2):
            assert await watcher.wait_for_replacement(first) is not None


async def test_an_epoch_whose_checks_have_begun_is_skipped(autojump_clock, caplog) -> None:
    source = FakeEpochSource(GENESIS + MINIMAL.epoch_seconds)
    async with watching(source) as watcher:
        view = await watch_epoch(source, watcher, 1)
        await watcher.clock.sleep_until(watcher.timeline.check_start(Epoch(1)))
        reorganise(source, 1)
        with trio.fail_after(2):
            assert await watcher.wait_for_replacement(view) is None
            assert await watcher.wait_for_replacement(watcher.view.epochs[Epoch(1)]) is None
        assert caplog.text.count("epoch 1: skipped") == 1
        source.number += 1
        source.timestamp += MINIMAL.epoch_seconds
        assert (await watch_epoch(source, watcher, 2)).epoch == 2


async def test_a_reorganisation_that_changes_no_seat_changes_nothing(
    autojump_clock, caplog
) -> None:
    source = FakeEpochSource(GENESIS + MINIMAL.epoch_seconds)
    async with watching(source) as watcher:
        view = await watch_epoch(source, watcher, 1)
        await watcher.clock.sleep_until(watcher.timeline.check_start(Epoch(1)))
        source.seed_on_every_branch = True
        reorganise(source, 1)
        with trio.move_on_after(3):
            await watcher.wait_for_replacement(view)
            raise AssertionError("nothing should have come in its place")
    assert source.seed_reads == [1, 1]
    assert "skipped" not in caplog.text


async def test_a_reorganisation_back_into_the_last_epoch(autojump_clock) -> None:
    source = FakeEpochSource(GENESIS + MINIMAL.epoch_seconds)
    async with watching(source) as watcher:
        await watch_epoch(source, watcher, 1)
        source.number += 9
        source.timestamp += MINIMAL.epoch_seconds
        view = await watch_epoch(source, watcher, 2)
        source.timestamp -= 3
        reorganise(source, 2)
        await trio.sleep(2)
        source.timestamp += 4
        source.number += 1
        with trio.fail_after(2):
            again = await watcher.wait_for_replacement(view)
    assert again is not None
    assert again.epoch == 2
    assert again.seed != view.seed


async def test_another_chain_ends_it(autojump_clock) -> None:
    source = FakeEpochSource(GENESIS)
    source.error = WrongChainError("chain id: found 1, expected 2")
    with pytest.RaisesGroup(WrongChainError):
        async with watching(source):
            await trio.sleep(5)


# Finality


def head_at(number: int, timestamp: int) -> Head:
    return Head(number, bytes(32), timestamp, 0)


async def test_a_long_draw_waits_for_finality(autojump_clock) -> None:
    start = GENESIS + MAINNET.epoch_seconds
    source = FakeEpochSource(start)
    source.number = 20
    source.final = head_at(17, start - 1)
    async with watching(source, MAINNET) as watcher:
        await trio.sleep(21)
        assert source.seed_reads == []
        source.final = head_at(19, start)
        await watch_epoch(source, watcher, 1)
        assert source.blocks_read == [19]
        # And whatever happens above it is nothing to the epoch.
        reorganise(source, 2)
        await trio.sleep(3)
        assert source.seed_reads == [1]


async def test_a_slow_finality_is_not_waited_for_to_the_end(autojump_clock) -> None:
    start = GENESIS + MAINNET.epoch_seconds
    source = FakeEpochSource(start)
    source.number = 20
    source.final = head_at(17, start - 1)
    async with watching(source, MAINNET) as watcher:
        await watch_epoch(source, watcher, 1)
        assert source.blocks_read == [20]
        assert watcher.clock.now() < watcher.timeline.transfer_start(Epoch(1)) - 10_000


async def test_a_chain_without_finality(autojump_clock) -> None:
    source = FakeEpochSource(GENESIS + MAINNET.epoch_seconds)
    source.knows_finality = False
    async with watching(source, MAINNET) as watcher:
        await watch_epoch(source, watcher, 1)
        assert watcher.clock.now() < watcher.timeline.start_of(Epoch(1)) + 2_000

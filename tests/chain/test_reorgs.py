"""Real reorganisations on anvil, up to ten blocks deep: nothing is lost, nothing is doubled."""

import random
from collections.abc import Iterator

import pytest
import trio

from chain.errors import ExpiredError, ObsoleteError
from chain.journal import MemoryJournal
from chain.records import Receipt
from tests.chain.backends import AnvilBackend, DevchainBackend, running_anvil
from tests.chain.managing import NOBODY, Bench, fields_of, managing, transfer, until

FINALITY = 12
"""Blocks until a block is final: more than the deepest reorganisation here."""

DEPTHS = range(1, 11)


@pytest.fixture(scope="module")
def anvil() -> Iterator[AnvilBackend]:
    """One anvil for all tests here; each takes its numbers from where the one before left off."""
    with running_anvil(FINALITY) as backend:
        yield backend


async def holdings(bench: Bench) -> int:
    return await bench.rpc.quantity("eth_getBalance", "0x" + NOBODY.hex(), "latest")


async def mine_one_each(bench: Bench, labels: list[str]) -> None:
    """Send one transfer per block; amounts are 1, 2, 4 … so that a sum tells which arrived."""
    for number, label in enumerate(labels):
        bench.start(transfer(1 << number), label)
        await bench.until_waiting(number + 1)
        bench.backend.mine()


async def settle(bench: Bench, *labels: str) -> None:
    """Make blocks until nothing is under way any more, and these intents have an outcome."""

    def is_over() -> bool:
        return bench.is_settled and set(labels) <= set(bench.outcomes)

    for _ in range(6 * FINALITY):
        bench.backend.mine()
        with trio.move_on_after(0.03):
            await until(is_over)
            return
    raise AssertionError("something is still under way")


@pytest.mark.parametrize(
    ("way", "depth"),
    [("reorganise", depth) for depth in DEPTHS] + [("roll_back", depth) for depth in (1, 4, 10)],
)
async def test_the_same_bytes_come_back(anvil: AnvilBackend, way: str, depth: int) -> None:
    async with managing(anvil, replace_after_blocks=100) as bench:
        before, first = await holdings(bench), await bench.nonce()
        labels = [f"wage {number}" for number in range(depth)]
        await mine_one_each(bench, labels)
        await until(lambda: bench.manager._flights[-1].has_landed)
        sent = list(bench.hashes)
        getattr(anvil, way)(depth)
        await settle(bench, *labels)
        receipts = [bench.outcomes[label] for label in labels]
        assert [isinstance(each, Receipt) and each.transaction_hash for each in receipts] == sent
        assert bench.hashes == sent, "nothing was signed anew"
        assert await holdings(bench) - before == (1 << depth) - 1
        assert await bench.nonce() - first == depth


@pytest.mark.parametrize("depth", [1, 5, 10])
async def test_what_a_block_held_is_sent_again_though_nobody_waits(
    anvil: AnvilBackend, depth: int
) -> None:
    async with managing(anvil) as bench:
        before = await holdings(bench)
        bench.start(transfer(5), "rent", deadline=trio.current_time() + 1)
        sent = await bench.until_waiting()
        anvil.mine(depth)
        await until(lambda: "rent" in bench.outcomes)
        assert isinstance(bench.outcomes["rent"], ExpiredError), "it was not final in time"
        anvil.reorganise(depth)
        bench.start(transfer(6), "next")
        await settle(bench, "next")
        assert isinstance(bench.outcomes["next"], Receipt)
        assert await holdings(bench) - before == 11
        assert sent in bench.hashes
        assert len(bench.hashes) == 2, "nothing was voided"


async def test_chaos_adds_up(anvil: AnvilBackend) -> None:
    """Blocks, reorganisations and crashes in random order, the same every time."""
    chance = random.Random(4)
    journal = MemoryJournal()
    labels = [f"wage {number}" for number in range(16)]
    paid: set[str] = set()

    def find_untold() -> set[str]:
        """Find what is final and not told yet: whoever dies just then has to look for itself."""
        kept = {entry.label for entry in journal.entries()}
        return {entry.label for entry in bench.history} - kept - set(bench.outcomes) - paid

    async with managing(anvil) as bench:
        before, first = await holdings(bench), await bench.nonce()
    while len(paid) < len(labels):
        async with managing(anvil, journal, max_unmined=4) as bench:
            for number, label in enumerate(labels):
                if label not in paid:
                    bench.start(transfer(1 << number), label)
            for _ in range(30):
                anvil.mine()
                if chance.random() < 0.3:
                    way = chance.choice([anvil.reorganise, anvil.roll_back])
                    way(chance.randint(1, 10))
                await trio.sleep(0.05)
                if chance.random() < 0.05:
                    break
            await until(lambda: not find_untold())
            for label, outcome in bench.outcomes.items():
                assert isinstance(outcome, Receipt), (label, outcome)
                assert outcome.succeeded
                paid.add(label)
    async with managing(anvil, journal) as bench:
        await settle(bench)
        assert await holdings(bench) - before == (1 << len(labels)) - 1
        assert await bench.nonce() - first == len(labels)


# Somebody else was faster


async def test_what_somebody_else_has_done_is_not_sent(devchain: DevchainBackend) -> None:
    async def look() -> bool:
        return True

    async with managing(devchain) as bench:
        bench.start(transfer(), "bundle", is_obsolete=look)
        await until(lambda: "bundle" in bench.outcomes)
        assert isinstance(bench.outcomes["bundle"], ObsoleteError)
        assert bench.hashes == []


async def test_somebody_else_is_faster_than_the_next_block(anvil: AnvilBackend) -> None:
    done = False

    async def look() -> bool:
        return done

    async with managing(anvil) as bench:
        before, first = await holdings(bench), await bench.nonce()
        bench.start(transfer(5), "bundle", is_obsolete=look)
        await bench.until_waiting()
        done = True
        # A new block that holds nothing makes the manager look.
        anvil.reorganise(1)
        await until(lambda: "bundle" in bench.outcomes)
        assert isinstance(bench.outcomes["bundle"], ObsoleteError)
        await until(lambda: len(bench.hashes) == 2)
        await settle(bench)
        assert await bench.nonce() == first + 1
        assert await holdings(bench) == before
        assert [fields_of(entry)["value"] for entry in bench.history] == [5, 0]


async def test_our_own_in_a_block_is_not_taken_for_somebody_elses(anvil: AnvilBackend) -> None:
    done = False

    async def look() -> bool:
        nonlocal done
        if bench.hashes and not done:
            # Our own comes into a block between the look at the nonce and the look for the bundle.
            await bench.rpc.request("eth_sendRawTransaction", "0x" + bench.history[0].raw.hex())
            anvil.mine()
            done = True
        return done

    async with managing(anvil) as bench:
        bench.start(transfer(5), "bundle", is_obsolete=look)
        await bench.until_waiting()
        anvil.reorganise(1)
        receipt = await bench.receipt_of("bundle")
        assert receipt.transaction_hash == bench.hashes[0]
        assert len(bench.hashes) == 1


async def test_what_came_into_a_block_is_what_is_sent_again(anvil: AnvilBackend) -> None:
    """The void was signed, but a block took the intent itself: that one must not be lost."""
    async with managing(anvil) as bench:
        before = await holdings(bench)
        bench.start(transfer(5), "rent", deadline=trio.current_time() + 1.0)
        await bench.until_waiting()
        await bench.until_waiting(2)
        await bench.rpc.request("anvil_dropAllTransactions")
        await bench.rpc.request("eth_sendRawTransaction", "0x" + bench.history[0].raw.hex())
        anvil.mine()
        await until(lambda: bench.manager._flights[0].has_landed)
        anvil.reorganise(1)
        await settle(bench)
        assert await holdings(bench) == before + 5
        assert len(bench.hashes) == 2

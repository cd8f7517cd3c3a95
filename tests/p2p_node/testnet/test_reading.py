"""Finding what a run came to among the events of a chain that may be reorganised."""

from types import SimpleNamespace
from typing import Any, cast

from chain.client import ChainClient
from chain.events import BundleAccepted
from chain.records import Head
from p2p_node.testnet.reading import BLOCKS_PER_LOOK, RunEvents
from protocols.types import Epoch, Shard


class FakeChain:
    """Blocks with at most one bundle each: block -> (epoch, hash of the transaction)."""

    def __init__(self) -> None:
        self.deployment = SimpleNamespace(block=1)
        self.bundles: dict[int, tuple[int, bytes]] = {}
        self.latest, self.finalized = 10, 8
        self.asked: list[tuple[int, int]] = []

    async def head(self, block: str = "latest") -> Head:
        return Head(getattr(self, block), bytes(32), 0, 0)

    async def events(self, first: int, last: int) -> list[tuple[Any, Any]]:
        self.asked.append((first, last))
        return [
            (accepted(epoch), SimpleNamespace(transaction_hash=tx))
            for block, (epoch, tx) in sorted(self.bundles.items())
            if first <= block <= last
        ]


def accepted(epoch: int) -> BundleAccepted:
    event = object.__new__(BundleAccepted)
    object.__setattr__(event, "epoch", Epoch(epoch))
    object.__setattr__(event, "shard", Shard(0))
    return event


async def test_a_bundle_that_is_taken_back_is_forgotten() -> None:
    chain = FakeChain()
    events = RunEvents(cast("ChainClient", chain))
    chain.bundles = {7: (1, b"one"), 9: (2, b"two"), 10: (3, b"three")}
    await events.update()
    assert events.bundles == {(1, 0): b"one", (2, 0): b"two", (3, 0): b"three"}
    # Another transaction brings the second one, in another block, and nothing the third.
    chain.bundles = {7: (1, b"one"), 10: (2, b"other")}
    chain.latest = 11
    await events.update()
    assert events.bundles == {(1, 0): b"one", (2, 0): b"other"}


async def test_final_blocks_are_read_once_and_in_parts() -> None:
    chain = FakeChain()
    events = RunEvents(cast("ChainClient", chain))
    chain.latest = chain.finalized = BLOCKS_PER_LOOK + 5
    chain.bundles = {2: (1, b"one"), BLOCKS_PER_LOOK + 2: (2, b"two")}
    await events.update()
    assert chain.asked == [(1, BLOCKS_PER_LOOK), (BLOCKS_PER_LOOK + 1, BLOCKS_PER_LOOK + 5)]
    await events.update()
    assert len(chain.asked) == 2
    assert set(events.bundles) == {(1, 0), (2, 0)}

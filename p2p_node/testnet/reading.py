"""Reads from the chain what a run came to."""

from chain.client import ChainClient
from chain.events import BundleAccepted
from chain.hexes import to_hex
from chain.records import SlotKind
from p2p_node.testnet.outcome import (
    Bundle,
    Participant,
    Seat,
    SettledEpoch,
    expected_balance,
)
from protocols.params import Preset
from protocols.types import Epoch, Shard

BLOCKS_PER_LOOK = 500
"""Blocks in one request for events; public endpoints take a thousand or more."""


class BundleFinder:
    """Remembers which transaction brought which bundle, reading each block's events once."""

    def __init__(self, chain: ChainClient) -> None:
        self._chain = chain
        self._next_block = chain.deployment.block
        self.found: dict[tuple[Epoch, Shard], bytes] = {}

    async def update(self) -> None:
        """Read the events up to the newest block."""
        head = await self._chain.head()
        while self._next_block <= head.number:
            last = min(head.number, self._next_block + BLOCKS_PER_LOOK - 1)
            for event, log in await self._chain.events(self._next_block, last):
                if isinstance(event, BundleAccepted):
                    self.found[event.epoch, event.shard] = log.transaction_hash
            self._next_block = last + 1


async def read_epoch(
    chain: ChainClient, finder: BundleFinder, epoch: Epoch, shards: int, checkers: int
) -> SettledEpoch:
    """Read everything about one epoch; shards without a bundle are left out."""
    bundles = []
    for shard in map(Shard, range(shards)):
        record = await chain.bundle(epoch, shard)
        scores = await chain.scores(epoch, shard)
        if record is None or scores is None:
            continue
        transaction = finder.found[epoch, shard]
        receipt = await chain.receipt(transaction)
        bundles.append(
            Bundle(
                shard=shard,
                tx=to_hex(transaction),
                gas_used=receipt.gas_used if receipt else 0,
                lanes=record.lanes,
                scores=scores,
                seats=tuple(Seat(r.seat, r.checker, r.deviations) for r in record.reports),
            )
        )
    totals = await chain.totals(epoch)
    contributed = [i for i in range(checkers) if await chain.contributed(epoch, i)]
    return SettledEpoch(
        epoch=epoch,
        bundles=tuple(bundles),
        provider_total=totals.provider_total,
        checker_total=totals.checker_total,
        contributed=frozenset(contributed),
    )


async def read_slots(chain: ChainClient, participants: list[Participant]) -> bool:
    """Fill in everybody's slot; tell whether all are registered."""
    complete = True
    for each in participants:
        if each.index >= 0:
            continue
        kind = SlotKind.PROVIDER if each.is_provider else SlotKind.CHECKER
        index = await chain.slot_index(kind, each.wallet)
        if index is None:
            complete = False
            continue
        slot = await chain.slot(kind, index)
        each.index, each.stake, each.stake_units = index, slot.stake, slot.stake_units
    return complete


async def compare_balances(
    chain: ChainClient, preset: Preset, paid: list[SettledEpoch], participants: list[Participant]
) -> list[str]:
    """Hold every wallet's balance against what the epochs add up to; return the differences."""
    differences = []
    for each in participants:
        found = await chain.token_balance(each.wallet)
        expected = expected_balance(preset, paid, each)
        if found != expected:
            differences.append(f"{each.name}: balance is {found}, the epochs add up to {expected}")
    return differences

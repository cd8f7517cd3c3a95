"""Reads from the chain what a run came to."""

from collections.abc import Sequence

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
from protocols import types as protocol_types
from protocols.params import Preset
from protocols.types import Epoch, Shard

BLOCKS_PER_LOOK = 500
"""Blocks in one request for events; public endpoints take a thousand or more."""


class BundleFinder:
    """Remembers which transaction brought which bundle.

    The events of final blocks are read once. Those of newer ones are read anew each time, because
    a reorganisation may have put others in their place.
    """

    def __init__(self, chain: ChainClient) -> None:
        self._chain = chain
        self._next_block = chain.deployment.block
        self._final: dict[tuple[Epoch, Shard], bytes] = {}
        self.found: dict[tuple[Epoch, Shard], bytes] = {}

    async def update(self) -> None:
        """Read the events up to the newest block."""
        head = await self._chain.head()
        final = min(head.number, (await self._chain.head("finalized")).number)
        while self._next_block <= final:
            last = min(final, self._next_block + BLOCKS_PER_LOOK - 1)
            self._final |= await self._read(self._next_block, last)
            self._next_block = last + 1
        self.found = self._final | await self._read(self._next_block, head.number)

    async def _read(self, first: int, last: int) -> dict[tuple[Epoch, Shard], bytes]:
        return {
            (event.epoch, event.shard): log.transaction_hash
            for event, log in (await self._chain.events(first, last) if first <= last else ())
            if isinstance(event, BundleAccepted)
        }


async def read_epoch(
    chain: ChainClient,
    finder: BundleFinder,
    epoch: Epoch,
    participants: Sequence[Participant],
    block: int,
) -> SettledEpoch:
    """Read everything about one epoch as of `block`; shards without a bundle are left out."""
    providers = [each.index for each in participants if each.is_provider]
    checkers = [each.index for each in participants if not each.is_provider]
    bundles = []
    for shard in sorted(shard for found, shard in finder.found if found == epoch):
        record = await chain.bundle(epoch, shard, block)
        scores = await chain.scores(epoch, shard, block)
        receipt = await chain.receipt(finder.found[epoch, shard])
        if record is None or scores is None or receipt is None:
            continue
        bundles.append(
            Bundle(
                shard=shard,
                tx=to_hex(receipt.transaction_hash),
                gas_used=receipt.gas_used,
                lanes=record.lanes,
                scores=scores,
                seats=tuple(Seat(r.seat, r.checker, r.deviations) for r in record.reports),
            )
        )
    totals = await chain.totals(epoch, block)
    return SettledEpoch(
        epoch=epoch,
        bundles=tuple(bundles),
        provider_total=totals.provider_total,
        checker_total=totals.checker_total,
        contributed=frozenset([i for i in checkers if await chain.contributed(epoch, i, block)]),
        paid_providers=frozenset(
            [i for i in providers if await chain.provider_claimed(i, epoch, block)]
        ),
        paid_seats=frozenset(
            [
                (bundle.shard, seat.seat)
                for bundle in bundles
                for seat in bundle.seats
                if await chain.checker_claimed(
                    epoch, bundle.shard, protocol_types.Seat(seat.seat), block
                )
            ]
        ),
    )


async def read_slots(chain: ChainClient, participants: Sequence[Participant]) -> bool:
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
    chain: ChainClient,
    preset: Preset,
    epochs: Sequence[SettledEpoch],
    participants: Sequence[Participant],
    block: int,
) -> list[str]:
    """List the wallets whose balance at `block` is not what the epochs add up to."""
    differences = []
    for each in participants:
        found = await chain.token_balance(each.wallet, block)
        expected = expected_balance(preset, epochs, each)
        if found != expected:
            differences.append(f"{each.name}: balance is {found}, the epochs add up to {expected}")
    return differences

"""Asking an endpoint for what an audit judges.

Everything that an endpoint answers is bounded: blocks for one request, logs in all, slots, bytes of
an answer (chain.provider). Nothing it says is believed that can be computed.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from chain.audit.bundles import BundleFacts
from chain.audit.calldata import find_submission
from chain.audit.chronicle import Chronicle, Entry
from chain.audit.claims import Claim, Payment, read_claims
from chain.audit.judging import BundlesFacts, EpochFacts, PaymentFacts
from chain.audit.penalties import PenaltyFacts
from chain.audit.rewards import Item, StoredReward
from chain.audit.seeds import Contribution, SeedFacts, compute_genesis_accumulator
from chain.audit.tenancies import Position, position_of
from chain.client import ChainClient
from chain.errors import MalformedAnswerError, RefusedError, RevertedError
from chain.events import Transferred, decode_event
from chain.records import Head, Log, SlotKind
from protocols.params import LANES
from protocols.types import Digest, Epoch, Seat

BLOCKS_PER_LOOK: Final = 2_000
"""Blocks in one request for events; public endpoints take a thousand or more."""

MAX_ENTRIES: Final = 4_000_000
"""Events that are read at most: some 2 GB of memory, and years of a network of thousands."""

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being read, how far it got, and how far it has to go."""


async def read_entries(
    chain: ChainClient, first: int, last: int, progress: Progress
) -> list[Entry]:
    """Read the events of all contracts but the token in blocks `first` … `last`, in their order.

    An endpoint that refuses a range, or whose answer is too long, is asked for half of it. Raises
    the errors of `ChainClient`.
    """
    entries: list[Entry] = []
    start, span = first, BLOCKS_PER_LOOK
    while start <= last:
        end = min(last, start + span - 1)
        try:
            found = await chain.events(start, end, token=False)
        except (RefusedError, MalformedAnswerError):
            if start == end:
                raise
            span = (end - start + 1) // 2
            continue
        if any(not start <= log.block_number <= end for _, log in found):
            raise MalformedAnswerError(f"eth_getLogs: logs outside of blocks {start} … {end}")
        entries += sorted(found, key=lambda entry: position_of(entry[1]))
        if len(entries) > MAX_ENTRIES:
            raise MalformedAnswerError(f"eth_getLogs: more than {MAX_ENTRIES} events")
        progress("blocks", end - first + 1, last - first + 1)
        start = end + 1
    return entries


@dataclass
class Reader:
    """Reads one deployment as of one block, `head`; each method raises the errors of the client.

    What several epochs need, such as a transaction that claimed for all of them, is kept.
    """

    chain: ChainClient
    chronicle: Chronicle
    head: Head
    progress: Progress
    _data: dict[bytes, bytes] = field(default_factory=dict)
    _heads: dict[int, Head] = field(default_factory=dict)
    _results: dict[tuple[Epoch, bool], BundlesFacts] = field(default_factory=dict)

    async def genesis_accumulator(self) -> Digest:
        """Return what the Beacon started from when it was created."""
        deployment = self.chain.deployment
        parent = await self._head(self.chronicle.beacon_block - 1)
        return compute_genesis_accumulator(
            deployment.chain_id, deployment.address("Beacon"), parent.hash
        )

    async def first_epoch(self) -> Epoch:
        """Return the first epoch that pays rewards: the one after the contracts' creation."""
        return Epoch(await self._epoch_of(self.chronicle.beacon_block) + 1)

    async def epoch_facts(self, epoch: Epoch) -> EpochFacts:
        """Return everything that the chain has of an epoch."""
        chain, block = self.chain, self.head.number
        closing = self.chronicle.fund.closing(epoch)
        is_expired = self._is_expired(epoch)
        results = await self._results_of(epoch, with_storage=not is_expired)
        payments = await self._payments(epoch)
        others = {
            item.epoch
            for payment in payments
            for claim in payment.claims
            if any(item.epoch == epoch for item in claim.items)
            for item in claim.items
        }
        return EpochFacts(
            results=results,
            is_expired=is_expired,
            closed_in=None if closing is None else await self._epoch_of(closing[1].block_number),
            totals=None if is_expired else await chain.totals(epoch, block),
            stored=[] if is_expired or closing is None else await self._stored(results),
            position=self._end,
            payments=payments,
            # Whether the contracts store of other epochs what they should is for their own audits.
            others=[
                await self._results_of(other, with_storage=False)
                for other in sorted(others - {epoch})
            ],
            penalties=await self._penalties(epoch),
        )

    @property
    def _end(self) -> Position:
        """Behind all logs of the block that everything is read at."""
        return self.head.number + 1, 0

    def _is_expired(self, epoch: Epoch) -> bool:
        """Tell whether an epoch has left the ring, and with it what the contracts store of it."""
        current = self._epoch_at(self.head.timestamp)
        return current >= epoch + self.chain.deployment.preset.ring_epochs

    def _epoch_at(self, timestamp: int) -> Epoch:
        deployment = self.chain.deployment
        seconds = max(0, timestamp - deployment.genesis)
        return Epoch(seconds // deployment.preset.epoch_seconds)

    async def _epoch_of(self, block: int) -> Epoch:
        return self._epoch_at((await self._head(block)).timestamp)

    async def _results_of(self, epoch: Epoch, *, with_storage: bool) -> BundlesFacts:
        """Return what decides an epoch's results, and whether the contracts say so too if asked."""
        key = (epoch, with_storage)
        if key not in self._results:
            self._results[key] = BundlesFacts(
                epoch,
                await self._seed(epoch, with_storage),
                await self._bundles(epoch, with_storage),
            )
        return self._results[key]

    async def _seed(self, epoch: Epoch, with_storage: bool) -> SeedFacts:
        history = self.chronicle.seed_history(epoch)
        contributions = [
            Contribution(event, (await self._head(log.block_number - 1)).hash)
            for event, log in history.contributions
        ]
        stored = None
        if with_storage:
            try:
                stored = await self.chain.seed(epoch, self.head.number)
            except RevertedError:
                # The Beacon has forgotten it.
                stored = None
        return SeedFacts(epoch, history.before, contributions, history.frozen, stored)

    async def _bundles(self, epoch: Epoch, with_storage: bool) -> list[BundleFacts]:
        found = sorted(self.chronicle.bundles.get(epoch, {}).items())
        await self._fetch([log.transaction_hash for _, (_, log) in found])
        facts = []
        for shard, (event, log) in found:
            record = scores = None
            if with_storage:
                record = await self.chain.bundle(epoch, shard, self.head.number)
                scores = await self.chain.scores(epoch, shard, self.head.number)
            facts.append(
                BundleFacts(
                    event=event,
                    position=position_of(log),
                    submission=find_submission(self._data[log.transaction_hash], epoch, shard),
                    was_asked=with_storage,
                    record=record,
                    scores=scores,
                )
            )
            self.progress(f"bundles of epoch {epoch}", len(facts), len(found))
        return facts

    async def _stored(self, results: BundlesFacts) -> list[StoredReward]:
        """Ask Rewards about every provider and every seat of an epoch."""
        epoch, block, stored = results.epoch, self.head.number, []
        items = [item for bundle in results.bundles for item in self._items_of(epoch, bundle)]
        for item in items:
            if item.seat is None:
                reward = await self.chain.provider_reward(item.index, epoch, block)
                claimed = await self.chain.provider_claimed(item.index, epoch, block)
            else:
                reward = await self.chain.checker_reward(
                    item.index, epoch, item.shard, item.seat, block
                )
                claimed = await self.chain.checker_claimed(item.index, epoch, item.shard, block)
            stored.append(StoredReward(item, reward, claimed))
            self.progress(f"rewards of epoch {epoch}", len(stored), len(items))
        return stored

    def _items_of(self, epoch: Epoch, bundle: BundleFacts) -> list[Item]:
        shard = bundle.event.shard
        slots = self.chronicle.tenancies.slots_before(SlotKind.PROVIDER, epoch)
        first = shard * LANES
        providers = range(first, min(first + LANES, slots))
        return [
            *(Item(SlotKind.PROVIDER, index, epoch, shard) for index in providers),
            *(
                Item(SlotKind.CHECKER, each.checker, epoch, shard, Seat(each.seat))
                for each in bundle.event.reports
            ),
        ]

    async def _payments(self, epoch: Epoch) -> list[PaymentFacts]:
        """Return the transactions that paid for an epoch, or whose claims cannot be read."""
        ring = self.chain.deployment.preset.ring_epochs
        by_transaction: dict[bytes, list[Payment]] = {}
        for event, log in self.chronicle.fund.payments_for(epoch, ring):
            by_transaction.setdefault(log.transaction_hash, []).append((event, log))
        await self._fetch(by_transaction)
        facts = []
        for transaction, payments in by_transaction.items():
            claims = read_claims(payments, self._data[transaction])
            if any(_concerns(claim, epoch) for claim in claims):
                current = await self._epoch_of(payments[0][1].block_number)
                facts.append(PaymentFacts(claims, await self._transfers(transaction), current))
        return facts

    async def _penalties(self, epoch: Epoch) -> list[PenaltyFacts]:
        facts = []
        for event, log in self.chronicle.penalties:
            if event.epoch == epoch:
                transaction = log.transaction_hash
                await self._fetch([transaction])
                earlier = self._earlier_penalty(log)
                facts.append(
                    PenaltyFacts(
                        event=event,
                        log=log,
                        data=self._data[transaction],
                        transfers=await self._transfers(transaction, earlier, log.log_index),
                        current=await self._epoch_of(log.block_number),
                    )
                )
        return facts

    def _earlier_penalty(self, log: Log) -> int:
        """Return the place of the last penalty before `log` in its transaction, or -1."""
        return max(
            (
                found.log_index
                for _, found in self.chronicle.penalties
                if found.transaction_hash == log.transaction_hash
                and found.log_index < log.log_index
            ),
            default=-1,
        )

    async def _transfers(
        self, transaction: bytes, after: int = -1, before: int | None = None
    ) -> list[Transferred]:
        """Return what the token moved in a transaction, between two places of its block's logs."""
        receipt = await self.chain.receipt(transaction)
        if receipt is None or receipt.transaction_hash != transaction:
            raise MalformedAnswerError(f"no receipt of 0x{transaction.hex()}, whose logs there are")
        return [
            event
            for log in receipt.logs
            if after < log.log_index and (before is None or log.log_index < before)
            if isinstance(event := decode_event(self.chain.deployment, log), Transferred)
        ]

    async def _fetch(self, hashes: Collection[bytes]) -> None:
        """Get the calldata of transactions that are not known yet."""
        missing = [each for each in hashes if each not in self._data]
        for number, each in enumerate(missing, start=1):
            found = await self.chain.transaction(each)
            if found is None or found.hash != each:
                raise MalformedAnswerError(f"no transaction 0x{each.hex()}, whose logs there are")
            self._data[each] = found.data
            self.progress("transactions", number, len(missing))

    async def _head(self, block: int) -> Head:
        if block not in self._heads:
            head = await self.chain.head(block)
            if head.number != block:
                raise MalformedAnswerError(f"block {head.number} in place of {block}")
            self._heads[block] = head
        return self._heads[block]


def _concerns(claim: Claim, epoch: Epoch) -> bool:
    return not claim.items or any(item.epoch == epoch for item in claim.items)

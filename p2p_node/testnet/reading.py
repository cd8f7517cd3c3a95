"""Reads from the chain what a run came to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chain.client import ChainClient
from chain.events import (
    BundleAccepted,
    Equivocated,
    Event,
    FraudPunished,
    Registered,
    StakeAdded,
    Suspended,
)
from chain.hexes import to_hex
from chain.records import NO_EXIT, Log, SlotKind
from chain.rental_client import RentalClient
from p2p_node.testnet.accounts import expected_balance, expected_holdings
from p2p_node.testnet.outcome import (
    Ban,
    Bundle,
    Offence,
    Outcome,
    Participant,
    Penalty,
    Seat,
    SettledEpoch,
)
from p2p_node.testnet.rental_outcome import left_of_funds
from protocols.epochs import Timeline
from protocols.params import Preset
from protocols.settlement import Books, close_epoch
from protocols.types import Epoch, Shard, TimeMs

BLOCKS_PER_LOOK = 500
"""Blocks in one request for events; public endpoints take a thousand or more."""

FIRST_PAID = Epoch(1)
"""Emission begins with the first epoch in which somebody can be judged. Everybody registers in the
one before."""

Found = tuple[Event, Log]


class RunEvents:
    """What the contracts reported since the deployment.

    The events of final blocks are read once. Those of newer ones are read anew each time, because
    a reorganisation may have put others in their place.
    """

    def __init__(self, chain: ChainClient) -> None:
        self._chain = chain
        self._next_block = chain.deployment.block
        self._final: list[Found] = []
        self.all: list[Found] = []

    async def update(self) -> None:
        """Read the events up to the newest block."""
        head = await self._chain.head()
        final = min(head.number, (await self._chain.head("finalized")).number)
        while self._next_block <= final:
            last = min(final, self._next_block + BLOCKS_PER_LOOK - 1)
            self._final += await self._read(self._next_block, last)
            self._next_block = last + 1
        self.all = self._final + await self._read(self._next_block, head.number)

    @property
    def bundles(self) -> dict[tuple[Epoch, Shard], bytes]:
        """The transaction that brought each bundle."""
        return {
            (event.epoch, event.shard): log.transaction_hash
            for event, log in self.all
            if isinstance(event, BundleAccepted)
        }

    @property
    def stakes(self) -> dict[tuple[SlotKind, int], int]:
        """What was put down for each slot, whatever became of it."""
        stakes: dict[tuple[SlotKind, int], int] = {}
        for event, _ in self.all:
            if isinstance(event, Registered):
                stakes[event.kind, event.index] = event.stake
            elif isinstance(event, StakeAdded):
                stakes[event.kind, event.index] += event.amount
        return stakes

    @property
    def bans(self) -> list[Ban]:
        """The bans that were imposed, in their order."""
        return [
            Ban(
                event.index,
                event.from_epoch,
                None if event.until_epoch == NO_EXIT else event.until_epoch,
            )
            for event, _ in self.all
            if isinstance(event, Suspended)
        ]

    async def _read(self, first: int, last: int) -> list[Found]:
        return await self._chain.events(first, last) if first <= last else []


@dataclass(frozen=True, slots=True)
class RunReader:
    """Reads the epochs of one run; `reward_fund` is what was paid in at the deployment."""

    chain: ChainClient
    rental: RentalClient
    events: RunEvents
    participants: Sequence[Participant]
    preset: Preset
    reward_fund: int
    timeline: Timeline = field(init=False)

    def __post_init__(self) -> None:
        genesis = TimeMs(self.chain.deployment.genesis * 1000)
        object.__setattr__(self, "timeline", Timeline(genesis, self.preset))

    async def read_epochs(self, first: Epoch, last: Epoch, block: int) -> list[SettledEpoch]:
        """Read everything about some epochs as of `block`; shards without a bundle are left out."""
        pools = await self._work_out_pools(last, block)
        return [
            await self._read_epoch(Epoch(epoch), pools.get(Epoch(epoch), (0, 0)), block)
            for epoch in range(first, last + 1)
        ]

    async def read_penalties(self) -> list[Penalty]:
        """Read what was taken from stakes, in order."""
        penalties = []
        for event, log in self.events.all:
            if not isinstance(event, Equivocated | FraudPunished):
                continue
            is_fraud = isinstance(event, FraudPunished)
            head = await self.chain.head(log.block_number)
            penalties.append(
                Penalty(
                    offence=Offence.FRAUD if is_fraud else Offence.EQUIVOCATION,
                    index=event.index,
                    epoch=event.epoch,
                    landed=self.timeline.epoch_at(TimeMs(head.timestamp * 1000)),
                    reporter=event.reporter,
                    slashed=event.slashed,
                    bounty=event.bounty,
                )
            )
        return penalties

    async def compare_balances(
        self, outcome: Outcome, epochs: Sequence[SettledEpoch], block: int
    ) -> list[str]:
        """List the wallets and contracts that hold at `block` something else than `epochs` and
        penalties add up to, and the pools that the contract has fixed otherwise."""
        differences = []
        wallets = [each.wallet for each in self.participants]
        owed = {wallet: await self.rental.owed(wallet, block) for wallet in wallets}
        for each in self.participants:
            found = await self.chain.token_balance(each.wallet, block)
            expected = expected_balance(outcome, epochs, each, owed[each.wallet])
            if found != expected:
                differences.append(
                    f"{each.name}: balance is {found}, the epochs add up to {expected}"
                )
        for renter in outcome.rentals:
            found = await self.chain.token_balance(renter.wallet, block)
            expected = left_of_funds(renter)
            if found != expected:
                differences.append(
                    f"{renter.name}: balance is {found}, its lease adds up to {expected}"
                )
        holdings = expected_holdings(
            outcome,
            epochs,
            self.reward_fund,
            owed=sum(owed.values()),
            unswept=await self.rental.fees(block),
        )
        for name, contract in self.chain.deployment.contracts.items():
            found = await self.chain.token_balance(contract.address, block)
            expected = holdings.get(name, 0)
            if found != expected:
                differences.append(f"{name}: holds {found}, expected {expected}")
        for epoch in epochs:
            pools = (epoch.provider_pool, epoch.checker_pool)
            fixed = await self.chain.pools(epoch.epoch, block)
            if fixed != pools:
                differences.append(f"epoch {epoch.epoch}: pools are {fixed}, expected {pools}")
        return differences

    async def _work_out_pools(self, last: Epoch, block: int) -> Mapping[Epoch, tuple[int, int]]:
        """Work out the pools of all epochs that are closed at `block`, up to `last`.

        Not asked of the contract, so that the two check each other.
        """
        pools: dict[Epoch, tuple[int, int]] = {}
        books = Books(next_epoch=FIRST_PAID, unpromised=self.reward_fund)
        while books.next_epoch <= last and await self.chain.is_closed(books.next_epoch, block):
            epoch = books.next_epoch
            totals = await self.chain.totals(epoch, block)
            books = close_epoch(
                books,
                self.preset,
                has_providers=totals.provider_total > 0,
                has_checkers=totals.checker_total > 0,
            )
            pools[epoch] = (books.provider_pool, books.checker_pool)
        return pools

    async def _read_epoch(self, epoch: Epoch, pools: tuple[int, int], block: int) -> SettledEpoch:
        chain = self.chain
        providers = [each.index for each in self.participants if each.is_provider]
        checkers = [each.index for each in self.participants if not each.is_provider]
        bundles = await self._read_bundles(epoch, block)
        totals = await chain.totals(epoch, block)
        return SettledEpoch(
            epoch=epoch,
            bundles=tuple(bundles),
            provider_pool=pools[0],
            checker_pool=pools[1],
            provider_total=totals.provider_total,
            checker_total=totals.checker_total,
            contributed=frozenset(
                [i for i in checkers if await chain.contributed(epoch, i, block)]
            ),
            paid_providers=frozenset(
                [i for i in providers if await chain.provider_claimed(i, epoch, block)]
            ),
            paid_seats=frozenset(
                [
                    (bundle.shard, seat.seat)
                    for bundle in bundles
                    for seat in bundle.seats
                    if await chain.checker_claimed(seat.checker, epoch, bundle.shard, block)
                ]
            ),
        )

    async def _read_bundles(self, epoch: Epoch, block: int) -> list[Bundle]:
        chain, found = self.chain, self.events.bundles
        bundles = []
        for shard in sorted(shard for settled, shard in found if settled == epoch):
            record = await chain.bundle(epoch, shard, block)
            scores = await chain.scores(epoch, shard, block)
            receipt = await chain.receipt(found[epoch, shard])
            if record is None or scores is None or receipt is None:
                continue
            bundles.append(
                Bundle(
                    shard=shard,
                    tx=to_hex(receipt.transaction_hash),
                    gas_used=receipt.gas_used,
                    lanes=record.lanes,
                    scores=scores,
                    seats=tuple(
                        Seat(r.seat, r.checker, r.deviations, r.units) for r in record.reports
                    ),
                    online=record.online,
                )
            )
        return bundles


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
        each.index = index
    return complete


def read_stakes(events: RunEvents, participants: Sequence[Participant]) -> None:
    """Fill in what everybody put down."""
    for each in participants:
        kind = SlotKind.PROVIDER if each.is_provider else SlotKind.CHECKER
        each.staked = events.stakes.get((kind, each.index), 0)

"""What the chain knows about one wallet: slots, balances, and how its last epochs went."""

from collections.abc import Sequence
from dataclasses import dataclass

from chain.client import ChainClient
from chain.records import NO_EXIT, Head, SlotKind, SlotRecord
from protocols.epochs import Phase, Timeline
from protocols.params import LANES
from protocols.types import Epoch, Seat, Shard, TimeMs, Wallet


@dataclass(frozen=True, slots=True)
class EpochResult:
    """How one epoch went for one slot; for a checker, one report.

    `settled` tells whether the shard's bundle was accepted. A provider has a `score`, a checker a
    `seat` and its `deviations` out of `lanes`. `reward` is what can be or was claimed, 0 until
    the epoch is closed.
    """

    epoch: Epoch
    shard: Shard
    settled: bool
    score: int | None = None
    seat: Seat | None = None
    deviations: int | None = None
    lanes: int | None = None
    reward: int = 0
    claimed: bool = False

    @property
    def is_pending(self) -> bool:
        """Whether there is something to claim."""
        return self.reward > 0 and not self.claimed


@dataclass(frozen=True, slots=True)
class SlotAccount:
    """One slot of the wallet, with its latest epochs, the newest last.

    `wrong_reports` is how many were ever counted against a checker's wallet; 0 for a provider.
    """

    kind: SlotKind
    slot: SlotRecord
    results: tuple[EpochResult, ...]
    wrong_reports: int = 0

    @property
    def has_left(self) -> bool:
        """Whether the slot's owner has said that it leaves, or was made to."""
        return self.slot.exit_epoch != NO_EXIT and not self.slot.is_suspended

    @property
    def banned_until(self) -> Epoch | None:
        """First epoch in which a checker takes part again after its latest ban, if it had any."""
        return self.slot.joined_epoch if self.slot.is_suspended else None

    @property
    def pending(self) -> int:
        """What these epochs still owe, in the token's smallest unit."""
        return sum(result.reward for result in self.results if result.is_pending)


@dataclass(frozen=True, slots=True)
class Account:
    """Everything as of one block; `epoch` and `phase` are None before the genesis."""

    head: Head
    epoch: Epoch | None
    phase: Phase | None
    tokens: int
    gas: int
    slots: tuple[SlotAccount, ...]


async def read_account(chain: ChainClient, wallet: Wallet, epochs: int) -> Account:
    """Read the account as of the newest block, with the latest `epochs` epochs of each slot.

    Raises the errors of `ChainClient`.
    """
    head = await chain.head()
    timeline = Timeline(TimeMs(chain.deployment.genesis * 1000), chain.deployment.preset)
    now = TimeMs(head.timestamp * 1000)
    has_begun = now >= timeline.genesis_ms
    epoch = timeline.epoch_at(now) if has_begun else None
    slots = []
    for kind in SlotKind:
        index = await chain.slot_index(kind, wallet, head.number)
        if index is None:
            continue
        slot = await chain.slot(kind, index, head.number)
        shown = [] if epoch is None else _recent(slot, epoch, epochs)
        read = _read_provider if kind is SlotKind.PROVIDER else _read_checker
        wrong = 0
        if kind is SlotKind.CHECKER:
            wrong = (await chain.standing(index, head.number)).total
        results = tuple(await read(chain, slot, shown, head.number))
        slots.append(SlotAccount(kind, slot, results, wrong))
    return Account(
        head=head,
        epoch=epoch,
        phase=timeline.phase_at(now) if has_begun else None,
        tokens=await chain.token_balance(wallet, head.number),
        gas=await chain.gas_balance(wallet, head.number),
        slots=tuple(slots),
    )


def _recent(slot: SlotRecord, current: Epoch, count: int) -> list[Epoch]:
    """List the latest epochs in which the slot's owner took part."""
    last = min(current, slot.exit_epoch - 1)
    if slot.is_suspended and current >= slot.joined_epoch:
        last = current
    return [Epoch(e) for e in range(max(slot.since_epoch, last - count + 1), last + 1)]


async def _read_provider(
    chain: ChainClient, slot: SlotRecord, epochs: Sequence[Epoch], block: int
) -> list[EpochResult]:
    shard, lane = Shard(slot.index // LANES), slot.index % LANES
    results = []
    for epoch in epochs:
        scores = await chain.scores(epoch, shard, block)
        if scores is None:
            results.append(EpochResult(epoch, shard, settled=False))
            continue
        results.append(
            EpochResult(
                epoch,
                shard,
                settled=True,
                score=scores[lane],
                reward=await chain.provider_reward(slot.index, epoch, block),
                claimed=await chain.provider_claimed(slot.index, epoch, block),
            )
        )
    return results


async def _read_checker(
    chain: ChainClient, slot: SlotRecord, epochs: Sequence[Epoch], block: int
) -> list[EpochResult]:
    """Read the reports of this checker; an epoch in which it has none is left out."""
    shards = -(-len(await chain.providers(block)) // LANES)
    results = []
    for epoch in epochs:
        for shard in map(Shard, range(shards)):
            bundle = await chain.bundle(epoch, shard, block)
            for report in bundle.reports if bundle is not None else ():
                if bundle is None or report.checker != slot.index:
                    continue
                seat = Seat(report.seat)
                results.append(
                    EpochResult(
                        epoch,
                        shard,
                        settled=True,
                        seat=seat,
                        deviations=report.deviations,
                        lanes=bundle.lanes,
                        reward=await chain.checker_reward(slot.index, epoch, shard, seat, block),
                        claimed=await chain.checker_claimed(slot.index, epoch, shard, block),
                    )
                )
    return results

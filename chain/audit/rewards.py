"""What everybody earned in an epoch: every provider and every seat, from pools and results."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from chain.audit.bundles import SettledSeat, SettledShard
from chain.audit.findings import Checks, Place
from chain.audit.tenancies import Position, Tenancies
from chain.records import SlotKind
from protocols.params import LANES
from protocols.settlement import share_pool
from protocols.types import Epoch, Seat, Shard

CONTRACT: Final = "Rewards"


@dataclass(frozen=True, slots=True)
class Item:
    """What one reward is for: a provider's epoch, or (with a seat) a checker's report."""

    kind: SlotKind
    index: int
    epoch: Epoch
    shard: Shard
    seat: Seat | None = None

    @property
    def place(self) -> Place:
        """Where it is, for a difference."""
        if self.seat is None:
            return Place(self.epoch, self.shard, lane=self.index % LANES, index=self.index)
        return Place(self.epoch, self.shard, seat=self.seat, index=self.index)


@dataclass(frozen=True, slots=True)
class SettledEpoch:
    """What an epoch came to: its shards, its pools, and who contributed to the Beacon.

    `total` is the sum of all scores, `weighted` that of all weight · units. `provider_pool` and
    `checker_pool` are 0 while nobody has closed the epoch.
    """

    epoch: Epoch
    shards: Mapping[Shard, SettledShard]
    total: int
    weighted: int
    provider_pool: int
    checker_pool: int
    contributors: AbstractSet[int]

    def reward(self, item: Item, tenancies: Tenancies, position: Position) -> int:
        """Return what an item earned its slot's tenant of the time of `position`.

        0 for a tenant that came after the epoch, and for a place that there is not.
        """
        settled = self.shards.get(item.shard)
        tenancy = tenancies.at(item.kind, item.index, position)
        if settled is None or tenancy is None:
            return 0
        if item.kind is SlotKind.PROVIDER:
            if not tenancy.is_active(self.epoch):
                return 0
            score = settled.scores[item.index % LANES]
            return share_pool(self.provider_pool, score, self.total)
        seat = _find_seat(settled, item)
        if seat is None or item.epoch < tenancy.since or item.index not in self.contributors:
            return 0
        return share_pool(self.checker_pool, seat.weight * seat.units, self.weighted)


def settle(
    epoch: Epoch,
    shards: Sequence[SettledShard],
    provider_pool: int,
    checker_pool: int,
    contributors: AbstractSet[int],
) -> SettledEpoch:
    """Put an epoch's shards together."""
    return SettledEpoch(
        epoch=epoch,
        shards={each.shard: each for each in shards},
        total=sum(each.total for each in shards),
        weighted=sum(each.weighted for each in shards),
        provider_pool=provider_pool,
        checker_pool=checker_pool,
        contributors=contributors,
    )


@dataclass(frozen=True, slots=True)
class StoredReward:
    """What Rewards answers about one item."""

    item: Item
    reward: int
    is_claimed: bool


def judge_rewards(
    stored: Sequence[StoredReward],
    settled: SettledEpoch,
    paid: AbstractSet[Item],
    tenancies: Tenancies,
    position: Position,
    checks: Checks,
) -> None:
    """Raise DifferenceError unless Rewards answers as it should at `position`.

    `paid` is what payments have paid up to then.
    """
    for each in stored:
        name = "provider" if each.item.kind is SlotKind.PROVIDER else "checker"
        expected = settled.reward(each.item, tenancies, position)
        checks.equal(CONTRACT, f"{name}_reward", each.item.place, each.reward, expected)
        is_paid = each.item in paid
        checks.equal(CONTRACT, f"{name}_claimed", each.item.place, each.is_claimed, is_paid)


def _find_seat(settled: SettledShard, item: Item) -> SettledSeat | None:
    for each in settled.seats:
        if each.seat == item.seat:
            return each if each.checker == item.index else None
    return None

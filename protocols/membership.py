"""What the chain says about an epoch: its seed, its members, and so its committees."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from protocols.committee import compute_committee
from protocols.params import LANES
from protocols.types import Digest, Epoch, NodeKey, Seat, Shard, Wallet


@dataclass(frozen=True, slots=True)
class Member:
    """A registered provider or checker whose binding of node key and wallet holds.

    Active in the epochs `joined` ≤ e < `exits`. A checker that is suspended has a `joined` behind
    its `exits`: it is active before the one and again from the other on. `stake` is what counts in
    this epoch's scores.
    """

    index: int
    wallet: Wallet
    node_key: NodeKey
    stake: int
    joined: Epoch
    exits: Epoch

    def is_active(self, epoch: Epoch) -> bool:
        """Tell whether this member takes part in `epoch`."""
        if self.is_suspended:
            return epoch < self.exits or epoch >= self.joined
        return self.joined <= epoch < self.exits

    @property
    def is_suspended(self) -> bool:
        """Whether this checker is banned for a time, and will be back."""
        return self.joined > self.exits

    def has_future(self, epoch: Epoch) -> bool:
        """Tell whether this member takes part in `epoch` or may in a later one."""
        return self.is_suspended or self.exits > epoch


def select_members(registered: Iterable[Member], epoch: Epoch) -> dict[int, Member]:
    """Index by slot the members that have not left by `epoch`, one slot per node key.

    The owner of a key can bind it to many wallets; only one slot counts, because one machine must
    not collect behind several: the lowest of those active in `epoch`, else the lowest. Members
    that join later are kept: they are known, though not active yet.
    """
    selected: dict[int, Member] = {}
    keys: set[NodeKey] = set()
    for member in sorted(registered, key=lambda each: (not each.is_active(epoch), each.index)):
        if member.has_future(epoch) and member.node_key not in keys:
            keys.add(member.node_key)
            selected[member.index] = member
    return selected


@dataclass(frozen=True, slots=True)
class EpochView:
    """Everything about one epoch that committees and gossip rules need.

    `checkers` and `providers` map slot indices to `select_members`; the `…_slots` count the slots
    created before the epoch.
    """

    epoch: Epoch
    seed: Digest
    seats: int
    checker_slots: int
    provider_slots: int
    checkers: dict[int, Member] = field(repr=False)
    providers: dict[int, Member] = field(repr=False)

    @property
    def shards(self) -> int:
        """Number of shards that have provider slots."""
        return -(-self.provider_slots // LANES)

    def lanes_of(self, shard: Shard) -> int:
        """Number of provider slots in `shard`."""
        return max(0, min(LANES, self.provider_slots - shard * LANES))

    def committee(self, shard: Shard) -> tuple[int, ...]:
        """Checker index of each seat."""
        return compute_committee(self.seed, shard, self.checker_slots, self.seats)

    def seated(self, shard: Shard, seat: Seat) -> Member | None:
        """Return the active checker of a seat, or None when the seat is void or does not exist."""
        committee = self.committee(shard)
        if not 0 <= seat < len(committee):
            return None
        member = self.checkers.get(committee[seat])
        return member if member is not None and member.is_active(self.epoch) else None

    def seats_of(self, checker: int) -> list[tuple[Shard, Seat]]:
        """List the (shard, seat) pairs that a checker holds; at most one per shard."""
        return [
            (Shard(shard), Seat(seat))
            for shard in range(self.shards)
            for seat, index in enumerate(self.committee(Shard(shard)))
            if index == checker
        ]

    def shard_providers(self, shard: Shard) -> list[Member]:
        """List the active providers of a shard, by lane."""
        return [
            self.providers[index]
            for index in range(shard * LANES, shard * LANES + self.lanes_of(shard))
            if index in self.providers and self.providers[index].is_active(self.epoch)
        ]

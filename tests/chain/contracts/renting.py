"""Leases over a real Registry and real Rewards, with bundles that are what the test says."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import boa

from chain.rental_words import unpack_kept_seconds, unpack_lease
from protocols.leases import Lease, Settlement, compute_fee, compute_settlement
from protocols.params import MINIMAL
from tests.chain.contracts import world
from tests.chain.contracts.world import EPOCH_SECONDS, GRACE_SECONDS, RING, World, deployer, wallet

PRESET = replace(
    MINIMAL,
    lease_fee_bps=world.LEASE_FEE_BPS,
    lease_penalty_bps=world.LEASE_PENALTY_BPS,
    lease_accept_seconds=world.ACCEPT_SECONDS,
    max_lease_seconds=world.MAX_LEASE_SECONDS,
)
"""What Rental is deployed with here, as far as a lease is concerned."""

PRICE, LEAST, MOST = 7, 60, 20_000
SECONDS = 3 * EPOCH_SECONDS
KEY, CAPABILITY = b"\x77" * 32, b"\x55" * 32
FUNDS = 10**9
ALL = 2**256 - 1


@dataclass
class Market:
    """A world whose Rental listens to a stand-in for Consensus."""

    net: World
    bundles: Any
    logged: list[Any] = field(default_factory=list)
    """What the last `call` logged."""

    @property
    def rental(self) -> Any:
        return self.net.rental

    @property
    def now(self) -> int:
        return int(boa.env.timestamp)

    @property
    def epoch(self) -> int:
        return self.net.epoch

    def act(self, person: str) -> AbstractContextManager[Any]:
        return boa.env.prank(wallet(person))  # type: ignore[no-any-return]

    def call(self, person: str, name: str, *arguments: object) -> Any:
        """Call Rental as somebody."""
        method: Callable[..., Any] = getattr(self.rental, name)
        self.logged = []
        with self.act(person):
            answer = method(*arguments)
        self.logged = world.events(self.rental)
        return answer

    def balance(self, person: str) -> int:
        return int(self.net.token.balanceOf(wallet(person)))

    @property
    def held(self) -> int:
        """What Rental has."""
        return int(self.net.token.balanceOf(self.rental))

    def fund(self, *people: str) -> None:
        """Give people tokens that Rental may take."""
        for person in people:
            self.net.give(person, FUNDS)
            with self.act(person):
                self.net.token.approve(self.rental, 2**255)

    def copy(self, seconds: int) -> Market:
        """The same market for one test, so many seconds after its genesis."""
        boa.env.timestamp = self.net.genesis + seconds
        return Market(replace(self.net, providers=[*self.net.providers]), self.bundles)

    def wait(self, seconds: int) -> None:
        boa.env.timestamp += seconds

    def close(self, epoch: int) -> None:
        """Move the clock to where an epoch has just been closed."""
        self.net.enter(epoch + 1, GRACE_SECONDS)

    # -- leases

    def lease(self, lease_id: int) -> Lease:
        lease = unpack_lease(lease_id, tuple(self.rental.lease(lease_id)), PRESET)
        assert lease is not None
        return lease

    def kept_seconds(self, lease_id: int) -> int:
        return unpack_kept_seconds(self.rental.lease(lease_id).course)

    def offer(self, person: str, price: int = PRICE, least: int = LEAST, most: int = MOST) -> None:
        self.call(person, "offer", price, least, most, CAPABILITY)

    def open(
        self, renter: str = "renter", provider: int = 0, seconds: int = SECONDS, price: int = PRICE
    ) -> int:
        return int(self.call(renter, "open", provider, seconds, price, seconds, KEY))

    def start(self, seconds: int = SECONDS, provider: int = 0, renter: str = "renter") -> int:
        """A lease that was opened and accepted."""
        lease_id = self.open(renter, provider, seconds)
        self.call(self.net.providers[provider], "accept", lease_id)
        return lease_id

    def owed(self, person: str) -> int:
        return int(self.rental.owed(wallet(person)))

    def event(self, name: str) -> Any:
        """The event of that name that the last `call` logged."""
        (found,) = (event for event in self.logged if type(event).__name__ == name)
        return found

    # -- what the consensus sees

    def report(self, epoch: int, away: Collection[int] = (), scores: Sequence[int] = ()) -> None:
        """The bundle of the first shard: everybody is online but those; scores by index."""
        online = ALL & ~sum(1 << lane for lane in away)
        words = [0] * 16
        for lane, score in enumerate(scores):
            words[lane // 16] |= score << 16 * (lane % 16)
        self.bundles.set_bundle(epoch, 0, online, words, sum(scores))


def escrow_of(seconds: int, price: int = PRICE) -> int:
    return seconds * price + compute_fee(seconds * price, PRESET.lease_fee_bps)


def settled(market: Market) -> Settlement:
    """What the last call divided, with the seconds charged, of a lease at PRICE."""
    event = market.event("Settled")
    return Settlement(
        event.paid // PRICE, event.paid, event.fee, event.refund, event.bond_back, event.penalty
    )


def expect(lease: Lease, away: int = 0, gone: bool = False) -> Settlement:
    """How protocols/leases.py divides the money of a lease that is over."""
    return compute_settlement(lease, lease.ends_at, away, gone=gone)


def build_market(providers: int = 2, ring: int = RING, token: Any = None) -> Market:
    """Providers "provider 0" …, all active in epoch 1, where it starts; nobody offers yet.

    The stand-in for Consensus has a ring of its own."""
    net = world.build(token=token)
    bundles = deployer("OnlineMock").deploy(net.registry, GRACE_SECONDS, ring)
    net.rental = deployer("Rental").deploy(
        net.token,
        net.registry,
        bundles,
        net.rewards,
        world.LEASE_FEE_BPS,
        world.LEASE_PENALTY_BPS,
        world.ACCEPT_SECONDS,
        world.MAX_LEASE_SECONDS,
    )
    net.populate(checkers=0, providers=providers)
    net.enter(1)
    market = Market(net, bundles)
    market.fund("renter", "other renter", *net.providers)
    return market


def opening_market() -> Market:
    """Three providers, of whom the first two offer; at the start of epoch 1."""
    market = build_market(providers=3)
    for person in ("provider 0", "provider 1"):
        market.offer(person)
    return market

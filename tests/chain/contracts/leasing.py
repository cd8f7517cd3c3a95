"""Everybody who has to do with leases, beside books kept in Python.

The books are simple: an epoch is judged by looking at what is known of it, one after another, and
money is divided by protocols/leases.py. What each step does to the books is what it must do on the
chain; whether it may happen at all is worked out here too.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field

import boa

from chain.rental_words import unpack_kept_seconds, unpack_lease
from protocols.leases import (
    Base,
    Lease,
    LeaseState,
    Settlement,
    Terms,
    compute_bond,
    compute_escrow,
    compute_overlap,
    compute_settlement,
)
from protocols.types import Epoch, NodeKey, Wallet
from tests.chain.contracts.renting import KEY, PRESET, Market
from tests.chain.contracts.treasury import attempt
from tests.chain.contracts.world import (
    EPOCH_SECONDS,
    GRACE_SECONDS,
    RING,
    wallet,
)

NO_EXIT = 2**32 - 1


@dataclass(eq=False)
class Tenancy:
    """Who has a provider's slot, from when to when."""

    person: str
    since: int
    exit: int = NO_EXIT

    def is_active(self, epoch: int) -> bool:
        return self.since <= epoch < self.exit


@dataclass(eq=False)
class Entry:
    """A lease in the books."""

    renter: str
    provider: int
    tenancy: Tenancy
    terms: Terms
    opened_seconds: int
    seconds: int
    accept_by: int
    state: LeaseState = LeaseState.RESERVED
    started_at: int = 0
    ended_at: int = 0
    left_early: bool = False
    judged_until: int = 0
    away_seconds: int = 0
    gone: bool = False
    collected_seconds: int = 0
    kept_seconds: int = 0

    def as_lease(self, lease_id: int) -> Lease:
        """What the chain should have, but for the wallets and the base."""
        return Lease(
            id=lease_id,
            state=self.state,
            provider=self.provider,
            provider_wallet=Wallet(bytes.fromhex(wallet(self.tenancy.person)[2:])),
            renter=Wallet(bytes.fromhex(wallet(self.renter)[2:])),
            key=NodeKey(KEY),
            terms=self.terms,
            seconds=self.seconds,
            accept_by=self.accept_by,
            started_at=self.started_at,
            ended_at=self.ended_at,
            ended_by_provider=self.left_early,
            judged_until=Epoch(self.judged_until),
            away_seconds=self.away_seconds,
            gone=self.gone,
            collected=self.collected_seconds * self.terms.price,
            base=Base(Epoch(0), 0, 0),
        )

    @property
    def ends_at(self) -> int:
        return self.as_lease(0).ends_at

    @property
    def is_running(self) -> bool:
        return self.state is LeaseState.ACTIVE and boa.env.timestamp < self.ends_at

    def escrow(self, seconds: int) -> int:
        return compute_escrow(seconds, self.terms)

    @property
    def held(self) -> int:
        """What of the lease's money is still in the contract and not owed to anybody yet."""
        if self.state is LeaseState.RESERVED:
            return self.escrow(self.seconds)
        if self.state in (LeaseState.ACTIVE, LeaseState.ENDED):
            collected = self.collected_seconds * self.terms.price
            return self.escrow(self.kept_seconds) + self.terms.bond - collected
        return 0


@dataclass
class Books:
    """All that there is to know, and what is owed to whom."""

    market: Market
    tenancies: list[Tenancy]
    seed: int
    offers: dict[int, tuple[Tenancy, int, int, int]] = field(default_factory=dict)
    leases: list[Entry] = field(default_factory=list)
    accepted: dict[int, Entry] = field(default_factory=dict)
    bundles: dict[int, frozenset[int]] = field(default_factory=dict)
    owed: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    fees: int = 0
    stray: int = 0
    is_broken: bool = False
    fee_percent: int = 0
    refusing: set[str] = field(default_factory=set)
    came: int = 0
    """All that was ever paid in by renters and providers."""
    went: int = 0
    """All that was ever paid out to them, and into the fund."""

    @property
    def now(self) -> int:
        return int(boa.env.timestamp)

    @property
    def epoch(self) -> int:
        return (self.now - self.market.net.genesis) // EPOCH_SECONDS

    def start_of(self, epoch: int) -> int:
        return self.market.net.genesis + epoch * EPOCH_SECONDS

    def advance(self, moment: int) -> None:
        """Move the clock; every epoch that is over on the way may leave a bundle.

        What it says follows from the seed: random, but the same for the same steps.
        """
        ended = range(max(self.epoch, 1), (moment - self.market.net.genesis) // EPOCH_SECONDS)
        for epoch in ended[-RING - 2 :]:
            rng = random.Random(f"{self.seed} {epoch}")
            if rng.random() < 0.8:
                gone = [lane for lane in range(len(self.tenancies)) if rng.random() < 0.3]
                self.bundles[epoch] = frozenset(gone)
                self.market.report(epoch, away=gone)
        boa.env.timestamp = moment

    def is_closed(self, epoch: int) -> bool:
        return self.now >= self.start_of(epoch + 1) + GRACE_SECONDS

    def arrives(self, amount: int) -> bool:
        """Tell whether all of a payment arrives: of little, the token's fee is nothing."""
        return not self.is_broken and amount * self.fee_percent // 100 == 0

    def attempt(self, caller: str, name: str, *arguments: object) -> bool:
        """Call Rental; tell whether it went through."""
        return attempt(caller, getattr(self.market.rental, name), *arguments)[0]

    def pay(self, person: str) -> bool:
        """Book that somebody is sent what it is owed, if that works."""
        if self.is_broken or person in self.refusing:
            return False
        self.went += self.owed.pop(person, 0)
        return True

    def overlap(self, entry: Entry, epoch: int) -> int:
        start = self.start_of(epoch)
        return compute_overlap(entry.as_lease(0), start, start + EPOCH_SECONDS)

    def end_of(self, entry: Entry) -> int:
        """The first epoch of which nothing belongs to a lease."""
        epoch = entry.judged_until
        while self.overlap(entry, epoch):
            epoch += 1
        return epoch

    def judge(self, entry: Entry, count: int) -> None:
        """Look at epochs one after another; only those that have to be looked up are counted."""
        exit_known = entry.tenancy.exit
        heir = self.tenancies[entry.provider]
        if heir is not entry.tenancy:
            # What the contract can still tell: nobody had the slot for so long before the heir.
            exit_known = heir.since - 1 - int(self.market.net.registry.reuse_delay_epochs())
            assert entry.tenancy.exit <= exit_known
        while self.is_closed(entry.judged_until) and self.overlap(entry, entry.judged_until):
            epoch = entry.judged_until
            if epoch >= exit_known:
                is_away = True
            elif epoch <= self.epoch - RING:
                is_away = False
            elif count:
                count -= 1
                is_away = entry.provider in self.bundles.get(epoch, ())
            else:
                return
            entry.gone = is_away
            entry.away_seconds += is_away * self.overlap(entry, epoch)
            entry.judged_until += 1

    def divide(self, entry: Entry) -> Settlement:
        """Book a settlement."""
        lease = entry.as_lease(0)
        found = compute_settlement(lease, entry.ends_at, entry.away_seconds, gone=entry.gone)
        collected = entry.collected_seconds * entry.terms.price
        returned = entry.escrow(entry.seconds) - entry.escrow(entry.kept_seconds)
        assert min(found.paid, found.fee, found.refund, found.bond_back, found.penalty) >= 0
        assert found.paid + found.fee + found.refund == entry.escrow(entry.seconds) + found.penalty
        assert found.bond_back + found.penalty == entry.terms.bond
        assert found.paid >= collected
        assert found.refund >= returned
        self.owed[entry.renter] += found.refund - returned
        self.owed[entry.tenancy.person] += found.paid - collected + found.bond_back
        self.fees += found.fee
        entry.state = LeaseState.SETTLED
        return found

    def check(self) -> None:
        """Compare all money, and nothing else, with the chain."""
        held = sum(entry.held for entry in self.leases)
        owed = sum(self.owed.values())
        assert self.market.held == held + owed + self.fees + self.stray
        assert self.came == self.went + held + owed + self.fees

    def compare(self, lease_id: int) -> None:
        """Compare one lease with the chain."""
        entry = self.leases[lease_id - 1]
        words = self.market.rental.lease(lease_id)
        found = unpack_lease(lease_id, tuple(words), PRESET)
        expected = entry.as_lease(lease_id)
        for name in Lease.__slots__:
            if name != "base":
                assert getattr(found, name) == getattr(expected, name), name
        assert unpack_kept_seconds(words.course) == entry.kept_seconds
        for person in {entry.renter, entry.tenancy.person}:
            assert self.market.owed(person) == self.owed.get(person, 0), person
        assert self.market.rental.fees() == self.fees


def make_entry(renter: str, books: Books, provider: int, seconds: int) -> Entry:
    """A lease as it is opened at what the provider offers."""
    tenancy, price, least, most = books.offers[provider]
    return Entry(
        renter=renter,
        provider=provider,
        tenancy=tenancy,
        terms=Terms(
            price=price,
            minimum_seconds=least,
            maximum_seconds=most,
            fee_bps=PRESET.lease_fee_bps,
            bond=compute_bond(seconds, price, PRESET.lease_penalty_bps),
        ),
        opened_seconds=seconds,
        seconds=seconds,
        kept_seconds=seconds,
        accept_by=books.now + PRESET.lease_accept_seconds,
    )

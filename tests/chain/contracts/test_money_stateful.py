"""Money under random sequences of everything that can happen, beside a ledger kept in Python.

The ledger predicts every balance to the last unit, so that a token that is created, lost, paid
twice or paid to the wrong wallet shows after the very step that did it.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field

import boa
from eth_utils import keccak
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.chain.contracts import reference, world
from tests.chain.contracts.world import UNIT, World, wallet

SEATS = 4
QUORUM = 3
PEOPLE = [f"person {number}" for number in range(7)]
KINDS = ("provider", "checker")
MINIMUM = {"provider": UNIT, "checker": 2 * UNIT}
START_BALANCE = 200 * UNIT

kinds = st.sampled_from(KINDS)
people = st.sampled_from(PEOPLE)
indices = st.integers(0, 8)


@dataclass
class Tenant:
    """Who holds a slot, or held it last."""

    person: str
    joined: int
    units: int
    stake: int  # 0 once withdrawn
    exit: int = world.NO_EXIT

    def is_active(self, epoch: int) -> bool:
        return self.joined <= epoch < self.exit


@dataclass
class Settled:
    """What a bundle left: scores, and of each seat that reported its checker, weight and units."""

    scores: list[int]
    seats: dict[int, tuple[int, int, int]]

    @property
    def checker_total(self) -> int:
        return sum(weight * units for _, weight, units in self.seats.values())


@dataclass
class Slots:
    """The slots of one kind."""

    tenants: list[Tenant] = field(default_factory=list)
    created: list[int] = field(default_factory=list)
    free: list[int] = field(default_factory=list)  # in the order of withdrawal

    def before(self, epoch: int) -> int:
        return sum(created < epoch for created in self.created)

    def held_by(self, person: str) -> int | None:
        """Index of the slot whose stake is the person's."""
        for index, tenant in enumerate(self.tenants):
            if tenant.person == person and tenant.stake:
                return index
        return None


class Economy(RuleBasedStateMachine):
    net: World

    # -- the beginning

    @initialize(fund=st.sampled_from([100_000, 100_000, 2_000, 0]), seed=st.integers(0, 2**32))
    def deploy(self, fund: int, seed: int) -> None:
        self.net = world.build(seats=SEATS)
        self.balances = dict.fromkeys(PEOPLE, 0)
        self.slots = {kind: Slots() for kind in KINDS}
        self.commitments: dict[int, tuple[bytes, int]] = {}  # checker -> its secret, when made
        self.contributed: set[tuple[int, int]] = set()  # epoch, checker
        self.bundles: dict[int, Settled] = {}
        self.claimed: set[tuple[object, ...]] = set()
        self.paid_per_epoch: dict[tuple[str, int], int] = defaultdict(int)
        self.funded = self.paid = self.secrets = 0
        self.net.token.approve(self.net.rewards, world.SUPPLY)
        for person in PEOPLE:
            self.net.give(person, START_BALANCE)
            self.balances[person] = START_BALANCE
            with boa.env.prank(wallet(person)):
                self.net.token.approve(self.net.registry, 2**256 - 1)
        for person in PEOPLE[:5]:
            self.register("checker", person, 10 * UNIT)
        for person in PEOPLE[3:]:
            self.register("provider", person, UNIT)
        self.take_part_in_the_beacon(absent=set())
        self.fund(fund * UNIT)
        self.run_epochs([seed, seed + 1], set(), claims=False)

    # -- the clock, read without the contracts

    @property
    def epoch(self) -> int:
        return int(boa.env.timestamp - self.net.genesis) // world.EPOCH_SECONDS

    def start_of(self, epoch: int) -> int:
        return self.net.genesis + epoch * world.EPOCH_SECONDS

    # -- what people do

    @rule(kind=kinds, person=people, stake=st.integers(0, 50 * UNIT) | st.just(2 * UNIT))
    def register(self, kind: str, person: str, stake: int) -> None:
        slots, epoch = self.slots[kind], self.epoch
        call = getattr(self.net.registry, f"register_{kind}")
        terms = (keccak(person.encode()), b"\x22" * 32, b"\x33" * 32, stake)
        with boa.env.prank(wallet(person)):
            if slots.held_by(person) is not None:
                with boa.reverts("registry: wallet already holds a slot"):
                    call(*terms)
                return
            if stake > self.balances[person]:
                with boa.reverts("token: balance is too small"):
                    call(*terms)
                return
            if stake < MINIMUM[kind]:
                with boa.reverts("registry: stake is too small"):
                    call(*terms)
                return
            index = call(*terms)
        tenant = Tenant(person, epoch + 1, stake // UNIT, stake)
        free = slots.free
        if free and slots.tenants[free[0]].exit + world.REUSE_DELAY <= epoch:
            assert index == free.pop(0)
            slots.tenants[index] = tenant
        else:
            assert index == len(slots.tenants)
            slots.tenants.append(tenant)
            slots.created.append(epoch)
        self.balances[person] -= stake

    @rule(kind=kinds, person=people)
    def leave(self, kind: str, person: str) -> None:
        index = self.slots[kind].held_by(person)
        call = getattr(self.net.registry, f"leave_{kind}")
        with boa.env.prank(wallet(person)):
            if index is None:
                with boa.reverts("registry: wallet holds no slot"):
                    call()
                return
            tenant = self.slots[kind].tenants[index]
            if tenant.exit != world.NO_EXIT:
                with boa.reverts("registry: already left"):
                    call()
                return
            tenant.exit = call()
        assert tenant.exit == self.epoch + 1

    @rule(kind=kinds, index=indices, caller=people)
    def withdraw(self, kind: str, index: int, caller: str) -> None:
        """Anybody may call; the stake goes to the wallet that registered."""
        slots = self.slots[kind]
        call = getattr(self.net.registry, f"withdraw_{kind}")
        with boa.env.prank(wallet(caller)):
            if index >= len(slots.tenants) or not slots.tenants[index].stake:
                with boa.reverts("registry: nothing to withdraw"):
                    call(index)
                return
            tenant = slots.tenants[index]
            if tenant.exit == world.NO_EXIT:
                with boa.reverts("registry: has not left"):
                    call(index)
                return
            unlocks_at = self.start_of(tenant.exit) + world.UNSTAKE_DELAY
            if boa.env.timestamp < unlocks_at:
                with boa.reverts("registry: unstake delay is not over"):
                    call(index)
                return
            assert call(index) == tenant.stake
        self.balances[tenant.person] += tenant.stake
        tenant.stake = 0
        slots.free.append(index)

    @rule(absent=st.sets(st.integers(0, 8), max_size=2))
    def take_part_in_the_beacon(self, absent: set[int]) -> None:
        """Every checker commits or contributes as it should, but for a few."""
        epoch = self.epoch
        for index, tenant in enumerate(self.slots["checker"].tenants):
            if index in absent or epoch >= tenant.exit:
                continue
            self.secrets += 1
            following = keccak(self.secrets.to_bytes(8, "big"))
            secret, made = self.commitments.get(index, (b"", world.NO_EXIT))
            with boa.env.prank(wallet(tenant.person)):
                if tenant.is_active(epoch) and tenant.joined <= made < epoch:
                    self.net.beacon.contribute(index, secret, keccak(following))
                    self.contributed.add((epoch, index))
                elif made != epoch:
                    self.net.beacon.commit(index, keccak(following))
                else:
                    continue
            self.commitments[index] = (following, epoch)

    @rule(
        back=st.integers(0, 1),
        seed=st.integers(0, 2**32),
        absent=st.sets(st.integers(0, SEATS - 1), max_size=1),
        fraud=st.sampled_from([0, 0, 1, 0b101]),
    )
    def submit(self, back: int, seed: int, absent: set[int], fraud: int) -> None:
        net, rng = self.net, random.Random(seed)
        epoch = self.epoch - back
        if epoch < 1 or self.start_of(epoch + 1) + world.GRACE_SECONDS <= boa.env.timestamp:
            return
        checkers, providers = self.slots["checker"], self.slots["provider"]
        lanes = providers.before(epoch)
        net.checkers = [tenant.person for tenant in checkers.tenants]
        members = net.committee(epoch, slots=checkers.before(epoch))
        base = [rng.choice([0, rng.randint(1, 32_000)]) for _ in range(lanes)]
        reports = []
        for seat, member in enumerate(members):
            if seat in absent or not checkers.tenants[member].is_active(epoch):
                continue
            scores = base if rng.random() < 0.8 else [rng.randint(0, 32_000) for _ in base]
            reports.append(
                world.Report(seat, net.checkers[member], world.lanes(*scores), fraud=fraud)
            )
        medians = (
            reference.low_medians([report.scores for report in reports])
            if reports
            else world.lanes()
        )
        if epoch in self.bundles or len(reports) < QUORUM or not lanes:
            with boa.reverts():
                net.submit(reports, epoch, medians=medians)
            return
        net.submit(reports, epoch, medians=medians)
        seats = {}
        for report in reports:
            deviations = reference.deviations(report.scores, medians, world.TOLERANCE_SHIFT)
            member = members[report.seat]
            units = checkers.tenants[member].units
            seats[report.seat] = (member, reference.weight(lanes, deviations), units)
        self.bundles[epoch] = Settled(reference.without_fraud(medians, fraud), seats)

    @rule(amount=st.integers(0, 3_000 * UNIT))
    def fund(self, amount: int) -> None:
        assert self.net.rewards.fund(amount) == amount
        self.funded += amount

    # -- claims

    def is_claimable(self, epoch: int) -> bool:
        closes_at = self.start_of(epoch + 1) + world.GRACE_SECONDS
        return closes_at <= boa.env.timestamp < self.start_of(epoch + world.RING)

    def provider_share(self, index: int, epoch: int) -> int:
        bundle, tenants = self.bundles.get(epoch), self.slots["provider"].tenants
        if bundle is None or not self.is_claimable(epoch) or index >= len(tenants):
            return 0
        if not tenants[index].is_active(epoch) or not bundle.scores[index]:
            return 0
        return world.PROVIDER_POOL * bundle.scores[index] // sum(bundle.scores)

    def checker_share(self, index: int, epoch: int, seat: int) -> int:
        bundle, tenants = self.bundles.get(epoch), self.slots["checker"].tenants
        if bundle is None or not self.is_claimable(epoch) or index >= len(tenants):
            return 0
        holder, weight, units = bundle.seats.get(seat, (None, 0, 0))
        if holder != index or not weight or (epoch, index) not in self.contributed:
            return 0
        if not tenants[index].is_active(epoch):
            return 0
        return world.CHECKER_POOL * (weight * units) // bundle.checker_total

    @rule(index=indices, caller=people, ages=st.lists(st.integers(0, 6), min_size=1, max_size=6))
    def claim_provider(self, index: int, caller: str, ages: list[int]) -> None:
        epochs = [max(self.epoch - age, 0) for age in ages]
        items = [("provider", epoch, index) for epoch in epochs]
        shares = {item: self.provider_share(index, item[1]) for item in items}
        self.claim("provider", index, caller, shares, epochs)

    @rule(
        index=indices,
        caller=people,
        picks=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4)), min_size=1, max_size=12)
        | st.just([(age, seat) for age in range(7) for seat in range(SEATS)]),
    )
    def claim_checker(self, index: int, caller: str, picks: list[tuple[int, int]]) -> None:
        pairs = [(max(self.epoch - age, 0), seat) for age, seat in picks]
        items = [("checker", epoch, seat) for epoch, seat in pairs]
        shares = {item: self.checker_share(index, item[1], item[2]) for item in items}
        self.claim("checker", index, caller, shares, [(epoch, 0, seat) for epoch, seat in pairs])

    def claim(
        self,
        kind: str,
        index: int,
        caller: str,
        shares: dict[tuple[str, int, int], int],
        argument: list[object],
    ) -> None:
        """Claim, possibly naming an item twice or one that was paid; each is paid once at most."""
        due = {item: share for item, share in shares.items() if share and item not in self.claimed}
        amount = sum(due.values())
        call = getattr(self.net.rewards, f"claim_{kind}")
        with boa.env.prank(wallet(caller)):
            if not amount:
                with boa.reverts("rewards: nothing to claim"):
                    call(index, argument)
                return
            if amount > self.funded - self.paid:
                with boa.reverts("rewards: fund is too small"):
                    call(index, argument)
                return
            assert call(index, argument) == amount
        self.paid += amount
        self.claimed |= due.keys()
        self.balances[self.slots[kind].tenants[index].person] += amount
        for (_, epoch, _), share in due.items():
            self.paid_per_epoch[kind, epoch] += share

    @rule(caller=people)
    def claim_everything(self, caller: str) -> None:
        every = [(age, seat) for age in range(7) for seat in range(SEATS)]
        for index in range(len(self.slots["provider"].tenants)):
            self.claim_provider(index, caller, list(range(7)))
        for index in range(len(self.slots["checker"].tenants)):
            self.claim_checker(index, caller, every)

    # -- time

    @rule(
        seconds=st.integers(1, 2 * world.EPOCH_SECONDS)
        | st.integers(3, 8).map(lambda epochs: epochs * world.EPOCH_SECONDS)
    )
    def wait(self, seconds: int) -> None:
        boa.env.timestamp += seconds

    # -- courses of events that single steps would seldom make up

    @rule(
        seeds=st.lists(st.integers(0, 2**32), min_size=1, max_size=3),
        absent=st.sets(st.integers(0, SEATS - 1), max_size=1),
        claims=st.booleans(),
    )
    def run_epochs(self, seeds: list[int], absent: set[int], claims: bool) -> None:
        """As they should go, so that there is something to claim."""
        for seed in seeds:
            self.net.enter(self.epoch + 1)
            self.take_part_in_the_beacon(set())
            self.submit(0, seed, absent, 0)
        self.net.enter(self.epoch + 1, world.GRACE_SECONDS)
        if claims:
            self.claim_everything(PEOPLE[0])

    @rule(kind=kinds, index=indices, newcomer=people, early=st.booleans())
    def turn_over(self, kind: str, index: int, newcomer: str, early: bool) -> None:
        """A tenant earns, leaves and withdraws, and somebody else gets the slot."""
        slots = self.slots[kind]
        if index >= len(slots.tenants) or not slots.tenants[index].stake:
            return
        if slots.tenants[index].exit == world.NO_EXIT:
            self.leave(kind, slots.tenants[index].person)
        wait = world.REUSE_DELAY - early
        self.net.enter(max(slots.tenants[index].exit + wait, self.epoch + 1))
        self.withdraw(kind, index, newcomer)
        self.register(kind, newcomer, 5 * UNIT)

    # -- what must hold after every step

    @precondition(lambda self: hasattr(self, "net"))
    @invariant()
    def balances_are_as_predicted(self) -> None:
        token = self.net.token
        found = {person: token.balanceOf(wallet(person)) for person in PEOPLE}
        assert found == self.balances
        stakes = sum(t.stake for slots in self.slots.values() for t in slots.tenants)
        in_registry = token.balanceOf(self.net.registry)
        in_rewards = token.balanceOf(self.net.rewards)
        assert in_registry == stakes
        assert in_rewards == self.net.rewards.available() == self.funded - self.paid
        rest = token.balanceOf(boa.env.eoa)
        assert sum(found.values()) + in_registry + in_rewards + rest == token.totalSupply()

    @precondition(lambda self: hasattr(self, "net"))
    @invariant()
    def no_epoch_pays_more_than_its_pools(self) -> None:
        pools = {"provider": world.PROVIDER_POOL, "checker": world.CHECKER_POOL}
        for (kind, _), paid in self.paid_per_epoch.items():
            assert paid <= pools[kind]

    def teardown(self) -> None:
        """Whatever happened, all are paid, can leave and get back exactly what they staked."""
        if not hasattr(self, "net"):
            return
        self.run_epochs([1, 2], set(), claims=True)
        for kind in KINDS:
            for person in PEOPLE:
                self.leave(kind, person)
        self.net.enter(self.epoch + 2, world.UNSTAKE_DELAY)
        for kind in KINDS:
            for index in range(len(self.slots[kind].tenants)):
                self.withdraw(kind, index, PEOPLE[0])
        assert self.net.token.balanceOf(self.net.registry) == 0
        self.balances_are_as_predicted()


TestMoney = Economy.TestCase
TestMoney.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)

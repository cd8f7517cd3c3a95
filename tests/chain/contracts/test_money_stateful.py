"""Money under random sequences of everything that can happen, across all contracts at once.

The steps are in economy.py, and what each may move is looked at there. Here are courses of several
steps that chance would seldom make up, and what must hold whatever happened.
"""

from __future__ import annotations

import boa
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from tests.chain.contracts import world
from tests.chain.contracts.economy import (
    BEGINNING,
    KINDS,
    NEWCOMERS,
    PEOPLE,
    SEATS,
    START_BALANCE,
    Economy,
    indices,
    kinds,
    people,
)
from tests.chain.contracts.treasury import attempt
from tests.chain.contracts.world import UNIT, deployer, wallet


@pytest.fixture(scope="module", autouse=True)
def _beginning() -> None:
    net = world.build(seats=SEATS, token=deployer("OddToken").deploy(world.SUPPLY))
    net.token.approve(net.rewards, world.SUPPLY)
    for person in PEOPLE:
        net.give(person, START_BALANCE)
        with boa.env.prank(wallet(person)):
            for contract in (net.registry, net.delegation, net.rewards):
                net.token.approve(contract, 2**256 - 1)
    for kind, persons, stake in NEWCOMERS:
        for person in persons:
            net.register(kind, person, stake)
    BEGINNING.update(net=net, timestamp=boa.env.timestamp)


class Money(Economy):
    @initialize(fund=st.sampled_from([100_000, 2_000, 0]), seed=st.integers(0, 2**32))
    def begin(self, fund: int, seed: int) -> None:
        self.set_up()
        self.take_part_in_the_beacon(absent=set())
        self.fund(fund * UNIT)
        self.run_epochs([seed, seed + 1], set(), claims=False)

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
        """A tenant leaves and withdraws, and somebody else gets the slot."""
        tenant = self.tenant(kind, index)
        if tenant.is_gone:
            return
        self.leave(kind, tenant.person)
        if self.has_left(kind, index):
            wait = world.REUSE_DELAY - early
            self.net.enter(max(self.slot(kind, index).exit_epoch + wait, self.epoch + 1))
            self.withdraw(kind, index, newcomer)
            self.register(kind, newcomer, 5 * UNIT)

    @rule(fraud=st.integers(1, 15), caller=people, seed=st.integers(0, 2**32))
    def see_fraud(self, fraud: int, caller: str, seed: int) -> None:
        """A majority marks providers, and somebody has them punished."""
        self.net.enter(self.epoch + 1)
        self.submit(0, seed, set(), fraud)
        for lane in range(4):
            self.punish_fraud(caller, 0, lane)

    @rule(liar=indices, caller=people, seed=st.integers(0, 2**32))
    def lie_again(self, liar: int, caller: str, seed: int) -> None:
        """Somebody reports nonsense in epoch after epoch, and is banned for it."""
        for epoch in range(3):
            self.net.enter(self.epoch + 1)
            self.take_part_in_the_beacon(set())
            self.submit(0, seed + epoch, set(), 0, liar)
            self.record_wrong(caller, 0)

    @rule(number=st.integers(0, 4), part=st.integers(0, 4))
    def reform(self, number: int, part: int) -> None:
        """A change that goes through, with a value from one bound to the other."""
        most = (50 * UNIT, 50 * UNIT, 5_000, 2_000, 10_000)[number]
        value = max(most * part // 4, UNIT if number < 2 else 0)
        self.propose("owner", number, value)
        boa.env.timestamp += world.STEWARD_DELAY
        self.decide(PEOPLE[0], number, False)
        assert self.net.steward.value(number) == value

    @rule(
        index=indices,
        owner=people,
        bps=st.sampled_from([1_000, 10_000]),
        percent=st.sampled_from([0, 1, 10]),
    )
    def entrust(self, index: int, owner: str, bps: int, percent: int) -> None:
        """A delegation that gets as far as earning something, of which the token may take a fee."""
        self.set_commission(index, bps)
        self.deposit(owner, index, 7 * UNIT)
        self.change_the_fee(percent)
        self.net.enter(self.epoch + self.net.delegation.warmup_epochs())
        attempt(owner, self.net.delegation.activate, wallet(owner), index, self.since(index))
        self.treasury.expect()
        self.run_epochs([index], set(), claims=True)

    @rule(index=indices, owner=people, caller=people)
    def betray(self, index: int, owner: str, caller: str) -> None:
        """A checker equivocates while some of its delegators' stake is on its way out."""
        self.entrust(index, owner, 1_000, 0)
        place = (wallet(owner), index, self.since(index))
        shares = self.net.delegation.holding(*place).shares
        attempt(owner, self.net.delegation.undelegate, *place[1:], shares // 2)
        self.prove_equivocation(caller, index, 0, False)

    @rule(index=indices, owners=st.lists(people, min_size=2, max_size=2, unique=True))
    def desert(self, index: int, owners: list[str]) -> None:
        """Several delegators of one checker take everything out, one after the other."""
        for owner in owners:
            self.deposit(owner, index, 7 * UNIT)
        self.net.enter(self.epoch + self.net.delegation.warmup_epochs())
        for owner in owners:
            place = (index, self.since(index))
            attempt(owner, self.net.delegation.activate, wallet(owner), *place)
            shares = self.net.delegation.holding(wallet(owner), *place).shares
            attempt(owner, self.net.delegation.undelegate, *place, shares)
        self.treasury.expect()
        boa.env.timestamp += world.UNSTAKE_DELAY
        for pick in range(len(self.delegators)):
            self.take_out(pick, owners[0])

    # -- what must hold after every step

    @precondition(lambda self: hasattr(self, "net"))
    @invariant()
    def the_books_are_right(self) -> None:
        balances, registry = self.treasury.balances, self.net.registry
        booked = {kind: [tenant.stake for tenant in self.tenants[kind]] for kind in KINDS}
        for kind in KINDS:
            slots = getattr(registry, f"{kind}s")(0, 64)
            assert [slot.stake for slot in slots] == booked[kind]
        stakes = sum(map(sum, booked.values()))
        assert balances["registry"] == stakes + self.stray["registry"]
        assert balances["rewards"] == self.funded - self.spent + self.stray["rewards"]
        assert balances["delegation"] == self.held + self.stray["delegation"]
        assert balances["penalties"] == self.stray["penalties"]
        assert not any(balances[name] for name in ("steward", "beacon", "consensus"))

    @precondition(lambda self: hasattr(self, "net"))
    @invariant()
    def what_is_promised_is_there(self) -> None:
        rewards = self.net.rewards
        assert rewards.available() == self.funded - self.spent
        open_pools = 0
        for epoch in range(max(self.epoch - world.RING + 1, 0), rewards.next_epoch()):
            pools = dict(zip(KINDS, rewards.pools(epoch), strict=True))
            for kind in KINDS:
                assert self.paid[kind, epoch] <= pools[kind]
                open_pools += pools[kind] - self.paid[kind, epoch]
        assert open_pools <= self.funded - self.spent

    @precondition(lambda self: hasattr(self, "net"))
    @invariant()
    def delegators_are_covered(self) -> None:
        delegation = self.net.delegation
        assert delegation.held() == self.held
        owed = 0
        for owner, index, since in self.delegators:
            holding = delegation.holding(wallet(owner), index, since)
            owed += holding.waiting + holding.stake + holding.leaving + holding.rewards
        assert owed <= self.held

    def teardown(self) -> None:
        """Whatever happened, all are paid, can leave and get back exactly what is theirs."""
        if not hasattr(self, "net"):
            return
        self.break_the_token(0)
        self.run_epochs([1, 2], set(), claims=True)
        for kind in KINDS:
            for person in PEOPLE:
                self.leave(kind, person)
        for owner, index, since in sorted(self.delegators):
            shares = self.net.delegation.holding(wallet(owner), index, since).shares
            attempt(owner, self.net.delegation.undelegate, index, since, shares)
        self.net.enter(self.epoch + 2, world.UNSTAKE_DELAY)
        for kind in KINDS:
            for index in range(len(self.tenants[kind])):
                self.withdraw(kind, index, PEOPLE[0])
        for pick in range(len(self.delegators)):
            self.take_out(pick, PEOPLE[0])
        assert self.treasury.balances["registry"] == self.stray["registry"]
        self.the_books_are_right()
        # What rounding has left belongs to nobody: less than a unit of the token a delegator.
        assert self.held <= 4 * len(self.delegators)


TestMoney = Money.TestCase
TestMoney.settings = settings(max_examples=8, stateful_step_count=20, deadline=None)

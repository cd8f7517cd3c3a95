"""Delegation under random sequences of everything that can happen, beside books kept in Python.

The books know no shares: they keep what each delegator is owed as a fraction, exactly. The contract
may lag behind them by the units that it rounds, and never pays out what is not there.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction

import boa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.chain.contracts.delegating import PENALTIES, WARMUP, Scene, build_scene
from tests.chain.contracts.world import EPOCH_SECONDS, UNIT, UNSTAKE_DELAY, wallet

PEOPLE = ["ann", "bob", "cid"]
CHECKERS = 2

people = st.sampled_from(PEOPLE)
checkers = st.sampled_from([0, 0, 0, 1])
amounts = st.integers(1, 50) | st.integers(1, 100 * UNIT) | st.just(7 * UNIT)
percents = st.integers(1, 100)
rates = st.sampled_from([1, 3_333, 5_000, 9_999, 10_000])


@dataclass
class Account:
    """What one delegator is owed in one tenancy."""

    waiting: int = 0
    ready_epoch: int = 0
    active: Fraction = Fraction(0)
    leaving: Fraction = Fraction(0)
    unlocks_at: int = 0
    rewards: Fraction = Fraction(0)


@dataclass
class Book:
    """One tenancy."""

    accounts: dict[str, Account] = field(default_factory=lambda: defaultdict(Account))
    terms: list[tuple[int, int]] = field(default_factory=lambda: [(0, 0)])  # from epoch, bps
    closed: bool = False


class Entrusting(RuleBasedStateMachine):
    scene: Scene

    @initialize(stakes=st.tuples(amounts, amounts))
    def deploy(self, stakes: tuple[int, int]) -> None:
        self.scene = build_scene(checkers=CHECKERS)
        self.books: dict[tuple[int, int], Book] = defaultdict(Book)
        self.steps = self.given = self.gifts = self.slashed = 0
        self.has_left = [False] * CHECKERS
        for person, stake in zip(PEOPLE, stakes, strict=False):
            self.deposit(person, 0, stake)
        self.pass_time(WARMUP, 0)
        for person in PEOPLE[: len(stakes)]:
            self.activate(person, 0)

    def book(self, index: int) -> Book:
        return self.books[index, self.scene.since(index)]

    # -- what people do

    @rule(person=people, index=checkers, amount=amounts)
    def deposit(self, person: str, index: int, amount: int) -> None:
        book = self.book(index)
        if book.closed or self.has_left[index]:
            with boa.reverts():
                self.scene.deposit(person, amount, index)
            self.given += amount
            return
        self.scene.deposit(person, amount, index)
        self.given += amount
        account = book.accounts[person]
        account.waiting += amount
        account.ready_epoch = self.scene.epoch + WARMUP

    @rule(person=people, index=checkers)
    def take_back(self, person: str, index: int) -> None:
        account = self.book(index).accounts[person]
        with self.scene.act(person):
            if account.waiting == 0:
                with boa.reverts("delegation: nothing is waiting"):
                    self.scene.delegation.take_back(index, self.scene.since(index))
                return
            assert (
                self.scene.delegation.take_back(index, self.scene.since(index)) == account.waiting
            )
        account.waiting = 0

    @rule(person=people, index=checkers)
    def activate(self, person: str, index: int) -> None:
        book = self.book(index)
        account = book.accounts[person]
        allowed = account.waiting > 0 and account.ready_epoch <= self.scene.epoch
        if not allowed or book.closed or self.has_left[index]:
            with boa.reverts():
                self.scene.activate(person, index)
            return
        self.scene.activate(person, index)
        account.active += account.waiting
        account.waiting = 0

    @rule(person=people, index=checkers, amount=amounts)
    def delegate(self, person: str, index: int, amount: int) -> None:
        """Deposit and activation, so that most examples have active stake."""
        self.deposit(person, index, amount)
        self.pass_time(WARMUP, 0)
        self.activate(person, index)

    @rule(place=st.integers(0, 5), index=checkers, percent=percents, caught=st.booleans())
    def undelegate(self, place: int, index: int, percent: int, caught: bool) -> None:
        """Somebody who has shares goes, and sometimes it was in the last moment before a slash."""
        holders = [p for p in PEOPLE if self.scene.holding(p, index).shares]
        person = (holders or PEOPLE)[place % len(holders or PEOPLE)]
        account = self.book(index).accounts[person]
        shares = self.scene.holding(person, index).shares
        part = shares * percent // 100
        if part == 0:
            with boa.reverts("delegation: not so many shares"):
                self.scene.undelegate(person, part, index)
            return
        self.scene.undelegate(person, part, index)
        moved = account.active * Fraction(part, shares)
        account.active -= moved
        account.leaving += moved
        account.unlocks_at = boa.env.timestamp + UNSTAKE_DELAY
        if caught:
            self.slash(index, 5_000)

    @rule(person=people, index=checkers, wait=st.booleans())
    def withdraw(self, person: str, index: int, wait: bool) -> None:
        account = self.book(index).accounts[person]
        if wait:
            boa.env.timestamp += UNSTAKE_DELAY
        worth = self.scene.holding(person, index).leaving
        if worth == 0 or boa.env.timestamp < account.unlocks_at:
            with boa.reverts():
                self.scene.withdraw(person, index)
            return
        assert self.scene.withdraw(person, index) == worth
        account.leaving = Fraction(0)

    @rule(person=people, index=checkers)
    def collect(self, person: str, index: int) -> None:
        account = self.book(index).accounts[person]
        worth = self.scene.holding(person, index).rewards
        if worth == 0:
            with boa.reverts("delegation: nothing to collect"):
                self.scene.collect(person, index)
            return
        assert self.scene.collect(person, index) == worth
        account.rewards -= worth

    @rule(index=checkers, amount=amounts)
    def pay(self, index: int, amount: int) -> None:
        shares = self.scene.pool(index).shares
        if shares == 0:
            return
        parts = {p: Fraction(self.scene.holding(p, index).shares, shares) for p in PEOPLE}
        assert sum(parts.values()) == 1, "all shares are somebody's"
        self.scene.pay(amount, index)
        self.given += amount
        for person, part in parts.items():
            self.book(index).accounts[person].rewards += amount * part

    @rule(index=checkers, bps=rates)
    def slash(self, index: int, bps: int) -> None:
        book = self.book(index)
        there = sum(account.active + account.leaving for account in book.accounts.values())
        self.slashed += self.scene.slash(bps, index)
        for account in book.accounts.values():
            account.active -= account.active * bps / 10_000
            account.leaving -= account.leaving * bps / 10_000
        book.closed = book.closed or (bps == 10_000 and there > 0)

    @rule(index=checkers, bps=st.integers(0, 10_000))
    def announce(self, index: int, bps: int) -> None:
        epoch, book = self.scene.epoch, self.book(index)
        person = self.scene.tenants[index][0]
        with self.scene.act(person):
            self.scene.delegation.set_commission(index, bps)
        book.terms = [each for each in book.terms if each[0] <= epoch][-1:]
        book.terms.append((epoch + WARMUP, bps))

    @rule(amount=amounts)
    def send_a_gift(self, amount: int) -> None:
        self.scene.token.transfer(self.scene.delegation, amount)
        self.gifts += amount

    @rule(epochs=st.integers(0, WARMUP), seconds=st.integers(0, EPOCH_SECONDS - 1))
    def pass_time(self, epochs: int, seconds: int) -> None:
        boa.env.timestamp += epochs * EPOCH_SECONDS + seconds

    @rule(index=checkers)
    def leave(self, index: int) -> None:
        if not self.has_left[index]:
            with self.scene.act(self.scene.tenants[index][0]):
                self.scene.registry.leave_checker()
            self.has_left[index] = True

    @rule(index=checkers)
    def replace_tenant(self, index: int) -> None:
        """The slot of a checker that left goes to a newcomer, after all delays."""
        if not self.has_left[index] or any(self.has_left[:index] + self.has_left[index + 1 :]):
            return
        self.pass_time(WARMUP + UNSTAKE_DELAY // EPOCH_SECONDS + 2, 0)
        self.scene.registry.withdraw_checker(index)
        assert self.scene.register(f"newcomer {self.scene.epoch}") == index
        self.has_left[index] = False
        self.pass_time(1, 0)

    # -- what must hold after every step

    @invariant()
    def nothing_is_created_or_lost(self) -> None:
        if not hasattr(self, "scene"):
            return
        self.steps += 1
        token, delegation = self.scene.token, self.scene.delegation
        held = delegation.held()
        assert token.balanceOf(delegation) == held + self.gifts
        assert token.balanceOf(PENALTIES) == self.slashed
        with_people = sum(self.scene.balance(person) for person in PEOPLE)
        assert with_people + held + self.slashed == self.given
        owed = 0
        for index, since in self.books:
            pool = delegation.pool(index, since)
            assert pool.stake <= pool.shares
            assert pool.leaving <= pool.leaving_shares
            holdings = [delegation.holding(wallet(p), index, since) for p in PEOPLE]
            assert sum(each.stake for each in holdings) <= pool.stake
            assert sum(each.leaving for each in holdings) <= pool.leaving
            owed += pool.stake + pool.leaving
            owed += sum(each.waiting + each.rewards for each in holdings)
        # What is held and owed to nobody yet is the last unit of some rewards.
        assert 0 <= held - owed <= len(self.books) * (len(PEOPLE) + 1)

    @invariant()
    def everybody_is_owed_what_the_books_say(self) -> None:
        if not hasattr(self, "scene"):
            return
        for (index, since), book in self.books.items():
            for person, account in book.accounts.items():
                holding = self.scene.holding(person, index, since)
                assert holding.waiting == account.waiting
                # Each step rounds by less than a unit, in a pool that all of them share.
                slack = self.steps
                assert abs(holding.stake - account.active) <= slack
                assert abs(holding.leaving - account.leaving) <= slack
                assert -1 <= account.rewards - holding.rewards <= 2

    @invariant()
    def checkers_weigh_what_they_are_entrusted_with(self) -> None:
        if not hasattr(self, "scene"):
            return
        for index in range(CHECKERS):
            units = 10 + self.scene.pool(index).stake // UNIT
            assert self.scene.units(index) == min(units, 2**15 - 1)
            book, epoch = self.book(index), self.scene.epoch
            (_, bps) = [each for each in book.terms if each[0] <= epoch][-1]
            if self.scene.pool(index).shares == 0:
                bps = 0
            assert self.scene.delegation.commission(index) == bps

    def teardown(self) -> None:
        """In the end everybody gets out, whatever became of the checkers."""
        if not hasattr(self, "scene"):
            return
        delegation = self.scene.delegation
        for index, since in self.books:
            for person in PEOPLE:
                holding = self.scene.holding(person, index, since)
                with self.scene.act(person):
                    if holding.waiting:
                        delegation.take_back(index, since)
                    if holding.shares:
                        delegation.undelegate(index, since, holding.shares)
        boa.env.timestamp += UNSTAKE_DELAY
        for index, since in self.books:
            for person in PEOPLE:
                holding = self.scene.holding(person, index, since)
                if holding.leaving:
                    delegation.withdraw(wallet(person), index, since)
                if holding.rewards:
                    delegation.collect(wallet(person), index, since)
            pool = delegation.pool(index, since)
            assert (pool.shares, pool.stake) == (0, 0)
        # Units that were too small to be worth anything to anybody, and nothing else.
        assert delegation.held() <= self.steps * len(PEOPLE)


TestEntrusting = Entrusting.TestCase
TestEntrusting.settings = settings(max_examples=8, stateful_step_count=30, deadline=None)

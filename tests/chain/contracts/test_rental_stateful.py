"""Leases under random sequences of everything that can happen: the steps. The books: leasing.py."""

from __future__ import annotations

import copy
import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from protocols.leases import LeaseState
from tests.chain.contracts.leasing import NO_EXIT, Books, Entry, Tenancy, make_entry
from tests.chain.contracts.renting import CAPABILITY, KEY, Market, build_market
from tests.chain.contracts.world import (
    ACCEPT_SECONDS,
    EPOCH_SECONDS,
    GRACE_SECONDS,
    MAX_LEASE_SECONDS,
    REUSE_DELAY,
    SUPPLY,
    UNSTAKE_DELAY,
    deployer,
    wallet,
)

PROVIDERS = 3
RENTERS = ["renter", "other renter"]
STRANGER = "stranger"
REVERT, RETURN_FALSE = 1, 2

BEGUN = (LeaseState.ACTIVE, LeaseState.ENDED)

providers = st.integers(0, PROVIDERS - 1)
callers = st.sampled_from(["renter", "other renter", "provider 0", "provider 1", STRANGER])
prices = st.sampled_from([1, 7, 1_000, 10**18])
least_seconds = st.sampled_from([1, 60, 700])
seconds = st.integers(1, 4_000)
picks = st.integers(0, 100)

DEEDS = {
    "wait": 10,
    "open": 3,
    "go": 3,
    "judge": 4,
    "collect": 2,
    "extend": 2,
    "settle": 3,
    "end": 3,
    "trouble": 2,
}
"""What happens how often."""

MARKETS: list[Market] = []


@pytest.fixture(scope="module", autouse=True)
def _beginning() -> None:
    market = build_market(providers=PROVIDERS, token=deployer("OddToken").deploy(SUPPLY))
    for person in (*RENTERS, *market.net.providers):
        market.net.give(person, 10**24)
    MARKETS[:] = [market]


class Renting(RuleBasedStateMachine):
    books: Books

    @initialize(price=prices, least=least_seconds, seed=st.integers(0, 2**32))
    def begin(self, price: int, least: int, seed: int) -> None:
        market = MARKETS[0].copy(EPOCH_SECONDS)
        people = copy.copy(market.net.providers)
        self.books = Books(market, [Tenancy(person, 1) for person in people], seed)
        self.heirs = 0
        for provider in range(PROVIDERS - 1):
            self.offer(provider, price, least, 12_000)
            self.open_and_accept(RENTERS[provider], provider, 10 * least % 100)

    # -- who is meant

    def tenant(self, provider: int) -> Tenancy:
        return self.books.tenancies[provider]

    def pick(self, pick: int, *states: LeaseState) -> tuple[int, Entry]:
        """A lease; mostly one in those states, if there is any."""
        numbered = list(enumerate(self.books.leases, start=1))
        fitting = [(number, entry) for number, entry in numbered if entry.state in states]
        among = fitting if fitting and pick % 8 else numbered
        return among[pick % len(among)]

    def party(self, entry: Entry, who: int) -> str:
        return (entry.renter, entry.tenancy.person, STRANGER)[who]

    # -- offers

    @rule(provider=providers, price=prices | st.just(0), least=least_seconds, most=seconds)
    def offer(self, provider: int, price: int, least: int, most: int) -> None:
        if not price:
            self.withdraw_offer(provider)
            return
        tenant = self.tenant(provider)
        allowed = tenant.is_active(self.books.epoch) and least <= most <= MAX_LEASE_SECONDS
        done = self.books.attempt(tenant.person, "offer", price, least, most, CAPABILITY)
        assert done == allowed
        if done:
            self.books.offers[provider] = (tenant, price, least, most)

    def withdraw_offer(self, provider: int) -> None:
        tenant = self.tenant(provider)
        done = self.books.attempt(tenant.person, "withdraw_offer")
        assert done == tenant.is_active(self.books.epoch)
        if done:
            self.books.offers.pop(provider, None)

    # -- leases

    @rule(renter=st.sampled_from([*RENTERS, "provider 0"]), provider=providers, length=seconds)
    def open(self, renter: str, provider: int, length: int) -> None:
        books = self.books
        if provider not in books.offers:
            assert not books.attempt(renter, "open", provider, length, 1, length, KEY)
            return
        tenancy, price, least, most = books.offers[provider]
        entry = make_entry(renter, books, provider, length)
        paid = entry.escrow(length)
        allowed = (
            tenancy is self.tenant(provider)
            and tenancy.is_active(books.epoch)
            and least <= length <= most
            and books.arrives(paid)
        )
        assert books.attempt(renter, "open", provider, length, price, least, KEY) == allowed
        if allowed:
            books.leases.append(entry)
            books.came += paid
            books.compare(len(books.leases))

    @rule(renter=st.sampled_from(RENTERS), provider=providers, part=st.integers(0, 100))
    def open_and_accept(self, renter: str, provider: int, part: int) -> None:
        """So that most examples have leases that run."""
        self.fix_the_token()
        if provider in self.books.offers:
            _, _, least, most = self.books.offers[provider]
            count = len(self.books.leases)
            self.open(renter, provider, least + (most - least) * part // 100)
            if len(self.books.leases) > count:
                self.accept_as(self.tenant(provider).person, count + 1)

    @precondition(lambda self: self.books.leases)
    @rule(pick=picks, who=st.sampled_from([1, 1, 1, 0]))
    def accept(self, pick: int, who: int) -> None:
        lease_id, entry = self.pick(pick, LeaseState.RESERVED)
        self.accept_as(self.party(entry, who), lease_id)

    def accept_as(self, caller: str, lease_id: int) -> None:
        books = self.books
        entry = books.leases[lease_id - 1]
        before = books.accepted.get(entry.provider)
        is_free = not (before and before.tenancy is entry.tenancy and before.is_running)
        allowed = (
            entry.state is LeaseState.RESERVED
            and caller == entry.tenancy.person
            and books.now <= entry.accept_by
            and entry.tenancy is self.tenant(entry.provider)
            and entry.tenancy.is_active(books.epoch)
            and is_free
            and (not entry.terms.bond or books.arrives(entry.terms.bond))
        )
        assert books.attempt(caller, "accept", lease_id) == allowed
        if allowed:
            entry.state = LeaseState.ACTIVE
            entry.started_at = books.now
            entry.judged_until = books.epoch
            books.accepted[entry.provider] = entry
            books.came += entry.terms.bond
        books.compare(lease_id)

    @precondition(lambda self: self.books.leases)
    @rule(pick=picks, caller=callers)
    def reclaim(self, pick: int, caller: str) -> None:
        books = self.books
        lease_id, entry = self.pick(pick, LeaseState.RESERVED)
        allowed = entry.state is LeaseState.RESERVED and (
            caller == entry.renter or books.now > entry.accept_by
        )
        assert books.attempt(caller, "reclaim", lease_id) == allowed
        if allowed:
            books.owed[entry.renter] += entry.held
            entry.state = LeaseState.RECLAIMED
            books.pay(caller)
        books.compare(lease_id)

    @precondition(lambda self: self.books.leases)
    @rule(pick=picks, more=st.integers(1, 700) | seconds, who=st.sampled_from([0, 0, 0, 1]))
    def extend(self, pick: int, more: int, who: int) -> None:
        books = self.books
        lease_id, entry = self.pick(pick, LeaseState.ACTIVE)
        caller = self.party(entry, who)
        paid = entry.escrow(entry.seconds + more) - entry.escrow(entry.seconds)
        allowed = (
            entry.is_running
            and caller == entry.renter
            and entry.seconds + more <= entry.terms.maximum_seconds
            and books.arrives(paid)
        )
        assert books.attempt(caller, "extend", lease_id, more) == allowed
        if allowed:
            entry.seconds += more
            entry.kept_seconds = entry.seconds
            books.came += paid
        books.compare(lease_id)

    @precondition(lambda self: self.books.leases)
    @rule(pick=picks, who=st.sampled_from([0, 0, 1, 1, 2]), confirmed=st.booleans())
    def end(self, pick: int, who: int, confirmed: bool) -> None:
        books = self.books
        lease_id, entry = self.pick(pick, LeaseState.ACTIVE)
        caller = self.party(entry, who)
        is_renter = caller == entry.renter
        allowed = entry.state is LeaseState.ACTIVE and (
            is_renter or (caller == entry.tenancy.person and not confirmed)
        )
        assert books.attempt(caller, "end", lease_id, confirmed) == allowed
        if allowed:
            entry.left_early = not is_renter and entry.is_running
            entry.ended_at = min(books.now, entry.ends_at)
            used = entry.ended_at - entry.started_at - entry.away_seconds
            if not entry.left_early and not entry.away_seconds:
                used = max(used, min(entry.terms.minimum_seconds, entry.seconds))
            books.owed[entry.renter] += entry.escrow(entry.seconds) - entry.escrow(used)
            entry.kept_seconds = used
            if confirmed:
                entry.gone = False
                books.divide(entry)
            else:
                entry.state = LeaseState.ENDED
            books.pay(caller)
        books.compare(lease_id)

    @precondition(lambda self: self.books.leases)
    @rule(pick=picks, count=st.sampled_from([0, 1, 2, 64, 2**255]), caller=callers)
    def judge(self, pick: int, count: int, caller: str) -> None:
        lease_id, entry = self.pick(pick, *BEGUN)
        done = self.books.attempt(caller, "judge", lease_id, count)
        assert done == (entry.state in (LeaseState.ACTIVE, LeaseState.ENDED))
        if done:
            self.books.judge(entry, min(count, 64))
        self.books.compare(lease_id)

    @precondition(lambda self: self.books.leases)
    @rule(pick=picks, who=st.integers(0, 2))
    def collect(self, pick: int, who: int) -> None:
        books = self.books
        lease_id, entry = self.pick(pick, *BEGUN)
        caller = self.party(entry, who)
        new = 0
        after = copy.copy(entry)
        if entry.state in (LeaseState.ACTIVE, LeaseState.ENDED):
            books.judge(after, 64)
            seen = min(books.start_of(after.judged_until), after.ends_at) - after.started_at
            new = max(seen, 0) - after.away_seconds - entry.collected_seconds
            assert new >= 0
        done = books.attempt(caller, "collect", lease_id)
        assert done == (new > 0)
        if done:
            vars(entry).update(vars(after))
            entry.collected_seconds += new
            books.owed[entry.tenancy.person] += new * entry.terms.price
            books.pay(caller)
        books.compare(lease_id)

    @precondition(lambda self: self.books.leases)
    @rule(pick=picks, who=st.integers(0, 2))
    def settle(self, pick: int, who: int) -> None:
        lease_id, entry = self.pick(pick, *BEGUN)
        self.settle_as(self.party(entry, who), lease_id)

    def settle_as(self, caller: str, lease_id: int) -> bool:
        books = self.books
        entry = books.leases[lease_id - 1]
        after = copy.copy(entry)
        is_over = entry.state in (LeaseState.ACTIVE, LeaseState.ENDED) and (
            books.now >= entry.ends_at
        )
        if is_over:
            books.judge(after, 64)
        done = books.attempt(caller, "settle", lease_id)
        assert done == (is_over and after.judged_until == books.end_of(after))
        if done:
            vars(entry).update(vars(after))
            books.divide(entry)
            books.pay(caller)
        books.compare(lease_id)
        return done

    # -- money

    @rule(person=callers, caller=callers)
    def withdraw(self, person: str, caller: str) -> None:
        books = self.books
        is_owed = books.owed.get(person, 0) > 0
        done = books.attempt(caller, "withdraw", wallet(person))
        assert done == (is_owed and books.pay(person))

    @rule(caller=callers)
    def sweep_fees(self, caller: str) -> None:
        books = self.books
        done = books.attempt(caller, "sweep_fees")
        assert done == (books.fees > 0 and not books.is_broken)
        if done:
            books.went += books.fees
            books.fees = 0

    @rule(amount=st.integers(0, 1_000), mode=st.sampled_from([0, 0, REVERT, RETURN_FALSE]))
    def break_the_token(self, amount: int, mode: int) -> None:
        """Or send some of it here by mistake."""
        if not self.books.is_broken:
            net = self.books.market.net
            net.token.transfer(net.rental, amount)
            self.books.stray += amount - amount * self.books.fee_percent // 100
        self.books.market.net.token.set_mode(mode)
        self.books.is_broken = mode != 0

    @rule(percent=st.sampled_from([0, 0, 1, 100]), person=st.sampled_from([*RENTERS, "provider 0"]))
    def make_the_token_odd(self, percent: int, person: str) -> None:
        """It takes a fee from then on, and somebody can be sent nothing."""
        self.books.market.net.token.set_fee(percent)
        self.books.fee_percent = percent
        self.books.market.net.token.set_refusing(wallet(person), True)
        self.books.refusing.add(person)

    def fix_the_token(self) -> None:
        books, token = self.books, self.books.market.net.token
        token.set_mode(0)
        token.set_fee(0)
        books.is_broken, books.fee_percent = False, 0
        for person in sorted(books.refusing):
            token.set_refusing(wallet(person), False)
        books.refusing.clear()

    # -- providers come and go

    @rule(provider=providers, comes_back=st.booleans())
    def come_and_go(self, provider: int, comes_back: bool) -> None:
        """A provider leaves; then somebody else gets its slot, or the same wallet again."""
        books, tenant = self.books, self.tenant(provider)
        net = books.market.net
        if tenant.exit == NO_EXIT:
            with books.market.act(tenant.person):
                net.registry.leave_provider()
            tenant.exit = books.epoch + 1
            return
        self.fix_the_token()
        due = max(
            books.start_of(tenant.exit) + UNSTAKE_DELAY, books.start_of(tenant.exit + REUSE_DELAY)
        )
        books.advance(max(books.now, due))
        net.registry.withdraw_provider(provider)
        self.heirs += 1
        person = tenant.person if comes_back else f"heir {self.heirs}"
        found = net.register("provider", person)
        assert found == provider, "slots are given out again in the order in which they came back"
        with books.market.act(person):
            net.token.approve(net.rental, 2**255)
        if not comes_back:
            net.give(person, 10**24)
        books.tenancies[provider] = Tenancy(person, books.epoch + 1)

    # -- time

    @rule(
        length=st.integers(1, ACCEPT_SECONDS)
        | st.integers(1, 2 * EPOCH_SECONDS)
        | st.integers(3, 30).map(lambda epochs: epochs * EPOCH_SECONDS),
    )
    def wait(self, length: int) -> None:
        self.books.advance(self.books.now + length)

    @rule(seed=st.integers(0, 2**32))
    def live(self, seed: int) -> None:
        """Several steps in a row, about as likely as in life, which chance would seldom make up."""
        rng = random.Random(seed)
        for _ in range(8):
            pick, who = rng.randrange(1, 100), rng.randrange(3)
            (deed,) = rng.choices(list(DEEDS), list(DEEDS.values()))
            match deed:
                case "wait":
                    self.wait(rng.choice([rng.randint(1, 900), rng.randint(1, 3_000)]))
                case "open":
                    provider = rng.randrange(PROVIDERS)
                    self.open_and_accept(rng.choice(RENTERS), provider, rng.randrange(101))
                case "go":
                    self.come_and_go(rng.randrange(PROVIDERS), rng.random() < 0.5)
                case "trouble":
                    self.break_the_token(0, rng.choice([0, REVERT, RETURN_FALSE]))
                case _ if not any(entry.state in BEGUN for entry in self.books.leases):
                    continue
                case "judge":
                    self.judge(pick, rng.choice([1, 1, 2, 64]), STRANGER)
                case "collect":
                    self.collect(pick, who)
                case "extend":
                    self.extend(pick, rng.randint(1, 500), 0)
                case "settle":
                    self.settle(pick, who)
                case "end":
                    self.end(pick, who % 2, who % 2 == 0 and rng.random() < 0.3)
            self.money_is_kept()

    # -- what always holds

    @invariant()
    def money_is_kept(self) -> None:
        if hasattr(self, "books"):
            self.books.check()

    @invariant()
    def machines_are_leased_once(self) -> None:
        if hasattr(self, "books"):
            for provider, entry in self.books.accepted.items():
                is_current = entry.is_running and entry.tenancy is self.tenant(provider)
                expected = 1 + self.books.leases.index(entry) if is_current else 0
                assert self.books.market.rental.current_lease(provider) == expected

    def teardown(self) -> None:
        """Whatever happened, a stranger brings every lease to its end; then nothing is left."""
        if not hasattr(self, "books"):
            return
        books, token = self.books, self.books.market.net.token
        token.set_mode(REVERT)
        books.is_broken = True
        numbered = sorted(enumerate(books.leases, start=1), key=lambda each: each[1].ends_at)
        for lease_id, entry in numbered:
            due = max(entry.ends_at, entry.accept_by) + EPOCH_SECONDS + GRACE_SECONDS
            books.advance(max(books.now, due))
            if entry.state is LeaseState.RESERVED:
                assert books.attempt(STRANGER, "reclaim", lease_id)
                books.owed[entry.renter] += entry.held
                entry.state = LeaseState.RECLAIMED
            elif entry.state in (LeaseState.ACTIVE, LeaseState.ENDED):
                assert self.settle_as(STRANGER, lease_id)
        books.check()
        self.fix_the_token()
        for person in [person for person, amount in books.owed.items() if amount]:
            before = books.market.balance(person)
            amount = books.owed[person]
            self.withdraw(person, STRANGER)
            assert books.market.balance(person) == before + amount
        self.sweep_fees(STRANGER)
        books.check()
        assert books.market.held == books.stray
        assert books.came == books.went


Renting.TestCase.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)
TestRenting = Renting.TestCase


@pytest.mark.parametrize("seed", range(10))
def test_long_lives(seed: int) -> None:
    """What chance makes up in few examples are short ones."""
    machine = Renting()
    machine.begin(price=(7, 1_000)[seed % 2], least=(1, 60, 700)[seed % 3], seed=seed)
    for part in range(15):
        machine.live(100 * seed + part)
        machine.machines_are_leased_once()
    machine.teardown()

"""Everything that somebody can do to the contracts, one step at a time, beside books of its own.

The token takes fees and refuses at will. Each step names the transfers that it may make
(treasury.py), so money that is created, lost, paid twice or paid to the wrong wallet shows after
the very step that did it. Stakes are booked here as well; what scores are worth is for other tests.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import boa
from eth_utils import keccak
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from tests.chain.contracts import reference, world
from tests.chain.contracts.treasury import TREASURY, Treasury, attempt
from tests.chain.contracts.world import UNIT, World, wallet

SEATS = 4
QUORUM = 3
PEOPLE = [f"person {number}" for number in range(7)]
KINDS = ("provider", "checker")
START_BALANCE = 200 * UNIT
REVERT, RETURN_FALSE = 1, 2

kinds = st.sampled_from(KINDS)
people = st.sampled_from(PEOPLE)
indices = st.integers(0, 6)
ages = st.integers(0, world.RING + 2)
seats = st.integers(0, SEATS)
actors = st.sampled_from([*PEOPLE[:2], "owner", "guardian"])
amounts = st.integers(0, 40 * UNIT) | st.just(2 * UNIT) | st.integers(0, 100)


NEWCOMERS = (("checker", PEOPLE[:5], 10 * UNIT), ("provider", PEOPLE[3:], UNIT))
"""Who is there at the beginning."""

BEGINNING: dict[str, Any] = {}
"""The contracts and their first tenants, made once: titanoboa undoes what each example does."""


@dataclass
class Tenant:
    """Who holds a slot, or held it last, and the stake that is in the books."""

    person: str
    stake: int
    is_gone: bool = False


class Economy(RuleBasedStateMachine):
    """Steps only; test_money_stateful.py says what must hold after each."""

    net: World

    # -- the beginning

    def set_up(self) -> None:
        """Take over the contracts with empty books."""
        boa.env.timestamp = BEGINNING["timestamp"]
        self.net = net = BEGINNING["net"]
        self.tenants: dict[str, list[Tenant]] = {kind: [] for kind in KINDS}
        self.commitments: dict[int, tuple[bytes, int]] = {}  # checker -> its secret, when made
        self.delegators: set[tuple[str, int, int]] = set()  # owner, index, since
        self.bundles: dict[int, list[int]] = {}  # epoch -> committee
        self.claimed: set[tuple[str, int, int]] = set()
        self.paid: dict[tuple[str, int], int] = defaultdict(int)
        self.secrets = 0
        self.is_broken = False
        self.treasury = Treasury(net, [*PEOPLE, "owner", "guardian"])
        self.stray = dict.fromkeys(("registry", "rewards", "delegation", "penalties"), 0)
        self.funded = self.spent = 0
        self.held = 0
        for kind, persons, stake in NEWCOMERS:
            self.tenants[kind] = [Tenant(person, stake) for person in persons]

    # -- the clock, read without the contracts

    @property
    def epoch(self) -> int:
        return int(boa.env.timestamp - self.net.genesis) // world.EPOCH_SECONDS

    def start_of(self, epoch: int) -> int:
        return self.net.genesis + epoch * world.EPOCH_SECONDS

    # -- tenants

    def tenant(self, kind: str, index: int) -> Tenant:
        """Who has the slot; one that there is not is held by nobody, without a stake."""
        tenants = self.tenants[kind]
        return tenants[index] if index < len(tenants) else Tenant("", 0, is_gone=True)

    def slot(self, kind: str, index: int) -> object:
        return getattr(self.net.registry, kind)(index)

    def has_left(self, kind: str, index: int) -> bool:
        slot = self.slot(kind, index)
        return slot.exit_epoch != world.NO_EXIT and slot.joined_epoch <= slot.exit_epoch

    def is_active(self, kind: str, index: int, epoch: int) -> bool:
        slot = self.slot(kind, index)
        if slot.joined_epoch > slot.exit_epoch:
            return epoch < slot.exit_epoch or epoch >= slot.joined_epoch
        return slot.joined_epoch <= epoch < slot.exit_epoch

    @rule(kind=kinds, person=people, stake=amounts)
    def register(self, kind: str, person: str, stake: int) -> None:
        call = getattr(self.net.registry, f"register_{kind}")
        key = keccak(person.encode())
        done, index = attempt(person, call, key, b"\x22" * 32, b"\x33" * 32, stake)
        if not done:
            self.treasury.expect()
            return
        self.treasury.expect((person, "registry", stake))
        tenant = Tenant(person, self.treasury.net_of(stake))
        tenants = self.tenants[kind]
        if index == len(tenants):
            tenants.append(tenant)
        else:
            assert tenants[index].is_gone, "a slot is reused only when its stake was withdrawn"
            tenants[index] = tenant

    @rule(kind=kinds, index=indices, payer=people, amount=amounts)
    def top_up(self, kind: str, index: int, payer: str, amount: int) -> None:
        call = getattr(self.net.registry, f"top_up_{kind}")
        done, _ = attempt(payer, call, index, amount)
        if not done:
            self.treasury.expect()
            return
        self.treasury.expect((payer, "registry", amount))
        assert not self.has_left(kind, index)
        self.tenant(kind, index).stake += self.treasury.net_of(amount)

    @rule(kind=kinds, person=people)
    def leave(self, kind: str, person: str) -> None:
        attempt(person, getattr(self.net.registry, f"leave_{kind}"))
        self.treasury.expect()

    @rule(kind=kinds, index=indices, caller=people)
    def withdraw(self, kind: str, index: int, caller: str) -> None:
        """Anybody may call; the stake goes to the wallet that registered, and in time always."""
        tenant = self.tenant(kind, index)
        is_due = False
        if not tenant.is_gone and self.has_left(kind, index):
            unlocks_at = self.start_of(self.slot(kind, index).exit_epoch) + world.UNSTAKE_DELAY
            is_due = boa.env.timestamp >= unlocks_at
        done, _ = attempt(caller, getattr(self.net.registry, f"withdraw_{kind}"), index)
        assert done == (is_due and not (self.is_broken and tenant.stake))
        if not done:
            self.treasury.expect()
            return
        self.treasury.expect(("registry", tenant.person, tenant.stake))
        tenant.stake, tenant.is_gone = 0, True

    # -- delegators

    def since(self, index: int) -> int:
        return int(self.net.registry.checker_tenant(index)[1])

    @rule(owner=people, index=indices, amount=amounts)
    def deposit(self, owner: str, index: int, amount: int) -> None:
        since = self.since(index)
        done, _ = attempt(owner, self.net.delegation.deposit, index, since, amount)
        if not done:
            self.treasury.expect()
            return
        self.treasury.expect((owner, "delegation", amount))
        self.held += self.treasury.net_of(amount)
        self.delegators.add((owner, index, since))

    @precondition(lambda self: self.delegators)
    @rule(pick=st.integers(0, 100), caller=people)
    def activate(self, pick: int, caller: str) -> None:
        owner, index, since = self.delegator(pick)
        attempt(caller, self.net.delegation.activate, wallet(owner), index, since)
        self.treasury.expect()

    @precondition(lambda self: self.delegators)
    @rule(pick=st.integers(0, 100), part=st.integers(1, 4))
    def undelegate(self, pick: int, part: int) -> None:
        owner, index, since = self.delegator(pick)
        shares = self.net.delegation.holding(wallet(owner), index, since).shares
        attempt(owner, self.net.delegation.undelegate, index, since, shares // part)
        self.treasury.expect()

    @precondition(lambda self: self.delegators)
    @rule(pick=st.integers(0, 100), caller=people)
    def take_out(self, pick: int, caller: str) -> None:
        """What waits by the delegator itself, the rest by anybody; always to the delegator."""
        owner, index, since = self.delegator(pick)
        delegation, place = self.net.delegation, (wallet(owner), index, since)
        holding = delegation.holding(*place)
        is_unlocked = boa.env.timestamp >= holding.unlocks_at
        ways = (
            (owner, delegation.take_back, place[1:], holding.waiting),
            (caller, delegation.withdraw, place, holding.leaving * is_unlocked),
            (caller, delegation.collect, place, holding.rewards),
        )
        for sender, call, arguments, amount in ways:
            done, _ = attempt(sender, call, *arguments)
            assert done == (amount > 0 and not self.is_broken)
            if done:
                self.treasury.expect(("delegation", owner, amount))
                self.held -= amount
                assert not attempt(sender, call, *arguments)[0], "once"
        self.treasury.expect()

    def delegator(self, pick: int) -> tuple[str, int, int]:
        return sorted(self.delegators)[pick % len(self.delegators)]

    @rule(index=indices, bps=st.sampled_from([0, 1, 5_000, 10_000, 10_001]))
    def set_commission(self, index: int, bps: int) -> None:
        tenant = self.tenant("checker", index)
        attempt(tenant.person, self.net.delegation.set_commission, index, bps)
        self.treasury.expect()

    # -- the beacon and bundles

    @rule(absent=st.sets(st.integers(0, 6), max_size=2))
    def take_part_in_the_beacon(self, absent: set[int]) -> None:
        """Every checker commits or contributes as it should, but for a few."""
        epoch = self.epoch
        for index, tenant in enumerate(self.tenants["checker"]):
            if index in absent:
                continue
            self.secrets += 1
            following = keccak(self.secrets.to_bytes(8, "big"))
            secret, _ = self.commitments.get(index, (bytes(32), epoch))
            done, _ = attempt(
                tenant.person, self.net.beacon.contribute, index, secret, keccak(following)
            )
            if not done:
                done, _ = attempt(tenant.person, self.net.beacon.commit, index, keccak(following))
            if done:
                self.commitments[index] = (following, epoch)
        self.treasury.expect()

    @rule(
        back=st.integers(0, 1),
        seed=st.integers(0, 2**32),
        absent=st.sets(st.integers(0, SEATS - 1), max_size=1),
        fraud=st.sampled_from([0, 0, 1, 0b101]),
    )
    def submit(
        self, back: int, seed: int, absent: set[int], fraud: int, liar: int | None = None
    ) -> None:
        """A bundle of whoever is there; some report nonsense, and sometimes fraud is seen."""
        net, rng, epoch = self.net, random.Random(seed), self.epoch - back
        if epoch < 1:
            return
        net.checkers = [tenant.person for tenant in self.tenants["checker"]]
        lanes, slots = net.registry.slots_before(epoch)
        members = net.committee(epoch, slots=slots)
        base = [rng.choice([0, rng.randint(1, 32_000)]) for _ in range(lanes)]
        reports = []
        for seat, member in enumerate(members):
            is_wrong = member == liar if liar is not None else rng.random() < 0.2
            scores = [rng.randint(0, 32_000) for _ in base] if is_wrong else base
            if seat not in absent and self.is_active("checker", member, epoch):
                report = world.Report(seat, net.checkers[member], world.lanes(*scores), fraud=fraud)
                reports.append(report)
        if len(reports) < QUORUM:
            return
        medians = reference.low_medians([report.scores for report in reports])
        encoded = [net.encode(report, epoch) for report in reports]
        done, _ = attempt(
            PEOPLE[0], net.consensus.submit, epoch, 0, reference.blocks(medians), encoded
        )
        if done:
            self.bundles[epoch] = members
        self.treasury.expect()

    # -- evidence

    def bounty(self, *taken: int) -> tuple[int, int]:
        """Split what arrives at Penalties into the bounty and the fund's part."""
        amount = sum(map(self.treasury.net_of, taken)) + self.stray["penalties"]
        bounty = amount * self.net.steward.value(3) // 10_000
        return bounty, amount - bounty

    def take_evidence(self, caller: str, kind: str, index: int, own: int, delegated: int) -> None:
        """Book a slash that went through."""
        tenant = self.tenant(kind, index)
        assert 0 < own <= tenant.stake
        taken = [own, delegated] if delegated else [own]
        bounty, rest = self.bounty(*taken)
        flows = [("registry", "penalties", own), ("delegation", "penalties", delegated)]
        flows += [("penalties", "rewards", rest), ("penalties", caller, bounty)]
        self.treasury.expect(*flows)
        tenant.stake -= own
        self.held -= delegated
        self.stray["penalties"] = 0
        self.funded += self.treasury.net_of(rest)

    @rule(caller=people, index=indices, back=ages, is_same=st.sampled_from([False, False, True]))
    def prove_equivocation(self, caller: str, index: int, back: int, is_same: bool) -> None:
        tenant, epoch = self.tenant("checker", index), max(self.epoch - back, 0)
        pool = self.net.delegation.pool(index, self.since(index))
        statements = [
            self.statement(world.Report(0, tenant.person, world.lanes(score)), epoch)
            for score in (1, 1 if is_same else 2)
        ]
        call = self.net.penalties.prove_equivocation
        done, _ = attempt(caller, call, index, epoch, 0, *statements)
        if not done:
            self.treasury.expect()
            return
        assert not is_same
        delegated = pool.stake + pool.leaving
        self.take_evidence(caller, "checker", index, tenant.stake, delegated)
        assert tenant.stake == 0

    def statement(self, report: world.Report, epoch: int) -> tuple[object, ...]:
        r, s, v = self.net.signature(report, epoch)
        words = b"".join(reference.word(w) for w in reference.pack(report.scores))
        vs = s | (v - 27) << 255
        return (report.online, report.fraud, keccak(words), report.evidence, reference.word(r), vs)

    @rule(caller=people, back=ages, lane=st.integers(0, 3))
    def punish_fraud(self, caller: str, back: int, lane: int) -> None:
        part = self.net.steward.value(2)
        epoch = max(self.epoch - back, 0)
        done, _ = attempt(caller, self.net.penalties.slash_fraud, epoch, 0, lane)
        if not done:
            self.treasury.expect()
            return
        stake = self.tenant("provider", lane).stake
        self.take_evidence(caller, "provider", lane, stake * part // 10_000, 0)

    @rule(caller=people, back=ages)
    def record_wrong(self, caller: str, back: int) -> None:
        epoch = max(self.epoch - back, 0)
        for seat in range(SEATS):
            attempt(caller, self.net.penalties.record_wrong, epoch, 0, seat)
        self.treasury.expect()

    # -- rewards

    @rule(amount=amounts | st.integers(0, 3_000 * UNIT))
    def fund(self, amount: int) -> None:
        with boa.env.prank(boa.env.eoa):
            done = not self.is_broken
            if done:
                self.net.rewards.fund(amount)
        if done:
            self.treasury.expect((TREASURY, "rewards", amount))
            self.funded += self.treasury.net_of(amount)

    @rule(caller=people)
    def close(self, caller: str) -> None:
        attempt(caller, self.net.rewards.close)
        self.treasury.expect()

    @rule(index=indices, caller=people, ages=st.lists(ages, min_size=1, max_size=6))
    def claim_provider(self, index: int, caller: str, ages: list[int]) -> None:
        epochs = [max(self.epoch - age, 0) for age in ages]
        rewards, tenant = self.net.rewards, self.tenant("provider", index)
        due = {
            epoch: rewards.provider_reward(index, epoch)
            for epoch in set(epochs) & self.bundles.keys()
            if ("provider", index, epoch) not in self.claimed
        }
        amount = sum(due.values())
        done, _ = attempt(caller, rewards.claim_provider, index, epochs + epochs)
        assert done == (amount > 0 and not self.is_broken), "what is due can be claimed"
        assert not attempt(caller, rewards.claim_provider, index, epochs)[0], "once"
        if not done:
            self.treasury.expect()
            return
        self.treasury.expect(("rewards", tenant.person, amount))
        self.book_payment("provider", index, due)

    @rule(index=indices, caller=people, picks=st.lists(st.tuples(ages, seats), max_size=8))
    def claim_checker(self, index: int, caller: str, picks: list[tuple[int, int]]) -> None:
        """What somebody picked, and every seat that the checker had."""
        rewards, tenant = self.net.rewards, self.tenant("checker", index)
        items = [(max(self.epoch - age, 0), seat) for age, seat in picks]
        own = [
            (epoch, self.bundles[epoch].index(index))
            for epoch in range(max(self.epoch - world.RING, 0), self.epoch + 1)
            if index in self.bundles.get(epoch, [])
        ]
        due = {
            epoch: rewards.checker_reward(index, epoch, 0, seat)
            for epoch, seat in own
            if ("checker", index, epoch) not in self.claimed
        }
        amount = sum(due.values())
        part = amount * self.net.delegation.commission(index) // 10_000
        packed = [epoch << 32 | seat for epoch, seat in (*items, *own)]
        done, _ = attempt(caller, rewards.claim_checker, index, packed)
        assert done == (amount > 0 and not self.is_broken), "what is due can be claimed"
        assert not attempt(caller, rewards.claim_checker, index, packed)[0], "once"
        if not done:
            self.treasury.expect()
            return
        flows = [("rewards", tenant.person, amount - part), ("rewards", "delegation", part)]
        self.treasury.expect(*flows)
        self.held += self.treasury.net_of(part)
        self.book_payment("checker", index, due)

    def book_payment(self, kind: str, index: int, due: dict[int, int]) -> None:
        self.spent += sum(due.values())
        for epoch, amount in due.items():
            self.paid[kind, epoch] += amount
            if amount:
                self.claimed.add((kind, index, epoch))

    @rule(caller=people)
    def claim_everything(self, caller: str) -> None:
        for index in range(len(self.tenants["provider"])):
            self.claim_provider(index, caller, list(range(world.RING + 1)))
        for index in range(len(self.tenants["checker"])):
            self.claim_checker(index, caller, [])

    # -- the steward, the token, time

    @rule(actor=actors, number=st.integers(0, 5), value=st.integers(0, 10_000) | amounts)
    def propose(self, actor: str, number: int, value: int) -> None:
        done, _ = attempt(actor, self.net.steward.propose, number, value)
        assert not done or actor == "owner"
        self.treasury.expect()

    @rule(actor=actors, number=st.integers(0, 5), is_cancelled=st.booleans())
    def decide(self, actor: str, number: int, is_cancelled: bool) -> None:
        steward = self.net.steward
        if is_cancelled:
            done, _ = attempt(actor, steward.cancel, number)
            assert not done or actor == "owner"
        else:
            attempt(actor, steward.execute, number)
        self.treasury.expect()

    @rule(actor=actors, is_end=st.booleans())
    def pause(self, actor: str, is_end: bool) -> None:
        steward = self.net.steward
        done, _ = attempt(actor, steward.unpause if is_end else steward.pause)
        assert not done or actor in ("owner", "guardian")
        self.treasury.expect()

    @rule(percent=st.sampled_from([0, 0, 1, 10]))
    def change_the_fee(self, percent: int) -> None:
        self.net.token.set_fee(percent)
        self.treasury.fee_percent = percent

    @rule(mode=st.sampled_from([0, 0, REVERT, RETURN_FALSE]))
    def break_the_token(self, mode: int) -> None:
        """While it is broken nothing can be moved; every call is undone and can be repeated."""
        self.net.token.set_mode(mode)
        self.is_broken = mode != 0

    @rule(
        receiver=st.sampled_from(["registry", "rewards", "delegation", "penalties"]),
        amount=st.integers(1, 1_000),
    )
    def send_by_mistake(self, receiver: str, amount: int) -> None:
        if not self.is_broken:
            self.net.token.transfer(getattr(self.net, receiver), amount)
            self.treasury.expect((TREASURY, receiver, amount))
            self.stray[receiver] += self.treasury.net_of(amount)

    @rule(
        seconds=st.integers(1, 2 * world.EPOCH_SECONDS)
        | st.integers(3, 8).map(lambda epochs: epochs * world.EPOCH_SECONDS)
    )
    def wait(self, seconds: int) -> None:
        boa.env.timestamp += seconds

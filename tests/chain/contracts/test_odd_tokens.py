"""Tokens that take fees, refuse, return False, return nothing or call back: no money is lost."""

from __future__ import annotations

from typing import Any

import boa
import pytest

from tests.chain.contracts import reference
from tests.chain.contracts.world import (
    BOUNTY_BPS,
    GRACE_SECONDS,
    PROVIDER_POOL,
    RING,
    SUPPLY,
    UNIT,
    UNSTAKE_DELAY,
    Report,
    World,
    build,
    change,
    deployer,
    lanes,
    wallet,
)

REVERT, RETURN_FALSE = 1, 2


@pytest.fixture
def odd() -> World:
    """A world whose token does what it is told."""
    return build(token=deployer("OddToken").deploy(SUPPLY))


def earn(world: World) -> int:
    """Let provider 0 earn the pool of epoch 1, which is then closed; return what it is."""
    world.populate(checkers=4, providers=1)
    world.token.approve(world.rewards, SUPPLY // 2)
    world.rewards.fund(2 * PROVIDER_POOL)
    world.enter(1)
    world.submit(world.reports([lanes(9)] * 4, 1), 1)
    world.enter(2, GRACE_SECONDS)
    reward = int(world.rewards.provider_reward(0, 1))
    assert 0 <= PROVIDER_POOL - reward < PROVIDER_POOL // 10**6, "a pool is kept in whole units"
    return reward


def leave(world: World, person: str) -> None:
    with boa.env.prank(wallet(person)):
        exit_epoch = world.registry.leave_provider()
    boa.env.timestamp = world.registry.epoch_start(exit_epoch) + UNSTAKE_DELAY


# -- fees


def test_stake_is_what_arrived(odd: World) -> None:
    odd.give("alice", 100 * UNIT)
    odd.token.set_fee(10)
    with boa.env.prank(wallet("alice")):
        odd.token.approve(odd.registry, 100 * UNIT)
        odd.registry.register_provider(b"\x01" * 32, bytes(32), bytes(32), 100 * UNIT)
    slot = odd.registry.provider(0)
    assert (slot.stake, slot.stake_units) == (90 * UNIT, 90)
    assert odd.token.balanceOf(odd.registry) == 90 * UNIT
    leave(odd, "alice")
    assert odd.registry.withdraw_provider(0) == 90 * UNIT
    assert odd.token.balanceOf(odd.registry) == 0
    assert odd.token.balanceOf(wallet("alice")) == 81 * UNIT


def test_minimum_applies_to_what_arrived(odd: World) -> None:
    odd.token.set_fee(1)
    odd.token.approve(odd.registry, UNIT)
    with boa.reverts("registry: stake is too small"):
        odd.registry.register_provider(b"\x01" * 32, bytes(32), bytes(32), UNIT)


def test_fund_is_what_arrived(odd: World) -> None:
    odd.token.set_fee(10)
    odd.token.approve(odd.rewards, 1_000)
    assert odd.rewards.fund(1_000) == 900
    assert odd.rewards.available() == odd.token.balanceOf(odd.rewards) == 900


def test_a_top_up_is_what_arrived(odd: World) -> None:
    odd.populate(checkers=0, providers=1)
    odd.token.set_fee(10)
    odd.token.approve(odd.registry, 10 * UNIT)
    assert odd.registry.top_up_provider(0, 10 * UNIT) == 19 * UNIT
    assert odd.token.balanceOf(odd.registry) == 19 * UNIT


# -- refusals


@pytest.mark.parametrize(
    ("mode", "reason"), [(REVERT, "odd: refused"), (RETURN_FALSE, "registry: transfer failed")]
)
def test_registration_without_payment(odd: World, mode: int, reason: str) -> None:
    odd.token.approve(odd.registry, UNIT)
    odd.token.set_mode(mode)
    with boa.reverts(reason):
        odd.registry.register_provider(b"\x01" * 32, bytes(32), bytes(32), UNIT)
    assert odd.registry.provider_count() == 0


@pytest.mark.parametrize(
    ("mode", "reason"), [(REVERT, "odd: refused"), (RETURN_FALSE, "registry: transfer failed")]
)
def test_failed_withdrawal_can_be_repeated(odd: World, mode: int, reason: str) -> None:
    odd.populate(checkers=0, providers=2)
    leave(odd, "provider 0")
    odd.token.set_mode(mode)
    with boa.reverts(reason):
        odd.registry.withdraw_provider(0)
    assert odd.registry.provider(0).stake == 10 * UNIT
    assert odd.registry.provider_index(wallet("provider 0")) == (True, 0)
    odd.token.set_mode(0)
    assert odd.registry.withdraw_provider(0) == 10 * UNIT
    assert odd.token.balanceOf(odd.registry) == 10 * UNIT


@pytest.mark.parametrize(
    ("mode", "reason"), [(REVERT, "odd: refused"), (RETURN_FALSE, "rewards: transfer failed")]
)
def test_failed_claim_can_be_repeated(odd: World, mode: int, reason: str) -> None:
    reward = earn(odd)
    odd.token.set_mode(mode)
    with boa.reverts(reason):
        odd.rewards.claim_provider(0, [1])
    assert (odd.rewards.paid(), odd.rewards.provider_claimed(0, 1)) == (0, False)
    with boa.reverts(reason):
        odd.rewards.fund(1)
    odd.token.set_mode(0)
    assert odd.rewards.claim_provider(0, [1]) == reward


def test_tokens_that_return_nothing() -> None:
    world = build(token=deployer("SilentToken").deploy(SUPPLY))
    reward = earn(world)
    assert world.rewards.claim_provider(0, [1]) == reward
    leave(world, "provider 0")
    world.registry.withdraw_provider(0)
    assert world.token.balanceOf(wallet("provider 0")) == reward + 10 * UNIT


def test_somebody_elses_token() -> None:
    world = build(token=deployer("SnekmateToken").deploy(SUPPLY))
    reward = earn(world)
    assert world.rewards.claim_provider(0, [1]) == reward
    leave(world, "provider 0")
    world.registry.withdraw_provider(0)
    assert world.token.balanceOf(wallet("provider 0")) == reward + 10 * UNIT


# -- what is slashed


def equivocate(world: World, index: int) -> None:
    """Let the reporter prove that the checker signed twice in the current epoch."""
    signed = []
    for number in (1, 2):
        report = Report(0, world.checkers[index], lanes(number))
        _, _, online, fraud, evidence, r, vs = world.encode(report, world.epoch)
        scores = reference.keccak(b"".join(map(reference.word, reference.pack(report.scores))))
        signed.append((online, fraud, scores, evidence, r, vs))
    with boa.env.prank(wallet("reporter")):
        world.penalties.prove_equivocation(index, world.epoch, 0, *signed)


def test_a_fee_makes_bounty_and_fund_smaller(odd: World) -> None:
    odd.populate(checkers=2, providers=0)
    odd.enter(1)
    odd.token.set_fee(10)
    equivocate(odd, 0)
    arrived = 9 * UNIT
    bounty = arrived * BOUNTY_BPS // 10_000
    assert odd.token.balanceOf(wallet("reporter")) == bounty * 9 // 10
    assert odd.rewards.available() == odd.token.balanceOf(odd.rewards)
    assert odd.rewards.available() == (arrived - bounty) * 9 // 10
    assert odd.token.balanceOf(odd.penalties) == 0
    assert odd.token.balanceOf(odd.registry) == 10 * UNIT


@pytest.mark.parametrize(
    ("mode", "reason"), [(REVERT, "odd: refused"), (RETURN_FALSE, "registry: transfer failed")]
)
def test_a_proof_that_failed_can_be_repeated(odd: World, mode: int, reason: str) -> None:
    odd.populate(checkers=2, providers=0)
    odd.enter(1)
    odd.token.set_mode(mode)
    with boa.reverts(reason):
        equivocate(odd, 0)
    assert odd.registry.checker(0).stake == 10 * UNIT
    odd.token.set_mode(0)
    equivocate(odd, 0)
    assert odd.registry.checker(0).stake == 0


def test_what_was_sent_to_penalties_by_mistake_goes_the_same_way(odd: World) -> None:
    odd.populate(checkers=1, providers=0)
    odd.enter(1)
    odd.token.transfer(odd.penalties, 10 * UNIT)
    equivocate(odd, 0)
    bounty = 20 * UNIT * BOUNTY_BPS // 10_000
    assert odd.token.balanceOf(wallet("reporter")) == bounty
    assert odd.rewards.available() == 20 * UNIT - bounty


# -- callbacks


def calldata(contract: Any, name: str, *arguments: Any) -> bytes:
    return bytes(getattr(contract, name).prepare_calldata(*arguments))


def test_registry_is_not_reentered(odd: World) -> None:
    """A deposit inside a deposit would be counted twice, a withdrawal inside one paid twice."""
    odd.populate(checkers=0, providers=2)
    leave(odd, "provider 0")
    registry = odd.registry
    calls = [
        calldata(registry, "register_provider", b"\x01" * 32, bytes(32), bytes(32), UNIT),
        calldata(registry, "register_checker", b"\x01" * 32, bytes(32), bytes(32), UNIT),
        calldata(registry, "withdraw_provider", 0),
        calldata(registry, "leave_provider"),
        calldata(registry, "top_up_provider", 1, UNIT),
    ]
    odd.token.approve(registry, UNIT)
    for data in calls:
        odd.token.set_hook(registry, data)
        with boa.reverts():
            registry.register_provider(b"\x02" * 32, bytes(32), bytes(32), UNIT)
        with boa.reverts():
            registry.withdraw_provider(0)
        with boa.reverts():
            registry.top_up_provider(1, UNIT)
    odd.token.set_hook("0x" + "0" * 40, b"")
    registry.withdraw_provider(0)
    assert odd.token.balanceOf(registry) == 10 * UNIT


def test_penalties_are_not_reentered(odd: World) -> None:
    """A proof within a proof would share out what the outer one has slashed so far."""
    odd.populate(checkers=4, providers=1)
    odd.enter(1)
    odd.give("friend", 6 * UNIT)
    with boa.env.prank(wallet("friend")):
        odd.token.approve(odd.delegation, 6 * UNIT)
        odd.delegation.deposit(0, 1, 6 * UNIT)
    odd.enter(1 + RING + 1)
    odd.delegation.activate(wallet("friend"), 0, 1)
    odd.submit([change(r, fraud=1) for r in odd.reports([lanes(9)] * 4, odd.epoch)], odd.epoch)
    fraud = calldata(odd.penalties, "slash_fraud", odd.epoch, 0, 0)
    # The first transfer is out of Registry, which is locked; the second is out of Delegation.
    later = calldata(odd.token, "set_hook", odd.penalties, fraud)
    for target, data in (
        (odd.penalties, fraud),
        (odd.token, later),
        (odd.registry, calldata(odd.registry, "top_up_checker", 0, 0)),
    ):
        odd.token.set_hook(target, data)
        with boa.reverts():
            equivocate(odd, 0)
    odd.token.set_hook("0x" + "0" * 40, b"")
    equivocate(odd, 0)
    assert odd.registry.provider(0).stake == 10 * UNIT
    odd.penalties.slash_fraud(odd.epoch, 0, 0)


def test_rewards_are_not_reentered(odd: World) -> None:
    reward = earn(odd)
    rewards = odd.rewards
    calls = [
        calldata(rewards, "claim_provider", 0, [1]),
        calldata(rewards, "claim_checker", 0, [1 << 32]),
        calldata(rewards, "fund", 1),
    ]
    for data in calls:
        odd.token.set_hook(rewards, data)
        with boa.reverts():
            rewards.claim_provider(0, [1])
        with boa.reverts():
            rewards.fund(1)
    odd.token.set_hook("0x" + "0" * 40, b"")
    assert rewards.claim_provider(0, [1]) == reward
    assert rewards.available() == odd.token.balanceOf(rewards) == 2 * PROVIDER_POOL - reward

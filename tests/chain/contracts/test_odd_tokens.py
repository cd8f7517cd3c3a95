"""Tokens that take fees, refuse, return False, return nothing or call back: no money is lost."""

from __future__ import annotations

from typing import Any

import boa
import pytest

from tests.chain.contracts.world import (
    GRACE_SECONDS,
    PROVIDER_POOL,
    SUPPLY,
    UNIT,
    UNSTAKE_DELAY,
    World,
    build,
    deployer,
    lanes,
    wallet,
)

REVERT, RETURN_FALSE = 1, 2


@pytest.fixture
def odd() -> World:
    """A world whose token does what it is told."""
    return build(token=deployer("OddToken").deploy(SUPPLY))


def earn(world: World) -> None:
    """Let provider 0 earn the pool of epoch 1, which is then closed."""
    world.populate(checkers=4, providers=1)
    world.token.approve(world.rewards, SUPPLY // 2)
    world.rewards.fund(2 * PROVIDER_POOL)
    world.enter(1)
    world.submit(world.reports([lanes(9)] * 4, 1), 1)
    world.enter(2, GRACE_SECONDS)


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
    earn(odd)
    odd.token.set_mode(mode)
    with boa.reverts(reason):
        odd.rewards.claim_provider(0, [1])
    assert (odd.rewards.paid(), odd.rewards.provider_claimed(0, 1)) == (0, False)
    with boa.reverts(reason):
        odd.rewards.fund(1)
    odd.token.set_mode(0)
    assert odd.rewards.claim_provider(0, [1]) == PROVIDER_POOL


def test_tokens_that_return_nothing() -> None:
    world = build(token=deployer("SilentToken").deploy(SUPPLY))
    earn(world)
    assert world.rewards.claim_provider(0, [1]) == PROVIDER_POOL
    leave(world, "provider 0")
    world.registry.withdraw_provider(0)
    assert world.token.balanceOf(wallet("provider 0")) == PROVIDER_POOL + 10 * UNIT


def test_somebody_elses_token() -> None:
    world = build(token=deployer("SnekmateToken").deploy(SUPPLY))
    earn(world)
    assert world.rewards.claim_provider(0, [1]) == PROVIDER_POOL
    leave(world, "provider 0")
    world.registry.withdraw_provider(0)
    assert world.token.balanceOf(wallet("provider 0")) == PROVIDER_POOL + 10 * UNIT


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
    ]
    odd.token.approve(registry, UNIT)
    for data in calls:
        odd.token.set_hook(registry, data)
        with boa.reverts():
            registry.register_provider(b"\x02" * 32, bytes(32), bytes(32), UNIT)
        with boa.reverts():
            registry.withdraw_provider(0)
    odd.token.set_hook("0x" + "0" * 40, b"")
    registry.withdraw_provider(0)
    assert odd.token.balanceOf(registry) == 10 * UNIT


def test_rewards_are_not_reentered(odd: World) -> None:
    earn(odd)
    rewards = odd.rewards
    calls = [
        calldata(rewards, "claim_provider", 0, [1]),
        calldata(rewards, "claim_checker", 0, [(1, 0, 0)]),
        calldata(rewards, "fund", 1),
    ]
    for data in calls:
        odd.token.set_hook(rewards, data)
        with boa.reverts():
            rewards.claim_provider(0, [1])
        with boa.reverts():
            rewards.fund(1)
    odd.token.set_hook("0x" + "0" * 40, b"")
    assert rewards.claim_provider(0, [1]) == PROVIDER_POOL
    assert rewards.available() == odd.token.balanceOf(rewards) == PROVIDER_POOL

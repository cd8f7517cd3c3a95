"""Delegation among the real contracts: weight in a committee, and a part of what is claimed."""

from __future__ import annotations

import boa
import pytest

from tests.chain.contracts.world import (
    CHECKER_POOL,
    GRACE_SECONDS,
    RING,
    UNIT,
    World,
    lanes,
    wallet,
)

WARMUP = RING + 1
BPS = 2_500
LUCKY = 2  # the checker that is entrusted with stake


def item(world: World, epoch: int, checker: int) -> int:
    return epoch << 32 | world.committee(epoch).index(checker)


@pytest.fixture
def entrusted(small: World) -> tuple[World, int]:
    """A checker of 10 units with 30 delegated, and the epoch in which they count first."""
    small.give("ann", 30 * UNIT)
    with boa.env.prank(wallet("ann")):
        small.token.approve(small.delegation, 30 * UNIT)
        small.delegation.deposit(LUCKY, 1, 30 * UNIT)
    with boa.env.prank(wallet(small.checkers[LUCKY])):
        small.delegation.set_commission(LUCKY, BPS)
    epoch = 1 + WARMUP
    small.enter(epoch)
    small.delegation.activate(wallet("ann"), LUCKY, 1)
    for checker in range(4):
        small.contribute(checker)
    small.submit(small.reports([lanes(100, 300)] * 4, epoch), epoch)
    return small, epoch


def test_delegated_stake_earns_and_its_owner_gets_the_part(entrusted: tuple[World, int]) -> None:
    world, epoch = entrusted
    world.enter(epoch + 1, GRACE_SECONDS)
    before = world.token.balanceOf(wallet(world.checkers[LUCKY]))
    reward = world.rewards.claim_checker(LUCKY, [item(world, epoch, LUCKY)])
    other = world.rewards.claim_checker(0, [item(world, epoch, 0)])
    # 40 units among 70, and 10.
    assert abs(reward - 4 * other) <= 10**13
    assert reward >= CHECKER_POOL * 4 // 7 - 10**13
    part = reward * BPS // 10_000
    assert world.token.balanceOf(wallet(world.checkers[LUCKY])) == before + reward - part
    assert world.delegation.collect(wallet("ann"), LUCKY, 1) in (part - 1, part)
    with boa.reverts("rewards: nothing to claim"):
        world.rewards.claim_checker(LUCKY, [item(world, epoch, LUCKY)])


def test_what_was_weighed_stays_when_stake_goes(entrusted: tuple[World, int]) -> None:
    world, epoch = entrusted
    world.enter(epoch + 1, GRACE_SECONDS)
    seat = world.committee(epoch).index(LUCKY)
    expected = world.rewards.checker_reward(LUCKY, epoch, 0, seat)
    with boa.env.prank(wallet("ann")):
        world.delegation.undelegate(LUCKY, 1, 30 * UNIT)
    assert world.registry.checker(LUCKY).stake_units == 10
    before = world.token.balanceOf(wallet(world.checkers[LUCKY]))
    assert world.rewards.claim_checker(LUCKY, [item(world, epoch, LUCKY)]) == expected
    # Nobody has shares any more, so all of it is the checker's.
    assert world.token.balanceOf(wallet(world.checkers[LUCKY])) == before + expected


def test_a_checker_that_left_still_pays_its_delegators(entrusted: tuple[World, int]) -> None:
    world, epoch = entrusted
    with boa.env.prank(wallet(world.checkers[LUCKY])):
        world.registry.leave_checker()
    world.enter(epoch + 1, GRACE_SECONDS)
    reward = world.rewards.claim_checker(LUCKY, [item(world, epoch, LUCKY)])
    part = reward * BPS // 10_000
    assert world.delegation.holding(wallet("ann"), LUCKY, 1).rewards in (part - 1, part)

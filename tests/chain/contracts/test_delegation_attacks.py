"""Delegation against those who round, give, call back or refuse: nobody is the poorer for it."""

from __future__ import annotations

import boa
import pytest

from tests.chain.contracts.delegating import WARMUP, Scene, build_scene
from tests.chain.contracts.world import SUPPLY, UNIT, UNSTAKE_DELAY, deployer, wallet

REVERT, RETURN_FALSE = 1, 2


@pytest.fixture
def scene() -> Scene:
    """Two checkers that nobody has entrusted anything to."""
    return build_scene()


def owed(scene: Scene, *people: str) -> int:
    """All that these people have in the pool of checker 0."""
    holdings = [scene.holding(person) for person in people]
    return sum(each.waiting + each.stake + each.leaving + each.rewards for each in holdings)


# -- attacks on shares


def test_a_gift_makes_no_share_dear(scene: Scene) -> None:
    """The attack on pools that count their balance: one unit in, a fortune sent, others rounded."""
    scene.deposit("mallory", 1)
    scene.deposit("ann", 1_000 * UNIT)
    scene.pass_epochs(WARMUP)
    scene.activate("mallory")
    scene.token.transfer(scene.delegation, 2_000 * UNIT)
    assert scene.activate("ann") == 1_000 * UNIT
    assert scene.holding("ann").stake == 1_000 * UNIT
    assert scene.holding("mallory").stake == 1
    scene.pay(UNIT)
    assert scene.delegation.held() == 1_001 * UNIT + 1


def test_rounding_favours_those_who_stay(scene: Scene) -> None:
    scene.deposit("ann", 10)
    scene.deposit("bob", 1_000)
    scene.pass_epochs(WARMUP)
    scene.activate("ann")
    scene.slash(3_333)
    assert scene.pool().stake == 7
    scene.activate("bob")
    for shares in (1, 1, 3):
        assert scene.undelegate("ann", shares) == shares * 7 // 10
    for _ in range(5):
        scene.undelegate("ann", 1)
    pool = scene.pool()
    assert pool.stake + pool.leaving == 1_007
    assert pool.stake <= pool.shares
    assert scene.holding("bob").stake >= 1_000


# -- tokens that misbehave


def test_a_token_with_a_fee_leaves_the_contract_solvent() -> None:
    token = deployer("OddToken").deploy(SUPPLY)
    scene = build_scene(token)
    token.set_fee(10)
    scene.token.transfer(wallet("ann"), 1_000)
    with scene.act("ann"):
        token.approve(scene.delegation, 900)
        scene.delegation.deposit(0, 1, 900)
    assert scene.holding("ann").waiting == 810
    scene.pass_epochs(WARMUP)
    scene.activate("ann")
    token.transfer(scene.around, 1_000)
    scene.around.pay(0, 900)
    assert scene.holding("ann").rewards in (809, 810)
    assert token.balanceOf(scene.delegation) >= scene.delegation.held() == 1_620


@pytest.mark.parametrize("mode", [REVERT, RETURN_FALSE])
def test_a_refused_transfer_changes_nothing(mode: int) -> None:
    token = deployer("OddToken").deploy(SUPPLY)
    scene = build_scene(token)
    scene.delegate("ann", 30 * UNIT)
    scene.deposit("ann", UNIT)
    scene.pay(UNIT)
    scene.undelegate("ann", UNIT)
    boa.env.timestamp += UNSTAKE_DELAY
    before = scene.holding("ann")
    token.set_mode(mode)
    for action in (
        lambda: scene.withdraw("ann"),
        lambda: scene.collect("ann"),
        lambda: scene.slash(5_000),
        lambda: scene.delegation.deposit(0, 1, 1),
    ):
        with boa.reverts():
            action()
    with scene.act("ann"), boa.reverts():
        scene.delegation.take_back(0, 1)
    assert scene.holding("ann") == before
    # Nobody's part depends on a transfer to somebody else.
    scene.undelegate("ann", UNIT)
    token.set_mode(0)
    assert scene.slash(5_000) == 15 * UNIT


@pytest.mark.parametrize("function", ["withdraw", "collect", "activate"])
def test_a_token_that_calls_back_is_refused(function: str) -> None:
    token = deployer("OddToken").deploy(SUPPLY)
    scene = build_scene(token)
    scene.delegate("ann", 30 * UNIT)
    scene.deposit("ann", UNIT)
    scene.pay(UNIT)
    scene.undelegate("ann", UNIT)
    scene.pass_epochs(WARMUP)
    call = getattr(scene.delegation, function).prepare_calldata(wallet("ann"), 0, 1)
    token.set_hook(scene.delegation, call)
    before = owed(scene, "ann")
    with boa.reverts():
        scene.withdraw("ann")
    assert owed(scene, "ann") == before
    token.set_hook(scene.delegation, call)
    with boa.reverts():
        scene.collect("ann")

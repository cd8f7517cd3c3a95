"""Delegation: what is entrusted, earned, slashed and given back, case by case."""

from __future__ import annotations

import boa
import pytest

from tests.chain.contracts.delegating import (
    PENALTIES,
    STAKE,
    WARMUP,
    Scene,
    build_scene,
    predict_next,
)
from tests.chain.contracts.world import RING, SUPPLY, UNIT, UNSTAKE_DELAY, deployer, wallet


@pytest.fixture
def scene() -> Scene:
    """Two checkers that nobody has entrusted anything to."""
    return build_scene()


def about(expected: int) -> tuple[int, int]:
    """Rewards that are paid now: the last unit may have to wait for the next."""
    return expected - 1, expected


# -- constructor


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"registry": True}, "delegation: contracts of another delegation"),
        ({"rewards": True}, "delegation: contracts of another delegation"),
        ({"token": True}, "delegation: contracts do not belong together"),
        ({"penalties": True}, "delegation: contracts do not belong together"),
        ({"warmup": RING}, "delegation: warm-up within the claim window"),
    ],
)
def test_constructor_refuses(scene: Scene, change: dict[str, object], words: str) -> None:
    here = predict_next(3)
    token = deployer("Token").deploy("Kaisar", "KAI", SUPPLY)
    registry = deployer("Registry").deploy(
        scene.token, here, PENALTIES, here, UNIT, boa.env.timestamp, 600, UNSTAKE_DELAY, 5
    )
    around = deployer("AroundDelegation").deploy(scene.token, predict_next(1), RING)
    values = (
        token if "token" in change else scene.token,
        scene.registry if "registry" in change else registry,
        scene.around if "rewards" in change else around,
        wallet("somebody") if "penalties" in change else PENALTIES,
        change.get("warmup", WARMUP),
    )
    with boa.reverts(words):
        deployer("Delegation").deploy(*values)


# -- coming


def test_a_deposit_waits_and_can_be_taken_back(scene: Scene) -> None:
    scene.deposit("ann", 30 * UNIT)
    event = scene.delegation.get_logs()[-1]
    assert (event.owner, event.index, event.since) == (wallet("ann"), 0, 1)
    assert (event.amount, event.ready_epoch) == (30 * UNIT, 1 + WARMUP)
    holding = scene.holding("ann")
    assert (holding.waiting, holding.ready_epoch, holding.shares) == (30 * UNIT, 1 + WARMUP, 0)
    assert scene.units(0) == 10, "what waits weighs nothing"
    assert scene.slash(10_000) == 0, "and answers for nothing"
    with scene.act("ann"):
        assert scene.delegation.take_back(0, 1) == 30 * UNIT
        with boa.reverts("delegation: nothing is waiting"):
            scene.delegation.take_back(0, 1)
    assert scene.balance("ann") == 30 * UNIT
    assert scene.delegation.held() == 0


def test_nobody_else_takes_a_deposit_back(scene: Scene) -> None:
    scene.deposit("ann", UNIT)
    with scene.act("bob"), boa.reverts("delegation: nothing is waiting"):
        scene.delegation.take_back(0, 1)


def test_activation_after_the_warm_up_by_anybody(scene: Scene) -> None:
    scene.deposit("ann", 30 * UNIT)
    scene.pass_epochs(WARMUP - 1)
    with boa.reverts("delegation: warm-up is not over"):
        scene.activate("ann")
    scene.pass_epochs(1)
    with scene.act("somebody"):
        assert scene.activate("ann") == 30 * UNIT
    holding = scene.holding("ann")
    assert (holding.waiting, holding.shares, holding.stake) == (0, 30 * UNIT, 30 * UNIT)
    assert scene.units(0) == 40
    assert scene.registry.checker(0).stake == STAKE, "the checker's own stake is as before"
    with boa.reverts("delegation: nothing is waiting"):
        scene.activate("ann")


def test_a_second_deposit_begins_the_warm_up_anew(scene: Scene) -> None:
    scene.deposit("ann", 2 * UNIT)
    scene.pass_epochs(WARMUP)
    scene.deposit("ann", 3 * UNIT)
    with boa.reverts("delegation: warm-up is not over"):
        scene.activate("ann")
    scene.pass_epochs(WARMUP)
    assert scene.activate("ann") == 5 * UNIT


@pytest.mark.parametrize(
    ("index", "since", "words"),
    [
        (0, 0, "delegation: not the tenant"),
        (0, 2, "delegation: not the tenant"),
        (2, 0, "delegation: not the tenant"),
        (2, 1, "delegation: not the tenant"),
    ],
)
def test_a_deposit_names_its_tenant(scene: Scene, index: int, since: int, words: str) -> None:
    with boa.reverts(words):
        scene.delegation.deposit(index, since, UNIT)


def test_no_deposit_for_a_checker_that_leaves(scene: Scene) -> None:
    scene.deposit("ann", UNIT)
    with scene.act("checker 0"):
        scene.registry.leave_checker()
    with boa.reverts("delegation: checker has left"):
        scene.deposit("bob", UNIT)
    scene.pass_epochs(WARMUP)
    with boa.reverts("delegation: checker has left"):
        scene.activate("ann")
    with scene.act("ann"):
        assert scene.delegation.take_back(0, 1) == UNIT


def test_numbers_of_no_tenancy_are_refused(scene: Scene) -> None:
    scene.delegate("ann", UNIT)
    # 1 << 32 | 1 would be the tenancy of index 1.
    for index, since in ((2**32, 1), (0, 1 << 32 | 1)):
        with boa.reverts("delegation: no such tenancy"):
            scene.delegation.holding(wallet("ann"), index, since)


def test_nothing_is_no_deposit(scene: Scene) -> None:
    with boa.reverts("delegation: nothing arrived"):
        scene.delegation.deposit(0, 1, 0)


# -- weight


def test_weight_stops_where_a_seats_word_ends(scene: Scene) -> None:
    scene.delegate("ann", 100_000 * UNIT)
    assert scene.units(0) == 2**15 - 1
    scene.undelegate("ann", 99_000 * UNIT)
    assert scene.units(0) == 10 + 1_000


def test_pools_of_two_checkers_have_nothing_in_common(scene: Scene) -> None:
    scene.deposit("ann", 5 * UNIT, index=1)
    scene.delegate("ann", 3 * UNIT, index=0)
    scene.activate("ann", index=1)
    assert (scene.units(0), scene.units(1)) == (13, 15)
    scene.slash(5_000, index=1)
    scene.pay(7 * UNIT, index=0)
    first, second = scene.holding("ann", 0), scene.holding("ann", 1)
    assert first.stake == 3 * UNIT
    assert first.rewards in about(7 * UNIT)
    assert (second.stake, second.rewards) == (5 * UNIT // 2, 0)


# -- going


def test_undelegated_stake_weighs_nothing_and_is_locked(scene: Scene) -> None:
    scene.delegate("ann", 30 * UNIT)
    assert scene.undelegate("ann", 10 * UNIT) == 10 * UNIT
    assert scene.units(0) == 30
    holding = scene.holding("ann")
    assert (holding.shares, holding.stake, holding.leaving) == (20 * UNIT, 20 * UNIT, 10 * UNIT)
    assert holding.unlocks_at == boa.env.timestamp + UNSTAKE_DELAY
    boa.env.timestamp += UNSTAKE_DELAY - 1
    with boa.reverts("delegation: unstake delay is not over"):
        scene.withdraw("ann")
    boa.env.timestamp += 1
    with scene.act("somebody"):
        assert scene.withdraw("ann") == 10 * UNIT
    assert scene.balance("ann") == 10 * UNIT
    with boa.reverts("delegation: nothing to withdraw"):
        scene.withdraw("ann")


def test_undelegating_again_begins_the_delay_anew(scene: Scene) -> None:
    scene.delegate("ann", 30 * UNIT)
    scene.undelegate("ann", 10 * UNIT)
    boa.env.timestamp += UNSTAKE_DELAY
    scene.undelegate("ann", UNIT)
    with boa.reverts("delegation: unstake delay is not over"):
        scene.withdraw("ann")
    boa.env.timestamp += UNSTAKE_DELAY
    assert scene.withdraw("ann") == 11 * UNIT


@pytest.mark.parametrize("shares", [0, 30 * UNIT + 1, 2**256 - 1])
def test_only_shares_that_one_has_are_undelegated(scene: Scene, shares: int) -> None:
    scene.delegate("ann", 30 * UNIT)
    with boa.reverts("delegation: not so many shares"):
        scene.undelegate("ann", shares)


# -- slashing


def test_slashing_takes_from_active_and_leaving_stake_alike(scene: Scene) -> None:
    scene.delegate("ann", 40 * UNIT)
    scene.undelegate("ann", 20 * UNIT)
    scene.deposit("bob", 7 * UNIT)
    assert scene.slash(2_500) == 10 * UNIT
    event = scene.delegation.get_logs()[-1]
    assert (event.index, event.since, event.active, event.leaving) == (0, 1, 5 * UNIT, 5 * UNIT)
    assert scene.token.balanceOf(PENALTIES) == 10 * UNIT
    holding = scene.holding("ann")
    assert (holding.shares, holding.stake, holding.leaving) == (20 * UNIT, 15 * UNIT, 15 * UNIT)
    assert scene.holding("bob").waiting == 7 * UNIT
    assert scene.units(0) == 25
    # Shares are worth less now, so as much stake makes more of them.
    scene.pass_epochs(WARMUP)
    assert scene.activate("bob") == 7 * UNIT * 20 // 15
    assert scene.holding("bob").stake == 7 * UNIT - 1
    boa.env.timestamp += UNSTAKE_DELAY
    assert scene.withdraw("ann") == 15 * UNIT


def test_who_undelegates_before_the_slash_pays_as_well(scene: Scene) -> None:
    scene.delegate("ann", 40 * UNIT)
    scene.undelegate("ann", 40 * UNIT)
    boa.env.timestamp += UNSTAKE_DELAY - 1
    assert scene.slash(10_000) == 40 * UNIT
    boa.env.timestamp += 1
    with boa.reverts("delegation: nothing to withdraw"):
        scene.withdraw("ann")


def test_when_all_is_slashed_the_pool_is_closed(scene: Scene) -> None:
    scene.delegate("ann", 40 * UNIT)
    scene.undelegate("ann", 10 * UNIT)
    scene.deposit("bob", 5 * UNIT)
    scene.pay(6 * UNIT)
    assert scene.slash(10_000) == 40 * UNIT
    assert scene.units(0) == 10
    scene.pass_epochs(WARMUP)
    with boa.reverts("delegation: pool is closed"):
        scene.activate("bob")
    with boa.reverts("delegation: pool is closed"):
        scene.deposit("cid", UNIT)
    with scene.act("bob"):
        assert scene.delegation.take_back(0, 1) == 5 * UNIT
    # What was earned before is still theirs, and so is what is only claimed now.
    scene.pay(2 * UNIT)
    assert scene.undelegate("ann", 30 * UNIT) == 0
    assert scene.collect("ann") in about(8 * UNIT)
    assert scene.delegation.held() <= 1
    assert scene.slash(10_000) == 0


@pytest.mark.parametrize("caller", ["somebody", "checker 0", "ann"])
def test_only_the_contracts_pay_in_and_slash(scene: Scene, caller: str) -> None:
    scene.delegate("ann", UNIT)
    with scene.act(caller):
        with boa.reverts("delegation: caller is not Penalties"):
            scene.delegation.slash(0, 1)
        with boa.reverts("delegation: caller is not Rewards"):
            scene.delegation.distribute(0, 1)
    with boa.reverts("delegation: part is too large"):
        scene.slash(10_001)


# -- rewards


def test_rewards_follow_shares(scene: Scene) -> None:
    scene.deposit("ann", 30 * UNIT)
    scene.deposit("bob", 10 * UNIT)
    scene.pass_epochs(WARMUP)
    scene.activate("ann")
    scene.pay(3 * UNIT)
    scene.activate("bob")
    scene.pay(8 * UNIT)
    scene.undelegate("ann", 30 * UNIT)
    scene.pay(5 * UNIT)
    assert scene.holding("ann").rewards in about(9 * UNIT)
    with scene.act("somebody"):
        assert scene.collect("ann") in about(9 * UNIT)
        assert scene.collect("bob") in about(7 * UNIT)
    assert scene.balance("ann") + scene.balance("bob") + scene.delegation.held() == 56 * UNIT
    with boa.reverts("delegation: nothing to collect"):
        scene.collect("ann")


def test_parts_of_a_unit_are_not_lost(scene: Scene) -> None:
    scene.deposit("ann", 1)
    scene.deposit("bob", 2)
    scene.pass_epochs(WARMUP)
    scene.activate("ann")
    scene.activate("bob")
    for _ in range(2):
        scene.pay(1)
    # Collecting leaves the part of a unit that is not paid: a third and two thirds of 2.
    assert scene.collect("bob") == 1
    scene.pay(1)
    scene.pay(3)
    assert scene.collect("bob") == 3
    assert scene.holding("ann").rewards == 2
    assert scene.delegation.held() == 3 + 2


def test_nothing_is_paid_into_an_empty_pool(scene: Scene) -> None:
    with scene.act("checker 0"):
        scene.delegation.set_commission(0, 10_000)
    scene.pass_epochs(WARMUP)
    assert scene.delegation.commission(0) == 0
    with boa.reverts():
        scene.pay(UNIT)


def test_only_what_arrived_is_shared_out(scene: Scene) -> None:
    scene.delegate("ann", UNIT)
    with boa.env.prank(scene.around.address):
        scene.delegation.distribute(0, 5 * UNIT)
    assert scene.holding("ann").rewards == 0
    assert scene.delegation.held() == UNIT


# -- terms


def test_terms_count_after_the_warm_up(scene: Scene) -> None:
    scene.delegate("ann", UNIT)
    assert scene.delegation.commission(0) == 0
    with scene.act("checker 0"):
        assert scene.delegation.set_commission(0, 3_000) == scene.epoch + WARMUP
    event = scene.delegation.get_logs()[-1]
    assert (event.index, event.since, event.bps) == (0, 1, 3_000)
    scene.pass_epochs(WARMUP - 1)
    assert scene.delegation.commission(0) == 0
    scene.pass_epochs(1)
    assert scene.delegation.commission(0) == 3_000
    with scene.act("checker 0"):
        scene.delegation.set_commission(0, 0)
    assert scene.delegation.commission(0) == 3_000
    # Another announcement takes the place of one that does not count yet.
    scene.pass_epochs(WARMUP - 1)
    with scene.act("checker 0"):
        scene.delegation.set_commission(0, 1)
    scene.pass_epochs(WARMUP - 1)
    assert scene.delegation.commission(0) == 3_000
    scene.pass_epochs(1)
    assert scene.delegation.commission(0) == 1


def test_only_the_checker_sets_its_terms(scene: Scene) -> None:
    for person, index in (("somebody", 0), ("checker 1", 0), ("somebody", 7)):
        with scene.act(person), boa.reverts("delegation: caller is not the checker"):
            scene.delegation.set_commission(index, 1)
    with scene.act("checker 0"), boa.reverts("delegation: part is too large"):
        scene.delegation.set_commission(0, 10_001)


# -- tenancies


def replace_tenant(scene: Scene) -> None:
    with scene.act("checker 0"):
        scene.registry.leave_checker()
    scene.pass_epochs(WARMUP + UNSTAKE_DELAY // 600 + 1)
    scene.registry.withdraw_checker(0)
    assert scene.register("newcomer") == 0


def test_the_next_tenant_has_nothing_of_the_one_before(scene: Scene) -> None:
    with scene.act("checker 0"):
        scene.delegation.set_commission(0, 5_000)
    scene.delegate("ann", 30 * UNIT)
    scene.deposit("bob", UNIT)
    scene.pay(UNIT)
    old = scene.since(0)
    replace_tenant(scene)
    assert scene.units(0) == 10
    assert scene.slash(10_000) == 0
    assert scene.delegation.commission(0) == 0
    with boa.reverts("delegation: not the tenant"):
        scene.delegation.activate(wallet("bob"), 0, old)
    holding = scene.holding("ann", since=old)
    assert holding.stake == 30 * UNIT
    assert holding.rewards in about(UNIT)
    with scene.act("ann"):
        scene.delegation.undelegate(0, old, 30 * UNIT)
    assert scene.units(0) == 10, "the newcomer's weight is its own"
    boa.env.timestamp += UNSTAKE_DELAY
    assert scene.delegation.withdraw(wallet("ann"), 0, old) == 30 * UNIT
    assert scene.delegation.collect(wallet("ann"), 0, old) in about(UNIT)
    with scene.act("bob"):
        assert scene.delegation.take_back(0, old) == UNIT
    assert scene.delegation.held() <= 1


def test_stake_of_a_checker_that_left_answers_until_its_slot_is_taken(scene: Scene) -> None:
    scene.delegate("ann", 30 * UNIT)
    with scene.act("checker 0"):
        scene.registry.leave_checker()
    scene.undelegate("ann", 10 * UNIT)
    assert scene.slash(5_000) == 15 * UNIT

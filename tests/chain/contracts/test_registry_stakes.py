"""Top-ups, slashing, what is entrusted to checkers, and the pause of bundles."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import boa
import pytest

from tests.chain.contracts.world import (
    NO_EXIT,
    REUSE_DELAY,
    UNIT,
    UNSTAKE_DELAY,
    World,
    events,
    wallet,
)

KINDS = ("provider", "checker")


def slot(world: World, kind: str, index: int = 0) -> Any:
    return getattr(world.registry, kind)(index)


def top_up(world: World, kind: str, amount: int, payer: str = "payer", index: int = 0) -> int:
    world.give(payer, amount)
    with boa.env.prank(wallet(payer)):
        world.token.approve(world.registry, amount)
        return int(getattr(world.registry, f"top_up_{kind}")(index, amount))


def leave(world: World, kind: str, person: str) -> int:
    with boa.env.prank(wallet(person)):
        return int(getattr(world.registry, f"leave_{kind}")())


def as_penalties(world: World) -> AbstractContextManager[None]:
    return boa.env.prank(world.penalties.address)


def slash(world: World, kind: str, amount: int, eject: bool = False, index: int = 0) -> int:
    with as_penalties(world):
        return int(world.registry.slash(KINDS.index(kind), index, amount, eject))


def entrust(world: World, amount: int, index: int = 0) -> None:
    with boa.env.prank(world.delegation.address):
        world.registry.set_delegated(index, amount)


# -- top-ups


@pytest.mark.parametrize("kind", KINDS)
def test_anybody_may_add_to_a_stake(empty: World, kind: str) -> None:
    empty.register(kind, "alice", 10 * UNIT)
    assert top_up(empty, kind, 3 * UNIT // 2) == 23 * UNIT // 2
    event = events(empty.registry)[-1]
    assert (event.kind, event.index, event.payer) == (KINDS.index(kind), 0, wallet("payer"))
    assert (event.amount, event.stake) == (3 * UNIT // 2, 23 * UNIT // 2)
    found = slot(empty, kind)
    assert (found.stake, found.stake_units, found.exit_epoch) == (23 * UNIT // 2, 11, NO_EXIT)
    assert empty.registry.stake_of(KINDS.index(kind), 0) == 23 * UNIT // 2
    assert empty.token.balanceOf(empty.registry) == 23 * UNIT // 2
    leave(empty, kind, "alice")
    empty.enter(1, UNSTAKE_DELAY)
    getattr(empty.registry, f"withdraw_{kind}")(0)
    assert empty.token.balanceOf(wallet("alice")) == 23 * UNIT // 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_top_up_counts_for_scores_from_the_next_epoch(empty: World, kind: str) -> None:
    """Or checkers that read it at different times of an epoch would score differently."""
    empty.register(kind, "alice", 10 * UNIT)
    assert slot(empty, kind).scored_stake == 10 * UNIT
    empty.enter(2)
    for amount in (2, 5):
        top_up(empty, kind, amount * UNIT)
        assert slot(empty, kind).scored_stake == 10 * UNIT
    assert slot(empty, kind).stake == 17 * UNIT
    slash(empty, kind, UNIT)
    assert slot(empty, kind).scored_stake == 9 * UNIT, "what is slashed counts at once"
    empty.enter(3)
    assert slot(empty, kind).scored_stake == 16 * UNIT
    top_up(empty, kind, UNIT)
    assert slot(empty, kind).scored_stake == 16 * UNIT
    slash(empty, kind, 17 * UNIT)
    assert (slot(empty, kind).stake, slot(empty, kind).scored_stake) == (0, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_refused_top_ups(empty: World, kind: str) -> None:
    with boa.reverts("registry: already left"):
        top_up(empty, kind, UNIT, index=0)
    empty.register(kind, "alice")
    with boa.reverts("registry: nothing arrived"):
        top_up(empty, kind, 0)
    leave(empty, kind, "alice")
    with boa.reverts("registry: already left"):
        top_up(empty, kind, UNIT)
    assert slot(empty, kind).stake == 10 * UNIT


# -- slashing


@pytest.mark.parametrize("kind", KINDS)
def test_only_penalties_slashes_and_suspends(empty: World, kind: str) -> None:
    empty.register(kind, "alice")
    for stranger in ("alice", "owner", "guardian"):
        with boa.env.prank(wallet(stranger)):
            with boa.reverts("registry: caller may not"):
                empty.registry.slash(KINDS.index(kind), 0, UNIT, False)
            with boa.reverts("registry: caller may not"):
                empty.registry.suspend_checker(0, 10)
            with boa.reverts("registry: caller may not"):
                empty.registry.set_delegated(0, UNIT)
            with boa.reverts("registry: caller may not"):
                empty.registry.pause_bundles(0)
    for contract in (empty.steward, empty.delegation, empty.rewards):
        with boa.env.prank(contract.address), boa.reverts("registry: caller may not"):
            empty.registry.slash(KINDS.index(kind), 0, UNIT, False)


@pytest.mark.parametrize("kind", KINDS)
def test_slashed_stake_goes_to_penalties(empty: World, kind: str) -> None:
    empty.register(kind, "alice", 10 * UNIT)
    empty.register(kind, "bob", 10 * UNIT)
    assert slash(empty, kind, 7 * UNIT // 2) == 7 * UNIT // 2
    (event,) = events(empty.registry)
    assert (event.kind, event.index, event.wallet) == (KINDS.index(kind), 0, wallet("alice"))
    assert (event.amount, event.left) == (7 * UNIT // 2, 13 * UNIT // 2)
    found = slot(empty, kind)
    assert (found.stake, found.stake_units, found.exit_epoch) == (13 * UNIT // 2, 6, NO_EXIT)
    assert empty.token.balanceOf(empty.penalties) == 7 * UNIT // 2
    assert slot(empty, kind, 1).stake == 10 * UNIT


@pytest.mark.parametrize(("kind", "minimum"), [("provider", UNIT), ("checker", 2 * UNIT)])
def test_less_than_the_minimum_ends_a_tenancy(empty: World, kind: str, minimum: int) -> None:
    empty.register(kind, "alice", 10 * UNIT)
    empty.enter(4)
    slash(empty, kind, 10 * UNIT - minimum)
    assert slot(empty, kind).exit_epoch == NO_EXIT
    slash(empty, kind, 1)
    slashed, left = events(empty.registry)
    assert slashed.left == minimum - 1
    assert (left.kind, left.index, left.wallet) == (KINDS.index(kind), 0, wallet("alice"))
    assert left.exit_epoch == slot(empty, kind).exit_epoch == 5
    with boa.reverts("registry: already left"):
        leave(empty, kind, "alice")
    empty.enter(5, UNSTAKE_DELAY)
    getattr(empty.registry, f"withdraw_{kind}")(0)
    assert empty.token.balanceOf(wallet("alice")) == minimum - 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_steward_moves_the_minimum(empty: World, kind: str) -> None:
    empty.register(kind, "alice", 10 * UNIT)
    number = KINDS.index(kind)
    with boa.env.prank(wallet("owner")):
        empty.steward.propose(number, 8 * UNIT)
    boa.env.timestamp += empty.steward.delay_seconds()
    empty.steward.execute(number)
    assert slot(empty, kind).exit_epoch == NO_EXIT, "nobody is ejected by the Steward"
    with boa.reverts("registry: stake is too small"):
        empty.register(kind, "bob", 8 * UNIT - 1)
    empty.register(kind, "carol", 8 * UNIT)
    slash(empty, kind, 3 * UNIT)
    assert slot(empty, kind).exit_epoch == empty.epoch + 1


@pytest.mark.parametrize("kind", KINDS)
def test_ejection_takes_effect_with_the_next_epoch(empty: World, kind: str) -> None:
    empty.register(kind, "alice")
    empty.enter(3)
    slash(empty, kind, UNIT, eject=True)
    assert slot(empty, kind).exit_epoch == 4
    slash(empty, kind, UNIT, eject=True)
    assert len(events(empty.registry)) == 1, "it leaves once"
    assert slot(empty, kind).stake == 8 * UNIT


@pytest.mark.parametrize("kind", KINDS)
def test_leaving_does_not_save_a_stake(empty: World, kind: str) -> None:
    empty.register(kind, "alice", 10 * UNIT)
    leave(empty, kind, "alice")
    empty.enter(1, UNSTAKE_DELAY)
    assert slash(empty, kind, 4 * UNIT, eject=True) == 4 * UNIT
    assert slot(empty, kind).exit_epoch == 1
    getattr(empty.registry, f"withdraw_{kind}")(0)
    assert empty.token.balanceOf(wallet("alice")) == 6 * UNIT
    assert slash(empty, kind, 4 * UNIT) == 0, "nothing is left to take"
    assert empty.token.balanceOf(empty.penalties) == 4 * UNIT


@pytest.mark.parametrize("kind", KINDS)
def test_a_slot_comes_back_even_if_all_was_slashed(empty: World, kind: str) -> None:
    empty.register(kind, "alice")
    assert slash(empty, kind, 2**256 - 1) == 10 * UNIT
    found = slot(empty, kind)
    assert (found.stake, found.stake_units, found.exit_epoch) == (0, 0, 1)
    assert slash(empty, kind, 2**256 - 1) == 0
    empty.enter(1)
    with boa.reverts("registry: unstake delay is not over"):
        getattr(empty.registry, f"withdraw_{kind}")(0)
    empty.enter(1, UNSTAKE_DELAY)
    assert getattr(empty.registry, f"withdraw_{kind}")(0) == 0
    with boa.reverts("registry: nothing to withdraw"):
        getattr(empty.registry, f"withdraw_{kind}")(0)
    empty.enter(1 + REUSE_DELAY)
    assert empty.register(kind, "bob") == 0


# -- what others entrust to a checker


def test_entrusted_stake_weighs(empty: World) -> None:
    empty.register("checker", "alice", 5 * UNIT // 2)
    entrust(empty, 7 * UNIT // 2)
    (event,) = events(empty.registry)
    assert (event.index, event.amount) == (0, 7 * UNIT // 2)
    found = slot(empty, "checker")
    assert (found.stake, found.stake_units) == (5 * UNIT // 2, 5), "each in whole units"
    top_up(empty, "checker", UNIT // 2)
    assert slot(empty, "checker").stake_units == 6
    slash(empty, "checker", UNIT)
    assert slot(empty, "checker").stake_units == 5
    entrust(empty, 0)
    assert slot(empty, "checker").stake_units == 2


def test_weight_has_fifteen_bits(empty: World) -> None:
    empty.register("checker", "alice", 32_766 * UNIT)
    for amount, units in ((UNIT, 32_767), (2 * UNIT, 32_767), (2**200, 32_767), (0, 32_766)):
        entrust(empty, amount)
        assert slot(empty, "checker").stake_units == units
    assert empty.register("checker", "whale", 10**6 * UNIT) == 1
    assert slot(empty, "checker", 1).stake_units == 32_767


def test_nobody_weighs_without_own_stake(empty: World) -> None:
    empty.register("checker", "alice")
    entrust(empty, 50 * UNIT)
    slash(empty, "checker", 10 * UNIT)
    assert slot(empty, "checker").stake_units == 0
    entrust(empty, 60 * UNIT)
    assert slot(empty, "checker").stake_units == 0


def test_a_newcomer_weighs_nothing_of_the_tenant_before(empty: World) -> None:
    empty.register("checker", "alice")
    entrust(empty, 50 * UNIT)
    leave(empty, "checker", "alice")
    empty.enter(1 + REUSE_DELAY)
    empty.registry.withdraw_checker(0)
    assert empty.register("checker", "bob", 3 * UNIT) == 0
    assert slot(empty, "checker").stake_units == 3
    top_up(empty, "checker", UNIT)
    assert slot(empty, "checker").stake_units == 4
    assert empty.registry.checker_tenant(0) == (wallet("bob"), 2 + REUSE_DELAY)


def test_tenant(empty: World) -> None:
    assert empty.registry.checker_tenant(0) == ("0x" + "0" * 40, 0)
    empty.enter(6)
    empty.register("checker", "alice")
    assert empty.registry.checker_tenant(0) == (wallet("alice"), 7)
    leave(empty, "checker", "alice")
    assert empty.registry.checker_tenant(0) == (wallet("alice"), 7)


# -- the pause


def test_a_pause_stops_bundles_and_nothing_else(small: World) -> None:
    registry = small.registry
    now = boa.env.timestamp
    with boa.env.prank(small.steward.address):
        registry.pause_bundles(now + 100)
    (event,) = events(registry)
    assert event.until == registry.paused_until() == now + 100
    with boa.reverts("registry: bundles are paused"):
        registry.bundle_slots(1)
    assert registry.slots_before(1) == (4, 4)
    small.register("provider", "newcomer")
    leave(small, "checker", "checker 0")
    top_up(small, "provider", UNIT)
    boa.env.timestamp = now + 99
    with boa.reverts("registry: bundles are paused"):
        registry.bundle_slots(1)
    boa.env.timestamp = now + 100
    assert registry.bundle_slots(1) == registry.slots_before(1) == (4, 4)
    small.enter(2)
    assert registry.bundle_slots(2) == (5, 4), "counting went on"


def test_a_pause_outlasts_registrations(empty: World) -> None:
    """It shares a word of storage with the counts of slots."""
    with boa.env.prank(empty.steward.address):
        empty.registry.pause_bundles(2**48 - 1)
    for epoch in (0, 1, 4):
        empty.enter(epoch)
        empty.populate(1, 1) if epoch == 0 else empty.register("checker", f"late {epoch}")
        assert empty.registry.paused_until() == 2**48 - 1
    assert empty.registry.slots_before(4) == (1, 2)
    with boa.env.prank(empty.steward.address):
        empty.registry.pause_bundles(boa.env.timestamp)
    assert empty.registry.bundle_slots(4) == (1, 2)
    assert (empty.registry.provider_count(), empty.registry.checker_count()) == (1, 3)

"""Checkers that are kept out for a while or for good, and what they can do meanwhile."""

from __future__ import annotations

from contextlib import suppress

import boa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.chain.contracts.world import (
    NO_EXIT,
    REUSE_DELAY,
    UNIT,
    UNSTAKE_DELAY,
    World,
    deployer,
    events,
    wallet,
)


def suspend(world: World, until: int, index: int = 0) -> int:
    with boa.env.prank(world.penalties.address):
        return int(world.registry.suspend_checker(index, until))


def leave(world: World, person: str = "alice") -> int:
    with boa.env.prank(wallet(person)):
        return int(world.registry.leave_checker())


def activity(world: World, epochs: range, index: int = 0) -> list[int]:
    """Those of the epochs in which the slot's word says that its tenant is active."""
    slots = deployer("SlotsHarness").deploy()
    word = world.registry.checker_word(index)
    return [epoch for epoch in epochs if slots.is_active(word, epoch)]


@pytest.fixture
def joined(empty: World) -> World:
    """Alice is checker 0, active from epoch 1 on; in epoch 2."""
    empty.register("checker", "alice")
    empty.enter(2)
    return empty


def test_out_from_the_next_epoch_on_and_back_again(joined: World) -> None:
    assert suspend(joined, 6) == 6
    (event,) = events(joined.registry)
    assert (event.index, event.wallet) == (0, wallet("alice"))
    assert (event.from_epoch, event.until_epoch) == (3, 6)
    assert activity(joined, range(1, 10)) == [1, 2, 6, 7, 8, 9]
    found = joined.registry.checker(0)
    assert (found.exit_epoch, found.joined_epoch, found.since_epoch) == (3, 6, 1)
    assert found.stake == 10 * UNIT
    assert joined.registry.checker_tenant(0) == (wallet("alice"), 1)
    assert joined.registry.barred_until(wallet("alice")) == 6
    with boa.reverts("registry: has not left"):
        joined.registry.withdraw_checker(0)


def test_a_suspension_is_prolonged_but_not_shortened(joined: World) -> None:
    suspend(joined, 20)
    joined.enter(4)
    assert suspend(joined, 10) == 20
    assert activity(joined, range(1, 25)) == [1, 2, 20, 21, 22, 23, 24]
    assert suspend(joined, 22) == 22
    assert activity(joined, range(1, 25)) == [1, 2, 22, 23, 24]


def test_a_second_suspension_after_the_first(joined: World) -> None:
    suspend(joined, 5)
    joined.enter(7)
    assert suspend(joined, 12) == 12
    assert activity(joined, range(6, 15)) == [6, 7, 12, 13, 14]


def test_in_the_epoch_of_its_return_the_first_goes_on(joined: World) -> None:
    """A word has room for one gap, and the epoch before must stay in it."""
    suspend(joined, 5)
    joined.enter(5)
    assert suspend(joined, 12) == 12
    assert activity(joined, range(1, 15)) == [1, 2, 12, 13, 14]


def test_for_good(joined: World) -> None:
    assert suspend(joined, NO_EXIT) == NO_EXIT
    left, suspended = events(joined.registry)
    assert (left.index, left.exit_epoch) == (0, 3)
    assert (suspended.from_epoch, suspended.until_epoch) == (3, NO_EXIT)
    assert activity(joined, range(1, 9)) == [1, 2]
    with boa.reverts("registry: already left"):
        leave(joined)
    joined.enter(3, UNSTAKE_DELAY)
    joined.registry.withdraw_checker(0)
    assert joined.token.balanceOf(wallet("alice")) == 10 * UNIT
    for epoch in (joined.epoch, 10**6):
        joined.enter(epoch, 599)
        with boa.reverts("registry: wallet is barred"):
            joined.register("checker", "alice")
    assert joined.register("checker", "bob") == 0, "the slot is free again"
    assert joined.register("provider", "alice") == 0, "only checkers are barred"


def test_for_good_while_suspended(joined: World) -> None:
    suspend(joined, 30)
    joined.enter(9)
    assert suspend(joined, NO_EXIT) == NO_EXIT
    assert activity(joined, range(1, 40)) == [1, 2]
    joined.registry.withdraw_checker(0)


# -- leaving


def test_leaving_while_suspended(joined: World) -> None:
    suspend(joined, 30)
    joined.enter(5)
    assert leave(joined) == 3, "nothing that it does now makes it active in between"
    (event,) = events(joined.registry)
    assert event.exit_epoch == 3
    assert activity(joined, range(1, 40)) == [1, 2]
    joined.enter(3, UNSTAKE_DELAY - 1)
    with boa.reverts("registry: unstake delay is not over"):
        joined.registry.withdraw_checker(0)
    boa.env.timestamp += 1
    assert joined.registry.withdraw_checker(0) == 10 * UNIT
    joined.enter(28, 599)
    with boa.reverts("registry: wallet is barred"):
        joined.register("checker", "alice")
    joined.enter(29)
    assert joined.register("checker", "alice") == 0
    assert activity(joined, range(28, 32)) == [30, 31]


def test_leaving_in_the_epoch_of_the_suspension(joined: World) -> None:
    suspend(joined, 30)
    assert leave(joined) == 3
    assert activity(joined, range(1, 40)) == [1, 2]


def test_leaving_after_the_return(joined: World) -> None:
    suspend(joined, 5)
    joined.enter(5)
    assert leave(joined) == 6
    assert activity(joined, range(3, 9)) == [5]
    assert joined.registry.checker_tenant(0) == (wallet("alice"), 1)


def test_suspended_after_leaving_is_only_barred(joined: World) -> None:
    leave(joined)
    assert suspend(joined, 50) == 50
    assert len(events(joined.registry)) == 1
    assert activity(joined, range(1, 60)) == [1, 2]
    joined.enter(3, UNSTAKE_DELAY)
    joined.registry.withdraw_checker(0)
    with boa.reverts("registry: wallet is barred"):
        joined.register("checker", "alice")


def test_ejected_while_suspended(joined: World) -> None:
    suspend(joined, 30)
    joined.enter(5)
    with boa.env.prank(joined.penalties.address):
        joined.registry.slash(1, 0, UNIT, True)
    assert joined.registry.checker(0).exit_epoch == 3
    assert activity(joined, range(1, 40)) == [1, 2]


def test_stake_can_be_added_while_suspended(joined: World) -> None:
    suspend(joined, 30)
    joined.token.approve(joined.registry, UNIT)
    assert joined.registry.top_up_checker(0, UNIT) == 11 * UNIT
    assert activity(joined, range(1, 4)) == [1, 2]
    assert joined.registry.checker(0).stake_units == 11


def test_beacon_lets_it_prepare_its_return(joined: World) -> None:
    suspend(joined, 6)
    joined.enter(4)
    joined.commit(0)
    with boa.reverts("beacon: checker is not active"):
        joined.contribute(0)
    joined.enter(6)
    joined.contribute(0)
    leave(joined)
    joined.enter(7)
    with boa.reverts("beacon: checker has left"):
        joined.commit(0)


ACTS = st.sampled_from(["wait", "wait", "suspend", "suspend for long", "leave", "eject"])


@given(acts=st.lists(ACTS, max_size=14))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_happens_does_not_change_this_epoch_or_the_last(empty: World, acts: list[str]) -> None:
    """Those are the epochs in which seats are judged. The exception is a suspension in the epoch of
    a return."""
    empty.register("checker", "alice")
    epoch = 3
    empty.enter(epoch)
    for act in acts:
        if act == "wait":
            epoch += 1
            empty.enter(epoch)
            continue
        slot = empty.registry.checker(0)
        before = activity(empty, range(epoch - 1, epoch + 1))
        if act == "leave":
            with boa.env.prank(wallet("alice")), suppress(boa.BoaError):
                empty.registry.leave_checker()
        elif act == "eject":
            with boa.env.prank(empty.penalties.address):
                empty.registry.slash(1, 0, 1, True)
        else:
            suspend(empty, epoch + (6 if act.endswith("long") else 2))
            if slot.exit_epoch < slot.joined_epoch == epoch:
                continue
        assert activity(empty, range(epoch - 1, epoch + 1)) == before


def test_reuse_forgets_the_suspension_of_the_slot(joined: World) -> None:
    suspend(joined, 500)
    leave(joined)
    joined.enter(3 + REUSE_DELAY)
    joined.registry.withdraw_checker(0)
    assert joined.register("checker", "bob") == 0
    assert activity(joined, range(1, 20)) == list(range(4 + REUSE_DELAY, 20))

"""The packed word of a slot: who is active when, with and without a suspension."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.chain.contracts.world import NO_EXIT, deployer, wallet

ZERO = "0x" + "0" * 40
EPOCHS = st.one_of(st.integers(0, 12), st.integers(NO_EXIT - 3, NO_EXIT))


def pack(joined: int, exit: int, units: int = 7, owner: str = "alice") -> int:
    return int(wallet(owner), 16) | joined << 160 | exit << 192 | units << 224


@given(joined=EPOCHS, exit=EPOCHS, epoch=EPOCHS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_activity(joined: int, exit: int, epoch: int) -> None:
    slots = deployer("SlotsHarness").deploy()
    word = pack(joined, exit)
    suspended = exit < joined
    if suspended:
        active = epoch < exit or joined <= epoch
    else:
        active = joined <= epoch < exit
    assert slots.is_active(word, epoch) == active
    assert slots.active_wallet(word, epoch) == (wallet("alice") if active else ZERO)
    assert slots.is_suspended(word) == suspended
    assert slots.has_left(word) == (not suspended and exit != NO_EXIT)
    assert slots.has_future(word, epoch) == (suspended or epoch < exit)


@pytest.mark.parametrize("epoch", [0, 1, NO_EXIT - 1, NO_EXIT])
def test_nobody_is_in_an_empty_slot(epoch: int) -> None:
    slots = deployer("SlotsHarness").deploy()
    assert not slots.is_active(0, epoch)
    assert slots.active_wallet(0, epoch) == ZERO
    assert slots.has_left(0)
    assert not slots.has_future(0, epoch)


def test_changes_leave_the_other_fields_alone() -> None:
    slots = deployer("SlotsHarness").deploy()
    for joined, exit, units in ((0, 0, 0), (1, 2, 3), (NO_EXIT, NO_EXIT, 2**32 - 1)):
        word = pack(NO_EXIT - joined, NO_EXIT - exit, NO_EXIT - units)
        assert slots.changed(word, joined, exit, units) == pack(joined, exit, units)

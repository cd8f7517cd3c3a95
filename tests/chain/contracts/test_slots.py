"""The packed word of a slot: who is active when, with and without a suspension."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.chain.contracts.world import NO_EXIT, deployer, wallet

ZERO = "0x" + "0" * 40
EPOCHS = st.one_of(st.integers(0, 12), st.integers(NO_EXIT - 3, NO_EXIT))


def pack(joined: int, end: int, units: int = 7, owner: str = "alice") -> int:
    return int(wallet(owner), 16) | joined << 160 | end << 192 | units << 224


@given(joined=EPOCHS, end=EPOCHS, epoch=EPOCHS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_activity(joined: int, end: int, epoch: int) -> None:
    slots = deployer("SlotsHarness").deploy()
    word = pack(joined, end)
    suspended = end < joined
    begun, not_ended = joined <= epoch, epoch < end
    active = (begun or not_ended) if suspended else (begun and not_ended)
    assert slots.is_active(word, epoch) == active
    assert slots.active_wallet(word, epoch) == (wallet("alice") if active else ZERO)
    assert slots.is_suspended(word) == suspended
    assert slots.has_left(word) == (not suspended and end != NO_EXIT)
    assert slots.has_future(word, epoch) == (suspended or epoch < end)


@pytest.mark.parametrize("epoch", [0, 1, NO_EXIT - 1, NO_EXIT])
def test_nobody_is_in_an_empty_slot(epoch: int) -> None:
    slots = deployer("SlotsHarness").deploy()
    assert not slots.is_active(0, epoch)
    assert slots.active_wallet(0, epoch) == ZERO
    assert slots.has_left(0)
    assert not slots.has_future(0, epoch)


def test_changes_leave_the_other_fields_alone() -> None:
    slots = deployer("SlotsHarness").deploy()
    for joined, end, units in ((0, 0, 0), (1, 2, 3), (NO_EXIT, NO_EXIT, 2**32 - 1)):
        word = pack(NO_EXIT - joined, NO_EXIT - end, NO_EXIT - units)
        assert slots.changed(word, joined, end, units) == pack(joined, end, units)

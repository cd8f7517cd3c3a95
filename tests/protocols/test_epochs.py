"""The calendar: epochs, phases and slots, on both sides of every deadline."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.epochs import Phase, Timeline
from protocols.errors import LocalError
from protocols.params import MINIMAL, PRESETS, Preset
from protocols.types import Epoch, Seat, TimeMs
from tests.vectors.generate import load

CALENDARS = load("epochs/calendars.json")
GENESIS = TimeMs(1_700_000_000_000)

of_every_preset = pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda each: each.name)


@pytest.mark.parametrize("case", CALENDARS, ids=lambda case: f"{case['name']}-{case['epoch']}")
def test_vector(case: dict[str, Any]) -> None:
    timeline = Timeline(TimeMs(case["genesis_ms"]), replace(MINIMAL, **case["calendar"]))
    epoch = Epoch(case["epoch"])

    assert timeline.start_of(epoch) == case["start"]
    assert timeline.check_start(epoch) == case["check_start"]
    assert [
        [timeline.slot_start(epoch, Seat(seat)), timeline.slot_end(epoch, Seat(seat))]
        for seat in range(len(case["slots"]))
    ] == case["slots"]
    assert len(case["slots"]) == timeline.preset.seats
    assert timeline.reveal_start(epoch) == case["reveal_start"]
    assert timeline.bundle_start(epoch) == case["bundle_start"]
    assert timeline.bundle_end(epoch) == case["bundle_end"]
    for moment in case["phases"]:
        assert timeline.phase_at(TimeMs(moment["now_ms"])) is Phase(moment["phase"])
        assert timeline.epoch_at(TimeMs(moment["now_ms"])) == epoch


@of_every_preset
def test_there_is_no_epoch_before_the_genesis(preset: Preset) -> None:
    timeline = Timeline(GENESIS, preset)

    assert timeline.epoch_at(GENESIS) == 0
    with pytest.raises(LocalError, match="genesis"):
        timeline.epoch_at(TimeMs(GENESIS - 1))
    with pytest.raises(LocalError, match="genesis"):
        timeline.phase_at(TimeMs(GENESIS - 1))


@of_every_preset
@given(after=st.integers(0, 10**15))
def test_every_moment_lies_in_the_epoch_it_is_said_to(preset: Preset, after: int) -> None:
    timeline = Timeline(GENESIS, preset)
    now = TimeMs(GENESIS + after)

    epoch = timeline.epoch_at(now)

    assert timeline.start_of(epoch) <= now < timeline.start_of(Epoch(epoch + 1))


@of_every_preset
@given(after=st.integers(0, 10**9))
def test_a_moment_of_the_check_phase_lies_in_one_slot_at_most(preset: Preset, after: int) -> None:
    timeline = Timeline(GENESIS, preset)
    now = TimeMs(GENESIS + after)
    epoch = timeline.epoch_at(now)

    open_slots = [
        seat
        for seat in range(preset.seats)
        if timeline.slot_start(epoch, Seat(seat)) <= now < timeline.slot_end(epoch, Seat(seat))
    ]

    assert len(open_slots) <= 1
    if open_slots:
        assert timeline.phase_at(now) is Phase.CHECK

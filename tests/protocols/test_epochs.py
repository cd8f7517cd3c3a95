"""The calendar: epochs, phases and slots, on both sides of every deadline."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.epochs import MAX_TRANSFER_WINDOW_MS, Phase, Timeline
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
    assert timeline.transfer_start(epoch) == case["transfer_start"]
    for shown in case["transfers"]:
        window = timeline.transfer_window(epoch, shown["rank"], shown["count"])
        assert (window.start, window.down_end) == (shown["down_start"], shown["down_end"])
        assert (window.up_start, window.up_end) == (shown["up_start"], shown["up_end"])
        assert window.end == shown["end"]
    assert timeline.check_start(epoch) == case["check_start"]
    assert [
        [timeline.slot_start(epoch, Seat(seat)), timeline.slot_end(epoch, Seat(seat))]
        for seat in range(len(case["slots"]))
    ] == case["slots"]
    assert len(case["slots"]) == timeline.preset.seats
    assert timeline.commit_start(epoch) == case["commit_start"]
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


@of_every_preset
@given(count=st.integers(1, 256), epoch=st.integers(0, 10**6))
def test_transfer_windows_follow_one_another_within_their_phase(
    preset: Preset, count: int, epoch: int
) -> None:
    timeline = Timeline(GENESIS, preset)

    windows = [timeline.transfer_window(Epoch(epoch), rank, count) for rank in range(count)]

    assert windows[0].start == timeline.transfer_start(Epoch(epoch))
    assert windows[-1].end <= timeline.check_start(Epoch(epoch))
    for one, next_one in pairwise(windows):
        assert one.end == next_one.start
    for window in windows:
        assert window.start < window.down_end <= window.up_start < window.up_end <= window.end
        assert window.end - window.start <= MAX_TRANSFER_WINDOW_MS
        assert window.down_end - window.start == window.up_end - window.up_start == window.stage_ms


@pytest.mark.parametrize(("rank", "count"), [(-1, 3), (3, 3), (0, 0)])
def test_there_is_no_transfer_window_for_a_provider_that_is_not(rank: int, count: int) -> None:
    with pytest.raises(LocalError, match="provider"):
        Timeline(GENESIS, MINIMAL).transfer_window(Epoch(0), rank, count)

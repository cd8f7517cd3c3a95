"""Every preset must work: phases fit their epoch, jobs their slot, and the contract's limits."""

from dataclasses import fields, replace
from typing import Any

import pytest

from protocols.compute import MAX_M, MAX_ROUNDS, Shape
from protocols.errors import LocalError
from protocols.host_proof import MAX_DEVICES
from protocols.messages import MAX_OPENINGS_BYTES
from protocols.openings import Index, compute_openings_size
from protocols.params import (
    ANNOUNCEMENT_INTERVAL_MS,
    ANNOUNCEMENT_LIFETIME_MS,
    CLOCK_DISPARITY_MS,
    EMISSION_PER_SECOND,
    JOB_TIMES,
    LANES,
    MAINNET,
    MAX_SCORE,
    MAX_SEATS,
    MEMORY_OPENINGS,
    MINIMAL,
    OPENINGS,
    PRESETS,
    TESTNET,
    TOKEN,
    Preset,
    get_preset,
    resize_committee,
)

NETWORK_SIZES = range(1, 17)

SIZED = {
    **PRESETS,
    **{
        f"{name}_with_{checkers}_checkers": resize_committee(preset, checkers)
        for name, preset in PRESETS.items()
        for checkers in NETWORK_SIZES
    },
}

of_every_size = pytest.mark.parametrize("preset", SIZED.values(), ids=SIZED.keys())
of_every_preset = pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS.keys())


@of_every_size
def test_phases_fit_their_epoch(preset: Preset) -> None:
    names = ("draw_ms", "transfer_ms", "check_ms", "commit_ms", "reveal_ms", "bundle_ms")
    lengths = [getattr(preset, name) for name in names]

    assert all(length > 0 for length in lengths)
    assert sum(lengths) == preset.epoch_ms == 1000 * preset.epoch_seconds


@of_every_size
def test_phases_outlast_the_disparity_of_clocks(preset: Preset) -> None:
    phases = (preset.draw_ms, preset.commit_ms, preset.reveal_ms, preset.bundle_ms)

    # Commitments are no longer taken a disparity before their phase ends.
    assert min(phases) > 2 * CLOCK_DISPARITY_MS


@of_every_size
def test_a_job_fits_its_slot(preset: Preset) -> None:
    assert preset.seats * preset.slot_ms <= preset.check_ms
    assert 0 < preset.job_ms <= preset.slot_ms
    assert min(getattr(preset, name) for name in JOB_TIMES) > 0


@of_every_size
def test_quorum_is_two_thirds_rounded_up(preset: Preset) -> None:
    assert 3 * preset.quorum >= 2 * preset.seats > 3 * (preset.quorum - 1)
    # Any two quorums share a checker.
    assert 2 * preset.quorum > preset.seats >= preset.quorum


@of_every_size
def test_the_contract_accepts_the_numbers(preset: Preset) -> None:
    """The limits of Consensus.vy's constructor."""
    assert 1 <= preset.seats <= MAX_SEATS
    assert 0 <= preset.grace_seconds <= preset.epoch_seconds
    assert 1 <= preset.tolerance_shift <= 14
    assert 4 <= preset.ring_epochs <= 224


@of_every_size
def test_when_ranks_fail_the_next_one_still_has_time(preset: Preset) -> None:
    """Up to k − q may fail; one more Δ is left for the transaction of the next."""
    time = preset.bundle_ms + 1000 * preset.grace_seconds

    assert (preset.seats - preset.quorum + 1) * preset.rank_delay_ms <= time


@of_every_size
def test_grace_ends_before_the_next_bundles_are_due(preset: Preset) -> None:
    assert 1000 * preset.grace_seconds < preset.epoch_ms - preset.bundle_ms


@of_every_preset
def test_pools_are_kaisars_emission(preset: Preset) -> None:
    emission = preset.provider_pool + preset.checker_pool

    assert emission == EMISSION_PER_SECOND * preset.epoch_seconds
    assert 5 * preset.checker_pool == emission


def test_emission_is_fifteen_tokens_per_twelve_seconds() -> None:
    assert 12 * EMISSION_PER_SECOND == 15 * TOKEN


@of_every_preset
def test_stakes_are_in_order(preset: Preset) -> None:
    assert 0 < preset.min_provider_stake <= preset.max_stake
    assert 0 < preset.min_checker_stake <= preset.max_stake


@of_every_size
def test_openings_of_the_shape_fit_their_message(preset: Preset) -> None:
    shape = Shape(MAX_M, preset.k, preset.n)
    pairs = [Index(0, row) for row in range(OPENINGS + MEMORY_OPENINGS)]

    rows = compute_openings_size(shape, MAX_ROUNDS, pairs)
    assert rows + (MAX_DEVICES - 1) * 32 * MAX_ROUNDS <= MAX_OPENINGS_BYTES


@of_every_size
def test_the_reference_machine_finishes_a_round_in_the_window(preset: Preset) -> None:
    shape = Shape(64, preset.k, preset.n)

    assert preset.reference_rate * preset.window_ms // 1000 // shape.operations > 0


@of_every_preset
@pytest.mark.parametrize("checkers", NETWORK_SIZES)
def test_everybody_is_seated_up_to_eleven(preset: Preset, checkers: int) -> None:
    resized = resize_committee(preset, checkers)

    assert resized.seats == min(11, max(preset.seats, checkers))


@of_every_preset
@pytest.mark.parametrize("checkers", NETWORK_SIZES)
def test_resizing_changes_the_committee_and_the_job_only(preset: Preset, checkers: int) -> None:
    resized = resize_committee(preset, checkers)
    kept: dict[str, Any] = {
        "seats": preset.seats,
        **{name: getattr(preset, name) for name in JOB_TIMES},
    }

    assert replace(resized, **kept) == preset
    if resized.seats == preset.seats:
        assert resized == preset


@of_every_preset
@pytest.mark.parametrize("checkers", NETWORK_SIZES)
def test_a_job_shrinks_only_where_it_must_and_no_further(preset: Preset, checkers: int) -> None:
    resized = resize_committee(preset, checkers)

    room = resized.slot_ms * 9 // 10
    if room >= preset.job_ms:
        assert resized.job_ms == preset.job_ms
    else:
        # Each of its times is rounded down to a millisecond.
        assert room - len(JOB_TIMES) < resized.job_ms <= room


def test_times_of_a_job_shrink_alike() -> None:
    times = dict(zip(JOB_TIMES, (1000, 600, 200, 100, 200, 100, 400), strict=True))
    narrow = replace(MINIMAL, check_ms=14_300, **times)

    resized = resize_committee(narrow, 11)

    assert [getattr(resized, name) for name in JOB_TIMES] == [450, 270, 90, 45, 90, 45, 180]


@pytest.mark.parametrize(
    ("name", "preset"), [("mainnet", MAINNET), ("testnet", TESTNET), ("minimal", MINIMAL)]
)
def test_presets_have_their_names(name: str, preset: Preset) -> None:
    assert get_preset(name) is preset
    assert preset.name == name


def test_a_preset_of_an_impossible_shape_is_refused() -> None:
    with pytest.raises(LocalError, match="k = 8 is no multiple of 16"):
        replace(MINIMAL, k=8)


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(LocalError, match="found 'main', expected one of mainnet, minimal, testnet"):
        get_preset("main")


def test_numbers_that_the_chain_and_the_wire_are_built_on() -> None:
    """A change of one of these is a new protocol version."""
    assert (LANES, MAX_SCORE, MAX_SEATS, OPENINGS) == (256, 0x7FFF, 16, 64)


def test_announcements_outlive_their_interval() -> None:
    assert 5 * ANNOUNCEMENT_INTERVAL_MS <= ANNOUNCEMENT_LIFETIME_MS


@of_every_preset
def test_whatever_machines_must_agree_on_is_an_integer(preset: Preset) -> None:
    for each in fields(preset):
        value: Any = getattr(preset, each.name)
        assert each.name == "name" or type(value) is int

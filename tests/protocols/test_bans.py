"""Bans: vectors, and Kaisar's rule in words against the arithmetic."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.bans import FOREVER, Standing, compute_ban, find_return, record_wrong
from protocols.errors import LocalError
from protocols.params import MAINNET, MINIMAL, PRESETS, Preset
from protocols.types import Epoch
from tests.vectors.generate import load

HISTORIES = load("bans/standings.json")

histories = st.lists(st.integers(1, 2000), min_size=1, max_size=14, unique=True).map(sorted)


@pytest.mark.parametrize("case", HISTORIES, ids=lambda case: case["name"])
def test_vector(case: dict[str, Any]) -> None:
    preset = replace(
        MINIMAL,
        ban_week_epochs=case["week_epochs"],
        ban_month_epochs=case["month_epochs"],
        ban_half_year_epochs=case["half_year_epochs"],
    )
    standing = Standing()
    for step in case["steps"]:
        standing = record_wrong(standing, Epoch(step["wrong"]))
        assert standing == Standing(step["total"], tuple(step["latest"]))
        assert compute_ban(standing, preset) == step["ban_epochs"]


@given(wrong=histories)
def test_ban_is_kaisars_rule(wrong: list[int]) -> None:
    """2 in a week → a month, 5 in a month → half a year, more than 10 → for good."""
    standing = Standing()
    for epoch in wrong:
        standing = record_wrong(standing, Epoch(epoch))
    newest = wrong[-1]

    week = [each for each in wrong if newest - each < MINIMAL.ban_week_epochs]
    month = [each for each in wrong if newest - each < MINIMAL.ban_month_epochs]
    ban = compute_ban(standing, MINIMAL)

    assert (ban == FOREVER) == (len(wrong) > 10)
    if ban != FOREVER:
        assert (ban == MINIMAL.ban_half_year_epochs) == (len(month) >= 5)
        assert (ban > 0) == (len(month) >= 5 or len(week) >= 2)


@given(wrong=histories)
def test_a_longer_record_never_shortens_the_ban(wrong: list[int]) -> None:
    """Whoever was wrong more often, with the same latest reports, is not let off more lightly."""
    standing = Standing()
    for epoch in wrong:
        standing = record_wrong(standing, Epoch(epoch))

    assert compute_ban(replace(standing, total=11), MINIMAL) >= compute_ban(standing, MINIMAL)


@pytest.mark.parametrize("epoch", [0, 6, 7])
def test_epochs_are_counted_once_and_in_order(epoch: int) -> None:
    standing = record_wrong(Standing(), Epoch(7))

    with pytest.raises(LocalError, match="after 7"):
        record_wrong(standing, Epoch(epoch))
    assert record_wrong(standing, Epoch(8)).total == 2


def test_nothing_counts_in_the_first_epoch() -> None:
    with pytest.raises(LocalError, match="after 0"):
        record_wrong(Standing(), Epoch(0))


@pytest.mark.parametrize(
    ("current", "ban", "back"),
    [(10, 0, 11), (10, 60, 71), (10, FOREVER, FOREVER), (FOREVER - 1, 60, FOREVER)],
)
def test_a_ban_begins_with_the_next_epoch(current: int, ban: int, back: int) -> None:
    assert find_return(Epoch(current), ban) == back


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS.keys())
def test_bans_are_in_order(preset: Preset) -> None:
    """What Penalties.vy's constructor wants, and whole epochs a day where it is for real."""
    assert 0 < preset.ban_week_epochs <= preset.ban_month_epochs <= preset.ban_half_year_epochs
    if preset.name != "minimal":
        assert preset.ban_week_epochs % 7 == preset.ban_month_epochs % 30 == 0
        assert preset.ban_half_year_epochs * 30 == preset.ban_month_epochs * 182


def test_a_week_on_mainnet_is_a_week() -> None:
    assert MAINNET.ban_week_epochs * MAINNET.epoch_seconds == 7 * 86_400

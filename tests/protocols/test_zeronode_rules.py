"""ZeroNode's numbers: what they have to be to one another, and what Kaisar says of them."""

import pytest

from protocols.errors import LocalError
from protocols.params import CLOCK_DISPARITY_MS, MAINNET, MINIMAL, PRESETS
from protocols.types import TimeMs
from protocols.uptime_gossip import BATCH_DAYS, BATCH_LIFETIME_MS
from protocols.zeronode_rules import (
    CHECK_IN_POINTS,
    MAINNET_RULES,
    REFERRED_UNITS_PER_SECOND,
    TICKET_UNITS,
    UNITS_PER_POINT,
    UNITS_PER_SECOND,
    ZeroNodeRules,
    rules_of,
)

of_each = pytest.mark.parametrize("rules", [rules_of(name) for name in PRESETS], ids=list(PRESETS))


def test_kaisars_own_numbers() -> None:
    assert 86_400 * UNITS_PER_SECOND == 300 * UNITS_PER_POINT == TICKET_UNITS
    assert REFERRED_UNITS_PER_SECOND * 10 == UNITS_PER_SECOND
    assert MAINNET_RULES.day_ms == 86_400_000
    assert MAINNET_RULES.gate_ms == 6 * 3_600_000
    assert len(CHECK_IN_POINTS) == 7
    assert sorted(set(CHECK_IN_POINTS)) == list(CHECK_IN_POINTS)


def test_every_preset_has_its_rules() -> None:
    for name in PRESETS:
        assert rules_of(name).name == name
        # What the contract takes roots of days by.
        assert rules_of(name).day_ms == 1000 * PRESETS[name].day_seconds
    with pytest.raises(
        LocalError, match=r"found 'paper', expected one of mainnet, minimal, testnet"
    ):
        rules_of("paper")


@of_each
def test_an_honest_beat_is_paid_in_full(rules: ZeroNodeRules) -> None:
    assert 0 < rules.challenge_min_ms < rules.challenge_max_ms
    # From a beat that came at once to one that came at its deadline, and half a second for a
    # service that was busy.
    assert rules.challenge_max_ms + rules.answer_ms + 500 <= rules.max_credit_ms
    # A challenge is over before the next one.
    assert rules.max_misses > 2 or rules.answer_ms < rules.challenge_min_ms


@of_each
def test_a_worker_is_kept_awake(rules: ZeroNodeRules) -> None:
    """Chromium ends an extension's worker after 30 seconds without traffic."""
    assert rules.challenge_max_ms + rules.answer_ms < 30_000


@of_each
def test_gaps_are_shorter_than_runs(rules: ZeroNodeRules) -> None:
    assert rules.join_gap_ms < rules.gate_ms < rules.day_ms
    assert rules.close_delay_ms < rules.day_ms
    assert rules.batch_ms * 3 <= rules.close_delay_ms


def test_a_killed_worker_is_back_within_the_gap() -> None:
    """Its alarm takes half a minute, and the first beat another challenge."""
    assert MAINNET_RULES.join_gap_ms >= 30_000 + MAINNET_RULES.challenge_max_ms + 10_000


@of_each
def test_a_day_can_be_told_again_before_it_is_booked(rules: ZeroNodeRules) -> None:
    assert BATCH_DAYS * rules.day_ms >= rules.day_ms + rules.close_delay_ms
    assert rules.batch_ms + CLOCK_DISPARITY_MS <= BATCH_LIFETIME_MS


@of_each
def test_days_follow_one_another(rules: ZeroNodeRules) -> None:
    for day in (0, 1, 20_000):
        start, end = rules.day_start(day), rules.day_end(day)
        assert rules.day_of(start) == rules.day_of(TimeMs(end - 1)) == day
        assert end == rules.day_start(day + 1)
        assert rules.close_time(day) == end + rules.close_delay_ms


@of_each
def test_limits_leave_room(rules: ZeroNodeRules) -> None:
    limits = rules.limits
    assert limits.sessions_per_key == 1
    assert limits.sessions_per_account <= limits.keys_per_account
    assert limits.sessions_per_address <= limits.sessions_per_subnet
    assert limits.sessions_per_subnet <= limits.sessions_per_network <= limits.sessions
    assert limits.requests_per_minute > 0


def test_days_are_those_of_the_contract() -> None:
    for preset in (MAINNET, MINIMAL):
        assert rules_of(preset.name).day_ms == preset.day_seconds * 1_000

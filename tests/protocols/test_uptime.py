"""Uptime is a union: what it earns does not depend on how it was told."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalError
from protocols.types import TimeMs
from protocols.uptime import (
    DayUptime,
    Stretch,
    clip,
    compute_day,
    find_current_run,
    find_gate,
    find_longest_run,
    find_runs,
    merge,
    seconds,
    total_ms,
)
from protocols.zeronode_rules import MAINNET_RULES, MINIMAL_RULES
from tests.protocols import zeronode_reference as ref

DAY = MINIMAL_RULES.day_ms
LAST = 3 * DAY
"""Times of the properties: three short days."""

TINY = replace(MINIMAL_RULES, day_ms=40, join_gap_ms=3, gate_ms=15)
"""Numbers so small that every millisecond can be looked at."""


def stretch(start: int, end: int) -> Stretch:
    """From one moment to the other."""
    return Stretch(TimeMs(start), TimeMs(end))


def stretches(last: int = LAST) -> st.SearchStrategy[list[Stretch]]:
    """Any stretches: overlapping, touching, in any order, the same several times."""
    edges = [0, 1, DAY - 1, DAY, DAY + 1, 2 * DAY]
    moments = st.integers(0, last) | st.sampled_from([each for each in edges if each <= last])
    pairs = st.tuples(moments, moments).filter(lambda pair: pair[0] != pair[1])
    return st.lists(pairs.map(lambda pair: stretch(min(pair), max(pair))), max_size=12)


moments = st.none() | st.integers(0, LAST)
days = st.integers(0, 3)


@pytest.mark.parametrize(("start", "end"), [(1, 1), (2, 1), (-1, 1)])
def test_a_stretch_has_a_length(start: int, end: int) -> None:
    with pytest.raises(LocalError, match="stretch from"):
        stretch(start, end)


def test_merging_joins_what_overlaps_or_touches() -> None:
    told = [stretch(5, 9), stretch(1, 2), stretch(2, 4), stretch(6, 7), stretch(8, 12)]
    assert merge(told) == (stretch(1, 4), stretch(5, 12))
    assert merge([]) == ()
    assert total_ms(told) == 10


def test_clipping_leaves_what_lies_within() -> None:
    told = [stretch(0, 10), stretch(20, 30), stretch(40, 50)]
    assert clip(told, 5, 41) == (stretch(5, 10), stretch(20, 30), stretch(40, 41))
    assert clip(told, 10, 20) == ()
    assert clip(told, 30, 5) == ()


def test_runs_are_joined_over_short_gaps() -> None:
    gap = MAINNET_RULES.join_gap_ms
    told = [stretch(0, 10), stretch(10 + gap, 20 + gap), stretch(21 + 2 * gap, 60 + 2 * gap)]
    first, second = find_runs(told, MAINNET_RULES)
    assert (first.start_ms, first.end_ms, first.paid_ms) == (0, 20 + gap, 20)
    assert second.paid_ms == 39
    assert find_longest_run(told, MAINNET_RULES) == second
    assert find_longest_run([], MAINNET_RULES) is None
    assert first.find_moment(10) == 10
    assert first.find_moment(11) == 11 + gap
    assert first.find_moment(21) is None


def test_the_current_run_ends_with_the_grace() -> None:
    told = [stretch(0, 10)]
    gap = MAINNET_RULES.join_gap_ms
    assert find_current_run(told, MAINNET_RULES, TimeMs(10 + gap)) is not None
    assert find_current_run(told, MAINNET_RULES, TimeMs(11 + gap)) is None
    assert find_current_run([], MAINNET_RULES, TimeMs(0)) is None


def test_six_hours_in_a_row_pass_the_gate_and_no_sum_of_shorter_ones_does() -> None:
    hour = 3_600_000
    assert MAINNET_RULES.gate_ms == 6 * hour
    apart = [stretch(n * 10 * hour, n * 10 * hour + 6 * hour - 1) for n in range(100)]
    assert find_gate(apart, MAINNET_RULES) is None
    assert find_gate([*apart, stretch(990 * hour, 996 * hour)], MAINNET_RULES) == 996 * hour


def day_of(told: list[Stretch], day: int, linked: int | None, gate: int | None) -> DayUptime:
    """A short day's uptime."""
    known = [None if each is None else TimeMs(each) for each in (linked, gate)]
    return compute_day(told, day, MINIMAL_RULES, *known)


@given(stretches(), days, moments, moments, st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_matter(
    told: list[Stretch], day: int, linked: int | None, gate: int | None, chance: object
) -> None:
    again = [*told, *told[: len(told) // 2]]
    chance.shuffle(again)  # type: ignore[attr-defined]
    assert day_of(again, day, linked, gate) == day_of(told, day, linked, gate)
    assert find_gate(again, MINIMAL_RULES) == find_gate(told, MINIMAL_RULES)
    assert merge(again) == merge(told)


@given(stretches(), days, moments, moments, st.lists(st.integers(1, LAST - 1), max_size=5))
def test_splitting_does_not_matter(
    told: list[Stretch], day: int, linked: int | None, gate: int | None, cuts: list[int]
) -> None:
    split = told
    for cut in cuts:
        split = [
            piece
            for each in split
            for piece in (*clip([each], 0, cut), *clip([each], cut, LAST + 1))
        ]
    assert day_of(split, day, linked, gate) == day_of(told, day, linked, gate)
    assert find_gate(split, MINIMAL_RULES) == find_gate(told, MINIMAL_RULES)
    assert find_runs(split, MINIMAL_RULES) == find_runs(told, MINIMAL_RULES)


@given(stretches(), stretches(), days, moments, moments)
def test_two_services_never_pay_more_than_the_day(
    one: list[Stretch], other: list[Stretch], day: int, linked: int | None, gate: int | None
) -> None:
    both = day_of([*one, *other], day, linked, gate)
    alone = [day_of(told, day, linked, gate) for told in (one, other)]
    for name in ("seconds", "doubled_seconds", "referred_seconds", "referred_doubled_seconds"):
        parts = [getattr(each, name) for each in alone]
        # Each of the two may have left a part of a second behind, that together is a whole one.
        assert max(parts) <= getattr(both, name) <= min(sum(parts) + 1, DAY // 1_000)
    assert both.doubled_seconds <= both.seconds
    assert both.referred_seconds <= both.seconds
    assert both.referred_doubled_seconds <= min(both.doubled_seconds, both.referred_seconds)


@given(stretches(), days, moments, moments)
def test_a_referrer_gets_exactly_a_tenth_of_what_came_after_the_gate(
    told: list[Stretch], day: int, linked: int | None, gate: int | None
) -> None:
    found = day_of(told, day, linked, gate)
    if gate is None:
        assert found.referred_units == 0
        return
    after = day_of(list(clip(told, gate, LAST + 1)), day, linked, None)
    assert found.referred_units * 10 == after.units + after.doubled_units
    assert found.referred_units * 10 <= found.units + found.doubled_units


@given(stretches(), days, moments, moments)
def test_days_are_as_the_reference_counts_them(
    told: list[Stretch], day: int, linked: int | None, gate: int | None
) -> None:
    pairs = [(each.start_ms, each.end_ms) for each in told]
    found = day_of(told, day, linked, gate)
    expected = ref.day(pairs, day, "minimal", linked, gate)
    assert {name: getattr(found, name) for name in expected} == expected
    assert find_gate(told, MINIMAL_RULES) == ref.gate(pairs, "minimal")


@given(stretches())
def test_days_are_whole_seconds_of_a_whole(told: list[Stretch]) -> None:
    days = [day_of(told, day, None, None).seconds for day in range(4)]
    assert 0 <= total_ms(told) // 1_000 - sum(days) < len(days)


@given(stretches(100))
@settings(max_examples=200)
def test_every_moment_counts_once(told: list[Stretch]) -> None:
    """Uptime as a set of milliseconds: the definition itself."""
    up = {moment for each in told for moment in range(each.start_ms, each.end_ms)}
    assert total_ms(told) == len(up)
    assert seconds(told) == len(up) // 1_000
    clipped = clip(told, 40, 80)
    assert {m for each in clipped for m in range(each.start_ms, each.end_ms)} == up & set(
        range(40, 80)
    )
    paid, gap, gate = 0, 0, None
    for moment in range(102):
        if moment in up:
            paid, gap = paid + 1, 0
            if paid == TINY.gate_ms and gate is None:
                gate = moment + 1
        else:
            gap += 1
            if gap > TINY.join_gap_ms:
                paid = 0
    assert find_gate(told, TINY) == gate


@given(stretches(), st.integers(1, LAST))
def test_more_uptime_never_passes_the_gate_later(told: list[Stretch], more: int) -> None:
    before = find_gate(told, MINIMAL_RULES)
    after = find_gate([*told, stretch(more - 1, more)], MINIMAL_RULES)
    if before is not None:
        assert after is not None
        assert after <= before

"""Claiming more than there is never pays: memory, devices, rate, identities.

Each test simulates a provider with known true hardware that may claim whatever its hardware lets
it claim without being refuted, and compares its score with what the truth is worth.
"""

from fractions import Fraction
from itertools import accumulate
from math import comb, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.params import MAINNET, MEMORY_OPENINGS, OPENINGS, PRESETS, WEIGHTS, Preset
from protocols.scoring import (
    MEMORY_ANCHORS,
    MILLI,
    PASS_LIMIT_US,
    REGENERATION_MARGIN,
    SECOND_US,
    bandwidth_term,
    compute_memory_credit,
    compute_score,
    compute_throughput,
    compute_word_bits,
    cpu_term,
    gpu_term,
    memory_term,
)

GB = 10**9
MARGIN = Fraction(*REGENERATION_MARGIN)

of_every_preset = pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS.keys())


def score(preset: Preset, rate: int, memory_bytes: int, stake: int = 0) -> int:
    """What the two terms of a GPU come to."""
    return compute_score(
        uptime=MILLI,
        validity=MILLI,
        stake=stake,
        terms={
            "gpu": gpu_term(rate, preset.reference_rate),
            "memory": memory_term(memory_bytes),
        },
        preset=preset,
    )


# Memory

rates = st.integers(10**12, 5 * 10**15)
shares = st.fractions(min_value=0, max_value=1)


@given(
    preset=st.sampled_from(sorted(PRESETS)),
    held=st.integers(0, 10**11),
    rate=rates,
    shown=shares,
    faster=st.fractions(min_value=1, max_value=MARGIN),
    passes=st.integers(1, 1024),
    elapsed_us=st.integers(1, 3 * SECOND_US),
    stake=st.integers(0, MAINNET.max_stake),
)
def test_claiming_memory_never_pays(
    preset: str,
    held: int,
    rate: int,
    shown: Fraction,
    faster: Fraction,
    passes: int,
    elapsed_us: int,
    stake: int,
) -> None:
    """`held` words, all the rest made again in every pass, up to the margin faster than measured,
    by a provider that may show any share of its rate so as to seem a slower maker of words.

    One point of the score is the floor divisions of two terms and the rounding of the score.
    """
    rules = PRESETS[preset]
    window_us = rules.pass_window_ms * 1000
    time_us = min(elapsed_us, window_us + rules.pass_slack_ms * 1000)
    made_again = int(faster * rate * time_us / SECOND_US / passes / (2 * rules.k))
    claimed = int(shown * rate)

    credit = compute_memory_credit(
        words=held + made_again,
        k=rules.k,
        passes=passes,
        rate=claimed,
        elapsed_us=time_us,
        window_us=window_us,
    )
    truth = held * compute_word_bits(rules.k) // 8

    assert score(rules, claimed, credit, stake) <= score(rules, rate, truth, stake) + 1
    if shown == 1:
        assert credit <= truth


@of_every_preset
def test_sandbagging_costs_twenty_times_what_it_brings(preset: Preset) -> None:
    """Per operation per second not shown: weighted thousandths of memory won, of gpu lost.

    A pass of PASS_LIMIT_US is the best for the claimant, below the first anchor each byte is worth
    the most, and the memory term is concave.
    """
    edge, points = MEMORY_ANCHORS[0]
    words = MARGIN * PASS_LIMIT_US / SECOND_US / (2 * preset.k)
    won = WEIGHTS["memory"] * Fraction(points, edge) * words * compute_word_bits(preset.k) / 8
    lost = Fraction(WEIGHTS["gpu"] * 10 * MILLI, preset.reference_rate)

    assert 20 * won < lost


@given(
    words=st.integers(0, 10**11),
    source=st.integers(0, 10**11),
    passes=st.integers(1, 1024),
    elapsed_us=st.integers(SECOND_US, 3 * SECOND_US),
)
def test_words_from_elsewhere_count_for_a_quarter_of_a_second(
    words: int, source: int, passes: int, elapsed_us: int
) -> None:
    """A source of so many words per second (host memory over PCIe, a disk, a foreign GPU)."""
    brought = source * elapsed_us // SECOND_US // passes
    credit = compute_memory_credit(
        words=words + brought,
        k=MAINNET.k,
        passes=passes,
        rate=0,
        elapsed_us=elapsed_us,
        window_us=SECOND_US,
    )
    bits = compute_word_bits(MAINNET.k)

    assert credit <= (words + source * PASS_LIMIT_US // SECOND_US) * bits // 8


@given(st.integers(1, 100), st.integers(0, 10**11), rates)
def test_an_honest_card_is_credited_most_of_what_it_packs(
    passes: int, words: int, rate: int
) -> None:
    """So that the bounds above are not had by crediting nothing."""
    credit = compute_memory_credit(
        words=words,
        k=MAINNET.k,
        passes=passes,
        rate=rate,
        elapsed_us=SECOND_US,
        window_us=SECOND_US,
    )
    full = Fraction(words * compute_word_bits(MAINNET.k), 8)
    deduction = MARGIN * rate / (2 * MAINNET.k * passes) * compute_word_bits(MAINNET.k) / 8

    assert credit >= (full - deduction) * min(1, Fraction(passes, 4)) - 8


# Devices


@given(
    works=st.lists(st.integers(0, 10**15), min_size=1, max_size=16),
    kept=st.lists(st.tuples(st.integers(0, 10**9), st.integers(1, 40)), min_size=1, max_size=16),
    elapsed_us=st.integers(3 * SECOND_US, 6 * SECOND_US),
)
def test_claiming_more_devices_never_pays(
    works: list[int], kept: list[tuple[int, int]], elapsed_us: int
) -> None:
    """The same operations and words as one device's, with the most passes of any part."""
    window_us = 3 * SECOND_US
    rate = compute_throughput(sum(works), elapsed_us, window_us)
    apart = [compute_throughput(work, elapsed_us, window_us) for work in works]

    assert sum(apart) <= rate
    assert sum(gpu_term(each, MAINNET.reference_rate) for each in apart) <= gpu_term(
        rate, MAINNET.reference_rate
    )
    times = {"elapsed_us": SECOND_US, "window_us": SECOND_US}
    split = compute_memory_credit(
        words=sum(words for words, _ in kept),
        k=MAINNET.k,
        passes=min(passes for _, passes in kept),
        rate=rate,
        **times,
    )
    whole = compute_memory_credit(
        words=sum(words for words, _ in kept),
        k=MAINNET.k,
        passes=max(passes for _, passes in kept),
        rate=rate,
        **times,
    )
    assert split <= whole


# Rate


@given(
    share=st.fractions(min_value=0, max_value=Fraction(99, 100)),
    other=st.integers(0, 2000),
    rate=st.integers(0, 10**16),
)
def test_claiming_rounds_never_pays(share: Fraction, other: int, rate: int) -> None:
    """With a share ε of all rows skipped, the rate shown is 1/(1 − ε) of the true one, and one
    checker pays nothing when one of 64 openings hits: at most (1 − ε)^64 are paid.

    `other` is what the other terms come to, and is lost as well. Exact, without rounding.
    """
    honest = other + Fraction(30_000 * rate, MAINNET.reference_rate)
    shown = other + Fraction(30_000 * rate, MAINNET.reference_rate) / (1 - share)

    assert (1 - share) ** OPENINGS * shown <= honest


@given(
    total=st.integers(1, 10**7),
    skipped=st.data(),
)
def test_openings_without_repetition_are_no_kinder(total: int, skipped: st.DataObject) -> None:
    """(1 − ε)^64 bounds the draw of distinct rows; where there are at most 64, all are opened."""
    missing = skipped.draw(st.integers(0, total))
    count = min(OPENINGS, total)
    survived = Fraction(comb(total - missing, count), comb(total, count))
    share = Fraction(missing, total)

    assert survived <= (1 - share) ** count
    if total <= OPENINGS:
        assert survived == (0 if missing else 1)


@given(
    share=st.fractions(min_value=0, max_value=Fraction(99, 100)),
    words=st.integers(1, 10**11),
    rate=rates,
    passes=st.integers(1, 100),
)
def test_claiming_passes_never_pays(share: Fraction, words: int, rate: int, passes: int) -> None:
    """Likewise for passes over a share that was not read: 32 openings, and a smaller deduction."""
    preset = MAINNET
    edge, points = MEMORY_ANCHORS[0]
    gpu = Fraction(30_000 * rate, preset.reference_rate)

    def weigh(made: Fraction) -> Fraction:
        again = MARGIN * rate / (made * 2 * preset.k)
        limit = min(Fraction(1), made * PASS_LIMIT_US / SECOND_US)
        held = max(Fraction(0), words - again) * limit
        return min(Fraction(800), held * compute_word_bits(preset.k) / 8 * points / edge)

    claimed = (1 - share) ** MEMORY_OPENINGS * (gpu + weigh(passes / (1 - share)))

    assert claimed <= gpu + weigh(Fraction(passes))


def test_what_a_committee_can_be_cheated_of_is_below_a_seventh_of_a_percent() -> None:
    """A median of eleven is not an expected value: a provider that skips so little that six of
    eleven draws miss it is paid for it. This is the most that it can win on average, and with it
    each checker still finds it out with one draw in ten and holds its signed openings.
    """
    seats = MAINNET.seats

    def expect(share: float) -> float:
        passed = (1 - share) ** OPENINGS
        majority = sum(
            comb(seats, n) * passed**n * (1 - passed) ** (seats - n)
            for n in range(seats // 2 + 1, seats + 1)
        )
        return majority / (1 - share)

    shares_tried = [number / 10_000 for number in range(1, 10_000)]
    best = max(shares_tried, key=expect)

    assert 1 < expect(best) < 1.0014
    assert 1 - (1 - best) ** OPENINGS > 0.1
    assert expect(0.01) < 0.6
    assert expect(0.02) < 0.1


# Identities


@given(
    ends=st.lists(st.integers(1, 6 * SECOND_US), min_size=1, max_size=40),
    window_us=st.integers(SECOND_US, 3 * SECOND_US),
)
def test_one_device_behind_identities_earns_little_more_than_once(
    ends: list[int], window_us: int
) -> None:
    """A device of a million operations a second that works for one identity after another, each
    answering when it likes: all together at most 1 + ln(latest / window) of its rate.
    """
    rate = 10**6
    moments = sorted(ends)
    works = [
        rate * (end - start) // SECOND_US
        for start, end in zip([0, *moments], moments, strict=False)
    ]
    total = sum(
        compute_throughput(work, end, window_us) for work, end in zip(works, moments, strict=True)
    )

    assert total <= rate * (1 + max(0.0, log(moments[-1] / window_us)))


def test_without_the_window_one_device_would_earn_many_times() -> None:
    """Why an early answer counts as the whole window: ten identities, each twice as long as the
    one before, would show half of the device's rate each."""
    moments = list(accumulate([10_000] + [10_000 * 2**i for i in range(9)]))
    works = [end - start for start, end in zip([0, *moments], moments, strict=False)]

    def total(window_us: int) -> int:
        return sum(
            compute_throughput(work, end, window_us)
            for work, end in zip(works, moments, strict=True)
        )

    assert moments[-1] <= 6 * SECOND_US
    assert total(1) > 5 * SECOND_US
    assert total(moments[-1]) <= SECOND_US


@given(st.integers(0, 10**10), st.integers(0, 10**10), st.integers(0, 10**10))
def test_more_of_anything_is_never_worth_less(down: int, up: int, more: int) -> None:
    assert bandwidth_term(down, up) <= bandwidth_term(down + more, up + more)
    assert cpu_term(down, 4_000_000) <= cpu_term(down + more, 4_000_000)
    assert memory_term(down) <= memory_term(down + more)

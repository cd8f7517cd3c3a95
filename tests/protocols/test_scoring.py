"""Rates and scores in integers, with Kaisar's own figures."""

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from math import e, log2, pi
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import LocalError
from protocols.params import (
    MAINNET,
    MAX_SCORE,
    REFERENCE_CHAIN_RATE,
    REFERENCE_RATE,
    WEIGHTS,
)
from protocols.scoring import (
    CORE_ANCHORS,
    DOWN_ANCHORS,
    MEMORY_ANCHORS,
    MILLI,
    UP_ANCHORS,
    Verdict,
    bandwidth_term,
    compute_memory_credit,
    compute_score,
    compute_throughput,
    compute_word_bits,
    cpu_term,
    gpu_term,
    memory_term,
    stake_factor,
)
from tests.protocols import wire_reference as ref
from tests.vectors.generate import load

Case = dict[str, Any]

RATES = load("scoring/rates.json")
TERMS = load("scoring/terms.json")
CREDITS = load("scoring/credits.json")
SCORES = load("scoring/scores.json")


def by_name(case: Case) -> str:
    return str(case["name"])


@pytest.mark.parametrize("case", RATES, ids=by_name)
def test_rate_vector(case: Case) -> None:
    rate = compute_throughput(int(case["amount"]), case["elapsed_us"], case["window_us"])

    assert rate == int(case["rate"])
    assert gpu_term(rate, int(case["reference_rate"])) == int(case["gpu_term"])


@pytest.mark.parametrize("times", [(0, 1), (-1, 1), (1, 0), (1, -1)])
def test_no_time_has_no_rate(times: tuple[int, int]) -> None:
    with pytest.raises(LocalError, match="not positive"):
        compute_throughput(1, *times)
    with pytest.raises(LocalError, match="not positive"):
        compute_memory_credit(
            words=1, k=16, passes=1, rate=1, elapsed_us=times[0], window_us=times[1]
        )


@given(st.integers(0, 10**18), st.integers(1, 10**8), st.integers(1, 10**8))
def test_a_rate_is_never_rounded_up(amount: int, elapsed_us: int, window_us: int) -> None:
    exact = Fraction(amount * 1_000_000, max(elapsed_us, window_us))

    assert 0 <= exact - compute_throughput(amount, elapsed_us, window_us) < 1


@given(st.integers(0, 10**18), st.integers(1, 10**7), st.integers(1, 10**7))
def test_an_early_answer_earns_nothing(amount: int, elapsed_us: int, window_us: int) -> None:
    rate = compute_throughput(amount, elapsed_us, window_us)

    assert rate <= compute_throughput(amount, window_us, window_us)
    assert compute_throughput(amount, elapsed_us + 1, window_us) <= rate


TERM_FUNCTIONS: dict[str, Callable[..., int]] = {
    "bandwidth": bandwidth_term,
    "cpu": cpu_term,
    "memory": memory_term,
}


@pytest.mark.parametrize("case", TERMS, ids=by_name)
def test_term_vector(case: Case) -> None:
    arguments = [int(amount) for amount in case["measured"]]
    if case["term"] == "cpu":
        arguments.append(int(case["reference_chain_rate"]))

    assert TERM_FUNCTIONS[case["term"]](*arguments) == case["points"]


@pytest.mark.parametrize(
    "measure",
    [
        lambda: bandwidth_term(-1, 1),
        lambda: bandwidth_term(1, -1),
        lambda: cpu_term(-1, REFERENCE_CHAIN_RATE),
        lambda: memory_term(-1),
    ],
)
def test_less_than_nothing_was_not_measured(measure: Callable[[], int]) -> None:
    with pytest.raises(LocalError, match="measurement of -1"):
        measure()


@pytest.mark.parametrize("anchors", [DOWN_ANCHORS, UP_ANCHORS, CORE_ANCHORS, MEMORY_ANCHORS])
def test_terms_are_concave(anchors: tuple[tuple[int, int], ...]) -> None:
    """What tests/protocols/test_overclaiming.py reckons with."""
    edges = [(0, 0), *anchors]
    slopes = [
        Fraction(points - base, high - low) for (low, base), (high, points) in pairwise(edges)
    ]

    assert slopes == sorted(slopes, reverse=True)
    assert slopes[-1] > 0


@pytest.mark.parametrize("case", CREDITS, ids=by_name)
def test_credit_vector(case: Case) -> None:
    measured = {
        name: int(case[name])
        for name in ("words", "k", "passes", "rate", "elapsed_us", "window_us")
    }

    assert compute_word_bits(measured["k"]) == case["word_bits"]
    assert compute_memory_credit(**measured) == int(case["credit"])


@pytest.mark.parametrize("k", [16, 2048, 16_384, 131_056])
def test_a_word_is_worth_no_more_than_its_entropy(k: int) -> None:
    entropy = log2(2 * pi * e * k * ((256**2 - 1) / 12 + 1 / 4) ** 2) / 2

    assert entropy - 1 < compute_word_bits(k) <= entropy


def test_the_reference_card_has_kaisars_ten_points() -> None:
    assert gpu_term(REFERENCE_RATE, REFERENCE_RATE) == 10 * MILLI


@pytest.mark.parametrize("case", SCORES, ids=by_name)
def test_score_vector(case: Case) -> None:
    assert int(case["max_stake"]) == MAINNET.max_stake
    assert (
        compute_score(
            uptime=case["uptime"],
            validity=case["validity"],
            stake=int(case["stake"]),
            terms={name: int(points) for name, points in case["terms"].items()},
            preset=MAINNET,
        )
        == case["score"]
    )


@given(
    uptime=st.integers(0, MILLI),
    validity=st.integers(0, MILLI),
    stake=st.integers(0, 2 * MAINNET.max_stake),
    terms=st.dictionaries(st.sampled_from(sorted(WEIGHTS)), st.integers(0, 20_000)),
)
def test_score_is_kaisars_formula_in_fractions(
    uptime: int, validity: int, stake: int, terms: dict[str, int]
) -> None:
    score = compute_score(
        uptime=uptime, validity=validity, stake=stake, terms=terms, preset=MAINNET
    )

    assert score == ref.score(uptime, validity, stake, MAINNET.max_stake, terms)
    assert 0 <= score <= MAX_SCORE


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"uptime": MILLI + 1}, "uptime: found 1001"),
        ({"uptime": -1}, "uptime: found -1"),
        ({"validity": MILLI + 1}, "validity: found 1001"),
        ({"validity": -1}, "validity: found -1"),
        ({"terms": {"speed": 1}}, "speed"),
        ({"terms": {"gpu": -1}}, "gpu: found -1"),
    ],
)
def test_what_cannot_be_measured_is_our_own_fault(change: dict[str, Any], problem: str) -> None:
    arguments: dict[str, Any] = {"uptime": MILLI, "validity": MILLI, "stake": 0, "terms": {}}

    with pytest.raises(LocalError, match=problem):
        compute_score(**{**arguments, **change}, preset=MAINNET)


@pytest.mark.parametrize(
    ("stake", "factor"),
    [(0, 1000), (1, 1001), (500, 1500), (999, 1999), (1000, 2000), (1001, 2000), (10**30, 2000)],
)
def test_stake_at_most_doubles(stake: int, factor: int) -> None:
    assert stake_factor(stake, 1000) == factor


def test_verdicts_keep_their_numbers() -> None:
    """They are stored: a new verdict takes a new number."""
    assert {verdict.name: verdict.value for verdict in Verdict} == {
        "OK": 0,
        "SLOW": 1,
        "WRONG": 2,
        "ABSENT": 3,
        "BUSY": 4,
    }

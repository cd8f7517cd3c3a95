"""Rates and scores in integers, with Kaisar's own figures."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.compute import Shape
from protocols.errors import LocalError
from protocols.params import MAINNET, MAX_SCORE, REFERENCE_RATE, WEIGHTS
from protocols.scoring import (
    MILLI,
    Verdict,
    compute_rate,
    compute_score,
    gpu_term,
    stake_factor,
)
from tests.protocols import wire_reference as ref
from tests.vectors.generate import load

Case = dict[str, Any]

RATES = load("scoring/rates.json")
SCORES = load("scoring/scores.json")


@pytest.mark.parametrize("case", RATES, ids=lambda case: case["name"])
def test_rate_vector(case: Case) -> None:
    rate = compute_rate(Shape(*case["shape"]), case["rounds"], case["elapsed_us"])

    assert rate == int(case["rate"])
    assert gpu_term(rate, int(case["reference_rate"])) == int(case["gpu_term"])


@pytest.mark.parametrize("elapsed_us", [0, -1])
def test_no_time_has_no_rate(elapsed_us: int) -> None:
    with pytest.raises(LocalError, match="not positive"):
        compute_rate(MAINNET.shape, 1, elapsed_us)


@given(st.integers(0, 10_000), st.integers(1, 10**8))
def test_a_rate_is_never_rounded_up(rounds: int, elapsed_us: int) -> None:
    exact = Fraction(MAINNET.shape.operations * rounds * 1_000_000, elapsed_us)

    assert 0 <= exact - compute_rate(MAINNET.shape, rounds, elapsed_us) < 1


def test_the_reference_card_has_kaisars_ten_points() -> None:
    assert gpu_term(REFERENCE_RATE, REFERENCE_RATE) == 10 * MILLI


@pytest.mark.parametrize("case", SCORES, ids=lambda case: case["name"])
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

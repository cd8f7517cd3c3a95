"""tests/vectors/scoring: rates, terms, memory credits and scores, in integers."""

import itertools
import math
from fractions import Fraction
from typing import Any

from tests.protocols import wire_reference as ref

TOKEN = 10**18
MAX_STAKE = 10_000 * TOKEN
H100 = 1_979_000_000_000_000


def rates() -> list[dict[str, Any]]:
    """What was done over the time that counts, and what it is worth at a reference rate."""
    mainnet_round = 2 * 2048 * 16_384 * 8192
    cases = [
        ("one_round_in_a_second", 512, 1_000_000, 1_000_000, 512),
        ("rounded_down", 512, 3, 3, H100),
        ("answered_early", 41 * mainnet_round, 2_500_000, 3_000_000, H100),
        ("answered_in_time", 41 * mainnet_round, 3_000_000, 3_000_000, H100),
        ("answered_late", 41 * mainnet_round, 3_412_345, 3_000_000, H100),
        ("half_of_an_h100", 5400 * mainnet_round, 3_000_000, 3_000_000, H100),
        ("nothing_done", 0, 1, 1, H100),
        ("twice_the_reference", 1024, 1_000_000, 1_000_000, 512),
    ]
    shown = []
    for name, amount, elapsed_us, window_us, reference in cases:
        rate = math.floor(Fraction(amount * 1_000_000, max(elapsed_us, window_us)))
        shown.append(
            {
                "name": name,
                "amount": str(amount),
                "elapsed_us": elapsed_us,
                "window_us": window_us,
                "rate": str(rate),
                "reference_rate": str(reference),
                "gpu_term": str(math.floor(Fraction(10 * 1000 * rate, reference))),
            }
        )
    return shown


CORE = 25_000_000
"""Iterations per second of the core that the vectors reckon with."""

TIERS: dict[str, tuple[int, dict[str, list[tuple[int, int]]]]] = {
    "bandwidth": (
        10**6,
        {
            "down": [(75, 200), (400, 400), (800, 600), (1600, 800)],
            "up": [(75, 200), (300, 400), (600, 600), (1200, 800)],
        },
    ),
    "cpu": (CORE, {"iterations": [(32, 400), (64, 600), (128, 800)]}),
    "memory": (10**9, {"bytes": [(32, 400), (128, 600), (512, 800)]}),
}
"""Of each term: the unit, and for each of its measurements where the tiers begin."""


def terms() -> list[dict[str, Any]]:
    """Each term below, at, between and above the edges of Kaisar's tiers."""
    measured: list[tuple[str, str, list[int]]] = [
        (f"{term}_{where}_{edge}", term, [edge * unit + offset for _ in columns])
        for term, (unit, columns) in TIERS.items()
        for edge, _ in next(iter(columns.values()))
        for where, offset in (("just_below", -1), ("at", 0), ("just_above", 1))
    ]
    measured += [
        (f"{term}_{name}", term, [amount for _ in columns])
        for term, (unit, columns) in TIERS.items()
        for name, amount in (
            ("nothing", 0),
            ("half_a_unit", unit // 2),
            ("far_above", 10**6 * unit),
        )
    ]
    measured += [
        ("bandwidth_slow_up", "bandwidth", [1_600_000_000, 75_000_000]),
        ("bandwidth_slow_down", "bandwidth", [75_000_000, 1_200_000_000]),
        ("bandwidth_no_up", "bandwidth", [1_600_000_000, 0]),
        ("bandwidth_between", "bandwidth", [650_000_000, 480_000_000]),
        ("cpu_eight_cores", "cpu", [8 * CORE]),
        ("cpu_ninety_six_cores", "cpu", [96 * CORE]),
        ("memory_of_a_24_gb_card", "memory", [21_600_000_000]),
        ("memory_of_an_80_gb_card", "memory", [72_000_000_000]),
    ]
    return [
        {
            "name": name,
            "term": term,
            "measured": [str(amount) for amount in amounts],
            **({"reference_chain_rate": str(CORE)} if term == "cpu" else {}),
            "points": min(
                _points(Fraction(amount, TIERS[term][0]), tiers)
                for amount, tiers in zip(amounts, TIERS[term][1].values(), strict=True)
            ),
        }
        for name, term, amounts in measured
    ]


def _points(amount: Fraction, tiers: list[tuple[int, int]]) -> int:
    """On the straight line between the two edges around `amount`."""
    edges = [(0, 0), *tiers]
    for (low, base), (high, points) in itertools.pairwise(edges):
        if low <= amount < high:
            return math.floor(base + (points - base) * (amount - low) / (high - low))
    return edges[-1][1]


def memory_credits() -> list[dict[str, Any]]:
    """Words kept and passes made, and the bytes that they show."""
    h100 = {"words": 18 * 10**9, "k": 16_384, "rate": 14 * 10**14, "window_us": 1_000_000}
    shown = {**h100, "passes": 31, "elapsed_us": 1_040_000}
    cpu = {"words": 3 * 2**20, "k": 2048, "rate": 10**11, "window_us": 150_000}
    cases: list[tuple[str, dict[str, int]]] = [
        ("an_80_gb_card", shown),
        ("answered_early", {**shown, "elapsed_us": 100_000, "passes": 3}),
        ("answered_late", {**shown, "elapsed_us": 2_900_000}),
        ("one_pass", {**shown, "passes": 1}),
        ("a_pass_at_the_limit", {**shown, "passes": 4, "elapsed_us": 1_000_000}),
        ("a_pass_beyond_the_limit", {**shown, "passes": 4, "elapsed_us": 1_000_001}),
        ("all_made_again", {**shown, "passes": 1, "words": 10**9}),
        ("rounds_against_the_claimant", {**shown, "rate": 1, "passes": 1000}),
        ("cannot_multiply", {**shown, "rate": 0}),
        ("nothing_kept", {**shown, "words": 0}),
        ("no_pass", {**shown, "passes": 0}),
        ("a_cpu", {**cpu, "passes": 20, "elapsed_us": 151_000}),
        ("smallest_k", {**cpu, "k": 16, "rate": 1000, "passes": 20, "elapsed_us": 151_000}),
    ]
    return [
        {
            "name": name,
            **{key: str(value) for key, value in case.items()},
            "word_bits": _word_bits(case["k"]),
            "credit": str(_credit(**case)),
        }
        for name, case in cases
    ]


def _word_bits(k: int) -> int:
    """Entropy of a normal variable of deviation 5461 · √k, less at most one bit."""
    return math.floor((28 + math.floor(math.log2(k))) / 2)


def _credit(*, words: int, k: int, passes: int, rate: int, elapsed_us: int, window_us: int) -> int:
    if not words or not passes:
        return 0
    seconds = Fraction(max(elapsed_us, window_us), 1_000_000)
    made_again = math.ceil(Fraction(3, 2) * rate * seconds / passes / (2 * k))
    held = max(0, words - made_again)
    held = math.floor(held * min(Fraction(1), Fraction(1, 4) * passes / seconds))
    return math.floor(Fraction(held * _word_bits(k), 8))


def scores() -> list[dict[str, Any]]:
    """Factors and terms in thousandths, stakes in the token's smallest unit."""
    kaisar = {"bandwidth": 400, "cpu": 400, "gpu": 750, "disk": 400, "memory": 400}
    full = {"uptime": 1000, "validity": 1000}
    cases: list[tuple[str, dict[str, int], int, dict[str, int]]] = [
        ("kaisars_4090_with_half_the_stake", full, MAX_STAKE // 2, kaisar),
        ("one_h100_and_nothing_staked", full, 0, {"gpu": 10_000}),
        ("stake_doubles", full, MAX_STAKE, {"gpu": 10_000}),
        ("stake_never_more_than_doubles", full, 5 * MAX_STAKE, {"gpu": 10_000}),
        ("stake_below_a_thousandth_counts_nothing", full, MAX_STAKE // 1001, {"gpu": 10_000}),
        ("stake_of_a_thousandth", full, MAX_STAKE // 1000, {"gpu": 10_000}),
        ("nothing_measured", full, MAX_STAKE, {}),
        ("measured_as_nothing", full, MAX_STAKE, {"gpu": 0}),
        ("never_online", {"uptime": 0, "validity": 1000}, 0, {"gpu": 10_000}),
        ("never_valid", {"uptime": 1000, "validity": 0}, 0, {"gpu": 10_000}),
        ("half_of_the_time", {"uptime": 500, "validity": 1000}, 0, {"gpu": 10_000}),
        ("factors_multiply", {"uptime": 500, "validity": 333}, 0, {"gpu": 999}),
        ("half_a_point_rounds_up", {"uptime": 5, "validity": 1000}, 0, {"cpu": 1000}),
        ("less_than_half_rounds_down", {"uptime": 4, "validity": 1000}, 0, {"cpu": 1000}),
        ("largest_below_the_clamp", full, 0, {"cpu": 327_670}),
        ("clamped", full, 0, {"cpu": 327_680}),
        ("clamped_far_above", full, MAX_STAKE, {"gpu": 10**12}),
        *((f"weight_of_{name}", full, 0, {name: 1000}) for name in kaisar),
    ]
    return [
        {
            "name": name,
            **factors,
            "stake": str(stake),
            "max_stake": str(MAX_STAKE),
            "terms": {key: str(points) for key, points in terms.items()},
            "score": ref.score(factors["uptime"], factors["validity"], stake, MAX_STAKE, terms),
        }
        for name, factors, stake, terms in cases
    ]


FILES = {
    "scoring/rates.json": rates,
    "scoring/terms.json": terms,
    "scoring/credits.json": memory_credits,
    "scoring/scores.json": scores,
}

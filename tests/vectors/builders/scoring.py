"""tests/vectors/scoring: rates, stake factors and scores, in integers."""

from typing import Any

from tests.protocols import wire_reference as ref

TOKEN = 10**18
MAX_STAKE = 10_000 * TOKEN
H100 = 1_979_000_000_000_000


def rates() -> list[dict[str, Any]]:
    """Work over time, and what it is worth at a reference rate."""
    cases = [
        ("one_round_in_a_second", (1, 16, 16), 1, 1_000_000, 512),
        ("rounded_down", (1, 16, 16), 1, 3, H100),
        ("mainnet_shape", (2048, 8192, 2048), 41, 3_012_345, H100),
        ("minimal_shape", (512, 1024, 1024), 60, 712_000, 100_000_000_000),
        ("half_of_an_h100", (2048, 8192, 2048), 43_198, 3_000_000, H100),
        ("no_rounds", (2048, 8192, 2048), 0, 1, H100),
        ("twice_the_reference", (1, 16, 16), 2, 1_000_000, 512),
    ]
    shown = []
    for name, (m, k, n), rounds, elapsed_us, reference in cases:
        rate = 2 * m * k * n * rounds * 1_000_000 // elapsed_us
        shown.append(
            {
                "name": name,
                "shape": [m, k, n],
                "rounds": rounds,
                "elapsed_us": elapsed_us,
                "rate": str(rate),
                "reference_rate": str(reference),
                "gpu_term": str(10 * 1000 * rate // reference),
            }
        )
    return shown


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


FILES = {"scoring/rates.json": rates, "scoring/scores.json": scores}

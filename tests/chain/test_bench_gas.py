"""The benchmark of gas names what costs more than its limit, and says so by its exit status."""

from typing import Any

from bench import gas


def make_result(**actions: int) -> dict[str, Any]:
    within = dict.fromkeys(gas.LIMITS, 100_000)
    return {
        "submit": {str(seats): {"gas": 1, "per_provider": 900.0} for seats in gas.SEATS},
        "submit_first": {str(seats): {"gas": 1, "per_provider": 900.0} for seats in gas.SEATS},
        "actions": within | actions,
        "sizes": {"Token": 1},
        "setting": {"evm": "none"},
    }


def test_everything_within_its_limit() -> None:
    result = make_result(prove_equivocation=gas.LIMITS["prove_equivocation"])
    assert gas.find_exceeded(result) == []


def test_what_exceeds_its_limit_is_named() -> None:
    result = make_result(prove_equivocation=gas.LIMITS["prove_equivocation"] + 1)
    result["submit"]["11"]["per_provider"] = gas.SUBMIT_LIMITS[11] + 0.1
    assert gas.find_exceeded(result) == ["submit with 11 reports", "prove_equivocation"]


def test_the_table_has_figures_limits_and_peers() -> None:
    table = gas.render(make_result(record_wrong=113_411))
    assert "113,411" in table
    assert "150,000" in table
    assert "Chainlink OCR2" in table

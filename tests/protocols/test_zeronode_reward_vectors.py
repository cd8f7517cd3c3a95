"""Rewards besides uptime, driven by tests/vectors/zeronode-rewards."""

from collections.abc import Callable
from typing import Any

import pytest

from protocols.coarse_places import Position, is_mismatch, measure_km
from protocols.errors import MalformedError
from protocols.types import Wallet
from protocols.zeronode_missions import Period, days_left, window_of
from protocols.zeronode_referrals import choose_day, make_code, parse_code
from protocols.zeronode_rules import CHECK_IN_POINTS, GATES_PER_DAY
from protocols.zeronode_streaks import Streak, extend_streak, is_checked_in, reward_of
from tests.protocols.compute_vectors import VECTORS, load, render
from tests.protocols.zeronode_reward_vectors import FILES

Case = dict[str, Any]


def cases(name: str) -> Callable[..., Any]:
    """A test for each case of a file."""
    found = load(f"zeronode-rewards/{name}.json")
    return pytest.mark.parametrize("case", found, ids=[case["name"] for case in found])


@pytest.mark.parametrize("name", FILES)
def test_files_are_what_the_reference_makes(name: str) -> None:
    assert (VECTORS / name).read_text() == render(FILES[name]), (
        "run: python -m tests.protocols.zeronode_reward_vectors"
    )


def test_there_is_no_other_file() -> None:
    found = {f"zeronode-rewards/{path.name}" for path in (VECTORS / "zeronode-rewards").iterdir()}
    assert found == set(FILES)


@cases("codes")
def test_codes(case: Case) -> None:
    if "wallet" in case:
        assert make_code(Wallet(bytes.fromhex(case["wallet"])), case["attempt"]) == case["code"]
    elif case["reason"] is None:
        assert parse_code(case["text"]) == case["code"]
    else:
        with pytest.raises(MalformedError) as refused:
            parse_code(case["text"])
        assert refused.value.reason == case["reason"]


@cases("streaks")
def test_streaks(case: Case) -> None:
    streak = Streak()
    for step in case["steps"]:
        paid = 0
        if not is_checked_in(streak, step["day"]):
            streak = extend_streak(streak, step["day"])
            paid = reward_of(streak.days, CHECK_IN_POINTS)
        assert (streak.days, paid) == (step["days"], step["points"])


@cases("windows")
def test_windows(case: Case) -> None:
    assert {each: window_of(Period(each), case["day"]) for each in Period} == {
        each: case[each] for each in Period
    }
    assert days_left(Period.WEEKLY, case["day"]) == case["days_of_week_left"]


@cases("counted_days")
def test_days_on_which_referrals_count(case: Case) -> None:
    day = choose_day(case["gate_day"], case["today"], dict(case["others"]), GATES_PER_DAY)
    assert day == case["day"]


@cases("distances")
def test_distances(case: Case) -> None:
    own, derived = Position(*case["own"]), Position(*case["derived"])
    assert measure_km(own, derived) == case["km"]
    assert is_mismatch(own, derived, case["radius_km"], case["country"]) is case["mismatch"]

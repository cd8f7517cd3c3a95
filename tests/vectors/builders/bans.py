"""tests/vectors/bans: histories of wrong reports, and for how long each one bans."""

from collections.abc import Sequence
from typing import Any

WEEK, MONTH, HALF_YEAR = 14, 60, 364
FOREVER = 2**32 - 1

HISTORIES: dict[str, Sequence[int]] = {
    "one_is_forgiven": [5],
    "two_in_a_week": [5, 18],
    "two_a_week_apart": [5, 19],
    "two_at_once": [5, 6],
    "first_of_all_epochs": [1, 2],
    "one_a_week_for_a_month_are_five": [100, 114, 128, 142, 156],
    "five_in_a_month": [100, 115, 130, 145, 159],
    "five_a_month_apart": [100, 115, 130, 145, 160],
    "month_counts_before_week": [100, 101, 102, 103, 104],
    "sixth_within_the_month_of_the_second": [100, 115, 130, 145, 160, 174],
    "ten_far_apart": list(range(100, 1100, 100)),
    "eleven_far_apart": list(range(100, 1200, 100)),
    "twelfth_is_for_good_too": list(range(100, 1300, 100)),
    "last_epochs_there_are": [FOREVER - 2, FOREVER - 1],
}


def standings() -> list[dict[str, Any]]:
    """Each history with what is remembered and the length of the ban after each of its epochs."""
    return [
        {
            "name": name,
            "week_epochs": WEEK,
            "month_epochs": MONTH,
            "half_year_epochs": HALF_YEAR,
            "steps": [_step(wrong[: count + 1]) for count in range(len(wrong))],
        }
        for name, wrong in HISTORIES.items()
    ]


def _step(wrong: Sequence[int]) -> dict[str, Any]:
    newest = wrong[-1]

    def within(epochs: int) -> int:
        return sum(newest - epochs < each <= newest for each in wrong)

    if len(wrong) > 10:
        ban = FOREVER
    elif within(MONTH) >= 5:
        ban = HALF_YEAR
    elif within(WEEK) >= 2:
        ban = MONTH
    else:
        ban = 0
    latest = list(reversed(wrong))[:5]
    return {"wrong": newest, "total": len(wrong), "latest": latest, "ban_epochs": ban}


FILES = {"bans/standings.json": standings}

"""Conditions and windows of missions."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import LocalError
from protocols.zeronode_missions import (
    MAX_CODE_LENGTH,
    Condition,
    Measure,
    Period,
    Progress,
    Task,
    days_left,
    first_day_of_week,
    hash_code,
    is_met,
    reached,
    window_of,
)

COUNTED = [measure for measure in Measure if measure is not Measure.CODE]


@given(st.integers(0, 60_000))
def test_weeks_begin_on_monday(day: int) -> None:
    date = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)
    monday = first_day_of_week(day)
    assert monday == day - date.weekday()
    left = days_left(Period.WEEKLY, day)
    assert left == 7 - date.weekday()
    assert window_of(Period.WEEKLY, day) == window_of(Period.WEEKLY, day + left - 1)
    assert window_of(Period.WEEKLY, day + left) == window_of(Period.WEEKLY, day) + 1


def test_windows_of_the_other_periods() -> None:
    assert window_of(Period.DAILY, 7) == 7
    assert days_left(Period.DAILY, 7) == 1
    assert window_of(Period.ONCE, 7) == 0
    assert days_left(Period.ONCE, 7) is None


@pytest.mark.parametrize("measure", COUNTED)
def test_a_condition_holds_from_its_number_on(measure: Measure) -> None:
    condition = Condition(measure, 5)
    enough = replace(Progress(), **{measure.value: 5})
    assert reached(condition, enough) == 5
    assert is_met(condition, enough)
    assert not is_met(condition, replace(Progress(), **{measure.value: 4}))
    others = {other.value: 99 for other in COUNTED if other is not measure}
    assert not is_met(condition, replace(Progress(), **others))


def test_a_code_is_what_people_type() -> None:
    condition = Condition(Measure.CODE, code_hash=hash_code("kaisar"))
    assert is_met(condition, Progress(), " KaiSar\n")
    assert not is_met(condition, Progress(), "kaiser")
    assert not is_met(condition, Progress(), "k" * (MAX_CODE_LENGTH + 1))
    assert not is_met(condition, Progress(), "\ud800")
    assert not is_met(condition, Progress())
    assert reached(condition, Progress()) == 0


def test_the_hash_of_a_code_is_that_of_sha256sum() -> None:
    assert hash_code("abc").hex() == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


@pytest.mark.parametrize(
    ("measure", "least", "code_hash"),
    [(Measure.RUN, 0, b""), (Measure.RUN, 1, b"x"), (Measure.CODE, 1, b"")],
)
def test_what_is_no_condition(measure: Measure, least: int, code_hash: bytes) -> None:
    with pytest.raises(LocalError):
        Condition(measure, least, code_hash)


@pytest.mark.parametrize(("units", "tickets"), [(0, 0), (-1, 2), (2, -1)])
def test_a_task_pays_something(units: int, tickets: int) -> None:
    with pytest.raises(LocalError, match="units and"):
        Task("name", "title", "", Condition(Measure.RUN), units, tickets)


def test_a_task_may_pay_both() -> None:
    assert Task("name", "title", "", Condition(Measure.RUN), 1, 2).tickets == 2

"""Emission and shares: vectors, and that nothing is promised that is not there."""

from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.params import MINIMAL, PRESETS, Preset
from protocols.settlement import (
    BPS,
    MAX_POOL_UNITS,
    Books,
    close_epoch,
    compute_pool_unit,
    compute_schedule,
    share_pool,
    skip_epochs,
    split_commission,
)
from protocols.types import Epoch
from tests.vectors.generate import load

named = {"ids": lambda case: case["name"]}

SMALL = replace(MINIMAL, provider_pool=1_007, checker_pool=331, era_epochs=5, carry_epochs=3)
"""Numbers at which rounding shows."""

steps = st.lists(
    st.tuples(st.integers(0, 3_000), st.booleans(), st.booleans(), st.integers(0, BPS)),
    max_size=40,
)
"""What is funded before an epoch, whether providers and checkers earned it, the emission."""


@pytest.mark.parametrize("case", load("rewards/schedules.json"), **named)
def test_schedule_vector(case: dict[str, Any]) -> None:
    amount = compute_schedule(
        int(case["base"]),
        Epoch(case["epoch"]),
        replace(MINIMAL, era_epochs=case["era_epochs"]),
        until=Epoch(case["until"]),
        emission_bps=case["emission_bps"],
    )

    assert amount == int(case["amount"])


@pytest.mark.parametrize("case", load("rewards/closings.json"), **named)
def test_closing_vector(case: dict[str, Any]) -> None:
    numbers = {name: int(value) for name, value in case["deployment"].items()}
    preset = replace(MINIMAL, **numbers)
    books = Books(Epoch(0), int(case["unpromised"]))
    for step in case["steps"]:
        if step["step"] == "skip":
            books = skip_epochs(books, Epoch(step["until"]), preset, case["emission_bps"])
        else:
            books = close_epoch(
                replace(books, unpromised=books.unpromised + int(step["funded"])),
                preset,
                has_providers=step["has_providers"],
                has_checkers=step["has_checkers"],
                emission_bps=case["emission_bps"],
            )
        assert asdict(books) == {name: int(value) for name, value in step["books"].items()}


@pytest.mark.parametrize("case", load("rewards/shares.json"), **named)
def test_share_vector(case: dict[str, Any]) -> None:
    amount = share_pool(int(case["pool"]), int(case["part"]), int(case["whole"]))

    assert amount == int(case["amount"])
    assert split_commission(amount, case["commission_bps"]) == (
        int(case["own"]),
        int(case["delegators"]),
    )


@given(funded=steps)
def test_no_more_is_promised_than_there_is(funded: list[tuple[int, bool, bool, int]]) -> None:
    books, money, promised = Books(Epoch(0), 0), 0, 0
    for amount, has_providers, has_checkers, bps in funded:
        money += amount
        books = close_epoch(
            replace(books, unpromised=books.unpromised + amount),
            SMALL,
            has_providers=has_providers,
            has_checkers=has_checkers,
            emission_bps=bps,
        )
        promised += books.provider_pool + books.checker_pool
        assert promised + books.unpromised == money
        assert min(asdict(books).values()) >= 0
        assert has_providers or not books.provider_pool
        assert has_checkers or not books.checker_pool


@given(earned=st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40))
def test_with_enough_money_the_whole_schedule_is_promised_or_carried(
    earned: list[tuple[bool, bool]],
) -> None:
    books, providers, checkers = Books(Epoch(0), 10**9), 0, 0
    for has_providers, has_checkers in earned:
        books = close_epoch(books, SMALL, has_providers=has_providers, has_checkers=has_checkers)
        providers += books.provider_pool
        checkers += books.checker_pool

    for base, sum_, carry in (
        (SMALL.provider_pool, providers, books.provider_carry),
        (SMALL.checker_pool, checkers, books.checker_carry),
    ):
        assert sum_ + carry == compute_schedule(base, Epoch(0), SMALL, until=books.next_epoch)


@given(first=st.integers(0, 30), gap=st.integers(0, 40), bps=st.integers(0, BPS))
def test_a_gap_is_worth_its_epochs(first: int, gap: int, bps: int) -> None:
    books = Books(Epoch(first), 0, provider_carry=5, checker_carry=6)

    skipped = skip_epochs(books, Epoch(first + gap), SMALL, bps)

    each = [
        compute_schedule(SMALL.provider_pool, Epoch(epoch), SMALL, emission_bps=bps)
        for epoch in range(first, first + gap)
    ]
    assert skipped.provider_carry == 5 + sum(each)
    assert skipped.next_epoch == first + gap
    assert skip_epochs(skipped, Epoch(first), SMALL, bps) == skipped


@given(
    pool=st.integers(0, 10**24),
    parts=st.lists(st.integers(0, 1 << 40), min_size=1, max_size=20),
    bps=st.integers(0, BPS),
)
def test_shares_never_come_to_more_than_their_pool(pool: int, parts: list[int], bps: int) -> None:
    shares = [share_pool(pool, part, sum(parts)) for part in parts]

    assert sum(shares) <= pool
    assert all(sum(split_commission(share, bps)) == share for share in shares)


def test_a_pool_that_the_contract_cannot_store_is_cut_and_carried() -> None:
    preset = replace(SMALL, provider_pool=1, checker_pool=0, carry_epochs=1)
    books = Books(Epoch(0), 1 << 60, provider_carry=1 << 58)

    closed = close_epoch(books, preset, has_providers=True, has_checkers=False)

    assert closed.provider_pool == MAX_POOL_UNITS
    assert closed.provider_carry == (1 << 58) + 1 - MAX_POOL_UNITS


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS.keys())
def test_pools_are_rounded_by_next_to_nothing(preset: Preset) -> None:
    unit = compute_pool_unit(preset)

    assert unit * 10**6 <= preset.provider_pool
    assert preset.provider_pool // unit < MAX_POOL_UNITS >> 7

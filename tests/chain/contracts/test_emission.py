"""emission.vy against the vectors of protocols/settlement.py, and against that module at large."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.params import MINIMAL, Preset
from protocols.settlement import (
    Books,
    close_epoch,
    compute_pool_unit,
    compute_schedule,
    skip_epochs,
)
from protocols.types import Epoch
from tests.chain.contracts.world import deployer
from tests.vectors.generate import load

SMALL = replace(MINIMAL, provider_pool=1_007, checker_pool=331, era_epochs=5, carry_epochs=3)
"""Numbers at which rounding shows."""

COARSE = replace(SMALL, provider_pool=2**41 + 13, checker_pool=2**40 + 1)
"""Pools are whole numbers of a unit that is not one."""

Pair = tuple[int, int]
Stored = tuple[int, int, Pair, Pair]
"""Books as the contract has them."""


def stored(books: Books) -> Stored:
    """Books in the contract's order."""
    return (
        books.next_epoch,
        books.unpromised,
        (books.provider_carry, books.checker_carry),
        (books.provider_pool, books.checker_pool),
    )


def read(found: Any) -> Stored:
    """What the contract answers."""
    following, unpromised, carries, pools = found
    return following, unpromised, (carries[0], carries[1]), (pools[0], pools[1])


def deploy(preset: Preset) -> Any:
    """The arithmetic with the numbers of a preset."""
    return deployer("EmissionHarness").deploy(
        preset.provider_pool, preset.checker_pool, preset.era_epochs, preset.carry_epochs
    )


@pytest.fixture(scope="module", params=[SMALL, COARSE], ids=["small", "coarse"])
def deployed(request: pytest.FixtureRequest) -> tuple[Preset, Any]:
    return request.param, deploy(request.param)


@pytest.mark.parametrize("case", load("rewards/closings.json"), ids=lambda case: case["name"])
def test_closing_vector(case: dict[str, Any]) -> None:
    numbers = {name: int(value) for name, value in case["deployment"].items()}
    preset = replace(MINIMAL, **numbers)
    harness = deploy(preset)
    books = before = Books(Epoch(0), int(case["unpromised"]))
    for step in case["steps"]:
        if step["step"] == "skip":
            # Rewards adds the schedule of a gap to the carries itself.
            missed = [
                harness.scheduled(kind, books.next_epoch, step["until"], case["emission_bps"])
                for kind in range(2)
                if step["until"] > books.next_epoch
            ]
            books = skip_epochs(books, Epoch(step["until"]), preset, case["emission_bps"])
            if missed:
                assert (books.provider_carry, books.checker_carry) == (
                    before.provider_carry + missed[0],
                    before.checker_carry + missed[1],
                )
        else:
            funded = replace(books, unpromised=books.unpromised + int(step["funded"]))
            found = read(
                harness.closed(
                    stored(funded),
                    step["has_providers"],
                    step["has_checkers"],
                    case["emission_bps"],
                )
            )
            books = Books(Epoch(found[0]), found[1], *found[2], *found[3])
        before = books
        shown = {name: int(value) for name, value in step["books"].items()}
        assert asdict(books) == shown


@given(
    first=st.integers(0, 40),
    gap=st.integers(0, 2**31),
    bps=st.integers(0, 10_000),
)
@settings(max_examples=60)
def test_schedule(deployed: tuple[Preset, Any], first: int, gap: int, bps: int) -> None:
    preset, harness = deployed
    until = first + gap

    for kind, base in enumerate((preset.provider_pool, preset.checker_pool)):
        assert harness.scheduled(kind, first, until, bps) == compute_schedule(
            base, Epoch(first), preset, until=Epoch(until), emission_bps=bps
        )


@given(
    epoch=st.integers(0, 30),
    money=st.integers(0, 10_000) | st.integers(0, 2**44),
    carries=st.tuples(st.integers(0, 2**43), st.integers(0, 2**43)),
    has_providers=st.booleans(),
    has_checkers=st.booleans(),
    bps=st.integers(0, 10_000),
)
@settings(max_examples=120)
def test_an_epoch_is_closed_alike(
    deployed: tuple[Preset, Any],
    epoch: int,
    money: int,
    carries: Pair,
    has_providers: bool,
    has_checkers: bool,
    bps: int,
) -> None:
    preset, harness = deployed
    books = Books(Epoch(epoch), money, *carries)

    closed = close_epoch(
        books,
        preset,
        has_providers=has_providers,
        has_checkers=has_checkers,
        emission_bps=bps,
    )

    assert harness.pool_unit() == compute_pool_unit(preset)
    found = read(harness.closed(stored(books), has_providers, has_checkers, bps))
    assert found == stored(closed)

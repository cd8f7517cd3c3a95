"""Rounds of drand: real ones hold, anything else is refused."""

import hashlib
from typing import Any

import pytest

from protocols import drand
from protocols.errors import LocalError, RemoteError
from protocols.types import TimeMs
from tests.vectors.generate import load

ROUNDS = load("draws/rounds.json")


@pytest.mark.parametrize("case", ROUNDS, ids=lambda case: case["name"])
def test_vector(case: dict[str, Any]) -> None:
    signature = bytes.fromhex(case["signature"])
    if case["reason"] is None:
        assert drand.verify_round(case["round"], signature).hex() == case["randomness"]
        assert drand.time_of_round(case["round"]) == int(case["time_ms"])
    else:
        with pytest.raises(RemoteError) as refused:
            drand.verify_round(case["round"], signature)
        assert refused.value.reason == case["reason"]


def test_pinned_numbers_are_those_that_the_chain_is_named_by() -> None:
    group = bytes.fromhex("f477d5c89f21a17c863a7f937c6a6d15859414d2be09cd448d4279af331c5d3e")
    parameters = (
        drand.PERIOD_S.to_bytes(4, "big")
        + drand.GENESIS_S.to_bytes(8, "big")
        + drand.PUBLIC_KEY
        + group
        + b"quicknet"
    )
    assert hashlib.sha256(parameters).digest() == drand.CHAIN


@pytest.mark.parametrize(
    ("moment", "first"),
    [
        (0, 1),
        (drand.GENESIS_S * 1000, 1),
        (drand.GENESIS_S * 1000 + 1, 2),
        (drand.GENESIS_S * 1000 + 3000, 2),
        (drand.GENESIS_S * 1000 + 3001, 3),
    ],
)
def test_first_round_from(moment: int, first: int) -> None:
    assert drand.first_round_from(TimeMs(moment)) == first
    assert drand.time_of_round(first) >= moment


@pytest.mark.parametrize("number", [0, -1, drand.MAX_ROUND + 1])
def test_numbers_that_no_round_has(number: int) -> None:
    with pytest.raises(LocalError, match="drand round"):
        drand.time_of_round(number)
    with pytest.raises(LocalError, match="drand round"):
        drand.verify_round(number, b"")

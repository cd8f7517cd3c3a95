"""How long a wallet can pay: the estimate, the average that takes its place, and the file."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.calls import SUBMIT_BASE_GAS, SUBMIT_SEAT_GAS
from chain.records import SlotKind
from p2p_node.funds import (
    MAX_EPOCHS,
    MIN_EPOCHS,
    SPENDING_FILE,
    TOP_UP_EPOCHS,
    Outlook,
    Spending,
    compute_outlook,
    read_spending,
    write_spending,
)
from protocols.params import MAINNET

GWEI = 10**9
PEAQ = 10**18


def outlook(
    balance: int, kind: SlotKind = SlotKind.CHECKER, spending: Spending | None = None
) -> Outlook:
    return compute_outlook(balance, 100 * GWEI, kind, MAINNET, spending or Spending())


def test_an_estimate_at_first() -> None:
    for kind, least, most in ((SlotKind.PROVIDER, 0.01, 0.03), (SlotKind.CHECKER, 0.04, 0.07)):
        found = outlook(PEAQ, kind)
        assert not found.is_measured
        assert least * PEAQ < found.per_epoch < most * PEAQ, "at 100 gwei, by chain.md"


def test_the_average_of_what_was_paid_afterwards() -> None:
    spending = Spending()
    for _ in range(MIN_EPOCHS - 1):
        spending = spending.add_epoch(3 * GWEI)
    assert not outlook(PEAQ, spending=spending).is_measured
    spending = spending.add_epoch(6 * GWEI)
    found = outlook(PEAQ, spending=spending)
    assert found.is_measured
    assert found.per_epoch == 4 * GWEI


def test_an_epoch_that_cost_nothing_does_not_count() -> None:
    spending = Spending(5, 500)
    assert spending.add_epoch(0) == spending


def test_new_prices_take_over() -> None:
    spending = Spending()
    for _ in range(500):
        spending = spending.add_epoch(100)
    for _ in range(3 * MAX_EPOCHS):
        spending = spending.add_epoch(1000)
    assert spending.epochs <= MAX_EPOCHS
    assert spending.average is not None
    assert 950 <= spending.average <= 1000


@pytest.mark.parametrize("kind", list(SlotKind))
def test_what_is_asked_for_lasts(kind: SlotKind) -> None:
    poor = outlook(0, kind)
    assert poor.epochs_left == 0
    assert outlook(poor.missing, kind).epochs_left == TOP_UP_EPOCHS
    assert outlook(poor.missing, kind).missing == 0


def test_the_largest_transaction_must_be_affordable() -> None:
    """A chain wants the whole gas limit at the highest price to be there before it takes one."""
    bundle = SUBMIT_BASE_GAS + SUBMIT_SEAT_GAS * MAINNET.seats
    assert outlook(bundle * 200 * GWEI).epochs_left == 0


@given(st.integers(0, 10**24), st.integers(0, 10**24))
def test_epochs_left_is_a_number(balance: int, paid: int) -> None:
    found = outlook(balance, spending=Spending(MIN_EPOCHS, paid))
    assert 0 <= found.epochs_left <= balance


def test_the_file(data_dir: Path) -> None:
    assert read_spending(data_dir) == Spending()
    spending = Spending(5, 10**20)
    write_spending(data_dir, spending)
    assert read_spending(data_dir) == spending


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"epochs": -1, "paid": 1}', '{"epochs": 1.5, "paid": 1}', '{"epochs": 1}'],
)
def test_a_file_that_makes_no_sense(data_dir: Path, content: str) -> None:
    (data_dir / SPENDING_FILE).write_text(content)
    assert read_spending(data_dir) == Spending()

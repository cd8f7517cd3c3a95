"""Prices of a deployment, and the file that lets it go on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from chain.budget import Cost
from chain.deploy_plan import Step, plan_deployment
from chain.deploy_progress import make_progress, read_progress, write_progress
from chain.deploy_quote import Quote, quote_steps
from chain.errors import DeploymentFileError
from chain.fees import Fees
from chain.networks import LOCAL, PEAQ
from chain.records import Call
from chain.simulation import SimulatedStep
from chain.transactions import MAX_GAS
from tests.chain.backends import ALICE
from tests.chain.test_deploy_plan import GENESIS, OPTIONS

FEES = Fees(tip=2, max_fee=22)
STEP = Step("a step", Call(None))


def quote(*gas: int, balance: int = 0, first: int = 0) -> Quote:
    steps = [SimulatedStep(STEP, Cost(each, 0, 0)) for each in gas]
    return quote_steps(steps, LOCAL, base_fee=10, fees=FEES, balance=balance, first=first)


def test_each_step_has_a_price_and_a_limit() -> None:
    found = quote(1_000, 2_000)
    assert found.price == 12
    assert [(step.gas, step.gas_limit) for step in found.steps] == [(1_000, 1_300), (2_000, 2_600)]
    assert [step.expected for step in found.steps] == [12_000, 24_000]
    assert [step.most for step in found.steps] == [28_600, 57_200]
    assert (found.expected, found.most) == (36_000, 85_800)


def test_the_wallet_needs_what_the_dearest_moment_asks_for() -> None:
    # Before the second step the first one is paid for, and the whole limit of the second is held.
    assert quote(1_000, 2_000).needed == 12_000 + 57_200
    # A small last step asks for less than the one before.
    assert quote(2_000, 10).needed == 57_200
    assert quote(1_000, 2_000, balance=69_200).is_enough
    assert not quote(1_000, 2_000, balance=69_199).is_enough
    assert quote().needed == 0


def test_what_is_done_is_not_paid_again() -> None:
    found = quote(1_000, 2_000, 3_000, first=2)
    assert [(step.number, step.gas) for step in found.steps] == [(2, 3_000)]
    assert found.expected == 36_000


def test_a_price_never_exceeds_what_is_offered() -> None:
    fees = Fees(tip=2, max_fee=11)
    assert quote_steps([], LOCAL, base_fee=10, fees=fees, balance=0).price == 11


def test_proof_counts_where_it_is_charged_for() -> None:
    step = SimulatedStep(STEP, Cost(1_000, 500, 0))
    on_peaq = quote_steps([step], PEAQ, base_fee=10, fees=FEES, balance=0)
    assert on_peaq.steps[0].gas == 2_000
    assert on_peaq.is_cheap
    assert not quote_steps([step], LOCAL, base_fee=10, fees=FEES, balance=0).is_cheap


def test_a_step_beyond_the_ceiling_does_not_fit() -> None:
    assert quote(MAX_GAS).fits
    assert not quote(MAX_GAS + 1).fits


def test_progress_is_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "new.json.part"
    assert read_progress(path) is None
    plan = plan_deployment(ALICE.address, 5, GENESIS, OPTIONS)
    progress = make_progress(plan, 9990, 17)
    write_progress(path, progress)
    assert read_progress(path) == progress
    other = plan_deployment(ALICE.address, 5, GENESIS, replace(OPTIONS, reward_fund=1))
    assert make_progress(other, 9990, 17) != progress


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"nonce": "5"},
        {"nonce": True},
        {"more": 1},
        {"digest": None},
    ],
)
def test_broken_progress_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "new.json.part"
    write_progress(path, make_progress(plan_deployment(ALICE.address, 5, GENESIS, OPTIONS), 1, 1))
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DeploymentFileError, match="not a deployment's progress of format 1"):
        read_progress(path)


def test_progress_that_is_no_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "new.json.part"
    path.write_text("{")
    with pytest.raises(DeploymentFileError, match="found no JSON"):
        read_progress(path)

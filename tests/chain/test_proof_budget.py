"""Every kind of transaction, held to the proof that peaq charges for and to its bounds."""

import pytest

from bench import proof
from bench.gas import LIMITS
from chain.abi import CONTRACTS
from chain.budget import Cost
from chain.calls import COMMIT_GAS, CONTRIBUTE_GAS, SUBMIT_BASE_GAS, SUBMIT_SEAT_GAS
from chain.compile import DEPLOYED, MAX_DEPLOYED_BYTES
from chain.networks import PEAQ, ProofRule
from chain.transactions import GAS_MARGIN_PERCENT, MAX_GAS

assert PEAQ.proof_rule is not None
RULE: ProofRule = PEAQ.proof_rule

LED_BY_GAS = (
    *(f"deployment of {name}" for name in CONTRACTS),
    "registration of a provider",
    "registration of a checker",
    "seed: commitment",
    "bundle, first in ring",
    "bundle of 11 reports",
    "claim of a provider, 24 epochs",
)
"""What costs much, or comes often: here the proof must not add to the price."""

FIXED = {
    "seed: commitment": COMMIT_GAS,
    "seed: first contribution": CONTRIBUTE_GAS,
    "seed: contribution": CONTRIBUTE_GAS,
    "bundle, first in ring": SUBMIT_BASE_GAS + 11 * SUBMIT_SEAT_GAS,
    "bundle of 11 reports": SUBMIT_BASE_GAS + 11 * SUBMIT_SEAT_GAS,
}
"""Limits that are not asked of the chain: peaq's own estimate would count the proof."""


@pytest.fixture(scope="module")
def costs() -> dict[str, Cost]:
    return proof.measure()


def test_every_deployed_contract_is_measured_and_looked_through(costs: dict[str, Cost]) -> None:
    # `test_artefacts` holds DEPLOYED to size and opcodes.
    assert CONTRACTS == DEPLOYED
    assert {f"deployment of {name}" for name in CONTRACTS} <= costs.keys()


def test_what_costs_much_is_not_led_by_its_proof(costs: dict[str, Cost]) -> None:
    led = [name for name in LED_BY_GAS if costs[name].is_led_by_proof(RULE)]
    assert led == []


def test_what_is_led_by_its_proof_costs_little(costs: dict[str, Cost]) -> None:
    assert [name for name, cost in costs.items() if not proof.is_within(cost)] == []
    # That such transactions exist is a fact that the docs tell, and operators pay for.
    assert costs["penalty: equivocation"].is_led_by_proof(RULE)


def test_everything_fits_into_an_extrinsic_with_its_margin(costs: dict[str, Cost]) -> None:
    for name, cost in costs.items():
        limit = cost.effective_gas(RULE) * GAS_MARGIN_PERCENT // 100
        assert limit < MAX_GAS < PEAQ.max_transaction_gas, name
        assert 20 * cost.proof_bytes < RULE.max_proof_bytes, name
        assert cost.stored_bytes < MAX_DEPLOYED_BYTES + 2_000, name


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("registration of a provider", "register_provider"),
        ("registration of a checker", "register_checker"),
        ("penalty: equivocation", "prove_equivocation"),
    ],
)
def test_gas_is_within_the_limits_of_the_benchmark(
    costs: dict[str, Cost], name: str, limit: str
) -> None:
    assert costs[name].evm_gas <= LIMITS[limit]


@pytest.mark.parametrize("name", sorted(FIXED))
def test_fixed_limits_leave_room_for_the_proof(costs: dict[str, Cost], name: str) -> None:
    """A transaction runs out of gas when its proof needs more than its limit, not what it used."""
    assert 3 * costs[name].effective_gas(RULE) < 2 * FIXED[name]

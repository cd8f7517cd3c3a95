"""Proof that peaq charges for: no transaction of ours may cost more by it than by its gas."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import boa
import pytest
from eth_utils import keccak

from chain.abi import CONTRACTS
from chain.budget import Cost
from chain.calls import COMMIT_GAS, CONTRIBUTE_GAS, SUBMIT_BASE_GAS, SUBMIT_SEAT_GAS
from chain.compile import DEPLOYED
from chain.networks import PEAQ
from chain.transactions import GAS_MARGIN_PERCENT
from tests.chain.contracts import reference
from tests.chain.contracts import world as worlds
from tests.chain.contracts.proofs import measure
from tests.chain.contracts.world import UNIT, World

RULE = PEAQ.proof_rule
assert RULE is not None


def assert_within_budget(cost: Cost, name: str) -> None:
    assert RULE is not None
    shown = f"{name}: {cost.evm_gas} gas, {cost.proof_bytes} bytes of proof"
    assert not cost.is_led_by_proof(RULE), shown
    assert cost.effective_gas(RULE) == cost.evm_gas
    assert cost.evm_gas * GAS_MARGIN_PERCENT // 100 < PEAQ.max_transaction_gas
    assert cost.proof_bytes < RULE.max_proof_bytes


def test_every_contract_is_held_to_size_and_opcodes() -> None:
    """`test_artefacts` goes through DEPLOYED: it has to be everything that is deployed."""
    assert set(CONTRACTS) <= set(DEPLOYED)


@pytest.mark.parametrize("kind", ["provider", "checker"])
def test_registering(network: World, kind: str) -> None:
    person = f"newcomer {kind}"
    network.give(person, 10 * UNIT)
    method = getattr(network.registry, f"register_{kind}")
    with boa.env.prank(worlds.wallet(person)):
        approval = measure(
            network.token, lambda: network.token.approve(network.registry, 10 * UNIT)
        )
        cost = measure(
            network.registry,
            lambda: method(keccak(b"key"), b"\x22" * 32, b"\x33" * 32, 10 * UNIT),
        )
    assert_within_budget(approval, "approve")
    assert_within_budget(cost, f"register_{kind}")


def test_seeds(network: World) -> None:
    assert RULE is not None
    cost = measure(network.beacon, lambda: network.commit(0))
    assert_within_budget(cost, "commit")
    assert 3 * cost.effective_gas(RULE) < 2 * COMMIT_GAS
    network.enter(2)
    # The epoch's first contribution freezes its seed; the others do so little that reading the
    # code of Beacon and Registry is dearer.
    first = measure(network.beacon, lambda: network.contribute(0))
    network.commit(1)
    network.enter(3)
    network.contribute(0, 1)
    later = measure(network.beacon, lambda: network.contribute(1))
    for cost in (first, later):
        assert cost.effective_gas(RULE) < 80_000
        assert 3 * cost.effective_gas(RULE) < 2 * CONTRIBUTE_GAS


@pytest.mark.parametrize("seats", [4, 11])
def test_bundles(with_seats: Callable[[int], World], seats: int) -> None:
    world = with_seats(seats)
    random = Random(7)
    vectors = [[random.randrange(1, 32_000) for _ in range(reference.LANES)] for _ in range(seats)]
    reports = world.reports(vectors, epoch=1)
    cost = measure(world.consensus, lambda: world.submit(reports, epoch=1))
    assert_within_budget(cost, f"submit with {seats} reports")
    # A limit of its own, of which a quarter is what the proof may have.
    assert 4 * cost.proof_bytes < SUBMIT_BASE_GAS + SUBMIT_SEAT_GAS * seats

"""A simulated deployment, held against the real one on the devchain."""

from dataclasses import replace

import pytest
import trio

from chain.compile import MAX_DEPLOYED_BYTES
from chain.deploy import execute_plan
from chain.deploy_plan import DeploymentOptions, plan_deployment
from chain.networks import AGUNG, PEAQ
from chain.records import Receipt
from chain.rpc import Rpc
from chain.simulation import INIT_WORD_GAS, simulate_plan
from protocols.errors import LocalError
from protocols.params import MINIMAL, TOKEN, get_preset
from protocols.types import Wallet
from tests.chain.backends import ALICE, CHAIN_ID, DevchainBackend
from tests.chain.test_deploy_plan import GENESIS, OPTIONS, running


async def test_gas_is_what_the_devchain_uses(devchain: DevchainBackend, rpc: Rpc) -> None:
    now = devchain.chain.head().timestamp
    plan = plan_deployment(ALICE.address, 0, now, OPTIONS)
    receipts: list[Receipt] = []
    async with running(devchain, rpc) as manager:
        await execute_plan(
            rpc,
            manager,
            CHAIN_ID,
            plan,
            first_block=1,
            deadline=trio.current_time() + 60,
            note=lambda _, __, receipt: receipts.append(receipt),
        )
    for simulated, receipt in zip(simulate_plan(plan, CHAIN_ID, now), receipts, strict=True):
        data = simulated.step.call.data
        added = INIT_WORD_GAS * -(-len(data) // 32) if simulated.step.creates else 0
        assert simulated.cost.evm_gas - added == receipt.gas_used, simulated.step.label


@pytest.mark.parametrize("chain", [PEAQ, AGUNG], ids=lambda each: each.name)
def test_every_step_fits_into_a_transaction_of_peaqs(chain: object) -> None:
    assert chain in (PEAQ, AGUNG)
    network = PEAQ if chain is PEAQ else AGUNG
    rule = network.proof_rule
    assert rule is not None
    options = DeploymentOptions(get_preset(network.preset), reward_fund=10**6 * TOKEN)
    plan = plan_deployment(ALICE.address, 0, GENESIS, options)
    for simulated in simulate_plan(plan, network.chain_id, GENESIS):
        cost, step = simulated.cost, simulated.step
        assert cost.proof_bytes < rule.max_proof_bytes
        assert not cost.is_led_by_proof(rule), step.label
        assert cost.effective_gas(rule) == cost.evm_gas
        assert cost.evm_gas * 130 // 100 < network.max_transaction_gas
        if step.creates is not None:
            assert len(step.call.data) < network.max_init_code_bytes
            # Code, its key, and some words that the constructor fills.
            assert cost.stored_bytes < MAX_DEPLOYED_BYTES + 2_000


def test_numbers_of_transactions_may_be_any(devchain: DevchainBackend) -> None:
    for nonce in (1, 127, 128, 70_000):
        plan = plan_deployment(ALICE.address, nonce, GENESIS, OPTIONS)
        simulate_plan(plan, CHAIN_ID, GENESIS)


def test_a_token_of_ours_stands_in_for_an_existing_one() -> None:
    existing = Wallet(b"\x77" * 20)
    plan = plan_deployment(ALICE.address, 3, GENESIS, replace(OPTIONS, token=existing))
    steps = simulate_plan(plan, CHAIN_ID, GENESIS)
    assert [each.step for each in steps] == list(plan.steps)
    own = simulate_plan(plan_deployment(ALICE.address, 3, GENESIS, OPTIONS), CHAIN_ID, GENESIS)
    assert abs(steps[-1].cost.evm_gas - own[-1].cost.evm_gas) < 1_000


def test_a_collection_of_ours_stands_in_for_an_existing_one() -> None:
    existing = Wallet(b"\x78" * 20)
    plan = plan_deployment(ALICE.address, 3, GENESIS, replace(OPTIONS, nft=existing))
    steps = simulate_plan(plan, CHAIN_ID, GENESIS)
    assert [each.step for each in steps] == list(plan.steps)
    own = simulate_plan(plan_deployment(ALICE.address, 3, GENESIS, OPTIONS), CHAIN_ID, GENESIS)
    anchor, own_anchor = (
        next(each for each in some if each.step.creates == "ZeroNodeAnchor")
        for some in (steps, own)
    )
    assert abs(anchor.cost.evm_gas - own_anchor.cost.evm_gas) < 1_000


def test_a_step_that_fails_is_named() -> None:
    plan = plan_deployment(
        ALICE.address, 0, GENESIS, DeploymentOptions(MINIMAL, reward_fund=10 * TOKEN)
    )
    broken = replace(plan, steps=(*plan.steps[:-2], plan.steps[-1]))
    with pytest.raises(LocalError, match="payment into the reward fund: fails when simulated"):
        simulate_plan(broken, CHAIN_ID, GENESIS)

"""A deployment as it is written down beforehand, and as it then happens."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio

from chain.abi import CONTRACTS
from chain.deploy import execute_plan
from chain.deploy_plan import DeploymentOptions, Step, plan_deployment
from chain.deployment import verify_deployment
from chain.journal import MemoryJournal
from chain.records import Receipt
from chain.rpc import Rpc
from chain.transactions import TransactionManager
from protocols.errors import LocalError
from protocols.params import MINIMAL, TOKEN
from protocols.types import Wallet
from tests.chain.backends import ALICE, CHAIN_ID, DevchainBackend
from tests.chain.managing import managing, transfer

OPTIONS = DeploymentOptions(MINIMAL, reward_fund=1_000 * TOKEN)
GENESIS = 1_800_000_000
TOKEN_ADDRESS = Wallet(b"\x77" * 20)
NFT_ADDRESS = Wallet(b"\x78" * 20)


def test_a_plan_has_every_contract_and_then_the_fund() -> None:
    plan = plan_deployment(ALICE.address, 5, GENESIS, OPTIONS)
    assert [step.creates for step in plan.steps] == [*CONTRACTS, None, None]
    assert set(plan.addresses) == set(CONTRACTS)
    assert len(set(plan.addresses.values())) == len(CONTRACTS)
    approve, fund = plan.steps[-2:]
    assert (approve.call.to, fund.call.to) == (plan.addresses["Token"], plan.addresses["Rewards"])
    assert plan_deployment(ALICE.address, 5, GENESIS, OPTIONS) == plan


def test_an_existing_token_is_not_deployed() -> None:
    options = replace(OPTIONS, token=TOKEN_ADDRESS, supply=0)
    plan = plan_deployment(ALICE.address, 5, GENESIS, options)
    assert [step.creates for step in plan.steps] == [*CONTRACTS[1:], None, None]
    assert plan.addresses["Token"] == TOKEN_ADDRESS
    # The first contract takes the first number.
    own = plan_deployment(ALICE.address, 5, GENESIS, OPTIONS)
    assert plan.addresses["Registry"] == own.addresses["Token"]


def test_an_existing_collection_is_not_deployed() -> None:
    plan = plan_deployment(ALICE.address, 5, GENESIS, replace(OPTIONS, nft=NFT_ADDRESS))
    created = [step.creates for step in plan.steps if step.creates is not None]
    assert created == [name for name in CONTRACTS if name != "Nft"]
    assert plan.addresses["Nft"] == NFT_ADDRESS
    assert list(plan.addresses) == list(CONTRACTS)
    own = plan_deployment(ALICE.address, 5, GENESIS, OPTIONS)
    assert plan.addresses["ZeroNodeAnchor"] == own.addresses["Nft"]
    assert plan.digest != own.digest


def test_without_a_fund_nothing_is_paid() -> None:
    plan = plan_deployment(ALICE.address, 0, GENESIS, replace(OPTIONS, reward_fund=0))
    assert all(step.creates for step in plan.steps)


def test_a_fund_beyond_the_supply_is_refused() -> None:
    with pytest.raises(LocalError, match="reward fund: found 11, expected at most 10"):
        plan_deployment(ALICE.address, 0, GENESIS, replace(OPTIONS, supply=10, reward_fund=11))


def test_the_digest_tells_plans_apart() -> None:
    plans = [
        plan_deployment(ALICE.address, 5, GENESIS, OPTIONS),
        plan_deployment(Wallet(b"\x01" * 20), 5, GENESIS, OPTIONS),
        plan_deployment(ALICE.address, 6, GENESIS, OPTIONS),
        plan_deployment(ALICE.address, 5, GENESIS + 1, OPTIONS),
        plan_deployment(ALICE.address, 5, GENESIS, replace(OPTIONS, reward_fund=1)),
    ]
    assert len({plan.digest for plan in plans}) == len(plans)


@asynccontextmanager
async def running(devchain: DevchainBackend, rpc: Rpc) -> AsyncIterator[TransactionManager]:
    """A manager of Alice's, on a chain that makes blocks by itself."""
    manager = TransactionManager(
        rpc, ALICE, MemoryJournal(), chain_id=CHAIN_ID, poll_seconds=0.01, max_unmined=1
    )

    async def mine() -> None:
        while True:
            devchain.mine()
            await trio.sleep(0.02)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(manager.run)
        nursery.start_soon(mine)
        yield manager
        nursery.cancel_scope.cancel()


async def test_a_plan_comes_true(devchain: DevchainBackend, rpc: Rpc) -> None:
    plan = plan_deployment(ALICE.address, 0, devchain.chain.head().timestamp, OPTIONS)
    done: list[tuple[int, Step, Receipt]] = []
    async with running(devchain, rpc) as manager:
        deployment = await execute_plan(
            rpc,
            manager,
            CHAIN_ID,
            plan,
            first_block=1,
            deadline=trio.current_time() + 60,
            note=lambda *what: done.append(what),
        )
    await verify_deployment(rpc, deployment)
    assert {name: each.address for name, each in deployment.contracts.items()} == plan.addresses
    assert [place for place, _, _ in done] == list(range(len(plan.steps)))
    assert all(receipt.contract == step.address for _, step, receipt in done)


async def test_a_plan_goes_on_where_it_was_cut_off(devchain: DevchainBackend, rpc: Rpc) -> None:
    plan = plan_deployment(ALICE.address, 0, devchain.chain.head().timestamp, OPTIONS)
    first = replace(plan, steps=plan.steps[:3], addresses={})
    async with running(devchain, rpc) as manager:
        deadline = trio.current_time() + 60
        await execute_plan(rpc, manager, CHAIN_ID, first, first_block=1, deadline=deadline)
    done: list[int] = []
    async with running(devchain, rpc) as manager:
        deployment = await execute_plan(
            rpc,
            manager,
            CHAIN_ID,
            plan,
            first_block=1,
            deadline=trio.current_time() + 60,
            done=3,
            note=lambda place, *_: done.append(place),
        )
    assert done == list(range(3, len(plan.steps)))
    await verify_deployment(rpc, deployment)


async def test_a_stranger_in_between_is_noticed(devchain: DevchainBackend, rpc: Rpc) -> None:
    plan = plan_deployment(ALICE.address, 0, devchain.chain.head().timestamp, OPTIONS)
    async with managing(devchain) as bench:
        bench.start(transfer(), "something else", confirmations=1)
        await bench.receipt_of("something else")
    async with running(devchain, rpc) as manager:
        with pytest.raises(LocalError, match=r"Token is at 0x[0-9a-f]{40} instead of 0x"):
            await execute_plan(
                rpc,
                manager,
                CHAIN_ID,
                plan,
                first_block=1,
                deadline=trio.current_time() + 60,
            )

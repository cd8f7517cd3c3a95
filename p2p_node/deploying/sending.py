"""Sends a plan's transactions, and leaves what is needed to go on after an interruption."""

from collections.abc import Callable
from pathlib import Path

import trio

from chain.deploy import execute_plan
from chain.deploy_plan import Step
from chain.deploy_progress import write_progress
from chain.deployment import Deployment, verify_deployment, write_deployment
from chain.errors import ExpiredError
from chain.hexes import to_hex
from chain.journal import MemoryJournal
from chain.records import Receipt
from chain.rpc import JsonRpc
from chain.signer import Signer
from chain.transactions import TransactionManager
from p2p_node.deploying.survey import Survey

DEADLINE_SECONDS = 3600.0
"""For all of it; a dozen transactions on peaq take some three minutes."""


async def send(
    rpc: JsonRpc,
    signer: Signer,
    survey: Survey,
    *,
    progress_file: Path,
    deployment_file: Path,
    say: Callable[[str], None],
) -> Deployment:
    """Send what is left, check what is there, and write the deployment file.

    `say` is told about each step. When this is cut off, by whatever, the same command continues.
    """
    chain, plan = survey.chain, survey.plan
    write_progress(progress_file, survey.progress)
    manager = TransactionManager(
        rpc,
        signer,
        # What was sent is found again by the wallet's number of transactions.
        MemoryJournal(),
        chain_id=chain.chain_id,
        poll_seconds=min(1.0, chain.block_ms / 4000),
        finality_blocks=chain.finality_blocks,
    )

    def note(place: int, step: Step, receipt: Receipt) -> None:
        where = f" at {to_hex(step.address)}" if step.address is not None else ""
        say(
            f"{place + 1} of {len(plan.steps)}: {step.label}{where}, block "
            f"{receipt.block_number}, {receipt.gas_used:,} gas"
        )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(manager.run)
        deployment = await execute_plan(
            rpc,
            manager,
            chain.chain_id,
            plan,
            first_block=survey.first_block,
            deadline=trio.current_time() + DEADLINE_SECONDS,
            done=survey.done,
            note=note,
        )
        nursery.cancel_scope.cancel()
    await _wait_until_final(rpc, survey)
    await verify_deployment(rpc, deployment)
    write_deployment(deployment_file, deployment)
    progress_file.unlink(missing_ok=True)
    return deployment


async def _wait_until_final(rpc: JsonRpc, survey: Survey) -> None:
    """Wait for the plan's last transaction; whoever was cut off may have sent it before."""
    wallet = to_hex(survey.plan.deployer)
    end = survey.plan.nonce + len(survey.plan.steps)
    with trio.move_on_after(DEADLINE_SECONDS):
        while await rpc.quantity("eth_getTransactionCount", wallet, "finalized") < end:
            await trio.sleep(survey.chain.block_ms / 1000)
        return
    raise ExpiredError("finality of the deployment")

"""Deploys the contracts of one network and writes down what was deployed."""

from collections.abc import Callable, Mapping

from chain.answers import parse_head
from chain.deploy_plan import DeploymentOptions, DeploymentPlan, Step, plan_deployment
from chain.deployment import Contract, Deployment
from chain.errors import MalformedAnswerError
from chain.hexes import to_hex
from chain.records import Receipt
from chain.rpc import JsonRpc
from chain.transactions import TransactionManager
from protocols.errors import LocalError
from protocols.hashing import keccak256
from protocols.types import Digest, Wallet

__all__ = ["DeploymentOptions", "deploy", "execute_plan"]

Note = Callable[[int, Step, Receipt], None]
"""Told about each step that is done: its place in the plan, from 0, and what became of it."""


async def deploy(
    rpc: JsonRpc,
    manager: TransactionManager,
    chain_id: int,
    options: DeploymentOptions,
    *,
    deadline: float,
) -> Deployment:
    """Deploy all contracts, and fund the rewards.

    `manager` runs with the deployer's wallet, which must send nothing else meanwhile; `deadline`
    is on Trio's clock and holds for all of it. Raises what `execute_plan` raises.
    """
    head = parse_head(await rpc.request("eth_getBlockByNumber", "latest", False))
    genesis = head.timestamp if options.genesis is None else options.genesis
    nonce = await rpc.quantity("eth_getTransactionCount", to_hex(manager.wallet), "latest")
    plan = plan_deployment(manager.wallet, nonce, genesis, options)
    return await execute_plan(
        rpc, manager, chain_id, plan, first_block=head.number + 1, deadline=deadline
    )


async def execute_plan(
    rpc: JsonRpc,
    manager: TransactionManager,
    chain_id: int,
    plan: DeploymentPlan,
    *,
    first_block: int,
    deadline: float,
    done: int = 0,
    note: Note | None = None,
) -> Deployment:
    """Send what is left of a plan after its first `done` steps, and look at the result.

    When the last step is final, so is everything before it. `first_block` is the first block that
    can hold an event of these contracts. Raises the errors of `TransactionManager.execute`, and
    LocalError when the wallet sent something else in between, so that a contract is not where the
    others expect it.
    """
    for place, step in enumerate(plan.steps):
        if place < done:
            continue
        # A block that is taken back changes nothing: the manager sends the same bytes again.
        is_last = place + 1 == len(plan.steps)
        receipt = await manager.execute(
            step.call,
            label=step.label,
            deadline=deadline,
            confirmations="finalized" if is_last else 1,
        )
        if step.creates is not None and receipt.contract != step.address:
            raise _misplaced(step, receipt)
        if note is not None:
            note(place, step, receipt)
    return Deployment(
        chain_id=chain_id,
        genesis=plan.genesis,
        block=first_block,
        contracts=await _read_contracts(rpc, plan.addresses),
        preset=plan.options.preset,
    )


def _misplaced(step: Step, receipt: Receipt) -> Exception:
    if receipt.contract is None:
        return MalformedAnswerError(f"the receipt of {step.creates}'s creation names no contract")
    return LocalError(
        f"{step.creates} is at {to_hex(receipt.contract)} instead of "
        f"{to_hex(step.address or b'')}: the wallet has sent something else meanwhile, and the "
        "contracts do not fit together"
    )


async def _read_contracts(rpc: JsonRpc, addresses: Mapping[str, Wallet]) -> dict[str, Contract]:
    contracts = {}
    for name, address in addresses.items():
        code = await rpc.octets("eth_getCode", to_hex(address), "latest")
        if not code:
            raise LocalError(f"{name}: found no code at {to_hex(address)}")
        contracts[name] = Contract(address, Digest(keccak256(code)))
    return contracts

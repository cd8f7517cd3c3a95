"""How far a deployment has come that was cut off: a small file, and a look at the chain.

The file is written before the first transaction and removed after the last; it holds what a plan
cannot be computed again without. Whether a step is done is asked of the chain alone.
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from chain.abi import get_interface
from chain.deploy_plan import DeploymentPlan
from chain.deployment import MAX_FILE_BYTES, write_whole
from chain.errors import DeploymentFileError
from chain.hexes import to_hex
from chain.rpc import JsonRpc
from protocols.errors import LocalError
from protocols.types import Wallet

FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a deployment began: the wallet's transaction number, the genesis and the block.

    `digest` is that of the plan, in hexadecimal.
    """

    format: int
    chain_id: int
    deployer: str
    nonce: int
    genesis: int
    first_block: int
    digest: str


def make_progress(plan: DeploymentPlan, chain_id: int, first_block: int) -> Progress:
    """Note a plan that is about to be sent."""
    return Progress(
        format=FORMAT,
        chain_id=chain_id,
        deployer=to_hex(plan.deployer),
        nonce=plan.nonce,
        genesis=plan.genesis,
        first_block=first_block,
        digest=to_hex(plan.digest),
    )


def write_progress(path: Path, progress: Progress) -> None:
    """Write the file in one step."""
    write_whole(path, json.dumps(asdict(progress), indent=2) + "\n")


def read_progress(path: Path) -> Progress | None:
    """Read the file; None when there is none, DeploymentFileError when it is broken."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DeploymentFileError(f"{path}: {error.strerror}") from error
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DeploymentFileError(f"{path}: found no JSON: {error}") from None
    kinds = {field.name: int if field.type in (int, "int") else str for field in fields(Progress)}
    if (
        not isinstance(parsed, dict)
        or parsed.keys() != kinds.keys()
        or any(type(parsed[name]) is not kind for name, kind in kinds.items())
        or parsed["format"] != FORMAT
    ):
        raise DeploymentFileError(f"{path}: not a deployment's progress of format {FORMAT}")
    return Progress(**parsed)


async def count_done(rpc: JsonRpc, plan: DeploymentPlan) -> int:
    """Return how many steps of a plan are on the chain.

    LocalError when the plan cannot be continued: a creation failed, or its wallet has sent
    something else; or not yet, because a transaction of the wallet waits for a block.
    """
    wallet = to_hex(plan.deployer)
    used = await rpc.quantity("eth_getTransactionCount", wallet, "latest")
    if await rpc.quantity("eth_getTransactionCount", wallet, "pending") > used:
        raise LocalError(f"a transaction of {wallet} waits for a block: try again when it is in")
    done = used - plan.nonce
    if not 0 <= done <= len(plan.steps):
        raise LocalError(
            f"{wallet} has sent {used} transactions, expected {plan.nonce} … "
            f"{plan.nonce + len(plan.steps)}: it has sent something else since, or the endpoint "
            "does not know all of them"
        )
    for step in plan.steps[:done]:
        if step.address is not None and not await has_code(rpc, step.address):
            raise LocalError(
                f"{step.label}: found no code at {to_hex(step.address)}; it failed, or "
                f"{wallet} has sent something else in its place"
            )
    fund = plan.options.reward_fund
    if fund and done == len(plan.steps):
        paid = await _balance(rpc, plan)
        if paid < fund:
            raise LocalError(f"reward fund: found {paid}, expected {fund}: it was not paid")
    return done


async def has_code(rpc: JsonRpc, address: Wallet) -> bool:
    """Tell whether there is a contract at an address."""
    return bool(await rpc.octets("eth_getCode", to_hex(address), "latest"))


async def _balance(rpc: JsonRpc, plan: DeploymentPlan) -> int:
    shape = get_interface("Token").functions["balanceOf"]
    call = {
        "to": to_hex(plan.addresses["Token"]),
        "data": to_hex(shape.encode((plan.addresses["Rewards"],))),
    }
    (balance,) = shape.decode(await rpc.octets("eth_call", call, "latest"))
    return int(balance)

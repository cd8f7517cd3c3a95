"""What `kaisar deploy` finds out before it sends anything."""

from dataclasses import dataclass, replace

import trio

from chain.answers import parse_head
from chain.deploy_plan import DeploymentOptions, DeploymentPlan, plan_deployment
from chain.deploy_progress import Progress, count_done, has_code, make_progress
from chain.deploy_quote import Quote, quote_steps
from chain.deployment import verify_chain_id
from chain.errors import RefusedError
from chain.fees import FeePolicy, compute_first_offer
from chain.hexes import to_hex
from chain.networks import ChainPreset
from chain.rpc import JsonRpc
from chain.simulation import simulate_plan
from chain.zeronode_client import is_collection
from protocols.errors import LocalError
from protocols.types import Wallet

LATEST_GENESIS_SECONDS = 366 * 86_400
"""A genesis further away than that is a mistake, perhaps of milliseconds."""


@dataclass(frozen=True, slots=True)
class Survey:
    """A plan, how much of it is done, and what the rest costs."""

    chain: ChainPreset
    plan: DeploymentPlan
    first_block: int
    done: int
    quote: Quote

    @property
    def progress(self) -> Progress:
        """What is written down before anything is sent."""
        return make_progress(self.plan, self.chain.chain_id, self.first_block)


async def look(
    rpc: JsonRpc,
    chain: ChainPreset,
    deployer: Wallet,
    options: DeploymentOptions,
    progress: Progress | None,
) -> Survey:
    """Look at the chain, and plan and price what is to be sent.

    `progress` is what a deployment that was cut off has left; how far it came, the chain says.
    Raises WrongChainError, the errors of `JsonRpc.request`, and LocalError for what cannot be done.
    """
    await verify_chain_id(rpc, chain.chain_id)
    head = parse_head(await rpc.request("eth_getBlockByNumber", "latest", False))
    if options.token is not None and not await has_code(rpc, options.token):
        raise LocalError(f"token: found no contract at {to_hex(options.token)} on {chain.name}")
    if options.nft is not None and not await is_collection(rpc, options.nft):
        raise LocalError(
            f"nft: found no ERC-721 collection at {to_hex(options.nft)} on {chain.name}"
        )
    if progress is None:
        nonce = await rpc.quantity("eth_getTransactionCount", to_hex(deployer), "latest")
        genesis = head.timestamp if options.genesis is None else options.genesis
        if abs(genesis - head.timestamp) > LATEST_GENESIS_SECONDS:
            raise LocalError(
                f"genesis: found {genesis}, expected Unix seconds near {head.timestamp}"
            )
        plan = plan_deployment(deployer, nonce, genesis, options)
        first_block, done = head.number + 1, 0
    else:
        plan = _plan_again(progress, chain, deployer, options)
        first_block, done = progress.first_block, await count_done(rpc, plan)
    simulated = await trio.to_thread.run_sync(simulate_plan, plan, chain.chain_id, head.timestamp)
    quote = quote_steps(
        simulated,
        chain,
        base_fee=head.base_fee,
        fees=compute_first_offer(FeePolicy(), head.base_fee, await _suggested_tip(rpc)),
        balance=await rpc.quantity("eth_getBalance", to_hex(deployer), "latest"),
        first=done,
    )
    return Survey(chain, plan, first_block, done, quote)


def _plan_again(
    progress: Progress, chain: ChainPreset, deployer: Wallet, options: DeploymentOptions
) -> DeploymentPlan:
    """Make the plan of a deployment that was cut off, and see that it is the same."""
    options = replace(options, genesis=progress.genesis)
    plan = plan_deployment(deployer, progress.nonce, progress.genesis, options)
    again = make_progress(plan, chain.chain_id, progress.first_block)
    if again != progress:
        raise LocalError(
            "a deployment was cut off here that had other options, another wallet or other "
            "contracts: give the same ones to continue it, or --restart to leave its contracts "
            "where they are and begin anew"
        )
    return plan


async def _suggested_tip(rpc: JsonRpc) -> int:
    try:
        return await rpc.quantity("eth_maxPriorityFeePerGas")
    except RefusedError:
        return 0

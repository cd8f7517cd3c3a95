"""Deploys the contracts of one network and writes down what was deployed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from chain.abi import get_interface
from chain.answers import parse_head
from chain.calls import Calls
from chain.deployment import Contract, Deployment
from chain.errors import MalformedAnswerError
from chain.hexes import to_hex
from chain.records import Call
from chain.rpc import Rpc
from chain.transactions import TransactionManager
from protocols.errors import LocalError
from protocols.hashing import keccak256
from protocols.params import TOKEN, Preset
from protocols.types import Digest, Wallet

OWN_TOKEN: Final = ("Kaisar", "KAI")
"""Name and symbol of the token that a deployment brings with it."""

DEFAULT_SUPPLY: Final = 10**9 * TOKEN
"""Tokens made by a deployment that brings its own token, all to the deployer."""

STAKE_UNIT: Final = TOKEN
"""Stakes weigh in whole tokens: 32 bits of them in the Registry's packed word."""

REUSE_MARGIN_EPOCHS: Final = 1
"""A slot is reused only when its last epoch has left the ring of scores, and one epoch more."""


@dataclass(frozen=True, slots=True)
class DeploymentOptions:
    """What a deployer chooses besides the preset. Amounts in the token's smallest unit.

    `token` is an existing ERC-20, or None to deploy one of `supply`. `genesis` is the start of
    epoch 0 in Unix seconds, or None for the time of the newest block. `reward_fund` is paid into
    the Rewards contract by the deployer.
    """

    preset: Preset
    reward_fund: int
    token: Wallet | None = None
    supply: int = DEFAULT_SUPPLY
    genesis: int | None = None


async def deploy(
    rpc: Rpc,
    manager: TransactionManager,
    chain_id: int,
    options: DeploymentOptions,
    *,
    deadline: float,
) -> Deployment:
    """Deploy Token, Registry, Beacon, Consensus and Rewards, and fund the rewards.

    `manager` runs with the deployer's wallet; `deadline` is on Trio's clock and holds for all of
    it. When the fund is paid in, it is finalised, and with it all before it. Raises the errors of
    `TransactionManager.execute`.
    """
    if options.token is None and options.supply < options.reward_fund:
        raise LocalError(
            f"reward fund: found {options.reward_fund}, expected at most {options.supply}"
        )
    head = parse_head(await rpc.request("eth_getBlockByNumber", "latest", False))
    genesis = head.timestamp if options.genesis is None else options.genesis
    preset = options.preset
    addresses: dict[str, Wallet] = {}

    async def create(name: str, *arguments: object) -> None:
        call = Call(to=None, data=get_interface(name).encode_deployment(arguments))
        # A block that is taken back changes nothing: the manager sends the same bytes again, and
        # an address follows from wallet and nonce.
        receipt = await manager.execute(
            call, label=f"deployment of {name}", deadline=deadline, confirmations=1
        )
        if receipt.contract is None:
            raise MalformedAnswerError(f"the receipt of {name}'s creation names no contract")
        addresses[name] = receipt.contract

    if options.token is None:
        await create("Token", *OWN_TOKEN, options.supply)
    else:
        addresses["Token"] = options.token
    await create(
        "Registry",
        addresses["Token"],
        preset.min_provider_stake,
        preset.min_checker_stake,
        STAKE_UNIT,
        genesis,
        preset.epoch_seconds,
        preset.unstake_delay_seconds,
        preset.ring_epochs + REUSE_MARGIN_EPOCHS,
    )
    await create("Beacon", addresses["Registry"])
    await create(
        "Consensus",
        addresses["Registry"],
        addresses["Beacon"],
        preset.seats,
        preset.grace_seconds,
        preset.tolerance_shift,
        preset.ring_epochs,
    )
    await create(
        "Rewards",
        addresses["Token"],
        addresses["Registry"],
        addresses["Consensus"],
        addresses["Beacon"],
        preset.provider_pool,
        preset.checker_pool,
    )
    deployment = Deployment(
        chain_id=chain_id,
        genesis=genesis,
        block=head.number + 1,
        contracts=await _read_contracts(rpc, addresses),
        preset=preset,
    )
    if options.reward_fund:
        await _fund(manager, Calls(deployment), options.reward_fund, deadline)
    return deployment


async def _read_contracts(rpc: Rpc, addresses: Mapping[str, Wallet]) -> dict[str, Contract]:
    contracts = {}
    for name, address in addresses.items():
        code = await rpc.octets("eth_getCode", to_hex(address), "latest")
        if not code:
            raise LocalError(f"{name}: found no code at {to_hex(address)}")
        contracts[name] = Contract(address, Digest(keccak256(code)))
    return contracts


async def _fund(manager: TransactionManager, calls: Calls, amount: int, deadline: float) -> None:
    approve, fund = calls.fund(amount)
    await manager.execute(
        approve, label="approval of the reward fund", deadline=deadline, confirmations=1
    )
    await manager.execute(fund, label="payment into the reward fund", deadline=deadline)

"""What a deployment sends, before any of it is sent: every transaction, every address.

A contract's address follows from its creator and from the number of the creator's transaction, so
the whole deployment can be written down first: constructors can be given addresses of contracts
that come later, a dry run can show everything, and a deployment that was cut off can be continued,
as long as its wallet has sent nothing else since.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from chain.abi import CONTRACTS, get_interface
from chain.addresses import predict_address
from chain.records import Call
from protocols.errors import LocalError
from protocols.hashing import keccak256
from protocols.params import TOKEN, Preset
from protocols.types import Digest, Wallet

OWN_TOKEN: Final = ("Kaisar", "KAI")
"""Name and symbol of the token that a deployment brings with it."""

DEFAULT_SUPPLY: Final = 10**9 * TOKEN
"""Tokens made by a deployment that brings its own token, all to the deployer."""

OWN_NFT: Final = ("Kaisar ZeroNode", "KZN")
"""Name and symbol of the ERC-721 collection that a deployment brings with it."""

STAKE_UNIT: Final = TOKEN
"""Stakes weigh in whole tokens: 32 bits of them in the Registry's packed word."""

REUSE_MARGIN_EPOCHS: Final = 1
"""A slot is reused only when its last epoch has left the ring of scores, and one epoch more."""

WARMUP_MARGIN_EPOCHS: Final = 1
"""Delegated stake counts when everything that was earned before it came can be claimed no more, and
one epoch later."""

WHOLE_EMISSION_BPS: Final = 10_000
"""The emission schedule is paid in full to begin with; the Steward can only lower it."""

_NOBODY: Final = Wallet(bytes(20))


@dataclass(frozen=True, slots=True)
class DeploymentOptions:
    """What a deployer chooses besides the preset. Amounts in the token's smallest unit.

    `token` is an existing ERC-20, or None to deploy one of `supply`. `genesis` is the start of
    epoch 0 in Unix seconds, or None for the time of the newest block. `reward_fund` is paid into
    the Rewards contract by the deployer. `owner` may propose parameters, lists ZeroNode's services
    and makes tokens of a new collection, and `guardian` may pause new bundles; None for the
    deployer. `nft` is an existing ERC-721 collection, or None to deploy one.
    """

    preset: Preset
    reward_fund: int
    token: Wallet | None = None
    supply: int = DEFAULT_SUPPLY
    genesis: int | None = None
    owner: Wallet | None = None
    guardian: Wallet | None = None
    nft: Wallet | None = None

    @property
    def existing(self) -> Mapping[str, Wallet]:
        """Contracts that are there already, in place of ours, by our names for them."""
        found = {"Token": self.token, "Nft": self.nft}
        return {name: address for name, address in found.items() if address is not None}


@dataclass(frozen=True, slots=True)
class Step:
    """One transaction. `creates` names the contract that it creates, at `address`."""

    label: str
    call: Call
    creates: str | None = None
    address: Wallet | None = None


@dataclass(frozen=True, slots=True)
class DeploymentPlan:
    """All of a deployment: step i is the deployer's transaction number `nonce` + i."""

    deployer: Wallet
    nonce: int
    genesis: int
    options: DeploymentOptions
    addresses: Mapping[str, Wallet]
    steps: tuple[Step, ...]

    @property
    def digest(self) -> Digest:
        """What two plans share only if they send the same, from the same wallet."""
        parts = [bytes(self.deployer), self.nonce.to_bytes(32, "big")]
        for step in self.steps:
            parts += [step.call.to or b"", keccak256(step.call.data)]
        return Digest(keccak256(b"".join(parts)))


def plan_deployment(
    deployer: Wallet, nonce: int, genesis: int, options: DeploymentOptions
) -> DeploymentPlan:
    """Plan the deployment of all contracts, and the funding of the rewards.

    `nonce` is the number of the deployer's next transaction, `genesis` the start of epoch 0 in
    Unix seconds. LocalError when the fund exceeds the supply.
    """
    if options.token is None and options.supply < options.reward_fund:
        raise LocalError(
            f"reward fund: found {options.reward_fund}, expected at most {options.supply}"
        )
    existing = options.existing
    created = [name for name in CONTRACTS if name not in existing]
    known = dict(existing) | {
        name: predict_address(deployer, nonce + place) for place, name in enumerate(created)
    }
    addresses = {name: known[name] for name in CONTRACTS}
    resolved = replace(
        options, owner=options.owner or deployer, guardian=options.guardian or deployer
    )
    steps = [
        Step(
            label=f"deployment of {name}",
            call=Call(
                to=None,
                data=get_interface(name).encode_deployment(
                    _CONSTRUCTORS[name](addresses, genesis, resolved)
                ),
            ),
            creates=name,
            address=addresses[name],
        )
        for name in created
    ]
    if options.reward_fund:
        steps += _plan_funding(addresses, options.reward_fund)
    return DeploymentPlan(deployer, nonce, genesis, options, addresses, tuple(steps))


def _plan_funding(addresses: Mapping[str, Wallet], amount: int) -> list[Step]:
    token, rewards = get_interface("Token").functions, get_interface("Rewards").functions
    approve = token["approve"].encode((addresses["Rewards"], amount))
    fund = rewards["fund"].encode((amount,))
    return [
        Step("approval of the reward fund", Call(addresses["Token"], approve)),
        Step("payment into the reward fund", Call(addresses["Rewards"], fund)),
    ]


def _token(_: Mapping[str, Wallet], __: int, options: DeploymentOptions) -> tuple[object, ...]:
    return *OWN_TOKEN, options.supply


def _registry(
    addresses: Mapping[str, Wallet], genesis: int, options: DeploymentOptions
) -> tuple[object, ...]:
    preset = options.preset
    return (
        addresses["Token"],
        addresses["Steward"],
        addresses["Penalties"],
        addresses["Delegation"],
        STAKE_UNIT,
        genesis,
        preset.epoch_seconds,
        preset.unstake_delay_seconds,
        preset.ring_epochs + REUSE_MARGIN_EPOCHS,
    )


def _steward(
    addresses: Mapping[str, Wallet], _: int, options: DeploymentOptions
) -> tuple[object, ...]:
    preset = options.preset
    return (
        addresses["Registry"],
        options.owner or _NOBODY,
        options.guardian or _NOBODY,
        preset.steward_delay_seconds,
        (
            preset.min_provider_stake,
            preset.min_checker_stake,
            preset.fraud_slash_bps,
            preset.bounty_bps,
            WHOLE_EMISSION_BPS,
        ),
    )


def _beacon(addresses: Mapping[str, Wallet], _: int, __: DeploymentOptions) -> tuple[object, ...]:
    return (addresses["Registry"],)


def _consensus(
    addresses: Mapping[str, Wallet], _: int, options: DeploymentOptions
) -> tuple[object, ...]:
    preset = options.preset
    return (
        addresses["Registry"],
        addresses["Beacon"],
        preset.seats,
        preset.grace_seconds,
        preset.tolerance_shift,
        preset.ring_epochs,
    )


def _rewards(
    addresses: Mapping[str, Wallet], _: int, options: DeploymentOptions
) -> tuple[object, ...]:
    return (
        addresses["Token"],
        addresses["Registry"],
        addresses["Consensus"],
        addresses["Beacon"],
        addresses["Steward"],
        addresses["Delegation"],
        options.preset.provider_pool,
        options.preset.checker_pool,
        options.preset.era_epochs,
        options.preset.carry_epochs,
    )


def _delegation(
    addresses: Mapping[str, Wallet], _: int, options: DeploymentOptions
) -> tuple[object, ...]:
    return (
        addresses["Token"],
        addresses["Registry"],
        addresses["Rewards"],
        addresses["Penalties"],
        options.preset.ring_epochs + WARMUP_MARGIN_EPOCHS,
    )


def _penalties(
    addresses: Mapping[str, Wallet], _: int, options: DeploymentOptions
) -> tuple[object, ...]:
    preset = options.preset
    return (
        addresses["Token"],
        addresses["Registry"],
        addresses["Consensus"],
        addresses["Rewards"],
        addresses["Delegation"],
        addresses["Steward"],
        preset.ban_week_epochs,
        preset.ban_month_epochs,
        preset.ban_half_year_epochs,
    )


def _rental(
    addresses: Mapping[str, Wallet], _: int, options: DeploymentOptions
) -> tuple[object, ...]:
    preset = options.preset
    return (
        addresses["Token"],
        addresses["Registry"],
        addresses["Consensus"],
        addresses["Rewards"],
        preset.lease_fee_bps,
        preset.lease_penalty_bps,
        preset.lease_accept_seconds,
        preset.max_lease_seconds,
    )


def _nft(_: Mapping[str, Wallet], __: int, options: DeploymentOptions) -> tuple[object, ...]:
    return *OWN_NFT, options.owner or _NOBODY


def _zeronode_anchor(
    addresses: Mapping[str, Wallet], _: int, options: DeploymentOptions
) -> tuple[object, ...]:
    return options.owner or _NOBODY, addresses["Nft"], options.preset.day_seconds


Constructor = Callable[[Mapping[str, Wallet], int, DeploymentOptions], tuple[object, ...]]

_CONSTRUCTORS: Final[Mapping[str, Constructor]] = {
    "Token": _token,
    "Registry": _registry,
    "Steward": _steward,
    "Beacon": _beacon,
    "Consensus": _consensus,
    "Rewards": _rewards,
    "Delegation": _delegation,
    "Penalties": _penalties,
    "Rental": _rental,
    "Nft": _nft,
    "ZeroNodeAnchor": _zeronode_anchor,
}
"""Arguments of every constructor, from all addresses, the genesis and the options."""

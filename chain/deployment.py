"""The deployment file: everything a node must know to take part, in one place.

JSON, format version 4:

    {"format": 4, "network_id": "0x…", "chain_id": 31337, "genesis": 1760000000, "block": 7,
     "contracts": {"Token": {"address": "0x…", "code_hash": "0x…"}, "Registry": …, "Steward": …,
                   "Beacon": …, "Consensus": …, "Rewards": …, "Delegation": …, "Penalties": …,
                   "Rental": …, "Nft": …, "ZeroNodeAnchor": …},
     "preset": {"name": "minimal", "epoch_seconds": 24, …}}

`genesis` is the start of epoch 0 in Unix seconds, `block` the first block that can hold events of
these contracts, `code_hash` the keccak256 of the code at the address, `preset` the complete set
of numbers that the contracts were deployed with and that all nodes must agree on. The numbers of it
that the Steward may change later (least stakes, what slashing costs) are those of the beginning:
nodes ask the chain for them. Format 1 had the five contracts of the first generation, format 2 no
leases, format 3 nothing of ZeroNode.

The loader is strict: a field that is missing, unknown or of the wrong form is an error that names
it, since a node with other numbers than its peers is worse than no node.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, TypeVar

from chain.abi import CONTRACTS, get_interface
from chain.deploy_plan import REUSE_MARGIN_EPOCHS, STAKE_UNIT, WARMUP_MARGIN_EPOCHS
from chain.errors import DeploymentFileError, WrongChainError
from chain.hexes import parse_hex_bytes, to_hex
from chain.rpc import JsonRpc
from protocols.errors import LocalError
from protocols.hashing import keccak256
from protocols.params import Preset
from protocols.signing import compute_network_id
from protocols.types import Digest, NetworkId, Wallet

FORMAT: Final = 4

_OLD_FORMATS: Final = {
    1: "without slashing and delegation",
    2: "without leases",
    3: "without ZeroNode",
}
"""What the contracts of earlier formats had not."""

MAX_FILE_BYTES: Final = 64 * 1024
"""A deployment file has some 2 KiB."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Contract:
    """A deployed contract: where it is, and the hash of the code that must be there."""

    address: Wallet
    code_hash: Digest


@dataclass(frozen=True, slots=True)
class Deployment:
    """One set of contracts on one chain, with the numbers they were deployed with."""

    chain_id: int
    genesis: int
    block: int
    contracts: Mapping[str, Contract]
    preset: Preset

    @property
    def network_id(self) -> NetworkId:
        """The identity that goes into every signature."""
        return compute_network_id(self.chain_id, self.address("Consensus"))

    def address(self, name: str) -> Wallet:
        """Return the address of one of `chain.abi.CONTRACTS`."""
        return self.contracts[name].address

    def name_of(self, address: bytes) -> str | None:
        """Return the name of the contract at `address`, or None if it is none of ours."""
        for name, contract in self.contracts.items():
            if contract.address == address:
                return name
        return None


def dump_deployment(deployment: Deployment) -> str:
    """Write a deployment as JSON text."""
    parsed = {
        "format": FORMAT,
        "network_id": to_hex(deployment.network_id),
        "chain_id": deployment.chain_id,
        "genesis": deployment.genesis,
        "block": deployment.block,
        "contracts": {
            name: {"address": to_hex(contract.address), "code_hash": to_hex(contract.code_hash)}
            for name, contract in deployment.contracts.items()
        },
        "preset": asdict(deployment.preset),
    }
    return json.dumps(parsed, indent=2) + "\n"


def write_deployment(path: Path, deployment: Deployment) -> None:
    """Write the file in one step: a reader sees the old file, or the whole new one."""
    write_whole(path, dump_deployment(deployment))


def write_whole(path: Path, text: str) -> None:
    """Write a file that is not secret in one step, so that it is on disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes it readable by its owner only; there is nothing secret in it.
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_deployment(path: Path) -> Deployment:
    """Read a deployment file; DeploymentFileError says what is wrong with it."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise DeploymentFileError(f"{path}: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise DeploymentFileError(f"{path}: longer than {MAX_FILE_BYTES} bytes")
    try:
        return parse_deployment(data)
    except DeploymentFileError as error:
        raise DeploymentFileError(f"{path}: {error}") from None


def parse_deployment(data: bytes) -> Deployment:
    """Parse the text of a deployment file; DeploymentFileError says what is wrong with it."""
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DeploymentFileError(f"found no JSON: {error}") from None
    top = _Object("", parsed)
    found_format = top.take("format", int)
    if found_format in _OLD_FORMATS:
        raise DeploymentFileError(
            f"format: found {found_format}, expected {FORMAT}: it is of contracts "
            f"{_OLD_FORMATS[found_format]}, which this version cannot work with; ask for the new "
            "file, or deploy"
        )
    if found_format != FORMAT:
        raise DeploymentFileError(f"format: found {found_format}, expected {FORMAT}")
    network_id = top.take_bytes("network_id", 32)
    contracts_object = _Object("contracts", top.take("contracts", dict))
    deployment = Deployment(
        chain_id=top.take_count("chain_id"),
        genesis=top.take_count("genesis"),
        block=top.take_count("block"),
        contracts={name: _parse_contract(contracts_object, name) for name in CONTRACTS},
        preset=_parse_preset(top.take("preset", dict)),
    )
    contracts_object.require_empty()
    top.require_empty()
    if network_id != deployment.network_id:
        raise DeploymentFileError(
            f"network_id: found {to_hex(network_id)}, expected {to_hex(deployment.network_id)} "
            "for this chain id and Consensus contract"
        )
    return deployment


async def verify_deployment(rpc: JsonRpc, deployment: Deployment) -> None:
    """Check that the endpoint serves the chain of the deployment, with its code, and that the
    contracts know each other and the numbers.

    Raises WrongChainError, or the errors of `Rpc.request`.
    """
    await verify_chain_id(rpc, deployment.chain_id)
    for name, contract in deployment.contracts.items():
        address = to_hex(contract.address)
        code = await rpc.octets("eth_getCode", address, "latest")
        if keccak256(code) != contract.code_hash:
            found = "other code" if code else "no code"
            raise WrongChainError(
                f"{name}: found {found} at {address}, expected the code of the deployment"
            )
    for (name, function), expected in (_links_of(deployment) | _numbers_of(deployment)).items():
        shape = get_interface(name).functions[function]
        call = {"to": to_hex(deployment.address(name)), "data": to_hex(shape.encode(()))}
        (found,) = shape.decode(await rpc.octets("eth_call", call, "latest"))
        if found != expected:
            raise WrongChainError(
                f"{name}.{function}: found {found} on the chain, "
                f"expected {expected} of the deployment file"
            )


async def verify_chain_id(rpc: JsonRpc, chain_id: int) -> None:
    """Raise WrongChainError unless the endpoint serves the chain with this id."""
    found = await rpc.quantity("eth_chainId")
    if found != chain_id:
        raise WrongChainError(f"chain id: found {found}, expected {chain_id}")


def _links_of(deployment: Deployment) -> dict[tuple[str, str], int | str]:
    """The addresses that the contracts know of each other: by the view that is named after it."""
    return {
        (name, other.lower()): to_hex(deployment.address(other))
        for name in CONTRACTS
        for other in CONTRACTS
        if other.lower() in get_interface(name).functions
    }


def _numbers_of(deployment: Deployment) -> dict[tuple[str, str], int | str]:
    """The numbers of a deployment that its contracts know too, by the view that tells them."""
    preset = deployment.preset
    return {
        ("Registry", "genesis"): deployment.genesis,
        ("Registry", "stake_unit"): STAKE_UNIT,
        ("Registry", "epoch_seconds"): preset.epoch_seconds,
        ("Registry", "unstake_delay_seconds"): preset.unstake_delay_seconds,
        ("Registry", "reuse_delay_epochs"): preset.ring_epochs + REUSE_MARGIN_EPOCHS,
        ("Steward", "delay_seconds"): preset.steward_delay_seconds,
        ("Consensus", "seats"): preset.seats,
        ("Consensus", "grace_seconds"): preset.grace_seconds,
        ("Consensus", "tolerance_shift"): preset.tolerance_shift,
        ("Consensus", "ring_epochs"): preset.ring_epochs,
        ("Rewards", "provider_pool"): preset.provider_pool,
        ("Rewards", "checker_pool"): preset.checker_pool,
        ("Rewards", "era_epochs"): preset.era_epochs,
        ("Rewards", "carry_epochs"): preset.carry_epochs,
        ("Delegation", "warmup_epochs"): preset.ring_epochs + WARMUP_MARGIN_EPOCHS,
        ("Penalties", "week_epochs"): preset.ban_week_epochs,
        ("Penalties", "month_epochs"): preset.ban_month_epochs,
        ("Penalties", "half_year_epochs"): preset.ban_half_year_epochs,
        ("Rental", "fee_bps"): preset.lease_fee_bps,
        ("Rental", "penalty_bps"): preset.lease_penalty_bps,
        ("Rental", "accept_seconds"): preset.lease_accept_seconds,
        ("Rental", "max_seconds"): preset.max_lease_seconds,
        ("ZeroNodeAnchor", "day_seconds"): preset.day_seconds,
    }


class _Object:
    """A JSON object that is taken apart field by field."""

    def __init__(self, name: str, value: object) -> None:
        if not isinstance(value, dict):
            raise DeploymentFileError(f"{name or 'the file'}: found no object")
        self._prefix = f"{name}." if name else ""
        self._left: dict[str, Any] = dict(value)

    def take(self, name: str, kind: type[Value]) -> Value:
        """Take out a field of exactly this type."""
        if name not in self._left:
            raise DeploymentFileError(f"{self._prefix}{name}: missing")
        value = self._left.pop(name)
        # By type(), because True is an int to isinstance().
        if type(value) is not kind:
            raise DeploymentFileError(
                f"{self._prefix}{name}: found {str(value)[:60]!r}, expected {kind.__name__}"
            )
        return value

    def take_count(self, name: str) -> int:
        """Take out an integer that is not negative."""
        value = self.take(name, int)
        if value < 0:
            raise DeploymentFileError(f"{self._prefix}{name}: found {value}, expected 0 or more")
        return value

    def take_bytes(self, name: str, length: int) -> bytes:
        """Take out bytes of exactly this length."""
        value = self.take(name, str)
        try:
            return parse_hex_bytes(value, length)
        except ValueError:
            raise DeploymentFileError(
                f"{self._prefix}{name}: found {value[:80]!r}, expected {length} hexadecimal bytes"
            ) from None

    def require_empty(self) -> None:
        """Refuse fields that nobody took."""
        if self._left:
            raise DeploymentFileError(f"{self._prefix}{min(self._left)}: unknown field")


def _parse_contract(contracts: _Object, name: str) -> Contract:
    entry = _Object(f"contracts.{name}", contracts.take(name, dict))
    contract = Contract(
        Wallet(entry.take_bytes("address", 20)), Digest(entry.take_bytes("code_hash", 32))
    )
    entry.require_empty()
    return contract


def _parse_preset(value: object) -> Preset:
    """Rebuild a preset from its name and its integers."""
    entry = _Object("preset", value)
    name = entry.take("name", str)
    numbers = {f.name: entry.take_count(f.name) for f in fields(Preset) if f.name != "name"}
    entry.require_empty()
    try:
        return Preset(name, **numbers)
    except LocalError as error:
        raise DeploymentFileError(f"preset: {error}") from None

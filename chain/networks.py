"""The chains that Kaisar is deployed on, with what differs between them.

What is known about peaq comes from its node's source (snapshot of 2024-10-22, runtime spec 103),
its documentation and its SDK (2026-10); docs/peaq.md says what to look up again before money is
at stake. No endpoint is named here: whoever runs a node chooses one with --rpc.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from protocols.errors import LocalError
from protocols.types import Wallet

GWEI: Final = 10**9


@dataclass(frozen=True, slots=True)
class MachineContracts:
    """Where peaq's machine economy lives on one chain: proxies, whose code changes behind them."""

    state_and_sync: Wallet
    """Takes `activateMachine`."""
    registry: Wallet
    """The ERC-721 of machines."""
    subscription: Wallet
    """Names the bond of a tier, and takes it."""
    info_desk: Wallet
    """Knows which ERC-20 the bond is paid in."""


@dataclass(frozen=True, slots=True)
class ProofRule:
    """How peaq's EVM charges for what a validator of the relay chain must be shown.

    A transaction pays for max(EVM gas, `gas_per_proof_byte` · proof bytes, `gas_per_stored_byte` ·
    bytes of new storage), and runs out of gas where the middle one exceeds its gas limit.
    """

    gas_per_proof_byte: int
    gas_per_stored_byte: int
    max_proof_bytes: int
    """Of one transaction."""


@dataclass(frozen=True, slots=True)
class ChainPreset:
    """One chain. Times in milliseconds, prices in wei per gas.

    `preset` names the numbers of `protocols.params` that are made for it. `finality_blocks` None
    means that its endpoints know the `finalized` tag, which then decides. `proof_rule` and
    `machines` are None where the chain has no such thing.
    """

    name: str
    chain_id: int
    coin: str
    preset: str
    block_ms: int
    finality_ms: int
    finality_blocks: int | None
    block_gas: int
    max_transaction_gas: int
    min_gas_price: int
    proof_rule: ProofRule | None
    machines: MachineContracts | None
    evm_version: str = "london"
    """peaq's documentation says to pin it. Its runtime (`Config::cancun()` in the fork of frontier)
    does take PUSH0 and even TLOAD, but nothing promises that of tomorrow's."""
    max_code_bytes: int = 24_576
    max_init_code_bytes: int = 49_152
    """EIP-170 and EIP-3860, as everywhere."""


def _wallet(text: str) -> Wallet:
    return Wallet(bytes.fromhex(text))


_MAX_PROOF_BYTES: Final = 5 * 1024 * 1024 * 70 // 100
"""A relay chain's block carries 5 MiB of proof (`MAX_POV_SIZE`); normal extrinsics get 75 % of a
block, less the 5 % that its initialisation is reckoned with (runtime/peaq/src/lib.rs:248)."""

_PEAQ_RULE: Final = ProofRule(
    # GasLimitPovSizeRatio and GasLimitStorageGrowthRatio (runtime/peaq/src/lib.rs:686).
    gas_per_proof_byte=4,
    gas_per_stored_byte=1,
    max_proof_bytes=_MAX_PROOF_BYTES,
)

PEAQ: Final = ChainPreset(
    name="peaq",
    chain_id=3338,
    coin="PEAQ",
    preset="mainnet",
    # The code says 6 s a slot. Blocks 11,445,349 … 11,882,158 of September and October 2026, as
    # peaq's SDK records them, came every 6.9–7.1 s.
    block_ms=7000,
    # "FINAL: 15–20 s" in the documentation: three blocks.
    finality_ms=21_000,
    # frontier's RPC answers `finalized` with the relay chain's (client/rpc/src/lib.rs:214).
    finality_blocks=None,
    # 75 % of two seconds at 40M gas a second.
    block_gas=60_000_000,
    # The weight of a transaction books gas limit / 4 as proof, whatever it then needs, and what
    # does not fit into a block is refused: not 60M, but 14.7M.
    max_transaction_gas=4 * _MAX_PROOF_BYTES,
    # 1,000 gwei times a multiplier that has long lain at its floor of 0.1 (estimated: ask
    # eth_gasPrice).
    min_gas_price=100 * GWEI,
    proof_rule=_PEAQ_RULE,
    # As recorded in peaq-os-sdk 0.12.1; upgraded behind their proxies several times in 2026-09.
    machines=MachineContracts(
        state_and_sync=_wallet("cD1917FB2a56459AcA34FDD118e08776dE0890f2"),
        registry=_wallet("64b93Cc29b251fAFa83BD110cDB1C24207f85536"),
        subscription=_wallet("9e37AD189c334C92e6B8a812Ca4c02f35Ac43895"),
        info_desk=_wallet("6C7426ada37212D94477Ac4CFcA43A38177D6A82"),
    ),
)

AGUNG: Final = ChainPreset(
    name="agung",
    chain_id=9990,
    coin="AGUNG",
    preset="testnet",
    # agung runs peaq's code; its own times and prices were not measured.
    block_ms=PEAQ.block_ms,
    finality_ms=PEAQ.finality_ms,
    finality_blocks=None,
    block_gas=PEAQ.block_gas,
    max_transaction_gas=PEAQ.max_transaction_gas,
    min_gas_price=PEAQ.min_gas_price,
    proof_rule=_PEAQ_RULE,
    # The SDK's record "agung-2026-08-28".
    machines=MachineContracts(
        state_and_sync=_wallet("A7D33726232aae30622643a18047f0Ca3e159da9"),
        registry=_wallet("538da35489B1F0035799a8351E67835ae4ABb377"),
        subscription=_wallet("aDCc5dD8CD57E3198B881c3388F25D2fD69B5aDc"),
        info_desk=_wallet("72b66AF120c55371cA6e5Ce38D4e10dF1bA30Bb1"),
    ),
)

LOCAL: Final = ChainPreset(
    name="local",
    # `kaisar devchain`, anvil and hardhat.
    chain_id=31_337,
    coin="native units",
    preset="minimal",
    block_ms=1000,
    finality_ms=2000,
    finality_blocks=None,
    block_gas=30_000_000,
    # Held to peaq's ceiling, so that what works here works there.
    max_transaction_gas=PEAQ.max_transaction_gas,
    # Ethereum's least base fee.
    min_gas_price=7,
    proof_rule=None,
    machines=None,
)

NETWORKS: Final[Mapping[str, ChainPreset]] = {each.name: each for each in (PEAQ, AGUNG, LOCAL)}
"""Every chain by the name that `--network` takes."""


def get_network(name: str) -> ChainPreset:
    """Return the chain called `name`; LocalError names those that there are."""
    if name not in NETWORKS:
        raise LocalError(f"network: found {name!r}, expected one of {', '.join(NETWORKS)}")
    return NETWORKS[name]


def find_network(chain_id: int) -> ChainPreset | None:
    """Return the chain with this id, or None for one that is not known here."""
    return next((each for each in NETWORKS.values() if each.chain_id == chain_id), None)

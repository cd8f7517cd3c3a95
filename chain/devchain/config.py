"""What a devchain is started with."""

from dataclasses import dataclass

from protocols.errors import LocalError
from protocols.types import Wallet

DEFAULT_CHAIN_ID = 31337
"""The chain id that anvil and hardhat use for local chains."""

DEFAULT_PORT = 8545

BLOCK_GAS_LIMIT = 30_000_000
"""Gas of one block: half of peaq's, and twice what one transaction may use there (chain.md §1)."""

FINALITY_DEPTH = 2
"""`finalized` and `safe` are this many blocks behind `latest`: peaq's 15–20 s are 2–3 blocks."""

MIN_PORT, MAX_PORT = 0, 65_535


@dataclass(frozen=True, slots=True)
class DevchainConfig:
    """Settings of a devchain; LocalError names the setting that cannot be.

    `port` 0 lets the system choose one. `block_seconds` is the time between two blocks; 0 makes
    no blocks by itself, so that a test decides when one comes. `funded` are the balances in wei
    that exist from the first block on.
    """

    chain_id: int = DEFAULT_CHAIN_ID
    port: int = DEFAULT_PORT
    block_seconds: int = 1
    funded: tuple[tuple[Wallet, int], ...] = ()
    block_gas_limit: int = BLOCK_GAS_LIMIT

    def __post_init__(self) -> None:
        """Check every setting."""
        _require("chain_id", self.chain_id, 1, (1 << 53) - 1)
        _require("port", self.port, MIN_PORT, MAX_PORT)
        _require("block_seconds", self.block_seconds, 0, 3600)
        _require("block_gas_limit", self.block_gas_limit, 1_000_000, 100_000_000)
        for wallet, amount in self.funded:
            if len(wallet) != 20:
                raise LocalError(f"funded: found {len(wallet)} bytes, expected a 20-byte address")
            _require("funded amount", amount, 0, (1 << 256) - 1)


def _require(name: str, value: int, lowest: int, highest: int) -> None:
    if not lowest <= value <= highest:
        raise LocalError(f"{name}: found {value}, expected {lowest} … {highest}")

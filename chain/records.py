"""What is read from the chain, as plain frozen records."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from protocols.types import Digest, Epoch, NodeKey, Shard, Wallet

NO_EXIT: Final = 2**32 - 1
"""`exit_epoch` of somebody who has not left."""

DEVIATION_BITS: Final = 9
"""Bits per seat in a bundle's packed deviation counts (0 … 256)."""

CHECKER_BITS: Final = 16
"""Bits per seat in a bundle's packed checker indices."""

UNIT_BITS: Final = 16
"""Bits per seat in a bundle's packed stake units."""


class SlotKind(IntEnum):
    """The two rows of slots in the Registry, with their numbers there."""

    PROVIDER = 0
    CHECKER = 1


class Parameter(IntEnum):
    """What the Steward's owner may change, within bounds, with its number there."""

    MIN_PROVIDER_STAKE = 0
    MIN_CHECKER_STAKE = 1
    FRAUD_SLASH_BPS = 2
    BOUNTY_BPS = 3
    EMISSION_BPS = 4


@dataclass(frozen=True, slots=True)
class Head:
    """A block, as far as the node cares; `timestamp` in Unix seconds, `base_fee` in wei per gas."""

    number: int
    hash: bytes
    timestamp: int
    base_fee: int


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """One provider or checker slot of the Registry.

    `binding` is the node key's 64-byte signature over the wallet, which the chain does not check.
    `created_epoch` is when the slot was first allocated, `since_epoch` the first epoch of its
    present owner, who is active in the epochs `joined_epoch` ≤ e < `exit_epoch`. A checker that is
    suspended has a `joined_epoch` behind its `exit_epoch`: it is active before the one and from the
    other on. `stake` and `scored_stake` are in the token's smallest unit; the latter is what counts
    in the scores of the current epoch, a top-up does so from the next one on.
    """

    index: int
    wallet: Wallet
    node_key: NodeKey
    binding: bytes
    created_epoch: Epoch
    joined_epoch: Epoch
    exit_epoch: Epoch
    stake_units: int
    stake: int
    since_epoch: Epoch
    scored_stake: int

    @property
    def is_suspended(self) -> bool:
        """Whether this checker is banned for a time."""
        return self.joined_epoch > self.exit_epoch

    def is_active(self, epoch: Epoch) -> bool:
        """Tell whether the slot's owner takes part in `epoch`."""
        if self.is_suspended:
            return self.since_epoch <= epoch < self.exit_epoch or epoch >= self.joined_epoch
        return self.joined_epoch <= epoch < self.exit_epoch


@dataclass(frozen=True, slots=True)
class Commitment:
    """A checker's standing commitment in the Beacon.

    32 zero bytes when there is none. Its secret can be contributed from `epoch` + 1 on.
    """

    digest: Digest
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class SeatResult:
    """One report of an accepted bundle: whose, in how many lanes it deviated, and how many units
    that checker's stake had then."""

    seat: int
    checker: int
    deviations: int
    units: int


@dataclass(frozen=True, slots=True)
class BundleRecord:
    """What the Consensus contract keeps of an accepted bundle.

    `lanes` is the number of provider slots in the shard; `online` and `fraud` are the majority's
    bitmaps of lanes.
    """

    epoch: Epoch
    shard: Shard
    lanes: int
    online: int
    fraud: int
    reports: tuple[SeatResult, ...]


def unpack_reports(
    reported: int, deviations: int, checkers: int, units: int
) -> tuple[SeatResult, ...]:
    """Unpack a bundle's seats: `reported` is a bitmap, the others hold a field per seat."""
    return tuple(
        SeatResult(
            seat=seat,
            checker=checkers >> CHECKER_BITS * seat & (1 << CHECKER_BITS) - 1,
            deviations=deviations >> DEVIATION_BITS * seat & (1 << DEVIATION_BITS) - 1,
            units=units >> UNIT_BITS * seat & (1 << UNIT_BITS) - 1,
        )
        for seat in range(reported.bit_length())
        if reported >> seat & 1
    )


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over an epoch's accepted bundles: scores of providers, weights of checkers."""

    provider_total: int
    checker_total: int


@dataclass(frozen=True, slots=True)
class DelegationPool:
    """What all delegators of a checker's tenancy have together.

    `stake` is what the `shares` are worth, `leaving` what is undelegated and not paid out yet.
    `closed` when all was slashed: then nothing more is taken.
    """

    shares: int
    stake: int
    leaving: int
    closed: bool


@dataclass(frozen=True, slots=True)
class Holding:
    """What one delegator has in a checker's tenancy, in the token's smallest unit.

    `waiting` can be activated from `ready_epoch` on; `shares` are worth `stake` now; `leaving` can
    be withdrawn from `unlocks_at` (Unix seconds) on; `rewards` can be collected.
    """

    waiting: int
    ready_epoch: Epoch
    shares: int
    stake: int
    leaving: int
    unlocks_at: int
    rewards: int


@dataclass(frozen=True, slots=True)
class Log:
    """One event as a contract emitted it."""

    address: Wallet
    topics: tuple[bytes, ...]
    data: bytes
    block_number: int
    transaction_hash: bytes
    log_index: int


@dataclass(frozen=True, slots=True)
class TransactionRecord:
    """A transaction that is in a block, as far as an audit cares: what was called, and with what.

    `to` is None when it created a contract.
    """

    hash: bytes
    block_number: int
    to: Wallet | None
    data: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a transaction that is in a block; prices in wei per gas."""

    transaction_hash: bytes
    block_number: int
    block_hash: bytes
    succeeded: bool
    gas_used: int
    gas_price: int
    contract: Wallet | None
    logs: tuple[Log, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A transaction before it has a nonce and a price.

    `to` None creates a contract. `gas_limit` None lets the transaction manager ask the chain for
    an estimate, which also finds out about a revert before it costs anything; calls whose cost
    depends on the block they land in bring a limit of their own.
    """

    to: Wallet | None
    data: bytes = b""
    value: int = 0
    gas_limit: int | None = None

    def intent(self, label: str) -> tuple[object, ...]:
        """What makes two calls the same intent: all but the gas limit, which estimates change."""
        return label, self.to, self.data, self.value

"""What ZeroNodeAnchor reports, as typed events whose fields are the contract's.

`service` is a service's index there. Times are those of the blocks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from protocols.types import Digest, NodeKey, Wallet


@dataclass(frozen=True, slots=True)
class ServiceAdded:
    """The owner listed a service."""

    service: int
    wallet: Wallet
    node_key: NodeKey


@dataclass(frozen=True, slots=True)
class ServiceRetired:
    """The owner retired a service: it sends no more roots and no commitments."""

    service: int


@dataclass(frozen=True, slots=True)
class RootAnchored:
    """A service said what its ledger was at the end of a day; it cannot say it again."""

    service: int
    day: int
    root: Digest


@dataclass(frozen=True, slots=True)
class DrawCommitted:
    """A service said what a draw will be decided by."""

    service: int
    draw: Digest
    commitment: Digest


@dataclass(frozen=True, slots=True)
class AnchorOffered:
    """The owner of ZeroNodeAnchor offered its place to `heir`."""

    owner: Wallet
    heir: Wallet


@dataclass(frozen=True, slots=True)
class AnchorTransferred:
    """ZeroNodeAnchor has another owner; nobody was it `before` when that is the zero address."""

    before: Wallet
    owner: Wallet


ZeroNodeEvent: TypeAlias = (
    ServiceAdded | ServiceRetired | RootAnchored | DrawCommitted | AnchorOffered | AnchorTransferred
)

ZERONODE_EVENTS: Final[Mapping[str, type[ZeroNodeEvent]]] = {
    "ServiceAdded": ServiceAdded,
    "ServiceRetired": ServiceRetired,
    "RootAnchored": RootAnchored,
    "DrawCommitted": DrawCommitted,
    "OwnershipOffered": AnchorOffered,
    "OwnershipTransferred": AnchorTransferred,
}
"""By their names in ZeroNodeAnchor.vy, of which Steward has two as well."""

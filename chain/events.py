"""What the contracts report, as typed events: a pure function from log to event."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Final, TypeAlias

from chain.abi import EventShape, get_interface
from chain.delegation_events import DELEGATION_EVENTS, DelegationEvent
from chain.deployment import Deployment
from chain.errors import MalformedAnswerError
from chain.hexes import parse_hex_bytes
from chain.records import Log, SeatResult, SlotKind, unpack_reports
from chain.rental_events import RENTAL_EVENTS, RentalEvent
from chain.zeronode_events import ZERONODE_EVENTS, ZeroNodeEvent
from protocols.types import Digest, Epoch, NodeKey, Seat, Shard, Wallet


@dataclass(frozen=True, slots=True)
class Transferred:
    """Tokens moved; from or to the zero address when they were made or destroyed."""

    sender: Wallet
    receiver: Wallet
    amount: int


@dataclass(frozen=True, slots=True)
class Registered:
    """A wallet took a slot; active from `joined_epoch` on."""

    kind: SlotKind
    index: int
    wallet: Wallet
    node_key: NodeKey
    stake: int
    joined_epoch: Epoch


@dataclass(frozen=True, slots=True)
class Left:
    """A slot was given up; no longer active from `exit_epoch` on."""

    kind: SlotKind
    index: int
    wallet: Wallet
    exit_epoch: Epoch


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The stake of a slot was paid out."""

    kind: SlotKind
    index: int
    wallet: Wallet
    amount: int


@dataclass(frozen=True, slots=True)
class StakeAdded:
    """A stake was topped up by `payer`; `stake` is what it is now."""

    kind: SlotKind
    index: int
    payer: Wallet
    amount: int
    stake: int


@dataclass(frozen=True, slots=True)
class Slashed:
    """A part of a stake was taken; `left` of it is left."""

    kind: SlotKind
    index: int
    wallet: Wallet
    amount: int
    left: int


@dataclass(frozen=True, slots=True)
class Suspended:
    """A checker takes no part in the epochs `from_epoch` … `until_epoch` − 1."""

    index: int
    wallet: Wallet
    from_epoch: Epoch
    until_epoch: Epoch


@dataclass(frozen=True, slots=True)
class DelegatedStake:
    """What is delegated to a checker changed to `amount`."""

    index: int
    amount: int


@dataclass(frozen=True, slots=True)
class BundlesPaused:
    """No bundles are taken until this moment (Unix seconds); 0 ends a pause."""

    until: int


@dataclass(frozen=True, slots=True)
class Proposed:
    """The Steward's owner proposed a value for a parameter, to be executed from `ready_at` on."""

    number: int
    value: int
    ready_at: int


@dataclass(frozen=True, slots=True)
class Executed:
    """A parameter of the Steward has another value from here on."""

    number: int
    value: int


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A proposal for a parameter of the Steward was taken back."""

    number: int


@dataclass(frozen=True, slots=True)
class OwnershipOffered:
    """The Steward's owner offered its place to `heir`."""

    owner: Wallet
    heir: Wallet


@dataclass(frozen=True, slots=True)
class OwnershipTransferred:
    """The Steward has another owner; nobody was it `before` when that is the zero address."""

    before: Wallet
    owner: Wallet


@dataclass(frozen=True, slots=True)
class GuardianChanged:
    """Somebody else may pause new bundles beside the owner."""

    before: Wallet
    guardian: Wallet


@dataclass(frozen=True, slots=True)
class Paused:
    """Owner or guardian stopped new bundles until that moment (Unix seconds)."""

    sender: Wallet
    until: int


@dataclass(frozen=True, slots=True)
class Unpaused:
    """Owner or guardian ended a pause early."""

    sender: Wallet


@dataclass(frozen=True, slots=True)
class Committed:
    """A checker stored a commitment without opening one."""

    epoch: Epoch
    checker: int
    commitment: Digest


@dataclass(frozen=True, slots=True)
class Contributed:
    """A checker opened its commitment and made the next."""

    epoch: Epoch
    checker: int
    secret: bytes
    next_commitment: Digest


@dataclass(frozen=True, slots=True)
class SeedFrozen:
    """The seed of an epoch was fixed."""

    epoch: Epoch
    seed: Digest
    accumulator: Digest
    """Of all contributions up to the epoch's start."""


@dataclass(frozen=True, slots=True)
class BundleAccepted:
    """A shard was settled for an epoch; `total` is the sum of its scores."""

    epoch: Epoch
    shard: Shard
    sender: Wallet
    reports: tuple[SeatResult, ...]
    online: int
    fraud: int
    total: int


@dataclass(frozen=True, slots=True)
class Funded:
    """The fund that rewards are paid from grew."""

    sender: Wallet
    amount: int


@dataclass(frozen=True, slots=True)
class EpochClosed:
    """The pools of an epoch were fixed; the carries are what is carried on from it."""

    epoch: Epoch
    provider_pool: int
    checker_pool: int
    provider_carry: int
    checker_carry: int


@dataclass(frozen=True, slots=True)
class ProviderPaid:
    """A provider's claim was paid. `paid` has the bit of each of its items that was in it."""

    index: int
    wallet: Wallet
    amount: int
    paid: int


@dataclass(frozen=True, slots=True)
class CheckerPaid:
    """A checker's claim was paid; `delegators` is the part of `amount` that went to them.

    `paid` has the bit of each of the claim's items that was in it.
    """

    index: int
    wallet: Wallet
    amount: int
    delegators: int
    paid: int


@dataclass(frozen=True, slots=True)
class Equivocated:
    """A checker lost its stake for two reports on one epoch and shard."""

    index: int
    epoch: Epoch
    shard: Shard
    reporter: Wallet
    slashed: int
    bounty: int


@dataclass(frozen=True, slots=True)
class FraudPunished:
    """A provider lost a part of its stake for the majority's mark in an epoch."""

    index: int
    epoch: Epoch
    reporter: Wallet
    slashed: int
    bounty: int


@dataclass(frozen=True, slots=True)
class WrongRecorded:
    """A checker's report was counted as wrong; `banned_until` is 0 where that bans it not."""

    index: int
    epoch: Epoch
    shard: Shard
    seat: Seat
    total: int
    banned_until: Epoch


Event: TypeAlias = (
    Transferred
    | Registered
    | Left
    | Withdrawn
    | StakeAdded
    | Slashed
    | Suspended
    | DelegatedStake
    | BundlesPaused
    | Proposed
    | Executed
    | Cancelled
    | OwnershipOffered
    | OwnershipTransferred
    | GuardianChanged
    | Paused
    | Unpaused
    | Committed
    | Contributed
    | SeedFrozen
    | BundleAccepted
    | Funded
    | EpochClosed
    | ProviderPaid
    | CheckerPaid
    | Equivocated
    | FraudPunished
    | WrongRecorded
    | DelegationEvent
    | RentalEvent
    | ZeroNodeEvent
)


def decode_event(deployment: Deployment, log: Log) -> Event | None:
    """Turn a log into an event; None if it is not one that this node knows.

    Raises MalformedAnswerError for a log that has the form of a known event but not its values:
    the contracts cannot have made it.
    """
    contract = deployment.name_of(log.address)
    if contract is None or not log.topics:
        return None
    known = _known_topics().get((contract, log.topics[0]))
    if known is None:
        return None
    shape, build = known
    return build(shape.decode(log.topics, log.data))


@cache
def _known_topics() -> dict[tuple[str, bytes], tuple[EventShape, "Builder"]]:
    shapes = {
        (contract, name): get_interface(contract).events[name] for contract, name in _BUILDERS
    }
    return {
        (contract, shape.topic): (shape, _BUILDERS[contract, name])
        for (contract, name), shape in shapes.items()
    }


Values: TypeAlias = Mapping[str, Any]
Builder: TypeAlias = Callable[[Values], Event]


def _plain(event: type[Event]) -> Builder:
    """Build an event whose fields are named as the contract's."""

    def build(values: Values) -> Event:
        return event(
            **{
                each.name: _CONVERTERS.get(each.type, _same)(values[each.name])
                for each in fields(event)
            }
        )

    return build


def _same(value: Any) -> Any:
    return value


def _wallet(address: str) -> Wallet:
    return Wallet(parse_hex_bytes(address, 20))


def _kind(number: int) -> SlotKind:
    try:
        return SlotKind(number)
    except ValueError:
        raise MalformedAnswerError(f"slot kind {number}") from None


def _transferred(values: Values) -> Event:
    return Transferred(_wallet(values["sender"]), _wallet(values["receiver"]), values["value"])


def _committed(values: Values) -> Event:
    return Committed(Epoch(values["epoch"]), values["checker_index"], Digest(values["commitment"]))


def _contributed(values: Values) -> Event:
    return Contributed(
        Epoch(values["epoch"]),
        values["checker_index"],
        values["secret"],
        Digest(values["next_commitment"]),
    )


def _bundle_accepted(values: Values) -> Event:
    return BundleAccepted(
        epoch=Epoch(values["epoch"]),
        shard=Shard(values["shard"]),
        sender=_wallet(values["sender"]),
        reports=unpack_reports(
            values["reported"], values["deviations"], values["checkers"], values["units"]
        ),
        online=values["online"],
        fraud=values["fraud"],
        total=values["total"],
    )


def _proposed(values: Values) -> Event:
    return Proposed(values["id"], values["value"], values["ready_at"])


def _executed(values: Values) -> Event:
    return Executed(values["id"], values["value"])


def _cancelled(values: Values) -> Event:
    return Cancelled(values["id"])


_CONVERTERS: Final[Mapping[Any, Callable[[Any], Any]]] = {Wallet: _wallet, SlotKind: _kind}

_BUILDERS: Final[Mapping[tuple[str, str], Builder]] = {
    ("Token", "Transfer"): _transferred,
    ("Registry", "Registered"): _plain(Registered),
    ("Registry", "Left"): _plain(Left),
    ("Registry", "Withdrawn"): _plain(Withdrawn),
    ("Registry", "StakeAdded"): _plain(StakeAdded),
    ("Registry", "Slashed"): _plain(Slashed),
    ("Registry", "Suspended"): _plain(Suspended),
    ("Registry", "DelegatedStake"): _plain(DelegatedStake),
    ("Registry", "BundlesPaused"): _plain(BundlesPaused),
    ("Steward", "Proposed"): _proposed,
    ("Steward", "Executed"): _executed,
    ("Steward", "Cancelled"): _cancelled,
    ("Steward", "OwnershipOffered"): _plain(OwnershipOffered),
    ("Steward", "OwnershipTransferred"): _plain(OwnershipTransferred),
    ("Steward", "GuardianChanged"): _plain(GuardianChanged),
    ("Steward", "Paused"): _plain(Paused),
    ("Steward", "Unpaused"): _plain(Unpaused),
    ("Beacon", "Committed"): _committed,
    ("Beacon", "Contributed"): _contributed,
    ("Beacon", "SeedFrozen"): _plain(SeedFrozen),
    ("Consensus", "BundleAccepted"): _bundle_accepted,
    ("Rewards", "Funded"): _plain(Funded),
    ("Rewards", "EpochClosed"): _plain(EpochClosed),
    ("Rewards", "ProviderPaid"): _plain(ProviderPaid),
    ("Rewards", "CheckerPaid"): _plain(CheckerPaid),
    **{("Delegation", event.__name__): _plain(event) for event in DELEGATION_EVENTS},
    ("Penalties", "Equivocated"): _plain(Equivocated),
    ("Penalties", "FraudPunished"): _plain(FraudPunished),
    ("Penalties", "WrongRecorded"): _plain(WrongRecorded),
    **{("Rental", name): _plain(event) for name, event in RENTAL_EVENTS.items()},
    **{("ZeroNodeAnchor", name): _plain(event) for name, event in ZERONODE_EVENTS.items()},
}

"""What the contracts report, as typed events: a pure function from log to event."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeAlias

from chain.abi import EventShape, get_interface
from chain.deployment import Deployment
from chain.errors import MalformedAnswerError
from chain.hexes import parse_hex_bytes
from chain.records import Log, SeatResult, SlotKind, unpack_reports
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
class ProviderPaid:
    """A provider got its reward for an epoch."""

    index: int
    wallet: Wallet
    epoch: Epoch
    amount: int


@dataclass(frozen=True, slots=True)
class CheckerPaid:
    """A checker got its reward for one report."""

    index: int
    wallet: Wallet
    epoch: Epoch
    shard: Shard
    seat: Seat
    amount: int


Event: TypeAlias = (
    Transferred
    | Registered
    | Left
    | Withdrawn
    | Committed
    | Contributed
    | SeedFrozen
    | BundleAccepted
    | Funded
    | ProviderPaid
    | CheckerPaid
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


def _wallet(address: str) -> Wallet:
    return Wallet(parse_hex_bytes(address, 20))


def _kind(number: int) -> SlotKind:
    try:
        return SlotKind(number)
    except ValueError:
        raise MalformedAnswerError(f"slot kind {number}") from None


def _transferred(values: Values) -> Event:
    return Transferred(_wallet(values["sender"]), _wallet(values["receiver"]), values["value"])


def _registered(values: Values) -> Event:
    return Registered(
        kind=_kind(values["kind"]),
        index=values["index"],
        wallet=_wallet(values["wallet"]),
        node_key=NodeKey(values["node_key"]),
        stake=values["stake"],
        joined_epoch=Epoch(values["joined_epoch"]),
    )


def _left(values: Values) -> Event:
    return Left(
        _kind(values["kind"]),
        values["index"],
        _wallet(values["wallet"]),
        Epoch(values["exit_epoch"]),
    )


def _withdrawn(values: Values) -> Event:
    return Withdrawn(
        _kind(values["kind"]), values["index"], _wallet(values["wallet"]), values["amount"]
    )


def _committed(values: Values) -> Event:
    return Committed(Epoch(values["epoch"]), values["checker_index"], Digest(values["commitment"]))


def _contributed(values: Values) -> Event:
    return Contributed(
        Epoch(values["epoch"]),
        values["checker_index"],
        values["secret"],
        Digest(values["next_commitment"]),
    )


def _seed_frozen(values: Values) -> Event:
    return SeedFrozen(Epoch(values["epoch"]), Digest(values["seed"]))


def _bundle_accepted(values: Values) -> Event:
    return BundleAccepted(
        epoch=Epoch(values["epoch"]),
        shard=Shard(values["shard"]),
        sender=_wallet(values["sender"]),
        reports=unpack_reports(values["reported"], values["deviations"], values["checkers"]),
        online=values["online"],
        fraud=values["fraud"],
        total=values["total"],
    )


def _funded(values: Values) -> Event:
    return Funded(_wallet(values["sender"]), values["amount"])


def _provider_paid(values: Values) -> Event:
    return ProviderPaid(
        values["index"], _wallet(values["wallet"]), Epoch(values["epoch"]), values["amount"]
    )


def _checker_paid(values: Values) -> Event:
    return CheckerPaid(
        index=values["index"],
        wallet=_wallet(values["wallet"]),
        epoch=Epoch(values["epoch"]),
        shard=Shard(values["shard"]),
        seat=Seat(values["seat"]),
        amount=values["amount"],
    )


_BUILDERS: Final[Mapping[tuple[str, str], Builder]] = {
    ("Token", "Transfer"): _transferred,
    ("Registry", "Registered"): _registered,
    ("Registry", "Left"): _left,
    ("Registry", "Withdrawn"): _withdrawn,
    ("Beacon", "Committed"): _committed,
    ("Beacon", "Contributed"): _contributed,
    ("Beacon", "SeedFrozen"): _seed_frozen,
    ("Consensus", "BundleAccepted"): _bundle_accepted,
    ("Rewards", "Funded"): _funded,
    ("Rewards", "ProviderPaid"): _provider_paid,
    ("Rewards", "CheckerPaid"): _checker_paid,
}

"""Who held which slot when, with what stake: the Registry's history, replayed from its events.

The Registry keeps a slot as it is now. An audit asks how it was when a bundle was judged, so every
event that changes a slot makes a new version of it, and versions are never forgotten.
"""

from bisect import bisect_left
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from chain.errors import MalformedAnswerError
from chain.events import (
    DelegatedStake,
    Event,
    Left,
    Registered,
    Slashed,
    StakeAdded,
    Suspended,
    Withdrawn,
)
from chain.records import NO_EXIT, Log, SlotKind
from protocols.types import Epoch, Wallet

MAX_CHECKER_UNITS: Final = 2**15 - 1
"""What a checker weighs at most, as in slots.vy."""

Position: TypeAlias = tuple[int, int]
"""Where in the chain a log is: number of its block, and its place in the block."""


def position_of(log: Log) -> Position:
    """Return where a log is; positions order all logs of a chain."""
    return log.block_number, log.log_index


@dataclass(frozen=True, slots=True)
class Tenancy:
    """One tenant of a slot, at one moment.

    `since` is its first epoch. While it is suspended `joined` is later than `exit`, and it takes
    part before `exit` and again from `joined` on; otherwise in `joined` ≤ e < `exit`. `stake` and
    `delegated` are in the token's smallest unit.
    """

    wallet: Wallet
    since: Epoch
    joined: Epoch
    exit: Epoch
    stake: int
    delegated: int = 0

    @property
    def has_left(self) -> bool:
        """Whether it will not be back."""
        return self.exit != NO_EXIT and self.joined <= self.exit

    def is_active(self, epoch: Epoch) -> bool:
        """Tell whether it takes part in `epoch`, as slots.vy does."""
        if self.joined > self.exit:
            return epoch < self.exit or epoch >= self.joined
        return self.joined <= epoch < self.exit

    def units(self, kind: SlotKind, stake_unit: int) -> int:
        """Return what its stake weighs."""
        if kind is SlotKind.PROVIDER:
            return self.stake // stake_unit
        if self.stake == 0:
            return 0
        return min((self.stake + self.delegated) // stake_unit, MAX_CHECKER_UNITS)


@dataclass(frozen=True, slots=True)
class _Version:
    """A slot from one position on."""

    position: Position
    tenancy: Tenancy


class Tenancies:
    """All versions of all slots; `apply` takes the Registry's events in their order."""

    def __init__(self) -> None:
        self._versions: dict[tuple[SlotKind, int], list[_Version]] = {}
        self._created: dict[SlotKind, list[Epoch]] = {kind: [] for kind in SlotKind}

    def apply(self, event: Event, log: Log) -> None:
        """Take one event; those that change no slot are ignored.

        MalformedAnswerError for an event that the Registry cannot have emitted after those before.
        """
        match event:
            case Registered():
                self._register(event, position_of(log))
            case StakeAdded():
                self._change(event.kind, event.index, log, stake=event.stake)
            case Slashed():
                self._change(event.kind, event.index, log, stake=event.left)
            case DelegatedStake():
                self._change(SlotKind.CHECKER, event.index, log, delegated=event.amount)
            case Withdrawn():
                self._change(event.kind, event.index, log, stake=0)
            case Left():
                before = self._latest(event.kind, event.index)
                # Who leaves while it is suspended does not come back at the suspension's end.
                joined = before.since if before.joined > event.exit_epoch else before.joined
                self._change(event.kind, event.index, log, exit=event.exit_epoch, joined=joined)
            case Suspended():
                # For good, the Registry emits Left besides; who has left already is only barred.
                if not self._latest(SlotKind.CHECKER, event.index).has_left and (
                    event.until_epoch != NO_EXIT
                ):
                    self._change(
                        SlotKind.CHECKER,
                        event.index,
                        log,
                        exit=event.from_epoch,
                        joined=event.until_epoch,
                    )
            case _:
                pass

    def count(self, kind: SlotKind) -> int:
        """Return how many slots of a kind were ever allocated."""
        return len(self._created[kind])

    def slots_before(self, kind: SlotKind, epoch: Epoch) -> int:
        """Return how many slots of a kind were allocated before `epoch`."""
        return bisect_left(self._created[kind], epoch)

    def at(self, kind: SlotKind, index: int, position: Position) -> Tenancy | None:
        """Return a slot as a call saw it whose first log is at `position`."""
        versions = self._versions.get((kind, index), [])
        earlier = bisect_left(versions, position, key=lambda version: version.position)
        return versions[earlier - 1].tenancy if earlier else None

    def holder(self, kind: SlotKind, index: int, epoch: Epoch) -> Tenancy | None:
        """Return the latest state of the tenancy that an epoch's earnings belong to.

        That is the newest one that began in or before `epoch`; None before the first.
        """
        for version in reversed(self._versions.get((kind, index), [])):
            if version.tenancy.since <= epoch:
                return version.tenancy
        return None

    def _register(self, event: Registered, position: Position) -> None:
        created = self._created[event.kind]
        if event.index > len(created):
            raise MalformedAnswerError(f"Registered: slot {event.index} before {len(created)}")
        if event.index == len(created):
            # Active from the next epoch on, so it was allocated in the one before.
            created.append(Epoch(event.joined_epoch - 1))
        tenancy = Tenancy(
            wallet=event.wallet,
            since=event.joined_epoch,
            joined=event.joined_epoch,
            exit=Epoch(NO_EXIT),
            stake=event.stake,
        )
        self._put(event.kind, event.index, position, tenancy)

    def _latest(self, kind: SlotKind, index: int) -> Tenancy:
        versions = self._versions.get((kind, index))
        if not versions:
            raise MalformedAnswerError(f"an event of {kind.name} {index}, which never registered")
        return versions[-1].tenancy

    def _change(self, kind: SlotKind, index: int, log: Log, **changes: Any) -> None:
        self._put(kind, index, position_of(log), replace(self._latest(kind, index), **changes))

    def _put(self, kind: SlotKind, index: int, position: Position, tenancy: Tenancy) -> None:
        versions = self._versions.setdefault((kind, index), [])
        if versions and versions[-1].position >= position:
            raise MalformedAnswerError(f"logs out of order at block {position[0]}")
        versions.append(_Version(position, tenancy))

"""What part of its rewards a checker owed to its delegators: Delegation's events, replayed."""

from bisect import bisect_left
from dataclasses import dataclass, replace

from chain.audit.tenancies import Position, position_of
from chain.delegation_events import Activated, CommissionAnnounced, Undelegated
from chain.events import Event
from chain.records import Log
from protocols.types import Epoch


@dataclass(frozen=True, slots=True)
class Terms:
    """A tenancy's terms from one position on: `bps` before the epoch `from_epoch`, then `next_bps`.

    They count while there are `shares`.
    """

    shares: int = 0
    bps: int = 0
    next_bps: int = 0
    from_epoch: int = 0

    def at(self, epoch: Epoch) -> int:
        """Return the delegators' part in an epoch, in ten-thousandths."""
        return self.next_bps if self.from_epoch <= epoch else self.bps


class Commissions:
    """The terms of all tenancies; `warmup_epochs` is from an announcement to when it counts."""

    def __init__(self, warmup_epochs: int) -> None:
        self._warmup_epochs = warmup_epochs
        self._versions: dict[tuple[int, Epoch], list[tuple[Position, Terms]]] = {}

    def apply(self, event: Event, log: Log) -> None:
        """Take one event; those that change no terms are ignored."""
        if not isinstance(event, Activated | Undelegated | CommissionAnnounced):
            return
        versions = self._versions.setdefault((event.index, event.since), [])
        before = versions[-1][1] if versions else Terms()
        match event:
            case Activated():
                after = replace(before, shares=before.shares + event.shares)
            case Undelegated():
                after = replace(before, shares=before.shares - event.shares)
            case CommissionAnnounced():
                announced = Epoch(event.from_epoch - self._warmup_epochs)
                after = replace(
                    before,
                    bps=before.at(announced),
                    next_bps=event.bps,
                    from_epoch=event.from_epoch,
                )
        versions.append((position_of(log), after))

    def commission(self, index: int, since: Epoch, epoch: Epoch, position: Position) -> int:
        """Return what `Delegation.commission` answered to a call in `epoch`, before `position`."""
        versions = self._versions.get((index, since), [])
        earlier = bisect_left(versions, position, key=lambda version: version[0])
        if not earlier or versions[earlier - 1][1].shares == 0:
            return 0
        return versions[earlier - 1][1].at(epoch)

"""The money of Rewards, replayed from its events: what came in, was promised, was paid."""

from bisect import bisect_left
from dataclasses import dataclass
from typing import Final

from chain.audit.claims import Payment
from chain.audit.tenancies import Position, position_of
from chain.errors import MalformedAnswerError
from chain.events import CheckerPaid, EpochClosed, Event, Funded, ProviderPaid
from chain.records import Log
from protocols.types import Epoch

SPAN_EPOCHS: Final = 64
"""Promises are counted for spans of so many epochs, as in Rewards.vy; what is left of a span comes
back when its last epoch has expired."""


@dataclass(frozen=True, slots=True)
class Unpromised:
    """Bounds of what was in no pool; equal until the first span came back."""

    least: int
    most: int


class Fund:
    """What Rewards' events tell, in their order."""

    def __init__(self) -> None:
        self._closings: list[tuple[EpochClosed, Log]] = []
        self._payments: list[Payment] = []
        self._funded: list[tuple[Position, int]] = []

    def apply(self, event: Event, log: Log) -> None:
        """Take one event; those of other contracts are ignored."""
        match event:
            case Funded():
                self._funded.append((position_of(log), event.amount))
            case EpochClosed():
                if self._closings and self._closings[-1][0].epoch >= event.epoch:
                    raise MalformedAnswerError(f"epoch {event.epoch} closed out of order")
                self._closings.append((event, log))
            case ProviderPaid() | CheckerPaid():
                self._payments.append((event, log))
            case _:
                pass

    def closing(self, epoch: Epoch) -> tuple[EpochClosed, Log] | None:
        """Return how an epoch was closed, or None if nobody has closed it (in time)."""
        at = self._find(epoch)
        if at < len(self._closings) and self._closings[at][0].epoch == epoch:
            return self._closings[at]
        return None

    def closing_before(self, epoch: Epoch) -> EpochClosed | None:
        """Return the last closing of an earlier epoch."""
        at = self._find(epoch)
        return self._closings[at - 1][0] if at else None

    def payments_for(self, epoch: Epoch, ring_epochs: int) -> list[Payment]:
        """Return all payments that can have been for `epoch`: from its closing to its expiry.

        It has expired, at the latest, when an epoch that is `ring_epochs` later is closed.
        """
        closed = self.closing(epoch)
        if closed is None:
            return []
        start = position_of(closed[1])
        later = self._find(Epoch(epoch + ring_epochs))
        end = position_of(self._closings[later][1]) if later < len(self._closings) else None
        return [
            payment
            for payment in self._payments
            if start < position_of(payment[1]) and (end is None or position_of(payment[1]) < end)
        ]

    def unpromised(self, position: Position, oldest: Epoch) -> Unpromised:
        """Return what was in no pool for a closing at `position`.

        `oldest` is the first epoch that had not expired then.
        """
        funded = sum(amount for at, amount in self._funded if at < position)
        paid = sum(event.amount for event, log in self._payments if position_of(log) < position)
        back = kept = 0
        for event, log in self._closings:
            if position_of(log) < position:
                pools = event.provider_pool + event.checker_pool
                if event.epoch // SPAN_EPOCHS < oldest // SPAN_EPOCHS:
                    back += pools
                else:
                    kept += pools
        # What was paid went to spans that have come back, or to those that have not.
        return Unpromised(
            least=max(0, funded - kept - min(paid, back)),
            most=funded - kept - max(0, paid - kept),
        )

    def _find(self, epoch: Epoch) -> int:
        return bisect_left(self._closings, epoch, key=lambda closing: closing[0].epoch)

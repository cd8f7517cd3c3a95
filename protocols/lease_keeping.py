"""What a provider does about its leases, and whom it lets in: decided from what the chain says.

A lease is read twice: as it is in the final block, which is what money and access go by, and as it
is in the newest one, by which an end or an extension is noticed at once. `final_time` and `now` are
the Unix seconds of these two blocks, or as near as the provider can tell.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from protocols.epochs import Timeline
from protocols.lease_messages import LeaseAnswerCode
from protocols.leases import Lease, LeaseState
from protocols.types import Epoch, NodeKey, Seat, TimeMs, Wallet

ACCEPT_SECONDS: Final = 15
"""What an acceptance needs until it is in a block; with less left before the deadline none is
sent."""

MAX_JUDGED: Final = 64
"""Epochs that Rental.vy judges in one call; collecting and settling include a judgement."""

COLLECT_SECONDS: Final = 86_400
"""How long a provider lets its earnings lie in a lease that goes on."""


class LeaseStage(StrEnum):
    """How a provider's machine stands to a lease."""

    WAITING = "waiting"
    """Not begun, as far as is final."""
    LIVE = "live"
    """The renter may use the machine."""
    STOPPED = "stopped"
    """Over by the newest block: nothing of the renter's runs, but its files are still there."""
    OVER = "over"
    """Over for good: nothing of the renter's may be left."""


class MoneyStep(StrEnum):
    """What is to be called next for the money of a lease."""

    NONE = "none"
    JUDGE = "judge"
    COLLECT = "collect"
    SETTLE = "settle"


def find_stage(
    final: Lease | None, newest: Lease | None, *, final_time: int, now: int
) -> LeaseStage:
    """Tell how the machine stands to a lease that its provider chose, None where there is none.

    An end that is not final yet stops the renter; so does the end of the time. What is wiped cannot
    come back, so for that it has to be final.
    """
    if final is None or final.state in (LeaseState.NONE, LeaseState.RESERVED):
        return LeaseStage.WAITING
    if final.state is not LeaseState.ACTIVE or final.ends_at <= final_time:
        return LeaseStage.OVER
    if newest is not None and newest.is_usable(now):
        return LeaseStage.LIVE
    return LeaseStage.STOPPED


def choose_reservation(
    leases: Iterable[Lease], *, provider: int, wallet: Wallet, now: int
) -> Lease | None:
    """Choose the lease to accept: the oldest one that waits for this provider and still can."""
    waiting = [
        lease
        for lease in leases
        if lease.state is LeaseState.RESERVED
        and (lease.provider, lease.provider_wallet) == (provider, wallet)
        and now + ACCEPT_SECONDS < lease.accept_by
    ]
    return min(waiting, key=lambda lease: lease.id, default=None)


def is_seen(timeline: Timeline, began: TimeMs, now: TimeMs) -> bool:
    """Tell whether a node that runs since `began` can be online in the epoch of `now`.

    The majority of the seats must have had their slots since. A lease in an epoch in which the
    provider counts as away costs it the pay for that epoch, and the bond if the renter ends it
    there: nobody should accept one.
    """
    epoch, seats = timeline.epoch_at(now), timeline.preset.seats
    met = sum(timeline.slot_start(epoch, Seat(seat)) >= began for seat in range(seats))
    return met * 2 > seats


def judge_access(
    final: Lease | None,
    newest: Lease | None,
    *,
    provider: int,
    wallet: Wallet,
    key: NodeKey,
    now: int,
) -> LeaseAnswerCode:
    """Say whether whoever signed with `key` may use the machine of this provider, or why not."""
    if final is None or final.state is LeaseState.NONE:
        return LeaseAnswerCode.UNKNOWN_LEASE
    if (final.provider, final.provider_wallet) != (provider, wallet):
        return LeaseAnswerCode.NOT_MINE
    if final.key != key:
        return LeaseAnswerCode.NOT_HOLDER
    if final.state in (LeaseState.RESERVED, LeaseState.RECLAIMED):
        return LeaseAnswerCode.NOT_ACTIVE
    if final.state is not LeaseState.ACTIVE or newest is None or not newest.is_usable(now):
        return LeaseAnswerCode.EXPIRED
    return LeaseAnswerCode.GRANTED


def choose_money_step(lease: Lease, timeline: Timeline, now: int) -> MoneyStep:
    """Say what the provider should call next for a lease that it accepted.

    At the end that is `settle`, after `judge` where there are more epochs than it looks at; in
    between, once a day or before the epochs become too many, `judge` or `collect`.
    """
    if lease.state not in (LeaseState.ACTIVE, LeaseState.ENDED):
        return MoneyStep.NONE
    closed = _count_closed(timeline, now)
    is_over = lease.state is LeaseState.ENDED or lease.ends_at <= now
    if is_over:
        last = timeline.epoch_at(TimeMs(lease.ends_at * 1000 - 1))
        if closed <= last:
            return MoneyStep.NONE
        return MoneyStep.JUDGE if last - lease.judged_until >= MAX_JUDGED else MoneyStep.SETTLE
    unjudged = closed - lease.judged_until
    if unjudged > MAX_JUDGED:
        return MoneyStep.JUDGE
    is_due = unjudged == MAX_JUDGED or unjudged * timeline.preset.epoch_seconds >= COLLECT_SECONDS
    return MoneyStep.COLLECT if is_due else MoneyStep.NONE


def _count_closed(timeline: Timeline, now: int) -> Epoch:
    """Return the first epoch that still takes bundles at `now`."""
    epoch = timeline.epoch_at(TimeMs(now * 1000))
    while epoch and timeline.bundle_end(Epoch(epoch - 1)) > now * 1000:
        epoch = Epoch(epoch - 1)
    return epoch

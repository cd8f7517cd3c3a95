"""The rule of gossip for receipts of uptime, and the check of a departure.

A batch is judged by itself first, in the same way everywhere; only then by what came before. So
whoever passes on what must be rejected could have known. That a batch is accepted means that a
listed service said so, no more: what it says is not proven, only signed.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from protocols.envelopes import Verified, open_envelope
from protocols.errors import ForgedError, GossipIgnore, GossipReject, MalformedError
from protocols.params import CLOCK_DISPARITY_MS
from protocols.types import Digest, NetworkId, NodeKey, TimeMs, Wallet
from protocols.uptime import Stretch, clip
from protocols.uptime_messages import (
    Departure,
    Move,
    Opening,
    Receipt,
    ReceiptBatch,
    unpack_moves,
    unpack_openings,
    unpack_receipts,
)
from protocols.zeronode_rules import ZeroNodeRules

UPTIME_TOPIC: Final = "uptime"
"""Topic of receipt batches."""

BATCH_LIFETIME_MS: Final = 120_000
"""A batch older than this is not passed on. What it told is told again when its day is over."""

BATCH_DAYS: Final = 2
"""Receipts reach back so many days from the batch: the day that goes on, and the one that is about
to be booked."""

NUMBERS_REMEMBERED: Final = 64
"""Batches of one service that may overtake one another. Their numbers need not be neighbours."""

BATCHES_PER_MINUTE: Final = 120
"""Of one service, in each minute of arrival: 120,000 receipts, a hundred times what 2,000 sessions
need when their stretches are joined."""

SERVICES_REMEMBERED: Final = 1_024
"""Services whose batches are remembered; the one that was silent longest is forgotten first."""


@dataclass(frozen=True, slots=True)
class ServiceView:
    """What a node knows of the services: which are listed and not retired, by the chain."""

    network: NetworkId
    services: frozenset[NodeKey]
    rules: ZeroNodeRules


@dataclass(frozen=True, slots=True)
class JudgedBatch:
    """A batch that was accepted, and its rows."""

    verified: Verified[ReceiptBatch]
    receipts: tuple[Receipt, ...]
    openings: tuple[Opening, ...]
    moves: tuple[Move, ...]

    @property
    def service(self) -> NodeKey:
        """Who says so."""
        return self.verified.signer


class BatchEquivocation(GossipIgnore):
    """A second batch of the same service with the same number and another content.

    `first` is the SHA-256 of the body that was accepted. The forwarder is not to blame.
    """

    def __init__(self, service: NodeKey, number: int, first: Digest) -> None:
        super().__init__("equivocation", f"batch {number}")
        self.service = service
        self.number = number
        self.first = first


@dataclass(slots=True)
class _Heard:
    """What is remembered of one service."""

    highest: int = -1
    floor: int = -1
    """The highest number forgotten: nothing up to it is accepted any more."""
    bodies: dict[int, Digest] = field(default_factory=dict)
    minute: int = -1
    in_minute: int = 0


class ReceiptMemory:
    """What has been accepted of each service, bounded."""

    def __init__(self, limit: int = SERVICES_REMEMBERED) -> None:
        self._limit = limit
        self._services: OrderedDict[NodeKey, _Heard] = OrderedDict()

    def restore(self, service: NodeKey, highest: int) -> None:
        """After a restart: take nothing again up to the highest number accepted before."""
        heard = self._touch(service)
        heard.highest = max(heard.highest, highest)
        heard.floor = max(heard.floor, highest)

    def highest_of(self, service: NodeKey) -> int | None:
        """The highest number accepted, to be kept over a restart."""
        heard = self._services.get(service)
        return None if heard is None or heard.highest < 0 else heard.highest

    def require_new(self, service: NodeKey, number: int, body: Digest, now: TimeMs) -> None:
        """Raise GossipIgnore for a batch that is known, too old, or one too many."""
        heard = self._services.get(service)
        if heard is None:
            return
        known = heard.bodies.get(number)
        if known == body:
            raise GossipIgnore("seen before")
        if known is not None:
            raise BatchEquivocation(service, number, known)
        if number <= heard.floor:
            raise GossipIgnore("old number")
        if heard.minute == now // 60_000 and heard.in_minute >= BATCHES_PER_MINUTE:
            raise GossipIgnore("too frequent")

    def add(self, service: NodeKey, number: int, body: Digest, now: TimeMs) -> None:
        """Remember a batch that passed every check."""
        heard = self._touch(service)
        heard.highest = max(heard.highest, number)
        heard.bodies[number] = body
        if len(heard.bodies) > NUMBERS_REMEMBERED:
            heard.floor = min(heard.bodies)
            del heard.bodies[heard.floor]
        minute = now // 60_000
        heard.in_minute = heard.in_minute + 1 if heard.minute == minute else 1
        heard.minute = minute

    def _touch(self, service: NodeKey) -> _Heard:
        heard = self._services.setdefault(service, _Heard())
        self._services.move_to_end(service)
        if len(self._services) > self._limit:
            self._services.popitem(last=False)
        return heard

    def __len__(self) -> int:
        return len(self._services)


def validate_receipts_gossip(
    memory: ReceiptMemory, view: ServiceView, data: bytes, now: TimeMs
) -> JudgedBatch:
    """Judge a batch: of a listed service, in time, new, and its rows in order and possible.

    Raises MalformedError, ForgedError, GossipReject or GossipIgnore.
    """
    verified = open_envelope(data, ReceiptBatch, view.network)
    batch, service = verified.message, verified.signer
    if service not in view.services:
        # The list is read from the chain at moments of one's own.
        raise GossipIgnore("unknown service")
    judged = _read_rows(verified)
    if batch.number > batch.sent_ms:
        # Otherwise one stolen signature could put an end to a service's numbers.
        raise GossipReject("number ahead of time")
    _require_receipts(judged.receipts, batch.sent_ms, view.rules)
    _require_ascending([each.wallet for each in judged.openings])
    _require_ascending([each.wallet for each in judged.moves])
    moments = [each.opened_ms for each in judged.openings]
    moments += [each.moved_ms for each in judged.moves]
    if any(moment > batch.sent_ms for moment in moments):
        raise GossipReject("row from the future")
    if any(each.destination == service for each in judged.moves):
        raise GossipReject("moved to itself")
    if batch.sent_ms > now + CLOCK_DISPARITY_MS:
        raise GossipIgnore("from the future")
    if batch.sent_ms + BATCH_LIFETIME_MS < now:
        raise GossipIgnore("stale")
    body = Digest(hashlib.sha256(verified.body).digest())
    memory.require_new(service, batch.number, body, now)
    memory.add(service, batch.number, body, now)
    return judged


def make_tellable(
    receipts: Iterable[Receipt], sent_ms: TimeMs, rules: ZeroNodeRules
) -> tuple[Receipt, ...]:
    """Make of a service's receipts what the rule takes in a batch of this time.

    Each account's union, cut where days end. What is too old, or lies after `sent_ms`, is left out.
    """
    told: dict[Wallet, list[Stretch]] = {}
    for each in receipts:
        told.setdefault(each.wallet, []).append(each.stretch)
    earliest = max(0, sent_ms - BATCH_DAYS * rules.day_ms)
    return tuple(
        Receipt(wallet, piece)
        for wallet in sorted(told)
        for stretch in clip(told[wallet], earliest, sent_ms)
        for piece in _cut_at_days(stretch, rules)
    )


def check_departure(
    view: ServiceView, data: bytes, own: NodeKey, now: TimeMs
) -> Verified[Departure]:
    """Check a departure that an account brings to `own`, its new home.

    Whether its signer was the account's home, and whether it arrived before, is the caller's to
    know. Raises MalformedError or ForgedError.
    """
    verified = open_envelope(data, Departure, view.network)
    departure = verified.message
    if verified.signer not in view.services or verified.signer == own:
        raise ForgedError("not another listed service")
    if departure.destination != own:
        raise ForgedError("for another service")
    if departure.departed_ms > now + CLOCK_DISPARITY_MS:
        raise ForgedError("departure from the future")
    if departure.opened_ms > departure.departed_ms:
        raise MalformedError("bad departure", "opened after it left")
    day = view.rules.day_of(departure.departed_ms)
    if departure.first_day not in (day, day + 1):
        raise MalformedError("bad departure", "wrong first day")
    return verified


def _cut_at_days(stretch: Stretch, rules: ZeroNodeRules) -> Iterator[Stretch]:
    for day in range(rules.day_of(stretch.start_ms), rules.day_of(stretch.end_ms) + 1):
        yield from clip([stretch], rules.day_start(day), rules.day_end(day))


def _read_rows(verified: Verified[ReceiptBatch]) -> JudgedBatch:
    batch = verified.message
    return JudgedBatch(
        verified,
        unpack_receipts(batch.receipts),
        unpack_openings(batch.openings),
        unpack_moves(batch.moves),
    )


def _require_receipts(receipts: Sequence[Receipt], sent_ms: int, rules: ZeroNodeRules) -> None:
    earliest = sent_ms - BATCH_DAYS * rules.day_ms
    before: Receipt | None = None
    for each in receipts:
        stretch = each.stretch
        if stretch.end_ms > sent_ms:
            raise GossipReject("receipt from the future")
        if stretch.start_ms < earliest:
            raise GossipReject("receipt too old")
        if stretch.length_ms > rules.day_ms:
            raise GossipReject("receipt longer than a day")
        if before is not None and not _follows(before, each):
            raise GossipReject("receipts out of order")
        before = each


def _follows(before: Receipt, after: Receipt) -> bool:
    if before.wallet == after.wallet:
        return before.stretch.end_ms <= after.stretch.start_ms
    return before.wallet < after.wallet


def _require_ascending(wallets: Sequence[Wallet]) -> None:
    if any(second <= first for first, second in pairwise(wallets)):
        raise GossipReject("rows out of order")

"""Where an account is at home: the service whose ledger holds it.

Claims reach every service in their own order, some twice and some late. Two services at which an
account was opened settle on one of them; after two days only the home itself can give it away, as
long as the chain lists it.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from protocols.types import NodeKey, TimeMs
from protocols.uptime_messages import Move

SETTLED_MS: Final = 172_800_000
"""Two days: a home that a service has known for so long gives way to no other claim. A claim that
was lost is told again when its day is over, and both services must still listen then: an account
that kept two homes would be paid by both."""


@dataclass(frozen=True, slots=True)
class Home:
    """What a service knows of one account's home."""

    service: NodeKey
    since_ms: TimeMs
    """When it was opened there, or moved there, by the home's own word."""
    settled_ms: TimeMs
    """From when on no other claim is listened to, by the clock of whoever keeps this."""


def hear_claim(
    known: Home | None,
    service: NodeKey,
    opened_ms: TimeMs,
    now: TimeMs,
    listed: Collection[NodeKey] = frozenset(),
) -> Home:
    """What is known after `service` claimed an account, by gossip or by a sign-in there.

    A home that is not `listed` any more gives way to anybody; empty where the list is not known.
    """
    claim = Home(service, opened_ms, TimeMs(now + SETTLED_MS))
    if known is None or is_gone(known, listed):
        return claim
    if known.service == service or now >= known.settled_ms:
        return known
    if (claim.since_ms, claim.service) < (known.since_ms, known.service):
        return replace(claim, settled_ms=known.settled_ms)
    return known


def is_gone(home: Home, listed: Collection[NodeKey]) -> bool:
    """Whether a home was retired, by a list that is not empty."""
    return bool(listed) and home.service not in listed


def hear_move(known: Home | None, service: NodeKey, move: Move, now: TimeMs) -> Home | None:
    """What is known after `service` said that an account left it for another.

    Only the home can say so, and not about a time before it was that: a move that is told again
    after the account came back changes nothing.
    """
    if known is not None and (known.service != service or move.moved_ms < known.since_ms):
        return known
    return Home(move.destination, move.moved_ms, now)

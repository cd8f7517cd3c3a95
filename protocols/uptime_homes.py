"""Where an account is at home: the service whose ledger holds it.

Claims reach every service in their own order, and some twice. Two services at which an account was
opened in the same minutes settle on one of them; after that only the home itself can give it away.
"""

from dataclasses import dataclass, replace
from typing import Final

from protocols.types import NodeKey, TimeMs
from protocols.uptime_messages import Move

SETTLED_MS: Final = 600_000
"""A home that a service has known for so long gives way to no other claim. Gossip takes seconds;
ten minutes are for a service that was cut off for a moment."""


@dataclass(frozen=True, slots=True)
class Home:
    """What a service knows of one account's home."""

    service: NodeKey
    since_ms: TimeMs
    """When it was opened there, or moved there, by the home's own word."""
    settled_ms: TimeMs
    """From when on no other claim is listened to, by the clock of whoever keeps this."""


def hear_claim(known: Home | None, service: NodeKey, opened_ms: TimeMs, now: TimeMs) -> Home:
    """What is known after `service` claimed an account, by gossip or by a sign-in there."""
    claim = Home(service, opened_ms, TimeMs(now + SETTLED_MS))
    if known is None:
        return claim
    if known.service == service or now >= known.settled_ms:
        return known
    if (claim.since_ms, claim.service) < (known.since_ms, known.service):
        return replace(claim, settled_ms=known.settled_ms)
    return known


def hear_move(known: Home | None, service: NodeKey, move: Move, now: TimeMs) -> Home | None:
    """What is known after `service` said that an account left it for another.

    Only the home can say so, and not about a time before it was that: a move that is told again
    after the account came back changes nothing.
    """
    if known is not None and (known.service != service or move.moved_ms < known.since_ms):
        return known
    return Home(move.destination, move.moved_ms, now)

"""Who misbehaved how much: the one place where refusals turn into consequences.

Points are added for what no honest peer does and leak away with time, so that a rare accident on
the way costs nothing. A peer above the threshold is disconnected and not talked to for a while.
Ignoring a message, our own bugs and slowness never cost points.
"""

from collections import OrderedDict

from protocols.types import NodeKey

REJECTED_MESSAGE = 10.0
"""A gossip message that a judge rejected: the peer passed it on without judging it itself."""
MALFORMED_FRAME = 50.0
"""Bytes that are not gossipsub, or above the size cap."""
UNWANTED_CONTROL = 5.0
"""A control entry against the rules: a graft during a backoff, too many ids."""

_THRESHOLD = 200.0
_LEAK_PER_SECOND = 1.0
_MAX_PEERS = 4096


class Blame:
    """Leaky buckets of points, and bans. Bounded: the peer longest without an entry is forgotten.

    Times are seconds of one monotonic clock, given by the caller.
    """

    def __init__(self, ban: float) -> None:
        self._ban = ban
        self._points: OrderedDict[NodeKey, tuple[float, float]] = OrderedDict()
        self._banned: OrderedDict[NodeKey, float] = OrderedDict()

    def add(self, peer: NodeKey, points: float, now: float) -> bool:
        """Blame `peer`; True when this is what gets it banned."""
        before, since = self._points.pop(peer, (0.0, now))
        total = max(0.0, before - (now - since) * _LEAK_PER_SECOND) + points
        if total < _THRESHOLD:
            self._points[peer] = (total, now)
            _trim(self._points)
            return False
        self._banned.pop(peer, None)
        self._banned[peer] = now + self._ban
        _trim(self._banned)
        return True

    def is_banned(self, peer: NodeKey, now: float) -> bool:
        """Whether `peer` is not to be talked to."""
        until = self._banned.get(peer)
        if until is None:
            return False
        if now >= until:
            del self._banned[peer]
            return False
        return True


def _trim(entries: OrderedDict[NodeKey, tuple[float, float]] | OrderedDict[NodeKey, float]) -> None:
    while len(entries) > _MAX_PEERS:
        entries.popitem(last=False)


class TokenBucket:
    """Allows `rate` per second on average and `burst` at once."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._since = now

    def take(self, count: float, now: float) -> float:
        """Take `count` tokens, into debt if need be; returns the seconds until the debt is paid."""
        self._refill(now)
        self._tokens -= count
        return max(0.0, -self._tokens / self._rate)

    def take_if_there(self, now: float) -> bool:
        """Take one token if there is one."""
        self._refill(now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _refill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now - self._since) * self._rate)
        self._since = now

"""Places for the streams that a node serves.

A stream begins with one of the places that are for a while, whoever opened it. Only where its
handler knows the peer well enough it moves to one of those that last, so that strangers cannot take
them all and wait.
"""

from collections import Counter

from p2p_node.net.settings import NetworkLimits
from protocols.errors import RemoteError
from protocols.types import NodeKey


class NoPlaceError(RemoteError):
    """So many streams are served that this one is not."""


class Places:
    """Who is served, and how many times."""

    def __init__(self, limits: NetworkLimits) -> None:
        self._limits = limits
        self._short: Counter[NodeKey] = Counter()
        self._lasting: Counter[NodeKey] = Counter()

    @property
    def taken(self) -> int:
        """How many places of either kind are taken."""
        return self._short.total() + self._lasting.total()

    def enter(self, peer: NodeKey) -> "Place":
        """Take a place for a while. Raises NoPlaceError."""
        if self._short.total() >= self._limits.max_inbound_streams:
            raise NoPlaceError("too many streams")
        if self._short[peer] >= self._limits.max_inbound_streams_per_peer:
            raise NoPlaceError("too many streams of one peer")
        self._short[peer] += 1
        return Place(self, peer)

    def prolong(self, peer: NodeKey) -> None:
        """Exchange a place for a while for one that lasts. Raises NoPlaceError."""
        if self._lasting.total() >= self._limits.max_lasting_streams:
            raise NoPlaceError("too many lasting streams")
        if self._lasting[peer] >= self._limits.max_lasting_streams_per_peer:
            raise NoPlaceError("too many lasting streams of one peer")
        self._lasting[peer] += 1
        self._give_back(self._short, peer)

    def leave(self, peer: NodeKey, *, lasting: bool) -> None:
        """Give a place back."""
        self._give_back(self._lasting if lasting else self._short, peer)

    def _give_back(self, places: Counter[NodeKey], peer: NodeKey) -> None:
        places[peer] -= 1
        if not places[peer]:
            del places[peer]


class Place:
    """One stream's place."""

    def __init__(self, places: Places, peer: NodeKey) -> None:
        self._places = places
        self._peer = peer
        self.lasting = False
        """Whether it is one of those that last."""

    def prolong(self) -> None:
        """Have it last; nothing when it does. Raises NoPlaceError."""
        if not self.lasting:
            self._places.prolong(self._peer)
            self.lasting = True

    def leave(self) -> None:
        """Give it back, once."""
        self._places.leave(self._peer, lasting=self.lasting)

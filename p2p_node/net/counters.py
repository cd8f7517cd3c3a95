"""Plain integers about what the network did; the owner of the node exports them."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """All counters of one network. Labels are fixed phrases and our own topic and protocol names.

    No label ever contains a byte chosen by a peer, so the number of labels is bounded.
    """

    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(topic, protocol or layer, reason) -> messages, streams or connections that were refused."""
    bugs: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(where, exception type) -> exceptions of our own code that a boundary had to catch."""
    published: Counter[str] = field(default_factory=Counter)
    """topic -> own messages handed to the network."""
    delivered: Counter[str] = field(default_factory=Counter)
    """topic -> messages that were accepted here."""
    dropped: Counter[str] = field(default_factory=Counter)
    """queue -> messages thrown away because the queue was full."""
    forwarded: int = 0
    """Copies of gossip messages sent to peers, our own and other nodes'."""
    duplicates: int = 0
    """Gossip messages received again."""
    connections_opened: int = 0
    connections_closed: int = 0
    dials_failed: int = 0
    streams_served: int = 0
    """Inbound request streams that reached a handler."""
    peers_banned: int = 0

    def refuse(self, where: str, reason: str) -> None:
        """Count one refusal at `where` for `reason`."""
        self.refused[where, reason] += 1

    def bug(self, where: str, error: Exception) -> None:
        """Count one exception of our own code that the boundary `where` caught."""
        self.bugs[where, type(error).__name__] += 1

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return self.connections_opened - self.connections_closed

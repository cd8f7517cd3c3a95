"""Which gossip messages were seen, and the recent ones themselves."""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field

from p2p_node.net.settings import NetworkLimits, NetworkTimes
from protocols.types import NodeKey

MessageId = bytes

_ID_BYTES = 20
_MAX_SERVINGS = 3
"""Times one peer is given one message that it asks for (the specification's retransmission cap)."""


def message_id(topic: str, data: bytes) -> MessageId:
    """Name of a message: what it says and where. A copy is a duplicate, however it is wrapped."""
    where = topic.encode()
    digest = hashlib.sha256(len(where).to_bytes(4, "big") + where)
    digest.update(data)
    return digest.digest()[:_ID_BYTES]


@dataclass(slots=True)
class _Entry:
    topic: str
    frame: bytes
    since: float
    servings: dict[NodeKey, int] = field(default_factory=dict)


class MessageCache:
    """Ids seen, and frames that peers may ask for, both bounded in number, bytes and time."""

    def __init__(self, limits: NetworkLimits, times: NetworkTimes) -> None:
        self._limits = limits
        self._times = times
        self._seen: OrderedDict[MessageId, float] = OrderedDict()
        self._frames: OrderedDict[MessageId, _Entry] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def seen_count(self) -> int:
        """Message ids remembered."""
        return len(self._seen)

    def was_seen(self, name: MessageId) -> bool:
        """Whether the message was seen before."""
        return name in self._seen

    def see(self, name: MessageId, now: float) -> bool:
        """Remember the message; False if it was seen before."""
        if name in self._seen:
            return False
        self._seen[name] = now + self._times.seen
        if len(self._seen) > self._limits.seen_messages:
            self._seen.popitem(last=False)
        return True

    def keep(self, name: MessageId, topic: str, frame: bytes, now: float) -> None:
        """Keep the frame of a valid message for peers that ask for it."""
        if name in self._frames:
            return
        self._frames[name] = _Entry(topic, frame, now)
        self._bytes += len(frame)
        while (
            len(self._frames) > self._limits.cached_messages
            or self._bytes > self._limits.cached_bytes
        ):
            self._drop_oldest()

    def recent(self, topic: str, since: float) -> list[MessageId]:
        """Messages of `topic` kept since then, the newest last."""
        names = []
        for name, entry in reversed(self._frames.items()):
            if entry.since < since:
                break
            if entry.topic == topic:
                names.append(name)
        names.reverse()
        return names

    def serve(self, name: MessageId, peer: NodeKey) -> bytes | None:
        """The frame, unless it is gone or `peer` had it often enough."""
        entry = self._frames.get(name)
        if entry is None:
            return None
        servings = entry.servings.get(peer, 0)
        if servings >= _MAX_SERVINGS:
            return None
        entry.servings[peer] = servings + 1
        return entry.frame

    def expire(self, now: float) -> None:
        """Forget what is too old."""
        while self._seen and next(iter(self._seen.values())) <= now:
            self._seen.popitem(last=False)
        while self._frames:
            oldest = next(iter(self._frames.values()))
            if oldest.since + self._times.cached > now:
                break
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, entry = self._frames.popitem(last=False)
        self._bytes -= len(entry.frame)

"""Where judged messages wait for their reader, and the adapter around judges."""

import logging
from collections import deque
from collections.abc import Callable

import trio

from p2p_node.net.api import GossipMessage
from p2p_node.net.counters import Counters
from p2p_node.net.errors import NetworkClosedError
from p2p_node.net.judgement import Accept, Ignore, Judge, Judgement, Reject
from protocols.errors import GossipIgnore, RemoteError
from protocols.types import NodeKey

logger = logging.getLogger(__name__)

OUR_BUG = Ignore("our own bug")


def judge_safely(
    judge: Judge, topic: str, data: bytes, sender: NodeKey, counters: Counters
) -> Judgement:
    """Ask `judge`; never raises.

    A judge may raise GossipIgnore or another RemoteError, which are an Ignore and a Reject. Any
    other exception, or an answer that is no judgement, is our own bug: counted and logged, the
    message is refused, nobody is blamed.
    """
    try:
        judgement = judge(data, sender)
        if not isinstance(judgement, Accept | Ignore | Reject):
            raise TypeError(f"the judge of {topic} returned {type(judgement).__name__}")
    except GossipIgnore as error:
        return Ignore(error.reason)
    except RemoteError as error:
        return Reject(error.reason)
    except Exception as error:
        counters.bug(f"judge of {topic}", error)
        logger.exception("judge failed: topic=%s", topic)
        return OUR_BUG
    return judgement


class MessageQueue:
    """A bounded queue that drops its oldest message; see `p2p_node.net.api.Subscription`."""

    def __init__(
        self, topic: str, size: int, counters: Counters, closed: Callable[[], None]
    ) -> None:
        self.topic = topic
        self._size = size
        self._counters = counters
        self._on_close = closed
        self._messages: deque[GossipMessage] = deque()
        self._waiting = trio.lowlevel.ParkingLot()
        self._closed = False

    def put(self, data: bytes, sender: NodeKey) -> None:
        """Add a message, dropping the oldest if there is no room."""
        if len(self._messages) >= self._size:
            self._messages.popleft()
            self._counters.dropped[self.topic] += 1
        self._messages.append(GossipMessage(data, sender))
        self._counters.delivered[self.topic] += 1
        self._waiting.unpark()

    async def receive(self) -> GossipMessage:
        """The next message."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._messages:
            if self._closed:
                raise NetworkClosedError(f"{self.topic}: the subscription is closed")
            await self._waiting.park()
        return self._messages.popleft()

    def __aiter__(self) -> "MessageQueue":
        return self

    async def __anext__(self) -> GossipMessage:
        try:
            return await self.receive()
        except NetworkClosedError:
            raise StopAsyncIteration from None

    def close(self) -> None:
        """Leave the topic; wakes those who wait."""
        if not self._closed:
            self._closed = True
            self._messages.clear()
            self._on_close()
            self._waiting.unpark_all()

"""Where judged messages wait for their reader, and the adapter around judges."""

import logging
from collections import deque
from collections.abc import Callable

import trio

from p2p_node.net.api import GossipMessage
from p2p_node.net.counters import Counters
from p2p_node.net.errors import NetworkClosedError
from p2p_node.net.judgement import Accept, Ignore, Judge, Judgement, Reject
from p2p_node.net.settings import NetworkLimits
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
        self,
        topic: str,
        limits: NetworkLimits,
        counters: Counters,
        closed: Callable[[], None],
        *,
        deliver: bool,
    ) -> None:
        self.topic = topic
        self._limits = limits
        self._counters = counters
        self._on_close = closed
        self._deliver = deliver
        self._messages: deque[GossipMessage] = deque()
        self._bytes = 0
        self._waiting = trio.lowlevel.ParkingLot()
        self._closed = False

    def put(self, data: bytes, sender: NodeKey) -> None:
        """Add an accepted message, dropping the oldest if there is no room."""
        self._counters.delivered[self.topic] += 1
        if not self._deliver:
            return
        self._messages.append(GossipMessage(data, sender))
        self._bytes += len(data)
        limits = self._limits
        while len(self._messages) > limits.delivery_queue or self._bytes > limits.delivery_bytes:
            self._bytes -= len(self._messages.popleft().data)
            self._counters.dropped[self.topic] += 1
        self._waiting.unpark()

    async def receive(self) -> GossipMessage:
        """The next message."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._messages:
            if self._closed:
                raise NetworkClosedError(f"{self.topic}: the subscription is closed")
            await self._waiting.park()
        message = self._messages.popleft()
        self._bytes -= len(message.data)
        return message

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

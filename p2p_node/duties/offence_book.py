"""Contradictions that were seen, on their way to whoever proves them on the chain."""

import logging
from collections import OrderedDict

import trio

from protocols.gossip import Equivocation
from protocols.types import Epoch

logger = logging.getLogger(__name__)

MAX_WAITING = 64
"""Equivocations that wait to be proved. One is enough to take a checker's whole stake."""

KEPT = 1024
"""Checkers and epochs remembered, so that the same contradiction is not handed out again."""


class OffenceBook:
    """Each equivocation once per checker and epoch, however often it is repeated."""

    def __init__(self) -> None:
        self._sender, self._receiver = trio.open_memory_channel[Equivocation](MAX_WAITING)
        self._known: OrderedDict[tuple[int, Epoch], None] = OrderedDict()

    def add(self, found: Equivocation) -> None:
        """Note an equivocation; what does not fit is dropped, and taken up when it is repeated."""
        key = (found.checker, found.first.report.epoch)
        if key in self._known:
            return
        try:
            self._sender.send_nowait(found)
        except trio.WouldBlock:
            logger.warning("checker %d contradicts itself, but too many do", found.checker)
            return
        self._known[key] = None
        if len(self._known) > KEPT:
            self._known.popitem(last=False)

    async def next(self) -> Equivocation:
        """Wait for an equivocation that was not handed out before."""
        return await self._receiver.receive()

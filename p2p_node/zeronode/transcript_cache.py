"""Transcripts that are being asked for: read once, and shared by everybody who loads them.

One has megabytes, and a new draw's is asked for by many at once.
"""

from collections import OrderedDict
from typing import Final

import trio

from p2p_node.zeronode.database import AsyncDatabase
from p2p_node.zeronode.draws import read_transcript

KEPT: Final = 2


class TranscriptCache:
    """The transcripts that were asked for last. They never change."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._reading = trio.Lock()

    async def read(self, draw: str) -> bytes | None:
        """Return a draw's file, None if there is none (yet)."""
        async with self._reading:
            content = self._kept.pop(draw, None)
            if content is None:
                content = await self._database.read(read_transcript, draw)
            if content is not None:
                self._kept[draw] = content
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            return content

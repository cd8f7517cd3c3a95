"""Writes what sessions earned: many beats, one transaction, about once a second.

A commit costs a write to the disk, however much it holds. So stretches of all sessions are gathered
and written together; a session waits for its own, because what a client is told must be durable.
"""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import trio
from sqlalchemy import Connection

from p2p_node.zeronode.database import AsyncDatabase
from p2p_node.zeronode.errors import DatabaseError
from p2p_node.zeronode.uptime_book import Receipt, record
from protocols.errors import RemoteError
from protocols.types import NodeKey, TimeMs
from protocols.zeronode_rules import ZeroNodeRules

logger = logging.getLogger(__name__)

INTERVAL_SECONDS: Final = 1.0
"""At least this long between two commits. A beat that comes alone is written at once."""

MAX_WAITING: Final = 20_000
"""Stretches and notes that may wait: what the largest service earns in a minute and more."""

WAIT_SECONDS: Final = 6.0
"""For a stretch to be written; somebody who waited longer is told that it is not known yet, and is
challenged on. With the time for an answer it is less than the shortest time between challenges."""

RETRY_SECONDS: Final = 2.0
FLUSH_SECONDS: Final = 5.0
"""For what still waits when the service ends."""


class WriterBusy(RemoteError):
    """The database does not keep up, so what this beat earned is not (known to be) written."""


@dataclass(eq=False, slots=True)
class _Waiting:
    receipt: Receipt
    done: trio.Event = field(default_factory=trio.Event)


class BeatWriter:
    """One per service: `record` from any task, `run` in one."""

    def __init__(
        self,
        database: AsyncDatabase,
        service: NodeKey,
        rules: ZeroNodeRules,
        now: Callable[[], TimeMs],
    ) -> None:
        self._database = database
        self._service = service
        self._rules = rules
        self._now = now
        self._waiting: list[_Waiting] = []
        self._notes: list[Callable[[Connection], object]] = []
        self._some = trio.Event()
        self.commits = 0
        self.written = 0
        self.failures: Counter[str] = Counter()
        """Type of error -> commits that failed and were tried again."""

    async def record(self, receipt: Receipt) -> None:
        """Return once the receipt is durable. Raises WriterBusy."""
        if len(self._waiting) >= MAX_WAITING:
            raise WriterBusy("service is busy")
        waiting = _Waiting(receipt)
        self._waiting.append(waiting)
        self._some.set()
        with trio.move_on_after(WAIT_SECONDS):
            await waiting.done.wait()
            return
        raise WriterBusy("service is busy")

    def note(self, write: Callable[[Connection], object]) -> None:
        """Have something written with the next stretches. It must not fail; it may be lost."""
        if len(self._notes) < MAX_WAITING:
            self._notes.append(write)
            self._some.set()

    async def run(self) -> None:
        """Write until cancelled, and then what still waits."""
        try:
            while True:
                await self._some.wait()
                await trio.sleep(INTERVAL_SECONDS if await self._write() else RETRY_SECONDS)
        finally:
            with trio.move_on_after(FLUSH_SECONDS, shield=True):
                await self._write()

    async def _write(self) -> bool:
        batch, self._waiting = self._waiting, []
        notes, self._notes = self._notes, []
        self._some = trio.Event()
        if not batch and not notes:
            return True
        try:
            await self._database.run(self._write_all, batch, notes, self._now())
        except DatabaseError as error:
            # Written again is written once: what was recorded is a union.
            self.failures[type(error).__name__] += 1
            logger.error("beats are not written, trying again: %s", error)
            # Notes are not: what one of them did wrong must not keep uptime from being written.
            self._take_back(batch, [])
            return False
        except trio.Cancelled:
            # Others had the database: nothing of it was begun, and `run` writes it at the end.
            self._take_back(batch, notes)
            raise
        self.commits += 1
        self.written += len(batch)
        for each in batch:
            each.done.set()
        return True

    def _take_back(
        self, batch: list[_Waiting], notes: list[Callable[[Connection], object]]
    ) -> None:
        self._waiting = batch + self._waiting
        self._notes = notes + self._notes
        self._some.set()

    def _write_all(
        self,
        connection: Connection,
        batch: list[_Waiting],
        notes: list[Callable[[Connection], object]],
        now: TimeMs,
    ) -> None:
        for write in notes:
            write(connection)
        receipts = [each.receipt for each in batch]
        record(connection, self._service, receipts, self._rules, now)

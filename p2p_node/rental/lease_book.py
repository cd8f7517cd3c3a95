"""What a provider must still know about its leases after a crash.

A row is written before an acceptance is sent, so that after a restart the same lease is accepted
and no second one; `place` before anything of the renter's can run; `wiped` once nothing is left.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import trio

from p2p_node.storage import Store

KEPT_LEASES: Final = 1024
"""Rows of leases that are over in every way; the newest ones, for people who ask."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """One lease that this provider chose. `place` is what was made ready, None before."""

    id: int
    place: bytes | None = None
    wiped: bool = False
    settled: bool = False

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to do about it."""
        return self.wiped and self.settled


class LeaseBook:
    """The table of leases in a node's store. Every change is on the disk when it returns."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._limiter = trio.CapacityLimiter(1)

    async def choose(self, lease: int) -> None:
        """Note that this lease is to be accepted; again is no change."""
        await self._execute("INSERT INTO leases (id) VALUES (?) ON CONFLICT DO NOTHING", (lease,))

    async def drop(self, lease: int) -> None:
        """Forget a lease that was chosen and did not come about."""
        await self._execute("DELETE FROM leases WHERE id = ?", (lease,))

    async def set_place(self, lease: int, place: bytes) -> None:
        """Keep what is about to be made ready for the renter."""
        await self._execute("UPDATE leases SET place = ? WHERE id = ?", (place, lease))

    async def set_wiped(self, lease: int) -> None:
        """Note that nothing of the renter's is left."""
        await self._execute("UPDATE leases SET wiped = 1, place = NULL WHERE id = ?", (lease,))

    async def set_settled(self, lease: int) -> None:
        """Note that the lease's money has been divided; drops the oldest rows beyond the kept."""

        def write() -> None:
            with self._store.transaction() as connection:
                connection.execute("UPDATE leases SET settled = 1 WHERE id = ?", (lease,))
                connection.execute(
                    "DELETE FROM leases WHERE wiped AND settled AND id NOT IN"
                    " (SELECT id FROM leases ORDER BY id DESC LIMIT ?)",
                    (KEPT_LEASES,),
                )

        await self._run(write)

    async def rows(self) -> list[LeaseRow]:
        """List all rows, by lease."""

        def read() -> list[LeaseRow]:
            with self._store.transaction() as connection:
                found = connection.execute(
                    "SELECT id, place, wiped, settled FROM leases ORDER BY id"
                ).fetchall()
            return [LeaseRow(each[0], each[1], bool(each[2]), bool(each[3])) for each in found]

        return await self._run(read)

    async def unfinished(self) -> list[LeaseRow]:
        """List the rows that still need something."""
        return [row for row in await self.rows() if not row.is_done]

    async def _execute(self, statement: str, parameters: tuple[object, ...]) -> None:
        def write() -> None:
            with self._store.transaction() as connection:
                connection.execute(statement, parameters)

        await self._run(write)

    async def _run(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=self._limiter)

"""Anchoring: the root of every closed day goes into ZeroNodeAnchor, once and for ever.

What is done is what the finalized chain says: before anything is sent, and before a day is noted as
anchored, it is asked. So a restart, a block that is taken back, or a second process with the same
wallet sends nothing twice, and loses nothing.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

import trio
from sqlalchemy import Connection, select

from chain.client import BlockTag
from chain.errors import ChainError, ObsoleteError, QueueFullError
from chain.flights import Confirmations
from chain.outage import Outage
from chain.records import Call, Receipt
from chain.zeronode_calls import ZeroNodeCalls
from chain.zeronode_client import ZeroNodeClient
from p2p_node.zeronode.chain_tables import anchored_days
from p2p_node.zeronode.database import AsyncDatabase
from p2p_node.zeronode.errors import DatabaseError
from p2p_node.zeronode.ledger_tables import days
from protocols.types import Digest, TimeMs, Wallet

_log = logging.getLogger(__name__)

PAGE: Final = 64
"""Days that are looked at in one go; a service that was off for longer takes several."""

SEND_SECONDS: Final = 600.0
"""For a root to be final; after that it is looked at anew."""

REPEAT_SECONDS: Final = 3_600.0
"""Between two reminders of what only the operator can change."""


class Transactions(Protocol):
    """Who sends: `chain.transactions.TransactionManager`."""

    @property
    def wallet(self) -> Wallet:
        """Whose transactions they are."""

    async def execute(
        self,
        call: Call,
        *,
        label: str,
        deadline: float,
        confirmations: Confirmations = "finalized",
        is_obsolete: Callable[[], Awaitable[bool]] | None = None,
    ) -> Receipt:
        """Send a call, and wait until it is confirmed."""


@dataclass(frozen=True, slots=True)
class ClosedRoot:
    """A day of the books, and the root that it was closed with."""

    day: int
    root: Digest


def pending_roots(connection: Connection, limit: int = PAGE) -> tuple[ClosedRoot, ...]:
    """Return closed days of which nothing is noted from the finalized chain, oldest first."""
    rows = connection.execute(
        select(days.c.day, days.c.root)
        .outerjoin(anchored_days, anchored_days.c.day == days.c.day)
        .where(anchored_days.c.day.is_(None))
        .order_by(days.c.day)
        .limit(limit)
    )
    return tuple(ClosedRoot(row.day, Digest(bytes(row.root))) for row in rows)


@dataclass(frozen=True, slots=True)
class AnchoredRoot:
    """What the finalized chain says of a day. `service` is this service's index there."""

    day: int
    service: int
    root: Digest
    seen_ms: TimeMs


def find_anchored(connection: Connection, day: int) -> AnchoredRoot | None:
    """Return what is noted of a day from the finalized chain, or None."""
    row = connection.execute(select(anchored_days).where(anchored_days.c.day == day)).one_or_none()
    if row is None:
        return None
    return AnchoredRoot(row.day, row.service, Digest(bytes(row.root)), TimeMs(row.seen_ms))


class Anchoring:
    """The duty of one service. `now` tells Unix milliseconds, `pause_seconds` is between looks."""

    def __init__(
        self,
        database: AsyncDatabase,
        client: ZeroNodeClient,
        transactions: Transactions,
        now: Callable[[], TimeMs],
        *,
        pause_seconds: float = 30.0,
    ) -> None:
        self._database = database
        self._client = client
        self._transactions = transactions
        self._calls = ZeroNodeCalls(client.deployment)
        self._now = now
        self._pause_seconds = pause_seconds
        self._outage = Outage(_log, "roots of closed days are not anchored")
        self._reminded = float("-inf")

    async def run(self) -> None:
        """Anchor roots until cancelled."""
        while True:
            await self.step()
            await trio.sleep(self._pause_seconds)

    async def step(self) -> int:
        """Anchor what is to be anchored now; return how many days were noted as done.

        What goes wrong with the chain or the books is logged and left to the next step.
        """
        done = 0
        try:
            for pending in await self._database.read(pending_roots):
                service = await self._client.service_of(self._transactions.wallet, "finalized")
                if service is None:
                    self._remind()
                    break
                if not await self._anchor(service, pending):
                    break
                done += 1
        except (ChainError, QueueFullError) as error:
            self._note(error)
        except DatabaseError as error:
            _log.error("roots of closed days wait: %s", error)
        else:
            self._outage.end()
        return done

    async def _anchor(self, service: int, pending: ClosedRoot) -> bool:
        """Bring one root onto the chain; tell whether the day is noted as done."""
        day = pending.day

        async def is_there(block: BlockTag = "latest") -> bool:
            return await self._client.root_of(service, day, block) is not None

        if not await is_there():
            # The contract knows the time of blocks only; ours may be ahead of it.
            length = self._client.deployment.preset.day_seconds
            if (await self._client.head()).timestamp < (day + 1) * length:
                return False
            try:
                receipt = await self._transactions.execute(
                    self._calls.anchor(day, pending.root),
                    label=f"root of day {day} of service {service}",
                    deadline=trio.current_time() + SEND_SECONDS,
                    is_obsolete=is_there,
                )
            except ObsoleteError:
                # Another process of the same service was faster, or we were, before a restart.
                return False
            _log.info("day %d: its root is anchored, %d gas", day, receipt.gas_used)
        found = await self._client.root_of(service, day, "finalized")
        if found is None:
            return False
        if found != pending.root:
            _log.error(
                "day %d: the chain has the root %s, these books have %s; whoever wrote the other "
                "had other books, and nobody can replace it",
                *(day, found.hex(), pending.root.hex()),
            )
        await self._database.run(_note_anchored, AnchoredRoot(day, service, found, self._now()))
        return True

    def _remind(self) -> None:
        now = trio.current_time()
        if now - self._reminded >= REPEAT_SECONDS:
            self._reminded = now
            _log.warning(
                "roots wait: 0x%s is not the wallet of an active service in ZeroNodeAnchor, whose "
                "owner has to list it",
                self._transactions.wallet.hex(),
            )

    def _note(self, error: ChainError | QueueFullError) -> None:
        if isinstance(error, QueueFullError):
            _log.warning("roots of closed days wait: %s", error)
        else:
            self._outage.note(error)


def _note_anchored(connection: Connection, anchored: AnchoredRoot) -> None:
    if find_anchored(connection, anchored.day) is None:
        connection.execute(
            anchored_days.insert().values(
                day=anchored.day,
                service=anchored.service,
                root=anchored.root,
                seen_ms=anchored.seen_ms,
            )
        )

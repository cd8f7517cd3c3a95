"""Tokens of the collection: linking one to an account, and who still holds it when a day is over.

An account names a token that its wallet owns. What counts is who owns it at the end of each day: in
the first finalized block at or after it. A token has one owner there, so it doubles one account's
day, however often it was lent meanwhile. Whoever no longer has it is unlinked then.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import trio
from sqlalchemy import Connection, case, func, or_, select, update

from chain.errors import ChainError
from chain.outage import Outage
from chain.zeronode_client import ZeroNodeClient
from p2p_node.rental.together import run_together
from p2p_node.zeronode.chain_tables import nft_holdings, nft_links, nft_snapshots
from p2p_node.zeronode.database import AsyncDatabase
from p2p_node.zeronode.day_close import Holding
from p2p_node.zeronode.refusals import NotYet, TooMany
from protocols.errors import LocalError
from protocols.types import TimeMs, Wallet
from protocols.zeronode_rules import ZeroNodeRules

_log = logging.getLogger(__name__)

MAX_TOKEN: Final = 2**256 - 1

LINKS_PER_DAY: Final = 10
"""Links of one account that are kept, ended ones included. They are dropped with the day."""

HELD_DAYS: Final = 8
"""So far back it counts that an account held its token at the end of a day."""

PAGE: Final = 200
"""Links whose owners are read before they are written down."""

READERS: Final = 4
"""Owners that are asked for at a time; the endpoint has as many connections."""

LINK_SECONDS: Final = 15.0
"""For reading who owns a token, while somebody waits for the answer."""

READ_SECONDS: Final = 120.0
"""For one attempt at reading a day's owners; the next one goes on where it was."""

GIVE_UP_MS: Final = 86_400_000
"""So long after its end a day is settled with what could be read: points must not wait for ever for
an endpoint that does not answer, or does not know an older block any more."""


@dataclass(frozen=True, slots=True)
class Link:
    """A token that an account named as its own."""

    wallet: Wallet
    token: int
    linked_ms: TimeMs


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How far the owners of a day have been read. `is_complete` tells whether all could be."""

    day: int
    block: int
    block_hash: bytes
    cursor: int
    is_done: bool
    is_complete: bool


async def link_token(
    database: AsyncDatabase, client: ZeroNodeClient, wallet: Wallet, token: int, now_ms: TimeMs
) -> Link:
    """Link a token to an account whose wallet owns it by the finalized chain, in place of another.

    NotYet when it does not, or the chain does not answer; TooMany after many changes in a day.
    """
    if not 0 <= token <= MAX_TOKEN:
        raise NotYet("token not owned by this account", f"found {token}, expected 0 … 2^256 − 1")
    owner = None
    with trio.move_on_after(LINK_SECONDS) as scope:
        try:
            owner = await client.owner_of(token)
        except ChainError as error:
            raise NotYet("chain not read", str(error)) from error
    if scope.cancelled_caught:
        raise NotYet("chain not read", f"no answer within {LINK_SECONDS:.0f} s")
    if owner != wallet:
        raise NotYet("token not owned by this account", f"token {token}")
    return await database.run(link, wallet, token, now_ms)


def link(connection: Connection, wallet: Wallet, token: int, now_ms: TimeMs) -> Link:
    """Write down that an account has a token, which is the caller's to know.

    The same token again changes nothing. Any other account's link to it ends.
    """
    current = find_link(connection, wallet)
    if current is not None and current.token == token:
        return current
    count = connection.execute(
        select(func.count()).select_from(nft_links).where(nft_links.c.wallet == wallet)
    ).scalar_one()
    if count >= LINKS_PER_DAY:
        raise TooMany("token changed too often today", LINKS_PER_DAY)
    _end(connection, now_ms, wallet=wallet)
    _end(connection, now_ms, token=token)
    connection.execute(nft_links.insert().values(wallet=wallet, token=str(token), linked_ms=now_ms))
    return Link(wallet, token, now_ms)


def unlink(connection: Connection, wallet: Wallet, now_ms: TimeMs) -> None:
    """Let an account's token count no longer, from the day that is on."""
    _end(connection, now_ms, wallet=wallet)


def restore_link(connection: Connection, link: Link) -> None:
    """Take over the link of an account that moved here, as old as it was.

    Any other account's link to the token ends, as does what this account linked here.
    """
    _end(connection, link.linked_ms, wallet=link.wallet)
    _end(connection, link.linked_ms, token=link.token)
    connection.execute(
        nft_links.insert().values(
            wallet=link.wallet, token=str(link.token), linked_ms=link.linked_ms
        )
    )


def find_link(connection: Connection, wallet: Wallet) -> Link | None:
    """Return the token that an account has linked now, or None."""
    row = connection.execute(
        select(nft_links.c.token, nft_links.c.linked_ms).where(
            nft_links.c.wallet == wallet, nft_links.c.unlinked_ms.is_(None)
        )
    ).one_or_none()
    return None if row is None else Link(wallet, int(row.token), TimeMs(row.linked_ms))


def find_snapshot(connection: Connection, day: int) -> Snapshot | None:
    """Return how far the owners of a day have been read, or None if nobody has begun."""
    row = connection.execute(select(nft_snapshots).where(nft_snapshots.c.day == day)).one_or_none()
    if row is None:
        return None
    return Snapshot(
        row.day, row.block, bytes(row.block_hash), row.cursor, row.is_done, row.is_complete
    )


def holdings_of(connection: Connection, day: int) -> dict[Wallet, Holding]:
    """Return who held a linked token at the end of a day, as far as that was read."""
    rows = connection.execute(select(nft_holdings).where(nft_holdings.c.day == day))
    return {
        Wallet(bytes(row.wallet)): Holding(int(row.token), TimeMs(row.linked_ms)) for row in rows
    }


def has_held(connection: Connection, wallet: Wallet, today: int) -> bool:
    """Tell whether an account has a token linked that it held at the end of a day, of late.

    A link alone shows nothing: a token can go through many hands in a day, and one at its end.
    """
    found = find_link(connection, wallet)
    if found is None:
        return False
    table = nft_holdings.c
    held = select(table.day).where(
        table.day >= today - HELD_DAYS, table.token == str(found.token), table.wallet == wallet
    )
    return connection.execute(held.limit(1)).first() is not None


class HolderReader:
    """Finds out for one day after another who held a linked token at its end."""

    def __init__(
        self, database: AsyncDatabase, client: ZeroNodeClient, rules: ZeroNodeRules
    ) -> None:
        self._database = database
        self._client = client
        self._rules = rules
        self._outage = Outage(_log, "a day waits for the owners of its tokens")

    async def read(self, day: int, now_ms: TimeMs) -> Mapping[Wallet, Holding] | None:
        """Return who held a linked token at the end of `day`, which is over.

        None when the chain does not tell yet: ask again later, it goes on where it was. The answer
        is written down, and the same for ever. A day after its end what was read has to do.
        """
        is_late = now_ms >= self._rules.day_end(day) + GIVE_UP_MS
        is_read = False
        with trio.move_on_after(READ_SECONDS):
            try:
                is_read = await self._read(day, now_ms)
            except ChainError as error:
                self._outage.note(error)
            else:
                self._outage.end()
        if not is_read:
            if not is_late:
                return None
            await self._database.run(_give_up, day)
            _log.error("day %d: not all owners of tokens could be read; it is booked without", day)
        return await self._database.read(holdings_of, day)

    async def _read(self, day: int, now_ms: TimeMs) -> bool:
        """Go on with a day; tell whether all is read, or was given up before."""
        end = self._rules.day_end(day)
        snapshot = await self._database.read(find_snapshot, day)
        if snapshot is None:
            if not await self._database.read(_links_on, end, 0, 1):
                # Nobody has a token: the chain need not be asked.
                await self._database.run(_begin, day, 0, b"")
                await self._database.run(_finish, day, end)
                return True
            head = await self._client.first_final_block(-(-end // 1000))
            if head is None:
                return False
            await self._database.run(_begin, day, head.number, head.hash)
            snapshot = await self._database.read(find_snapshot, day)
            if snapshot is None:
                raise LocalError(f"day {day}: its snapshot is not there")
        cursor = snapshot.cursor
        while not snapshot.is_done:
            links = await self._database.read(_links_on, end, cursor, PAGE)
            if not links:
                await self._database.run(_finish, day, end)
                break
            owners = await self._owners({each.token for _, each in links}, snapshot.block)
            cursor = links[-1][0]
            held = [each for _, each in links if owners[each.token] == each.wallet]
            lost = [each for _, each in links if owners[each.token] != each.wallet]
            await self._database.run(_note, day, cursor, held, lost, now_ms)
        return True

    async def _owners(self, tokens: Iterable[int], block: int) -> dict[int, Wallet | None]:
        owners: dict[int, Wallet | None] = {}
        left = list(tokens)

        async def read() -> None:
            while left:
                token = left.pop()
                owners[token] = await self._client.owner_of(token, block)

        await run_together(*[read] * READERS)
        return owners


def _end(
    connection: Connection,
    now_ms: TimeMs,
    *,
    wallet: Wallet | None = None,
    token: int | None = None,
) -> None:
    whose = nft_links.c.token == str(token) if wallet is None else nft_links.c.wallet == wallet
    # A clock that went back must not make a link end before it began.
    ended = case((nft_links.c.linked_ms > now_ms, nft_links.c.linked_ms), else_=now_ms)
    connection.execute(
        update(nft_links).where(whose, nft_links.c.unlinked_ms.is_(None)).values(unlinked_ms=ended)
    )


def _links_on(
    connection: Connection, end: TimeMs, after: int, limit: int
) -> tuple[tuple[int, Link], ...]:
    """Return links, with their numbers, that there were in the last moment before `end`."""
    rows = connection.execute(
        select(nft_links)
        .where(
            nft_links.c.id > after,
            nft_links.c.linked_ms < end,
            or_(nft_links.c.unlinked_ms.is_(None), nft_links.c.unlinked_ms >= end),
        )
        .order_by(nft_links.c.id)
        .limit(limit)
    )
    return tuple(
        (row.id, Link(Wallet(bytes(row.wallet)), int(row.token), TimeMs(row.linked_ms)))
        for row in rows
    )


def _begin(connection: Connection, day: int, block: int, block_hash: bytes) -> None:
    if find_snapshot(connection, day) is None:
        connection.execute(
            nft_snapshots.insert().values(
                day=day,
                block=block,
                block_hash=block_hash,
                cursor=0,
                is_done=False,
                is_complete=False,
            )
        )


def _note(
    connection: Connection,
    day: int,
    cursor: int,
    held: Iterable[Link],
    lost: Iterable[Link],
    now_ms: TimeMs,
) -> None:
    """Write down a page, unless somebody has been faster."""
    snapshot = find_snapshot(connection, day)
    if snapshot is None or snapshot.is_done or snapshot.cursor >= cursor:
        return
    rows = [
        {"day": day, "token": str(each.token), "wallet": each.wallet, "linked_ms": each.linked_ms}
        for each in held
    ]
    if rows:
        connection.execute(nft_holdings.insert(), rows)
    for each in lost:
        connection.execute(
            update(nft_links)
            .where(
                nft_links.c.wallet == each.wallet,
                nft_links.c.token == str(each.token),
                nft_links.c.linked_ms == each.linked_ms,
                nft_links.c.unlinked_ms.is_(None),
            )
            .values(unlinked_ms=max(now_ms, each.linked_ms))
        )
    connection.execute(
        update(nft_snapshots).where(nft_snapshots.c.day == day).values(cursor=cursor)
    )


def _finish(connection: Connection, day: int, end: TimeMs) -> None:
    """Close a day that was read; drop links that ended before it did."""
    connection.execute(
        update(nft_snapshots)
        .where(nft_snapshots.c.day == day, nft_snapshots.c.is_done.is_(False))
        .values(is_done=True, is_complete=True)
    )
    connection.execute(nft_links.delete().where(nft_links.c.unlinked_ms < end))


def _give_up(connection: Connection, day: int) -> None:
    """Close a day with what was read of it."""
    _begin(connection, day, 0, b"")
    connection.execute(
        update(nft_snapshots)
        .where(nft_snapshots.c.day == day, nft_snapshots.c.is_done.is_(False))
        .values(is_done=True)
    )

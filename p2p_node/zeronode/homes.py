"""Which service's ledger holds an account: what `protocols.uptime_homes` decides, kept.

Whoever hears a claim for an account that is at home here answers by telling its own again, so that
a service which was not there then learns of it.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

from sqlalchemy import Column, Connection, insert, select, update

from p2p_node.zeronode.account_tables import accounts
from p2p_node.zeronode.accounts import find_account, parse_wallet, wallet_text
from p2p_node.zeronode.network_tables import batches_taken, departures, homes
from p2p_node.zeronode.refusals import Conflict
from protocols.types import NodeKey, TimeMs, Wallet
from protocols.uptime_homes import Home, hear_claim, hear_move, is_gone
from protocols.uptime_messages import Move, Opening
from protocols.zeronode_rules import ZeroNodeRules

PAGE: Final = 500
"""Wallets in one statement."""


class AwayError(Conflict):
    """The account is at home with another service, which can be asked instead."""

    def __init__(self, service: NodeKey, url: str) -> None:
        where = f" at {url}" if url else ""
        super().__init__("the account is at home elsewhere", f"service {service.hex()}{where}")
        self.service = service
        self.url = url


def find_home(connection: Connection, wallet: Wallet) -> Home | None:
    """Return the home of an account as far as this service knows, None for an unknown one."""
    row = connection.execute(
        select(homes).where(homes.c.wallet == wallet_text(wallet))
    ).one_or_none()
    if row is None:
        return None
    service = NodeKey(bytes.fromhex(row.service))
    return Home(service, TimeMs(row.since_ms), TimeMs(row.settled_ms))


def claim_home(
    connection: Connection,
    wallet: Wallet,
    own: NodeKey,
    rules: ZeroNodeRules,
    now: TimeMs,
    listed: Collection[NodeKey] = frozenset(),
) -> Home:
    """Claim an account that signs in here, unless it is claimed; return the home that holds.

    A home that the chain does not list any more holds nothing, if this service is listed itself.
    """
    found = find_home(connection, wallet)
    if found is not None and not (own in listed and is_gone(found, listed)):
        return found
    home = hear_claim(None, own, now, now)
    set_home(connection, wallet, home, rules.day_of(now))
    return home


def hear_opening(
    connection: Connection,
    service: NodeKey,
    opening: Opening,
    own: NodeKey,
    now: TimeMs,
    listed: Collection[NodeKey] = frozenset(),
) -> None:
    """Take another service's claim into account; one that does not hold is answered with ours."""
    found = _find_claim(connection, opening.wallet, own)
    home = hear_claim(found, service, opening.opened_ms, now, listed)
    if home != found:
        set_home(connection, opening.wallet, home, 0)
    elif found is not None and found.service == own:
        connection.execute(
            update(homes).where(homes.c.wallet == wallet_text(opening.wallet)).values(told_ms=0)
        )


def hear_of_move(
    connection: Connection, service: NodeKey, move: Move, own: NodeKey, now: TimeMs
) -> None:
    """Take into account that another service gave a home away.

    That an account comes here is believed of its departure only, which brings what it has: until
    then it counts as at home where it was, so that it does not begin anew here.
    """
    if move.destination == own:
        known = _find_claim(connection, move.wallet, own)
        claim = hear_claim(known, service, move.moved_ms, now)
        if claim != known:
            # It was there before it left.
            before = replace(claim, since_ms=TimeMs(max(0, move.moved_ms - 1)))
            set_home(connection, move.wallet, before, 0)
        return
    found = find_home(connection, move.wallet)
    home = hear_move(found, service, move, now)
    if home is not None and home != found:
        set_home(connection, move.wallet, home, 0)


def _find_claim(connection: Connection, wallet: Wallet, own: NodeKey) -> Home | None:
    """Return a home as claims are measured by."""
    found = find_home(connection, wallet)
    account = find_account(connection, wallet)
    if found is None or account is None or found.service != own:
        return found
    return replace(found, since_ms=_measure_claim(found.since_ms, account.opened_ms))


def _measure_claim(since_ms: int, opened_ms: int | None) -> TimeMs:
    """Return the time of a claim: an account that came here later is as old as it was, and a
    millisecond older than the claim of where it was opened."""
    if opened_ms is None or since_ms <= opened_ms:
        return TimeMs(since_ms)
    return TimeMs(max(0, opened_ms - 1))


def set_home(connection: Connection, wallet: Wallet, home: Home, first_day: int) -> None:
    """Write down where an account is at home, and since which day this service books it."""
    values = {
        "service": home.service.hex(),
        "since_ms": home.since_ms,
        "settled_ms": home.settled_ms,
        "first_day": first_day,
        "told_ms": 0,
    }
    text = wallet_text(wallet)
    changed = connection.execute(update(homes).where(homes.c.wallet == text).values(**values))
    if not changed.rowcount:
        connection.execute(insert(homes).values(wallet=text, **values))


def is_home(connection: Connection, wallet: Wallet, own: NodeKey) -> bool:
    """Return whether the account is at home here."""
    found = find_home(connection, wallet)
    return found is not None and found.service == own


def choose_homes(
    connection: Connection, own: NodeKey, day: int, wallets: Sequence[Wallet]
) -> Collection[Wallet]:
    """Return those of the accounts whose uptime of a day is booked here."""
    found: set[Wallet] = set()
    for first in range(0, len(wallets), PAGE):
        texts = [wallet_text(wallet) for wallet in wallets[first : first + PAGE]]
        rows = connection.execute(
            select(homes.c.wallet)
            .where(homes.c.wallet.in_(texts))
            .where(homes.c.service == own.hex())
            .where(homes.c.first_day <= day)
        )
        found.update(map(parse_wallet, rows.scalars()))
    return found


def require_home(connection: Connection, wallet: Wallet, own: NodeKey) -> None:
    """Raise AwayError, with the address of the home, if the account is at home elsewhere."""
    found = find_home(connection, wallet)
    if found is not None and found.service != own:
        raise AwayError(found.service, find_url(connection, found.service))


def find_url(connection: Connection, service: NodeKey) -> str:
    """Return where another service says that it is reached; empty if it never said."""
    query = select(batches_taken.c.url).where(batches_taken.c.service == service.hex())
    return str(connection.execute(query).scalar_one_or_none() or "")


def take_openings(
    connection: Connection, own: NodeKey, now: TimeMs, limit: int
) -> tuple[Opening, ...]:
    """Return claims of this service that others were not told, and note that they are told now."""
    rows = connection.execute(
        select(homes.c.wallet, homes.c.since_ms, accounts.c.opened_ms)
        .outerjoin(accounts, accounts.c.wallet == homes.c.wallet)
        .where(homes.c.told_ms == 0, homes.c.service == own.hex())
        .order_by(homes.c.wallet)
        .limit(limit)
    ).all()
    _note_told(connection, homes.c.wallet, [row.wallet for row in rows], now)
    return tuple(
        Opening(parse_wallet(row.wallet), _measure_claim(row.since_ms, row.opened_ms))
        for row in rows
    )


def take_moves(connection: Connection, now: TimeMs, limit: int) -> tuple[Move, ...]:
    """Return moves away from here that others were not told, and note that they are told now.

    Each batch has the newest of an account only.
    """
    table = departures.c
    rows = connection.execute(
        select(table.digest, table.wallet, table.service, table.departed_ms)
        .where(table.told_ms == 0, table.is_move)
        .order_by(table.departed_ms, table.digest)
        .limit(limit)
    ).all()
    _note_told(connection, table.digest, [row.digest for row in rows], now)
    newest = {row.wallet: row for row in rows}
    return tuple(
        Move(parse_wallet(row.wallet), NodeKey(bytes.fromhex(row.service)), TimeMs(row.departed_ms))
        for row in newest.values()
    )


def tell_again(connection: Connection, since: TimeMs) -> None:
    """Have what was told since a moment told once more: a message may have been lost."""
    for table in (homes, departures):
        connection.execute(update(table).where(table.c.told_ms >= since).values(told_ms=0))


def _note_told(
    connection: Connection, column: Column[str], values: Sequence[str], now: TimeMs
) -> None:
    for first in range(0, len(values), PAGE):
        page = values[first : first + PAGE]
        connection.execute(update(column.table).where(column.in_(page)).values(told_ms=now))

"""Which service's ledger holds an account.

The service in which a wallet signs in first claims to be its home, and tells the others. Of two
claims the earlier one holds, and of two in one millisecond that of the smaller service key. A claim
that has stood for a day is settled: no message of another service takes an account away after
that, only the account's owner does, by moving. Whoever hears a claim for an account that is at home
here answers by telling its own again, so that a service which was not there then learns of it.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, insert, select, update

from p2p_node.zeronode.accounts import wallet_text
from p2p_node.zeronode.network_tables import batches_taken, homes
from p2p_node.zeronode.refusals import Conflict
from protocols.types import NodeKey, TimeMs, Wallet
from protocols.zeronode_rules import ZeroNodeRules

CONTEST_DAYS: Final = 1
"""How long an earlier claim can still replace one: services that run hear each other within
seconds."""


class AwayError(Conflict):
    """The account is at home with another service, which can be asked instead."""

    def __init__(self, service: NodeKey, url: str) -> None:
        where = f" at {url}" if url else ""
        super().__init__("the account is at home elsewhere", f"service {service.hex()}{where}")
        self.service = service
        self.url = url


@dataclass(frozen=True, slots=True)
class Home:
    """A home: since when the account is claimed, and the first day that is booked there."""

    service: NodeKey
    opened_ms: TimeMs
    since_day: int
    moves: int


@dataclass(frozen=True, slots=True)
class Opening:
    """A claim as it is told: a wallet, and when it first signed in."""

    wallet: Wallet
    opened_ms: TimeMs


def find_home(connection: Connection, wallet: Wallet) -> Home | None:
    """Return the home of an account as far as this service knows, None for an unknown one."""
    row = connection.execute(
        select(homes).where(homes.c.wallet == wallet_text(wallet))
    ).one_or_none()
    if row is None:
        return None
    return Home(
        NodeKey(bytes.fromhex(row.service)), TimeMs(row.opened_ms), row.since_day, row.moves
    )


def claim_home(
    connection: Connection, wallet: Wallet, own: NodeKey, rules: ZeroNodeRules, now: TimeMs
) -> Home:
    """Claim an account that signs in here, unless it is claimed; return the home that holds."""
    found = find_home(connection, wallet)
    if found is not None:
        return found
    home = Home(own, now, rules.day_of(now), 0)
    _write(connection, wallet, home, is_new=True)
    return home


def hear_claim(
    connection: Connection,
    wallet: Wallet,
    claim: Home,
    own: NodeKey,
    rules: ZeroNodeRules,
    now: TimeMs,
) -> bool:
    """Take another service's claim into account; return whether it holds now.

    A claim that does not hold makes this service tell its own again, if it has one.
    """
    found = find_home(connection, wallet)
    if found is None:
        _write(connection, wallet, claim, is_new=True)
        return True
    if found.service == claim.service:
        return True
    is_earlier = (claim.opened_ms, claim.service) < (found.opened_ms, found.service)
    if found.service != own:
        if is_earlier and not found.moves:
            _write(connection, wallet, claim, is_new=False)
            return True
        return False
    is_open = now < found.opened_ms + CONTEST_DAYS * rules.day_ms
    if is_earlier and is_open and not found.moves:
        _write(connection, wallet, claim, is_new=False)
        return True
    connection.execute(update(homes).where(homes.c.wallet == wallet_text(wallet)).values(told_ms=0))
    return False


def set_home(connection: Connection, wallet: Wallet, home: Home) -> None:
    """Write down what a move made of an account's home."""
    _write(connection, wallet, home, is_new=find_home(connection, wallet) is None)


def is_home(connection: Connection, wallet: Wallet, own: NodeKey, day: int) -> bool:
    """Return whether this service books the account's uptime of a day."""
    found = find_home(connection, wallet)
    return found is not None and found.service == own and found.since_day <= day


def require_home(connection: Connection, wallet: Wallet, own: NodeKey) -> None:
    """Raise AwayError, with the address of the home, unless the account is at home here."""
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
        select(homes.c.wallet, homes.c.opened_ms)
        .where(homes.c.told_ms == 0)
        .where(homes.c.service == own.hex())
        .order_by(homes.c.opened_ms, homes.c.wallet)
        .limit(limit)
    ).all()
    if rows:
        connection.execute(
            update(homes)
            .where(homes.c.wallet.in_([row.wallet for row in rows]))
            .values(told_ms=now)
        )
    return tuple(
        Opening(Wallet(bytes.fromhex(row.wallet[2:])), TimeMs(row.opened_ms)) for row in rows
    )


def tell_again(connection: Connection, own: NodeKey, since: TimeMs) -> None:
    """Have claims that were made since a moment told once more: a message may have been lost."""
    connection.execute(
        update(homes)
        .where(homes.c.service == own.hex())
        .where(homes.c.opened_ms >= since)
        .values(told_ms=0)
    )


def _write(connection: Connection, wallet: Wallet, home: Home, *, is_new: bool) -> None:
    values = {
        "service": home.service.hex(),
        "opened_ms": home.opened_ms,
        "since_day": home.since_day,
        "moves": home.moves,
        "told_ms": 0,
    }
    text = wallet_text(wallet)
    if is_new:
        connection.execute(insert(homes).values(wallet=text, **values))
    else:
        connection.execute(update(homes).where(homes.c.wallet == text).values(**values))

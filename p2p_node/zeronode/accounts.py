"""Accounts, and the keys of the extensions that earn for them.

An account is a wallet that signed in here. Every function works within the caller's transaction.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Row, func, insert, select, update

from p2p_node.zeronode.account_tables import account_keys, accounts
from p2p_node.zeronode.refusals import Conflict, NotFound, TooMany
from protocols.account_facts import MAX_REVOKED
from protocols.errors import MalformedError
from protocols.types import NodeKey, Wallet
from protocols.zeronode_referrals import make_code
from protocols.zeronode_rules import ZeroNodeRules

MAX_KEYS_EVER: Final = MAX_REVOKED
"""Keys that an account may bind in its life: each stays as a row, so that it is never reused, and
all of them can travel as revoked."""


@dataclass(frozen=True)
class Account:
    """A wallet that signed in, when it first did, and its referral code."""

    wallet: Wallet
    opened_ms: int
    code: str


@dataclass(frozen=True)
class BoundKey:
    """A key of an account and since when."""

    key: NodeKey
    bound_ms: int


def wallet_text(wallet: Wallet) -> str:
    """Return how a wallet is written in tables, the ledger and answers."""
    return "0x" + wallet.hex()


def parse_wallet(text: str) -> Wallet:
    """Read a wallet in exactly that form; MalformedError for anything else."""
    digits = text.removeprefix("0x")
    if len(text) != 42 or len(digits) != 40 or digits.strip("0123456789abcdef"):
        raise MalformedError(
            "not a wallet", f"found {text[:64]!r}, expected 0x and 40 lower-case hex digits"
        )
    return Wallet(bytes.fromhex(digits))


def open_account(connection: Connection, wallet: Wallet, now_ms: int) -> Account:
    """Return the account of a wallet, opening it if it is new."""
    account = find_account(connection, wallet)
    if account is not None:
        return account
    attempt = 0
    while find_code(connection, make_code(wallet, attempt)) is not None:
        attempt += 1
    account = Account(wallet, now_ms, make_code(wallet, attempt))
    connection.execute(
        insert(accounts).values(wallet=wallet_text(wallet), opened_ms=now_ms, code=account.code)
    )
    return account


def note_opening(connection: Connection, wallet: Wallet, opened_ms: int) -> None:
    """Note that an account was opened somewhere else, before it was opened here."""
    connection.execute(
        update(accounts)
        .where(accounts.c.wallet == wallet_text(wallet), accounts.c.opened_ms > opened_ms)
        .values(opened_ms=opened_ms)
    )


def find_account(connection: Connection, wallet: Wallet) -> Account | None:
    """Return the account of a wallet; None if it never signed in here."""
    query = select(accounts).where(accounts.c.wallet == wallet_text(wallet))
    return _account_of(connection.execute(query).one_or_none())


def require_account(connection: Connection, wallet: Wallet) -> Account:
    """Return the account of a wallet; NotFound if it never signed in here."""
    account = find_account(connection, wallet)
    if account is None:
        raise NotFound("no such account", wallet_text(wallet))
    return account


def find_code(connection: Connection, code: str) -> Account | None:
    """Return the account whose referral code this is, in its stored form."""
    query = select(accounts).where(accounts.c.code == code)
    return _account_of(connection.execute(query).one_or_none())


def bind_key(
    connection: Connection, wallet: Wallet, key: NodeKey, rules: ZeroNodeRules, now_ms: int
) -> None:
    """Let a key earn for an account; binding it again to the same account changes nothing.

    NotFound without an account; Conflict for a key of another account or a revoked one; TooMany
    beyond the rules' keys at a time or MAX_KEYS_EVER.
    """
    require_account(connection, wallet)
    owner = wallet_text(wallet)
    row = connection.execute(
        select(account_keys).where(account_keys.c.key == key.hex())
    ).one_or_none()
    if row is not None:
        if row.wallet != owner:
            raise Conflict("this key belongs to another account")
        if row.revoked_ms is not None:
            raise Conflict("this key was revoked")
        return
    most = rules.limits.keys_per_account
    if len(keys_of(connection, wallet)) >= most:
        raise TooMany("the account has as many keys as it may have", most)
    ever = connection.execute(
        select(func.count()).select_from(account_keys).where(account_keys.c.wallet == owner)
    ).scalar_one()
    if ever >= MAX_KEYS_EVER:
        raise TooMany("the account has bound as many keys as it ever may", MAX_KEYS_EVER)
    connection.execute(insert(account_keys).values(key=key.hex(), wallet=owner, bound_ms=now_ms))


def revoke_key(connection: Connection, wallet: Wallet, key: NodeKey, now_ms: int) -> None:
    """Take a key from an account, for good; NotFound if it is not one of its keys."""
    changed = connection.execute(
        update(account_keys)
        .where(account_keys.c.key == key.hex())
        .where(account_keys.c.wallet == wallet_text(wallet))
        .where(account_keys.c.revoked_ms.is_(None))
        .values(revoked_ms=now_ms)
    )
    if not changed.rowcount:
        raise NotFound("no such key of this account")


def keys_of(connection: Connection, wallet: Wallet) -> tuple[BoundKey, ...]:
    """Return the keys that may earn for an account, oldest first."""
    rows = connection.execute(
        select(account_keys.c.key, account_keys.c.bound_ms)
        .where(account_keys.c.wallet == wallet_text(wallet))
        .where(account_keys.c.revoked_ms.is_(None))
        .order_by(account_keys.c.bound_ms, account_keys.c.key)
    )
    return tuple(BoundKey(NodeKey(bytes.fromhex(row.key)), row.bound_ms) for row in rows)


def find_account_of_key(connection: Connection, key: NodeKey) -> Account | None:
    """Return the account that a key earns for; None if it is bound to none, or was revoked."""
    query = (
        select(accounts)
        .join(account_keys, account_keys.c.wallet == accounts.c.wallet)
        .where(account_keys.c.key == key.hex())
        .where(account_keys.c.revoked_ms.is_(None))
    )
    return _account_of(connection.execute(query).one_or_none())


def _account_of(row: Row[tuple[str, int, str]] | None) -> Account | None:
    return None if row is None else Account(parse_wallet(row.wallet), row.opened_ms, row.code)

"""Accounts with uptime, for the tests of what is paid besides it."""

from sqlalchemy import Connection

from p2p_node.zeronode.accounts import open_account
from p2p_node.zeronode.ledger import Unit, balance, user_account
from p2p_node.zeronode.uptime_book import Receipt, record
from protocols.types import NodeKey, TimeMs, Wallet
from protocols.uptime import Stretch
from protocols.zeronode_rules import rules_of

RULES = rules_of("mainnet")
SERVICE = NodeKey(b"s" * 32)
HOUR = 3_600_000
DAY = 20_423
"""A Monday."""

ALICE, BOB, CAROL = (Wallet(letter * 20) for letter in (b"a", b"b", b"c"))


def wallet(number: int) -> Wallet:
    return Wallet(number.to_bytes(20, "big"))


def at(day: int, offset_ms: int = 0) -> int:
    return day * RULES.day_ms + offset_ms


def open_accounts(connection: Connection, *wallets: Wallet, now_ms: int = at(DAY)) -> list[str]:
    """Open accounts and return their referral codes."""
    return [open_account(connection, each, now_ms).code for each in wallets]


def run_node(connection: Connection, who: Wallet, start_ms: int, length_ms: int) -> None:
    """Give an account uptime, as a service writes it down."""
    stretch = Stretch(TimeMs(start_ms), TimeMs(start_ms + length_ms))
    record(connection, SERVICE, [Receipt(who, stretch)], RULES, start_ms + length_ms)


def tickets(connection: Connection, who: Wallet) -> int:
    return balance(connection, user_account(who), Unit.TICKETS)


def points(connection: Connection, who: Wallet) -> int:
    return balance(connection, user_account(who), Unit.POINTS)

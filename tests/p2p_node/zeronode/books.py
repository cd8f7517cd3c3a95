"""Small books for tests: two days of two accounts, closed, with something after them."""

import trio

from p2p_node.zeronode.database import AsyncDatabase, Database
from p2p_node.zeronode.day_close import Facts, close_day
from p2p_node.zeronode.ledger import Line, Transfer, Unit, post, user_account
from p2p_node.zeronode.uptime_book import Receipt, record
from protocols.types import NodeKey, TimeMs, Wallet
from protocols.uptime import Stretch
from protocols.zeronode_rules import rules_of

RULES = rules_of("mainnet")
FIRST = 20_000
SERVICE = NodeKey(b"s" * 32)
ALICE = Wallet(b"\xa1" * 20)
BOB = Wallet(b"\xb0" * 20)
FACTS = Facts({}, lambda _connection, _wallet, _day: True, lambda _connection, _wallet: None)


async def fill_books(database: Database, first: int = FIRST) -> None:
    """Alice is up for an hour on two days, Bob on the second; then Bob gets a ticket.

    Entries 1 | 2, 3 | 4, where | stands for a root.
    """
    shell = AsyncDatabase(database, inline=True)
    for day, wallets in ((first, (ALICE,)), (first + 1, (ALICE, BOB))):
        start = RULES.day_start(day)
        with database.transaction() as connection:
            hour = Stretch(start, TimeMs(start + 3_600_000))
            receipts = [Receipt(wallet, hour) for wallet in wallets]
            record(connection, SERVICE, receipts, RULES, start)
        await close_day(shell, day, RULES, RULES.close_time(day), FACTS)
    with database.transaction() as connection:
        lines = (
            Line("issue:mission", Unit.TICKETS, -1),
            Line(user_account(BOB), Unit.TICKETS, 1),
        )
        post(connection, Transfer("m", "mission", lines), RULES.close_time(first + 1))


def fill_books_now(database: Database) -> None:
    """The same outside Trio."""
    trio.run(fill_books, database)

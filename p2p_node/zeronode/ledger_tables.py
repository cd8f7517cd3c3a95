"""Tables of the books: entries and days are only ever added, and triggers see to it."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
)

from p2p_node.zeronode.metadata import metadata
from protocols.ledger_records import MAX_AMOUNT

head: Final = Table(
    "ledger_head",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("ledger", LargeBinary, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    CheckConstraint("id = 1", name="single"),
)
"""One row: where the chain stands. Every writer of this database locks it first."""

entries: Final = Table(
    "ledger_entries",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("key", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)

lines: Final = Table(
    "ledger_lines",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("account", Text, primary_key=True),
    Column("unit", SmallInteger, primary_key=True, autoincrement=False),
    Column("amount", BigInteger, nullable=False),
    Column("balance", BigInteger, nullable=False),
    CheckConstraint("amount <> 0", name="amount"),
)
"""`balance` is what the account has after this line."""

Index("ix_ledger_lines_account", lines.c.account, lines.c.unit, lines.c.number)

balances: Final = Table(
    "ledger_balances",
    metadata,
    Column("account", Text, primary_key=True),
    Column("unit", SmallInteger, primary_key=True, autoincrement=False),
    Column("balance", BigInteger, nullable=False),
    CheckConstraint(
        "balance >= 0 OR substr(account, 1, 6) IN ('issue:', 'moved:')", name="not_negative"
    ),
    CheckConstraint(f"balance BETWEEN -{MAX_AMOUNT} AND {MAX_AMOUNT}", name="bounded"),
)

days: Final = Table(
    "ledger_days",
    metadata,
    Column("day", BigInteger, primary_key=True, autoincrement=False),
    Column("first", BigInteger, nullable=False),
    Column("entries", BigInteger, nullable=False),
    Column("entries_root", LargeBinary, nullable=False),
    Column("balances", BigInteger, nullable=False),
    Column("balances_root", LargeBinary, nullable=False),
    Column("head", LargeBinary, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("closed_ms", BigInteger, nullable=False),
)
"""What `protocols.ledger_records.DaySummary` says, and the root that it makes."""

APPEND_ONLY: Final = (entries, lines, days)
"""Nobody changes or deletes a row of these."""

NEVER_DELETED: Final = (head, balances)

"""Tables of uptime: what was answered for, and what of it was booked."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
)

from p2p_node.zeronode.metadata import metadata

stretches: Final = Table(
    "uptime_stretches",
    metadata,
    Column("wallet", LargeBinary, primary_key=True),
    Column("day", BigInteger, primary_key=True, autoincrement=False),
    Column("service", LargeBinary, primary_key=True),
    Column("session", LargeBinary, primary_key=True),
    Column("start_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("end_ms", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False),
    Column("late", Boolean, nullable=False),
    CheckConstraint("end_ms > start_ms", name="forwards"),
)
"""Paid intervals [start_ms, end_ms), none across the end of a day.

Those of one account, day, service and session do not overlap, and touch only where one is `late`:
it arrived after its account's day was booked, and is paid nowhere. `changed` grows with every
change, over all rows.
"""

Index("ix_uptime_stretches_day", stretches.c.day, stretches.c.wallet)
Index("ix_uptime_stretches_changed", stretches.c.service, stretches.c.changed)

counter: Final = Table(
    "uptime_counter",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("changed", BigInteger, nullable=False),
    Column("kept_from", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="single"),
)
"""One row: the last `changed`, and the first day whose stretches are still kept."""

booked: Final = Table(
    "uptime_days",
    metadata,
    Column("wallet", LargeBinary, primary_key=True),
    Column("day", BigInteger, primary_key=True, autoincrement=False),
    Column("here", Boolean, nullable=False),
    Column("seconds", BigInteger, nullable=False),
    Column("doubled_seconds", BigInteger, nullable=False),
    Column("referred_units", BigInteger, nullable=False),
)
"""What became of an account's day. `here` is false where another service's books have it."""

tokens: Final = Table(
    "uptime_tokens",
    metadata,
    Column("token", Text, primary_key=True),
    Column("day", BigInteger, primary_key=True, autoincrement=False),
    Column("wallet", LargeBinary, nullable=False),
)
"""Which account a token (its id in decimal) doubled on a day."""

APPEND_ONLY: Final = (booked, tokens)
"""Nobody changes or deletes a row of these."""

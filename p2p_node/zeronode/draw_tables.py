"""Tables of lucky draws: a draw's row moves from state to state, entries and transcripts stay."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from p2p_node.zeronode.metadata import metadata
from protocols.lucky_draw import MAX_ID_BYTES

draws: Final = Table(
    "draws",
    metadata,
    Column("id", String(MAX_ID_BYTES), primary_key=True),
    Column("state", String(16), nullable=False, index=True),
    # Fixed when it opens.
    Column("plan", Text, nullable=False),
    Column("opens_ms", BigInteger, nullable=False),
    Column("closes_ms", BigInteger, nullable=False, index=True),
    Column("server_seed", LargeBinary, nullable=False),
    # Fixed when it is frozen, and part of the commitment.
    Column("tickets", BigInteger, nullable=False),
    Column("root", LargeBinary),
    Column("source_kind", SmallInteger),
    Column("source_number", BigInteger),
    Column("reveal_by_ms", BigInteger),
    # When the commitment was first on its way to the chain, and the time of its block.
    Column("sent_ms", BigInteger),
    Column("committed_s", BigInteger),
    # The end: how many awards are booked already.
    Column("missed", SmallInteger),
    Column("paid", BigInteger, nullable=False),
    CheckConstraint("opens_ms < closes_ms", name="open_for_a_while"),
)

draw_entries: Final = Table(
    "draw_entries",
    metadata,
    Column("draw", String(MAX_ID_BYTES), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("wallet", LargeBinary, nullable=False),
    Column("tickets", BigInteger, nullable=False),
    Column("first_ticket", BigInteger, nullable=False),
    Column("request", String(64), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    UniqueConstraint("draw", "wallet", "request", name="uq_draw_entries_request"),
    CheckConstraint("tickets > 0", name="tickets"),
)

Index("ix_draw_entries_wallet", draw_entries.c.wallet, draw_entries.c.draw)

draw_transcripts: Final = Table(
    "draw_transcripts",
    metadata,
    Column("draw", String(MAX_ID_BYTES), primary_key=True),
    Column("content", LargeBinary, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)

APPEND_ONLY: Final = (draw_entries, draw_transcripts)

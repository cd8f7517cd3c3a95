"""Tables of what joins the books to the chain: tokens that were linked, roots that are anchored."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from p2p_node.zeronode.metadata import metadata

nft_links: Final = Table(
    "nft_links",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("wallet", LargeBinary, nullable=False),
    Column("token", Text, nullable=False),
    Column("linked_ms", BigInteger, nullable=False),
    Column("unlinked_ms", BigInteger),
    CheckConstraint("unlinked_ms IS NULL OR unlinked_ms >= linked_ms", name="forwards"),
)
"""Tokens, in decimal digits since they have up to 256 bits, that accounts named as theirs.

Those that ended stay until the last day that they belong to is settled.
"""

_IS_ACTIVE: Final = text("unlinked_ms IS NULL")

for _column in (nft_links.c.wallet, nft_links.c.token):
    # Named by hand: the convention has no names for indices that are unique.
    Index(
        f"ix_nft_links_active_{_column.name}",
        _column,
        unique=True,
        sqlite_where=_IS_ACTIVE,
        postgresql_where=_IS_ACTIVE,
    )
Index("ix_nft_links_owner", nft_links.c.wallet)

nft_snapshots: Final = Table(
    "nft_snapshots",
    metadata,
    Column("day", BigInteger, primary_key=True, autoincrement=False),
    Column("block", BigInteger, nullable=False),
    Column("block_hash", LargeBinary, nullable=False),
    Column("cursor", BigInteger, nullable=False),
    Column("is_done", Boolean, nullable=False),
    Column("is_complete", Boolean, nullable=False),
)
"""In which block the owners of a day are read, up to which link that was done, whether it is over,
and whether all could be read."""

nft_holdings: Final = Table(
    "nft_holdings",
    metadata,
    Column("day", BigInteger, primary_key=True, autoincrement=False),
    Column("token", Text, primary_key=True),
    Column("wallet", LargeBinary, nullable=False),
    Column("linked_ms", BigInteger, nullable=False),
    UniqueConstraint("day", "wallet"),
)
"""Tokens whose accounts still held them at the end of a day: each once a day, for one account."""

anchored_days: Final = Table(
    "anchored_days",
    metadata,
    Column("day", BigInteger, primary_key=True, autoincrement=False),
    Column("service", BigInteger, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("seen_ms", BigInteger, nullable=False),
)
"""What the finalized chain says of a day, by this service's index there. It differs from the root
in `ledger_days` where the books are not those that were anchored."""

APPEND_ONLY: Final = (nft_holdings, anchored_days)
"""Nobody changes or deletes a row of these."""

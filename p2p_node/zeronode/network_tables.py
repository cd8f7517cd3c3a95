"""The tables of what services say to one another: homes, moves, batches out and in.

Wallets, services and digests are lower-case hexadecimal text, wallets with 0x, as in the ledger.
Times are milliseconds since the Unix epoch.
"""

from typing import Final

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, String, Table

from p2p_node.zeronode.database import metadata

_WALLET: Final = String(42)
_SERVICE: Final = String(64)

homes: Final = Table(
    "homes",
    metadata,
    Column("wallet", _WALLET, primary_key=True),
    Column("service", _SERVICE, nullable=False),
    Column("opened_ms", BigInteger, nullable=False),
    # The first day that this home books.
    Column("since_day", BigInteger, nullable=False),
    # How often the account moved, as far as this service took part; a claim undoes no move.
    Column("moves", Integer, nullable=False),
    # When the claim was last made known to other services; 0 is not yet, or again.
    Column("told_ms", BigInteger, nullable=False, index=True),
)

departures: Final = Table(
    "departures",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("wallet", _WALLET, nullable=False, index=True),
    Column("service", _SERVICE, nullable=False),
    Column("departed_ms", BigInteger, nullable=False),
    Column("message", LargeBinary, nullable=False),
)

arrivals: Final = Table(
    "arrivals",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("wallet", _WALLET, nullable=False, index=True),
    Column("service", _SERVICE, nullable=False),
    Column("arrived_ms", BigInteger, nullable=False),
)

batches_sent: Final = Table(
    "batches_sent",
    metadata,
    # One row for this service.
    Column("service", _SERVICE, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("last_row", BigInteger, nullable=False),
    # The last day whose stretches were all told once more.
    Column("repeated_day", BigInteger, nullable=False),
)

batches_taken: Final = Table(
    "batches_taken",
    metadata,
    Column("service", _SERVICE, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("sent_ms", BigInteger, nullable=False),
    # Where the service says that it is reached; empty where it does not.
    Column("url", String(128), nullable=False),
)

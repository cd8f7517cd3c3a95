"""The tables of what services say to one another: homes, moves, batches out and in.

Wallets, services and digests are lower-case hexadecimal text, wallets with 0x, as in the ledger.
Times are milliseconds since the Unix epoch.
"""

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, LargeBinary, String, Table

from p2p_node.zeronode.metadata import metadata

_WALLET: Final = String(42)
_SERVICE: Final = String(64)

homes: Final = Table(
    "homes",
    metadata,
    Column("wallet", _WALLET, primary_key=True),
    Column("service", _SERVICE, nullable=False),
    # As `protocols.uptime_homes.Home` has them.
    Column("since_ms", BigInteger, nullable=False),
    Column("settled_ms", BigInteger, nullable=False),
    # The first day that this service books, where it is the home.
    Column("first_day", BigInteger, nullable=False),
    # When others were told of it; 0 is not yet, or again. Of another home nothing is told.
    Column("told_ms", BigInteger, nullable=False, index=True),
)

departures: Final = Table(
    "departures",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("wallet", _WALLET, nullable=False, index=True),
    Column("service", _SERVICE, nullable=False),
    Column("departed_ms", BigInteger, nullable=False),
    # Whether the home moved, and not only what was left of balances.
    Column("is_move", Boolean, nullable=False),
    Column("told_ms", BigInteger, nullable=False, index=True),
    Column("message", LargeBinary, nullable=False),
)

arrivals: Final = Table(
    "arrivals",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("wallet", _WALLET, nullable=False, index=True),
    Column("service", _SERVICE, nullable=False),
    # Whether the account came home with it, and not only balances.
    Column("is_move", Boolean, nullable=False),
    Column("arrived_ms", BigInteger, nullable=False),
)

batches_sent: Final = Table(
    "batches_sent",
    metadata,
    # One row for this service.
    Column("service", _SERVICE, primary_key=True),
    Column("number", BigInteger, nullable=False),
    # As `uptime_book` counts changes.
    Column("last_change", BigInteger, nullable=False),
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

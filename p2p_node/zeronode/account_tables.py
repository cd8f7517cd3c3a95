"""The tables of accounts and of what they are rewarded for besides uptime.

Wallets are text, 0x and 40 lower-case hexadecimal digits, as in the ledger; keys are 64. Times are
milliseconds since the Unix epoch. What these rows say is never needed to know a balance.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
)

from p2p_node.zeronode.metadata import metadata

_WALLET: Final = String(42)

accounts: Final = Table(
    "accounts",
    metadata,
    Column("wallet", _WALLET, primary_key=True),
    Column("opened_ms", BigInteger, nullable=False),
    Column("code", String(10), nullable=False, unique=True),
)

account_keys: Final = Table(
    "account_keys",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("wallet", _WALLET, nullable=False, index=True),
    Column("bound_ms", BigInteger, nullable=False),
    # A revoked key stays, so that it can never be bound again.
    Column("revoked_ms", BigInteger),
)

referrals: Final = Table(
    "referrals",
    metadata,
    Column("referee", _WALLET, primary_key=True),
    Column("referrer", _WALLET, nullable=False, index=True),
    Column("bound_ms", BigInteger, nullable=False),
    # Set once the two were seen on one network address, and never cleared.
    Column("shared_ms", BigInteger),
    # When the six hours were reached, and the day on which the tickets were given.
    Column("gate_ms", BigInteger),
    Column("granted_day", BigInteger),
    # From when on the referrer has a share of the referee's uptime.
    Column("share_from_ms", BigInteger),
    CheckConstraint("referee <> referrer", name="referral_of_another"),
    Index("referrals_by_day", "referrer", "granted_day"),
)

streaks: Final = Table(
    "streaks",
    metadata,
    Column("wallet", _WALLET, primary_key=True),
    Column("days", Integer, nullable=False),
    Column("last_day", BigInteger, nullable=False),
)

mission_claims: Final = Table(
    "mission_claims",
    metadata,
    Column("wallet", _WALLET, primary_key=True),
    Column("mission", String(32), primary_key=True),
    # The day, the week or 0; a campaign's task has its campaign's name before its own.
    Column("window_number", BigInteger, primary_key=True),
    Column("claimed_ms", BigInteger, nullable=False),
    Column("units", BigInteger, nullable=False),
    Column("tickets", BigInteger, nullable=False),
)

campaign_budgets: Final = Table(
    "campaign_budgets",
    metadata,
    Column("campaign", String(32), primary_key=True),
    Column("budget", BigInteger, nullable=False),
    Column("spent", BigInteger, nullable=False),
    CheckConstraint("spent >= 0 AND spent <= budget", name="campaign_within_budget"),
)

campaign_claims: Final = Table(
    "campaign_claims",
    metadata,
    Column("wallet", _WALLET, primary_key=True),
    Column("campaign", String(32), primary_key=True),
    Column("task", String(32), primary_key=True),
    Column("claimed_ms", BigInteger, nullable=False),
    Column("tickets", BigInteger, nullable=False),
)

locations: Final = Table(
    "locations",
    metadata,
    Column("wallet", _WALLET, primary_key=True),
    Column("country", String(64), nullable=False),
    Column("region", String(64), nullable=False),
    Column("network", String(64), nullable=False),
    # What the database of addresses says of the address, in tenths of a degree and kilometres.
    Column("derived_lat", Integer),
    Column("derived_lon", Integer),
    Column("derived_radius_km", Integer),
    # What the browser said, with consent; NULL without.
    Column("lat_tenths", Integer),
    Column("lon_tenths", Integer),
    Column("updated_ms", BigInteger, nullable=False),
)

address_keys: Final = Table(
    "address_keys",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("secret", LargeBinary(32), nullable=False),
    Column("made_ms", BigInteger, nullable=False),
)

seen_addresses: Final = Table(
    "seen_addresses",
    metadata,
    Column("wallet", _WALLET, primary_key=True),
    # A MAC under the address key of that number; the address itself is nowhere.
    Column("address", LargeBinary(32), primary_key=True),
    Column("key_number", BigInteger, nullable=False, index=True),
    Column("seen_ms", BigInteger, nullable=False),
    Index("seen_by_address", "address"),
)

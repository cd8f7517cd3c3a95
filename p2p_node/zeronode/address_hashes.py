"""Network addresses, which are never kept: only a MAC of them, under a key that is soon deleted.

The MAC tells whether two accounts were seen on one address, and how many sessions an address holds,
while its key lives. With the key, after `KEY_LIFE_MS`, go all MACs made with it: what remained
would be a list that anybody with the key could turn back by trying all addresses.
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from sqlalchemy import Connection, delete, func, insert, select, update

from p2p_node.zeronode.account_tables import address_keys, referrals, seen_addresses
from p2p_node.zeronode.accounts import wallet_text
from protocols.errors import LocalError, MalformedError
from protocols.types import Wallet

KEY_LIFE_MS: Final = 30 * 86_400_000
SECRET_BYTES: Final = 32
MAX_SEEN: Final = 32
"""Addresses remembered of an account under one key; the one seen longest ago gives way."""

_MAX_ADDRESS: Final = 45


@dataclass(frozen=True)
class AddressKey:
    """The key of the MACs: its number, when it was made, and the secret, which is never shown."""

    number: int
    made_ms: int
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != SECRET_BYTES:
            raise LocalError(f"a key of {len(self.secret)} bytes, expected {SECRET_BYTES}")

    def is_old(self, now_ms: int) -> bool:
        """Return whether it is time for another key."""
        return now_ms >= self.made_ms + KEY_LIFE_MS

    def hash_address(self, address: str) -> "AddressHash":
        """Return the MACs of an address; MalformedError for what is none.

        One stands for the address (IPv6: its /64, which one household has), the other for its
        neighbourhood, /24 or /48. IPv4 inside IPv6 counts as the IPv4 address that it is.
        """
        parsed = parse_address(address)
        whole, wide = (4, 3) if isinstance(parsed, IPv4Address) else (8, 6)
        return AddressHash(self.number, self._mac(parsed, whole), self._mac(parsed, wide))

    def _mac(self, address: IPv4Address | IPv6Address, length: int) -> bytes:
        scope = bytes((address.version, length))
        return hmac.digest(self.secret, scope + address.packed[:length], hashlib.sha256)


@dataclass(frozen=True)
class AddressHash:
    """What an address becomes: 32 bytes for itself, 32 for its neighbourhood."""

    key_number: int
    exact: bytes
    near: bytes


def parse_address(text: str) -> IPv4Address | IPv6Address:
    """Read an address without a port; MalformedError names no address, which would be logged."""
    try:
        if len(text) > _MAX_ADDRESS:
            raise ValueError
        address = ip_address(text.partition("%")[0])
    except ValueError:
        raise MalformedError("not a network address") from None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def take_address_key(connection: Connection, fresh_secret: bytes, now_ms: int) -> AddressKey:
    """Return the key in use, or a new one of `fresh_secret` when there is none or it is old.

    With an old key everything made with it is deleted in the same transaction.
    """
    row = connection.execute(select(address_keys)).one_or_none()
    key = None if row is None else AddressKey(row.number, row.made_ms, row.secret)
    if key is not None and not key.is_old(now_ms):
        return key
    connection.execute(delete(seen_addresses))
    connection.execute(delete(address_keys))
    key = AddressKey(0 if key is None else key.number + 1, now_ms, fresh_secret)
    connection.execute(
        insert(address_keys).values(number=key.number, made_ms=now_ms, secret=key.secret)
    )
    return key


def record_address(
    connection: Connection, wallet: Wallet, address: AddressHash, now_ms: int
) -> None:
    """Remember that an account was seen on an address, and which referrals that speaks against.

    An address of a key that is no longer in use is not kept.
    """
    key_number = connection.execute(select(address_keys.c.number)).scalar_one_or_none()
    if key_number != address.key_number:
        return
    owner = wallet_text(wallet)
    seen = seen_addresses.c
    changed = connection.execute(
        update(seen_addresses)
        .where(seen.wallet == owner, seen.address == address.exact)
        .values(seen_ms=now_ms)
    )
    if changed.rowcount:
        return
    connection.execute(
        insert(seen_addresses).values(
            wallet=owner, address=address.exact, key_number=key_number, seen_ms=now_ms
        )
    )
    _forget_oldest(connection, owner)
    neighbours = select(seen.wallet).where(seen.address == address.exact)
    for own, other in (
        (referrals.c.referee, referrals.c.referrer),
        (referrals.c.referrer, referrals.c.referee),
    ):
        connection.execute(
            update(referrals)
            .where(own == owner, other.in_(neighbours))
            .where(referrals.c.granted_day.is_(None), referrals.c.shared_ms.is_(None))
            .values(shared_ms=now_ms)
        )


def share_address(connection: Connection, first: Wallet, second: Wallet) -> bool:
    """Return whether two accounts were seen on one address under the key in use."""
    seen = seen_addresses.c
    others = select(seen.address).where(seen.wallet == wallet_text(second))
    query = (
        select(seen.address)
        .where(seen.wallet == wallet_text(first), seen.address.in_(others))
        .limit(1)
    )
    return connection.execute(query).first() is not None


def _forget_oldest(connection: Connection, owner: str) -> None:
    seen = seen_addresses.c
    count = connection.execute(
        select(func.count()).select_from(seen_addresses).where(seen.wallet == owner)
    ).scalar_one()
    if count <= MAX_SEEN:
        return
    oldest = (
        select(seen.address)
        .where(seen.wallet == owner)
        .order_by(seen.seen_ms, seen.address)
        .limit(count - MAX_SEEN)
    )
    addresses = [row.address for row in connection.execute(oldest)]
    connection.execute(
        delete(seen_addresses).where(seen.wallet == owner, seen.address.in_(addresses))
    )

"""Addresses: only MACs are kept, and not for long."""

import pytest
from sqlalchemy import func, select

from p2p_node.zeronode.account_tables import address_keys, seen_addresses
from p2p_node.zeronode.address_hashes import (
    KEY_LIFE_MS,
    MAX_SEEN,
    AddressKey,
    parse_address,
    record_address,
    share_address,
    take_address_key,
)
from p2p_node.zeronode.database import Database
from protocols.errors import LocalError, MalformedError
from tests.p2p_node.zeronode.rewards_world import ALICE, BOB, DAY, at, open_accounts

KEY = AddressKey(0, 0, b"k" * 32)


def test_neighbourhoods_of_addresses() -> None:
    first, same_subnet = KEY.hash_address("192.0.2.7"), KEY.hash_address("192.0.2.8")
    assert first.exact != same_subnet.exact
    assert first.near == same_subnet.near != KEY.hash_address("192.0.3.7").near
    assert KEY.hash_address("::ffff:192.0.2.7") == first
    home = KEY.hash_address("2001:db8:1:2::1")
    assert home == KEY.hash_address("2001:db8:1:2:ffff::9")
    neighbour = KEY.hash_address("2001:db8:1:3::1")
    assert (home.exact != neighbour.exact, home.near == neighbour.near) == (True, True)
    assert home.near != KEY.hash_address("2001:db8:2:2::1").near
    assert KEY.hash_address("fe80::1%eth0") == KEY.hash_address("fe80::1")
    assert AddressKey(0, 0, b"l" * 32).hash_address("192.0.2.7").exact != first.exact


@pytest.mark.parametrize("text", ["", "localhost", "192.0.2.7:80", "1" * 1_000, "[::1]", "1.2.3"])
def test_what_is_no_address_is_not_repeated(text: str) -> None:
    with pytest.raises(MalformedError, match="not a network address") as refused:
        parse_address(text)
    assert refused.value.detail == ""
    assert refused.value.__cause__ is None


def test_a_key_shows_no_secret_and_has_its_length() -> None:
    assert "k" * 8 not in repr(KEY)
    assert "6b6b" not in repr(KEY)
    with pytest.raises(LocalError, match="31 bytes"):
        AddressKey(0, 0, bytes(31))


def test_a_key_lives_thirty_days_and_takes_all_it_made_with_it(database: Database) -> None:
    with database.transaction() as connection:
        open_accounts(connection, ALICE, BOB)
        key = take_address_key(connection, b"1" * 32, at(DAY))
        assert take_address_key(connection, b"2" * 32, at(DAY) + KEY_LIFE_MS - 1) == key
        for who in (ALICE, BOB):
            record_address(connection, who, key.hash_address("192.0.2.7"), at(DAY))
        assert share_address(connection, ALICE, BOB)
        newer = take_address_key(connection, b"2" * 32, at(DAY) + KEY_LIFE_MS)
        assert (newer.number, newer.secret) == (key.number + 1, b"2" * 32)
        assert not share_address(connection, ALICE, BOB)
        assert connection.execute(select(func.count()).select_from(seen_addresses)).scalar() == 0
        assert connection.execute(select(address_keys.c.secret)).scalars().all() == [b"2" * 32]
        # What was hashed before the change comes too late to be kept.
        record_address(connection, ALICE, key.hash_address("192.0.2.7"), at(DAY))
        assert connection.execute(select(func.count()).select_from(seen_addresses)).scalar() == 0


def test_an_account_is_remembered_on_so_many_addresses(database: Database) -> None:
    with database.transaction() as connection:
        open_accounts(connection, ALICE, BOB)
        key = take_address_key(connection, b"1" * 32, at(DAY))
        addresses = [key.hash_address(f"192.0.2.{number}") for number in range(MAX_SEEN + 5)]
        for number, address in enumerate(addresses):
            record_address(connection, ALICE, address, at(DAY, number))
            record_address(connection, ALICE, addresses[0], at(DAY, number))
        seen = set(connection.execute(select(seen_addresses.c.address)).scalars())
        assert seen == {each.exact for each in (addresses[0], *addresses[6:])}
        record_address(connection, BOB, addresses[3], at(DAY))
        assert not share_address(connection, ALICE, BOB)
        record_address(connection, BOB, addresses[0], at(DAY))
        assert share_address(connection, ALICE, BOB)

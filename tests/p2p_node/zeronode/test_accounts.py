"""Accounts and the keys that earn for them."""

import pytest
from sqlalchemy import insert

from p2p_node.zeronode.account_tables import accounts
from p2p_node.zeronode.accounts import (
    MAX_KEYS_EVER,
    bind_key,
    find_account,
    find_account_of_key,
    find_code,
    keys_of,
    open_account,
    parse_wallet,
    require_account,
    revoke_key,
    wallet_text,
)
from p2p_node.zeronode.database import Database
from p2p_node.zeronode.refusals import Conflict, NotFound, TooMany
from protocols.errors import MalformedError
from protocols.types import NodeKey, Wallet
from protocols.zeronode_referrals import make_code
from protocols.zeronode_rules import rules_of

RULES = rules_of("mainnet")
NOW = 1_790_000_000_000
ALICE, BOB = Wallet(b"a" * 20), Wallet(b"b" * 20)


def key(number: int) -> NodeKey:
    return NodeKey(number.to_bytes(32, "big"))


def test_an_account_is_opened_once(database: Database) -> None:
    with database.transaction() as connection:
        assert find_account(connection, ALICE) is None
        with pytest.raises(NotFound, match="no such account"):
            require_account(connection, ALICE)
        opened = open_account(connection, ALICE, NOW)
        assert open_account(connection, ALICE, NOW + 5) == opened
    with database.reading() as connection:
        assert find_account(connection, ALICE) == opened
        assert find_code(connection, opened.code) == opened
        assert find_code(connection, make_code(BOB)) is None


def test_a_taken_code_gives_way_to_the_next(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(
            insert(accounts).values(wallet=wallet_text(BOB), opened_ms=1, code=make_code(ALICE))
        )
        assert open_account(connection, ALICE, NOW).code == make_code(ALICE, 1)


def test_a_key_earns_for_one_account(database: Database) -> None:
    with database.transaction() as connection:
        with pytest.raises(NotFound, match="no such account"):
            bind_key(connection, ALICE, key(1), RULES, NOW)
        alice = open_account(connection, ALICE, NOW)
        open_account(connection, BOB, NOW)
        bind_key(connection, ALICE, key(1), RULES, NOW)
        bind_key(connection, ALICE, key(1), RULES, NOW + 1)
        with pytest.raises(Conflict, match="belongs to another account"):
            bind_key(connection, BOB, key(1), RULES, NOW)
        assert find_account_of_key(connection, key(1)) == alice
        assert find_account_of_key(connection, key(2)) is None
        assert [each.bound_ms for each in keys_of(connection, ALICE)] == [NOW]


def test_a_revoked_key_never_comes_back(database: Database) -> None:
    with database.transaction() as connection:
        open_account(connection, ALICE, NOW)
        open_account(connection, BOB, NOW)
        bind_key(connection, ALICE, key(1), RULES, NOW)
        with pytest.raises(NotFound, match="no such key"):
            revoke_key(connection, BOB, key(1), NOW)
        revoke_key(connection, ALICE, key(1), NOW + 1)
        assert find_account_of_key(connection, key(1)) is None
        assert keys_of(connection, ALICE) == ()
        with pytest.raises(Conflict, match="was revoked"):
            bind_key(connection, ALICE, key(1), RULES, NOW + 2)
        with pytest.raises(NotFound, match="no such key"):
            revoke_key(connection, ALICE, key(1), NOW + 3)


def test_keys_are_limited_at_a_time_and_ever(database: Database) -> None:
    most = RULES.limits.keys_per_account
    with database.transaction() as connection:
        open_account(connection, ALICE, NOW)
        for number in range(most):
            bind_key(connection, ALICE, key(number), RULES, NOW)
        with pytest.raises(TooMany, match="as many keys as it may have") as refused:
            bind_key(connection, ALICE, key(most), RULES, NOW)
        assert refused.value.limit == most
        revoke_key(connection, ALICE, key(0), NOW)
        for number in range(most, MAX_KEYS_EVER):
            bind_key(connection, ALICE, key(number), RULES, NOW)
            revoke_key(connection, ALICE, key(number), NOW)
        with pytest.raises(TooMany, match="as it ever may"):
            bind_key(connection, ALICE, key(MAX_KEYS_EVER), RULES, NOW)


@pytest.mark.parametrize(
    "text",
    ["", "0x", "61" * 20, "0X" + "61" * 20, "0x" + "AB" * 20, "0x" + "61" * 21, "0x٣" + "0" * 39],
)
def test_only_one_form_of_a_wallet_is_read(text: str) -> None:
    with pytest.raises(MalformedError, match="not a wallet"):
        parse_wallet(text)


def test_a_wallet_comes_back_from_its_text() -> None:
    assert parse_wallet(wallet_text(ALICE)) == ALICE

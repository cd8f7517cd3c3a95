"""Homes: the first claim holds, a settled one is not taken away, and who is elsewhere is told."""

import pytest
from sqlalchemy import Connection, insert

from p2p_node.zeronode.database import Database
from p2p_node.zeronode.homes import (
    AwayError,
    choose_homes,
    claim_home,
    find_home,
    hear_of_move,
    hear_opening,
    is_home,
    require_home,
    set_home,
    take_openings,
    tell_again,
)
from p2p_node.zeronode.network_tables import batches_taken
from protocols.types import NodeKey, TimeMs, Wallet
from protocols.uptime_homes import SETTLED_MS, Home
from protocols.uptime_messages import Move, Opening
from protocols.zeronode_rules import MINIMAL_RULES

OWN, OTHER, THIRD = (NodeKey(bytes([number] * 32)) for number in (5, 3, 9))
ALICE, BOB = Wallet(b"\xa1" * 20), Wallet(b"\xb0" * 20)
NOW = TimeMs(1_764_180_000_000)


def home_of(connection: Connection, wallet: Wallet) -> NodeKey:
    found = find_home(connection, wallet)
    assert found is not None
    return found.service


def test_the_first_sign_in_claims_and_the_second_finds_it(database: Database) -> None:
    with database.transaction() as connection:
        assert find_home(connection, ALICE) is None
        first = claim_home(connection, ALICE, OWN, MINIMAL_RULES, NOW)
        assert claim_home(connection, ALICE, OWN, MINIMAL_RULES, TimeMs(NOW + 5)) == first
        assert is_home(connection, ALICE, OWN)
        require_home(connection, ALICE, OWN)
        require_home(connection, BOB, OWN)


def test_a_guest_is_told_where_its_home_is(database: Database) -> None:
    with database.transaction() as connection:
        hear_opening(connection, OTHER, Opening(ALICE, NOW), OWN, NOW)
        claimed = claim_home(connection, ALICE, OWN, MINIMAL_RULES, TimeMs(NOW + 1))
        assert claimed.service == OTHER
        with pytest.raises(AwayError) as caught:
            require_home(connection, ALICE, OWN)
        assert (caught.value.service, caught.value.url) == (OTHER, "")
        connection.execute(
            insert(batches_taken).values(
                service=OTHER.hex(), number=1, sent_ms=NOW, url="https://other.example"
            )
        )
        with pytest.raises(AwayError, match=r"https://other\.example"):
            require_home(connection, ALICE, OWN)


def test_of_two_claims_the_earlier_holds_until_it_is_settled(database: Database) -> None:
    with database.transaction() as connection:
        claim_home(connection, ALICE, OWN, MINIMAL_RULES, NOW)
        claim_home(connection, BOB, OWN, MINIMAL_RULES, NOW)
        earlier = TimeMs(NOW - 1)
        hear_opening(connection, OTHER, Opening(ALICE, earlier), OWN, TimeMs(NOW + 10))
        assert home_of(connection, ALICE) == OTHER
        late = TimeMs(NOW + SETTLED_MS)
        hear_opening(connection, OTHER, Opening(BOB, earlier), OWN, late)
        assert home_of(connection, BOB) == OWN


def test_an_account_whose_home_was_retired_can_be_opened_elsewhere(database: Database) -> None:
    late = TimeMs(NOW + SETTLED_MS)
    with database.transaction() as connection:
        for wallet in (ALICE, BOB):
            hear_opening(connection, OTHER, Opening(wallet, NOW), OWN, NOW)
        # Nothing is known of the list; the home is listed; this service is not.
        for listed in ([], [OWN, OTHER], [THIRD]):
            claim_home(connection, ALICE, OWN, MINIMAL_RULES, late, listed)
            assert home_of(connection, ALICE) == OTHER
        claim_home(connection, ALICE, OWN, MINIMAL_RULES, late, [OWN, THIRD])
        assert home_of(connection, ALICE) == OWN
        assert choose_homes(connection, OWN, MINIMAL_RULES.day_of(late), (ALICE,)) == {ALICE}
        hear_opening(connection, THIRD, Opening(BOB, late), OWN, late, [OWN, THIRD])
        assert home_of(connection, BOB) == THIRD


def test_a_claim_that_does_not_hold_is_answered_with_ours(database: Database) -> None:
    with database.transaction() as connection:
        claim_home(connection, ALICE, OWN, MINIMAL_RULES, NOW)
        assert take_openings(connection, OWN, NOW, 10) == (Opening(ALICE, NOW),)
        assert take_openings(connection, OWN, NOW, 10) == ()
        hear_opening(connection, THIRD, Opening(ALICE, TimeMs(NOW + 7)), OWN, TimeMs(NOW + 9))
        assert take_openings(connection, OWN, TimeMs(NOW + 10), 10) == (Opening(ALICE, NOW),)
        tell_again(connection, TimeMs(NOW + 11))
        assert take_openings(connection, OWN, TimeMs(NOW + 12), 10) == ()
        tell_again(connection, TimeMs(NOW + 10))
        assert take_openings(connection, OWN, TimeMs(NOW + 12), 10) == (Opening(ALICE, NOW),)


def test_of_other_homes_nothing_is_told(database: Database) -> None:
    with database.transaction() as connection:
        hear_opening(connection, OTHER, Opening(ALICE, NOW), OWN, NOW)
        assert take_openings(connection, OWN, NOW, 10) == ()


def test_only_the_home_gives_an_account_away(database: Database) -> None:
    with database.transaction() as connection:
        hear_opening(connection, OTHER, Opening(ALICE, NOW), OWN, NOW)
        move = Move(ALICE, THIRD, TimeMs(NOW + 5))
        hear_of_move(connection, OWN, move, OWN, TimeMs(NOW + 6))
        assert home_of(connection, ALICE) == OTHER
        hear_of_move(connection, OTHER, move, OWN, TimeMs(NOW + 6))
        assert home_of(connection, ALICE) == THIRD


def test_that_an_account_comes_here_is_believed_of_its_departure_only(database: Database) -> None:
    with database.transaction() as connection:
        hear_opening(connection, OTHER, Opening(ALICE, NOW), OWN, NOW)
        hear_of_move(connection, OTHER, Move(ALICE, OWN, TimeMs(NOW + 5)), OWN, TimeMs(NOW + 6))
        assert home_of(connection, ALICE) == OTHER


def test_whoever_is_said_to_come_begins_nothing_anew(database: Database) -> None:
    move, later = Move(ALICE, OWN, NOW), TimeMs(NOW + 5)
    with database.transaction() as connection:
        hear_of_move(connection, OTHER, move, OWN, later)
        claimed = claim_home(connection, ALICE, OWN, MINIMAL_RULES, TimeMs(NOW + 6))
        assert claimed.service == OTHER
        # Nor after a sign-in that came before the news.
        claim_home(connection, BOB, OWN, MINIMAL_RULES, TimeMs(NOW + 6))
        hear_of_move(connection, OTHER, Move(BOB, OWN, NOW), OWN, TimeMs(NOW + 7))
        assert home_of(connection, BOB) == OTHER
        # What is told again once it came changes nothing.
        set_home(connection, ALICE, Home(OWN, NOW, TimeMs(NOW + 8)), 0)
        hear_of_move(connection, OTHER, move, OWN, TimeMs(NOW + 9))
        assert home_of(connection, ALICE) == OWN


def test_days_are_booked_from_the_first_one_of_the_home(database: Database) -> None:
    day = MINIMAL_RULES.day_of(NOW)
    with database.transaction() as connection:
        claim_home(connection, ALICE, OWN, MINIMAL_RULES, NOW)
        set_home(connection, BOB, Home(OWN, NOW, NOW), day + 1)
        hear_opening(connection, OTHER, Opening(Wallet(bytes(20)), NOW), OWN, NOW)
        wallets = (ALICE, BOB, Wallet(bytes(20)), Wallet(b"\x01" * 20))
        assert choose_homes(connection, OWN, day - 1, wallets) == set()
        assert choose_homes(connection, OWN, day, wallets) == {ALICE}
        assert choose_homes(connection, OWN, day + 1, wallets) == {ALICE, BOB}

"""Invitations, the gate of six consecutive hours, and the tickets at it."""

import pytest

from p2p_node.zeronode.accounts import wallet_text
from p2p_node.zeronode.address_hashes import record_address, take_address_key
from p2p_node.zeronode.database import Database
from p2p_node.zeronode.ledger import entry_by_key
from p2p_node.zeronode.referrals import (
    MAX_SETTLED,
    Share,
    bind_referral,
    count_invited,
    current_run_ms,
    find_referral,
    find_share,
    make_share_finder,
    settle_gate,
    settle_gates,
)
from p2p_node.zeronode.refusals import Conflict, NotFound
from protocols.errors import MalformedError
from protocols.types import TimeMs
from protocols.zeronode_referrals import Waiting, make_code
from protocols.zeronode_rules import GATES_PER_DAY
from tests.p2p_node.zeronode.rewards_world import (
    ALICE,
    BOB,
    CAROL,
    DAY,
    HOUR,
    RULES,
    at,
    open_accounts,
    run_node,
    tickets,
    wallet,
)

GATE = RULES.gate_ms


def test_an_invitation_is_for_good(database: Database) -> None:
    with database.transaction() as connection:
        alice, bob, carol = open_accounts(connection, ALICE, BOB, CAROL)
        with pytest.raises(MalformedError, match="not a referral code"):
            bind_referral(connection, BOB, "nothing", RULES, at(DAY))
        with pytest.raises(NotFound, match="nobody has"):
            bind_referral(connection, BOB, make_code(wallet(9)), RULES, at(DAY))
        with pytest.raises(Conflict, match="own referral code"):
            bind_referral(connection, BOB, bob, RULES, at(DAY))
        bind_referral(connection, BOB, f" {alice.upper()} ", RULES, at(DAY))
        bind_referral(connection, BOB, alice, RULES, at(DAY, 5))
        with pytest.raises(Conflict, match="somebody else"):
            bind_referral(connection, BOB, carol, RULES, at(DAY))
        with pytest.raises(Conflict, match="each other"):
            bind_referral(connection, ALICE, bob, RULES, at(DAY))
        found = find_referral(connection, BOB)
        assert found is not None
        assert (found.referrer, found.bound_ms, found.waiting) == (ALICE, at(DAY), Waiting.RUN)
        assert count_invited(connection, ALICE) == (1, 0)


def test_only_a_new_account_is_invited(database: Database) -> None:
    with database.transaction() as connection:
        alice, _ = open_accounts(connection, ALICE, BOB)
        with pytest.raises(Conflict, match="only a new account"):
            bind_referral(connection, BOB, alice, RULES, at(DAY + 7))
        bind_referral(connection, BOB, alice, RULES, at(DAY + 7) - 1)


def test_nothing_before_six_hours_in_a_row_and_one_ticket_each_at_them(
    database: Database,
) -> None:
    with database.transaction() as connection:
        alice, _ = open_accounts(connection, ALICE, BOB)
        bind_referral(connection, BOB, alice, RULES, at(DAY))
        run_node(connection, BOB, at(DAY), GATE - 1)
        now = at(DAY) + GATE - 1
        assert current_run_ms(connection, BOB, RULES, now) == GATE - 1
        assert not settle_gate(connection, BOB, RULES, now)
        # Just too long a break: from the beginning again.
        begin = now + RULES.join_gap_ms + 1
        run_node(connection, BOB, begin, GATE - 1)
        assert settle_gates(connection, RULES, begin + GATE).granted == ()
        assert find_share(connection, BOB) is None
        # A break that is just short enough, and is not paid.
        last = begin + GATE - 1 + RULES.join_gap_ms
        run_node(connection, BOB, last, 1_000)
        assert settle_gates(connection, RULES, last + 1_000).granted == (BOB,)
        assert (tickets(connection, ALICE), tickets(connection, BOB)) == (1, 1)
        assert find_share(connection, BOB) == Share(ALICE, TimeMs(last + 1))
        assert count_invited(connection, ALICE) == (1, 1)
        entry = entry_by_key(connection, f"refticket:{wallet_text(BOB)}")
        assert entry is not None
        assert len(entry.transfer.lines) == 3
        # However often it is asked.
        assert settle_gates(connection, RULES, last + HOUR).granted == ()
        assert not settle_gate(connection, BOB, RULES, last + HOUR)
        assert (tickets(connection, ALICE), tickets(connection, BOB)) == (1, 1)


def test_uptime_before_the_invitation_does_not_count(database: Database) -> None:
    with database.transaction() as connection:
        alice, _ = open_accounts(connection, ALICE, BOB)
        run_node(connection, BOB, at(DAY), 7 * HOUR)
        bind_referral(connection, BOB, alice, RULES, at(DAY, 5 * HOUR))
        assert settle_gates(connection, RULES, at(DAY, 8 * HOUR)).granted == ()
        run_node(connection, BOB, at(DAY, 7 * HOUR), 4 * HOUR)
        assert settle_gates(connection, RULES, at(DAY, 11 * HOUR)).granted == (BOB,)
        assert find_share(connection, BOB) == Share(ALICE, TimeMs(at(DAY, 11 * HOUR)))


def test_a_run_over_midnight_is_one_run(database: Database) -> None:
    with database.transaction() as connection:
        alice, _ = open_accounts(connection, ALICE, BOB)
        bind_referral(connection, BOB, alice, RULES, at(DAY))
        run_node(connection, BOB, at(DAY, 20 * HOUR), 6 * HOUR)
        share = make_share_finder(RULES, at(DAY + 1, 2 * HOUR))(connection, BOB)
        assert share == Share(ALICE, TimeMs(at(DAY + 1, 2 * HOUR)))


def test_the_eleventh_of_a_day_goes_on_the_next(database: Database) -> None:
    many = [wallet(number) for number in range(1, GATES_PER_DAY + 3)]
    with database.transaction() as connection:
        (alice,) = open_accounts(connection, ALICE)
        open_accounts(connection, *many)
        for each in many:
            bind_referral(connection, each, alice, RULES, at(DAY))
            run_node(connection, each, at(DAY), GATE)
        granted = settle_gates(connection, RULES, at(DAY, 12 * HOUR)).granted
        assert len(granted) == GATES_PER_DAY == tickets(connection, ALICE)
        (first, second) = [each for each in many if each not in granted]
        waiting = find_referral(connection, first)
        assert waiting is not None
        assert waiting.waiting is Waiting.DAY_FULL
        assert waiting.gate_ms == at(DAY) + GATE
        assert find_share(connection, first) is None
        # Closing the day does not let it through; the next day does, and from its beginning.
        assert make_share_finder(RULES, at(DAY + 1) - 1)(connection, first) is None
        assert settle_gates(connection, RULES, at(DAY + 1)).granted == (first, second)
        assert find_share(connection, first) == Share(ALICE, TimeMs(at(DAY + 1)))
        assert tickets(connection, ALICE) == GATES_PER_DAY + 2


@pytest.mark.parametrize("before", [True, False])
def test_accounts_on_one_address_bring_nothing(database: Database, before: bool) -> None:
    with database.transaction() as connection:
        alice, _ = open_accounts(connection, ALICE, BOB)
        key = take_address_key(connection, bytes(32), at(DAY))
        address = key.hash_address("192.0.2.7")
        if not before:
            bind_referral(connection, BOB, alice, RULES, at(DAY))
        record_address(connection, ALICE, address, at(DAY))
        record_address(connection, BOB, address, at(DAY))
        if before:
            bind_referral(connection, BOB, alice, RULES, at(DAY))
        run_node(connection, BOB, at(DAY), GATE)
        # A new key, under which nothing is known of the addresses, does not make it forgotten.
        take_address_key(connection, bytes(32), at(DAY + 30))
        assert settle_gates(connection, RULES, at(DAY + 1)).granted == ()
        assert not settle_gate(connection, BOB, RULES, at(DAY + 1))
        found = find_referral(connection, BOB)
        assert found is not None
        assert found.waiting is Waiting.SHARED_ADDRESS
        assert (tickets(connection, ALICE), tickets(connection, BOB)) == (0, 0)


def test_an_address_shared_after_the_gate_takes_nothing_away(database: Database) -> None:
    with database.transaction() as connection:
        alice, _ = open_accounts(connection, ALICE, BOB)
        bind_referral(connection, BOB, alice, RULES, at(DAY))
        run_node(connection, BOB, at(DAY), GATE)
        settle_gates(connection, RULES, at(DAY, 7 * HOUR))
        address = take_address_key(connection, bytes(32), at(DAY)).hash_address("192.0.2.7")
        for each in (ALICE, BOB):
            record_address(connection, each, address, at(DAY, 8 * HOUR))
        found = find_referral(connection, BOB)
        assert found is not None
        assert (found.shared_ms, found.waiting) == (None, Waiting.NONE)


def test_many_referrals_are_settled_page_by_page_and_only_at_home(database: Database) -> None:
    many = [wallet(number) for number in range(1, MAX_SETTLED + 20)]
    with database.transaction() as connection:
        codes = open_accounts(connection, *(wallet(1_000 + number) for number in range(12)))
        open_accounts(connection, *many)
        for number, each in enumerate(many):
            bind_referral(connection, each, codes[number % 12], RULES, at(DAY))
            run_node(connection, each, at(DAY), GATE)
        away = many[3]
        now, cursor, granted = at(DAY, 7 * HOUR), "", []
        while True:
            settled = settle_gates(connection, RULES, now, cursor, lambda _, each: each != away)
            granted += settled.granted
            cursor = settled.cursor
            if not cursor:
                break
        assert granted == [each for each in many if each != away]

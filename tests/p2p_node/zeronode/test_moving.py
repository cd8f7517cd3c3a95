"""Moves: nothing is lost or doubled, whatever is asked twice, and the old home says where to."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey
from sqlalchemy import insert

from p2p_node.zeronode.account_facts_book import read_facts
from p2p_node.zeronode.account_tables import campaign_claims, mission_claims, referrals, streaks
from p2p_node.zeronode.accounts import (
    bind_key,
    keys_of,
    open_account,
    require_account,
    revoke_key,
    wallet_text,
)
from p2p_node.zeronode.database import AsyncDatabase, Database
from p2p_node.zeronode.day_close import Facts, close_day, find_day
from p2p_node.zeronode.homes import (
    AwayError,
    choose_homes,
    claim_home,
    find_home,
    hear_of_move,
    hear_opening,
    is_home,
    require_home,
    take_moves,
    take_openings,
)
from p2p_node.zeronode.ledger import (
    Line,
    Transfer,
    Unit,
    balance,
    iterate_entries,
    moved_account,
    post,
    user_account,
)
from p2p_node.zeronode.moving import Arrived, arrive, depart
from p2p_node.zeronode.nft import find_link, link
from p2p_node.zeronode.referrals import bind_referral, find_referral
from p2p_node.zeronode.refusals import Conflict, NotFound, NotYet
from p2p_node.zeronode.uptime_book import KEPT_DAYS, Receipt, record
from protocols.account_facts import MAX_CLAIMS, MAX_REVOKED, AccountFacts, Claim
from protocols.envelopes import open_envelope, seal
from protocols.errors import ForgedError, MalformedError, RemoteError
from protocols.types import NetworkId, NodeKey, TimeMs, Wallet
from protocols.uptime import Stretch
from protocols.uptime_gossip import ServiceView
from protocols.uptime_messages import Departure, Move, Opening
from protocols.zeronode_rules import MINIMAL_RULES as RULES

NETWORK = NetworkId(b"\x09" * 32)
KEYS = [SigningKey(bytes([number] * 32)) for number in range(1, 4)]
A, B, C = (NodeKey(bytes(key.verify_key)) for key in KEYS)
SERVICES = (A, B, C)
VIEW = ServiceView(NETWORK, frozenset(SERVICES), RULES)
ALICE, BOB = Wallet(b"\xa1" * 20), Wallet(b"\xb0" * 20)
DAY = 29_403_000
START = RULES.day_start(DAY)
NOW = TimeMs(START + 30_000)
KEY, LOST_KEY = NodeKey(b"\x51" * 32), NodeKey(b"\x52" * 32)


@dataclass
class Place:
    """One service's books."""

    number: int
    database: Database

    @property
    def service(self) -> NodeKey:
        return SERVICES[self.number]

    def open(self, wallet: Wallet = ALICE, now: TimeMs = NOW) -> None:
        with self.database.transaction() as connection:
            open_account(connection, wallet, now)
            claim_home(connection, wallet, self.service, RULES, now)

    def earn(self, key: str, points: int, tickets: int = 0, wallet: Wallet = ALICE) -> None:
        lines = [
            Line(account, unit, sign * amount)
            for unit, amount in ((Unit.POINTS, points), (Unit.TICKETS, tickets))
            if amount
            for account, sign in (("issue:mission", -1), (user_account(wallet), 1))
        ]
        with self.database.transaction() as connection:
            post(connection, Transfer(key, "mission", tuple(lines)), NOW)

    def depart(self, to: "Place", now: TimeMs = NOW, wallet: Wallet = ALICE) -> bytes:
        with self.database.transaction() as connection:
            return depart(connection, wallet, to.service, KEYS[self.number], VIEW, now)

    def arrive(self, data: bytes, now: TimeMs = NOW, wallet: Wallet = ALICE) -> Arrived:
        with self.database.transaction() as connection:
            return arrive(connection, wallet, data, self.service, VIEW, now)

    def holds(self, wallet: Wallet = ALICE) -> tuple[int, int]:
        with self.database.reading() as connection:
            account = user_account(wallet)
            return (
                balance(connection, account, Unit.POINTS),
                balance(connection, account, Unit.TICKETS),
            )

    def moved(self, other: NodeKey) -> int:
        with self.database.reading() as connection:
            return balance(connection, moved_account(other), Unit.POINTS)

    def note(self, stretch: Stretch, service: NodeKey | None = None) -> None:
        with self.database.transaction() as connection:
            receipt = Receipt(ALICE, stretch, bytes(16))
            record(connection, service or self.service, (receipt,), RULES, stretch.end_ms)

    async def close(self, day: int) -> None:
        now = RULES.close_time(day)
        shell = AsyncDatabase(self.database, inline=True)
        if await shell.read(find_day, RULES, now) is None:
            return
        facts = Facts(
            {},
            lambda connection, wallet, day: bool(
                choose_homes(connection, self.service, day, (wallet,))
            ),
            lambda connection, wallet: None,
        )
        await close_day(shell, day, RULES, now, facts)


@pytest.fixture
def places(tmp_path: Path, database: Database) -> Iterator[list[Place]]:
    """Three services; the first one's books are once in each kind of database."""
    others = [Database.open(f"sqlite:///{tmp_path}/{number}.db") for number in (1, 2)]
    yield [Place(number, each) for number, each in enumerate([database, *others])]
    for each in others:
        each.close()


def message_of(data: bytes) -> Departure:
    return open_envelope(data, Departure, NETWORK).message


def second(number: int, day: int = DAY) -> TimeMs:
    return TimeMs(RULES.day_start(day) + number * 1000)


def test_all_of_it_arrives_once(places: list[Place]) -> None:
    a, b, _ = places
    a.open()
    a.earn("m:1", 5_000, 3)
    data = a.depart(b)
    assert a.holds() == (0, 0)
    assert (a.moved(B), b.moved(A)) == (5_000, 0)
    for _ in range(3):
        assert b.arrive(data) == Arrived(A, 5_000, 3, True)
        assert b.holds() == (5_000, 3)
        assert b.moved(A) == -5_000
    with b.database.reading() as connection:
        assert is_home(connection, ALICE, B)
        assert [entry.transfer.kind for entry in iterate_entries(connection)] == ["arrival"]


def test_who_asks_again_gets_the_same_departure(places: list[Place]) -> None:
    a, b, c = places
    a.open()
    a.earn("m:1", 5_000)
    data = a.depart(b)
    assert a.depart(b, TimeMs(NOW + 60_000)) == data
    with pytest.raises(AwayError) as caught:
        a.depart(c)
    assert caught.value.service == B


def test_the_old_home_refuses_and_tells_the_others(places: list[Place]) -> None:
    a, b, _ = places
    a.open()
    a.depart(b)
    with a.database.transaction() as connection:
        with pytest.raises(AwayError):
            require_home(connection, ALICE, A)
        assert take_moves(connection, NOW, 10) == (Move(ALICE, B, TimeMs(NOW + 1)),)
        assert take_moves(connection, NOW, 10) == ()


def test_nothing_at_all_can_move_too(places: list[Place]) -> None:
    a, b, _ = places
    a.open()
    assert b.arrive(a.depart(b)) == Arrived(A, 0, 0, True)
    with b.database.reading() as connection:
        assert is_home(connection, ALICE, B)
        assert not list(iterate_entries(connection))


class Crash(Exception):
    """The process ends here."""


def crash_after(place: Place, function: Callable[..., object], *arguments: object) -> None:
    with place.database.transaction() as connection:
        function(connection, *arguments)
        raise Crash


@pytest.mark.parametrize("is_leaving", [True, False])
def test_a_crash_before_the_end_has_done_nothing(places: list[Place], is_leaving: bool) -> None:
    a, b, _ = places
    a.open()
    a.earn("m:1", 5_000)
    if is_leaving:
        with pytest.raises(Crash):
            crash_after(a, depart, ALICE, B, KEYS[0], VIEW, NOW)
        assert a.holds() == (5_000, 0)
    data = a.depart(b)
    with pytest.raises(Crash):
        crash_after(b, arrive, ALICE, data, B, VIEW, NOW)
    assert b.holds() == (0, 0)
    b.arrive(data)
    assert b.holds() == (5_000, 0)


def test_facts_travel(places: list[Place]) -> None:
    a, b, _ = places
    a.open()
    text = wallet_text(ALICE)
    with a.database.transaction() as connection:
        bind_key(connection, ALICE, KEY, RULES, NOW)
        bind_key(connection, ALICE, LOST_KEY, RULES, NOW)
        revoke_key(connection, ALICE, LOST_KEY, NOW)
        connection.execute(insert(streaks).values(wallet=text, days=4, last_day=DAY))
        connection.execute(
            insert(referrals).values(
                referee=text, referrer=wallet_text(BOB), bound_ms=NOW, gate_ms=NOW + 5
            )
        )
        for mission, window, claimed in (
            ("once", 0, NOW - 10**9),
            ("daily", DAY, NOW),
            ("old-daily", DAY - 99, NOW - 10**9),
        ):
            connection.execute(
                insert(mission_claims).values(
                    wallet=text,
                    mission=mission,
                    window_number=window,
                    claimed_ms=claimed,
                    units=1,
                    tickets=0,
                )
            )
        connection.execute(
            insert(campaign_claims).values(
                wallet=text, campaign="winter", task="post", claimed_ms=NOW, tickets=1
            )
        )
        link(connection, ALICE, 7, NOW)
        before = read_facts(connection, ALICE, RULES, NOW)
    data = a.depart(b)
    assert AccountFacts.decode(message_of(data).facts) == before
    b.arrive(data)
    with b.database.transaction() as connection:
        # Keys are bound where they agreed to it themselves; those of the departure are not.
        assert keys_of(connection, ALICE) == ()
        assert read_facts(connection, ALICE, RULES, NOW) == replace(before, revoked=())
        found = find_link(connection, ALICE)
        assert found is not None
        assert (found.token, found.linked_ms) == (7, NOW)
    assert [claim.mission for claim in before.claims] == ["daily", "once"]
    # And back, with what came of it meanwhile.
    with b.database.transaction() as connection:
        bind_key(connection, ALICE, KEY, RULES, NOW + 20)
        revoke_key(connection, ALICE, KEY, TimeMs(NOW + 20))
    a.arrive(b.depart(a, TimeMs(NOW + 30)), TimeMs(NOW + 40))
    with a.database.reading() as connection:
        after = read_facts(connection, ALICE, RULES, TimeMs(NOW + 50))
        assert keys_of(connection, ALICE) == ()
    assert set(after.revoked) == {KEY, LOST_KEY}
    assert replace(after, revoked=before.revoked) == before


def test_a_departure_keeps_no_key_from_whoever_has_it(places: list[Place]) -> None:
    a, b, _ = places
    a.open()
    b.open(BOB)
    with a.database.transaction() as connection:
        bind_key(connection, ALICE, KEY, RULES, NOW)
        revoke_key(connection, ALICE, KEY, NOW)
    with b.database.transaction() as connection:
        bind_key(connection, BOB, LOST_KEY, RULES, NOW)
    with a.database.transaction() as connection:
        bind_key(connection, ALICE, LOST_KEY, RULES, NOW)
        revoke_key(connection, ALICE, LOST_KEY, NOW)
    b.arrive(a.depart(b))
    with b.database.transaction() as connection:
        bind_key(connection, BOB, KEY, RULES, NOW + 1)
        assert {each.key for each in keys_of(connection, BOB)} == {KEY, LOST_KEY}


def test_there_and_back_and_an_old_departure_again(places: list[Place]) -> None:
    a, b, _ = places
    a.open()
    a.earn("m:1", 5_000)
    first = a.depart(b)
    b.arrive(first)
    b.earn("m:2", 700)
    a.arrive(b.depart(a, TimeMs(NOW + 10)), TimeMs(NOW + 11))
    assert a.holds() == (5_700, 0)
    b.arrive(first, TimeMs(NOW + 20))
    assert (a.holds(), b.holds()) == ((5_700, 0), (0, 0))
    with b.database.reading() as connection:
        home = find_home(connection, ALICE)
    assert home is not None
    assert home.service == A
    assert a.moved(B) + b.moved(A) == 0


def test_balances_arrive_also_where_another_home_is_known(places: list[Place]) -> None:
    a, b, _ = places
    a.open()
    a.earn("m:1", 5_000)
    first = a.depart(b)
    with b.database.transaction() as connection:
        hear_opening(connection, C, Opening(ALICE, NOW), B, NOW)
    for _ in range(2):
        assert b.arrive(first) == Arrived(A, 5_000, 0, False)
        assert b.holds() == (5_000, 0)
    # It had come from C to A, which is heard of only now.
    with b.database.transaction() as connection:
        assert not is_home(connection, ALICE, B)
        hear_of_move(connection, C, Move(ALICE, A, NOW), B, NOW)
    for _ in range(2):
        assert b.arrive(first) == Arrived(A, 5_000, 0, True)
        assert b.holds() == (5_000, 0)
    with b.database.reading() as connection:
        assert is_home(connection, ALICE, B)


def test_a_day_that_is_not_booked_keeps_the_account(places: list[Place]) -> None:
    a, b, _ = places
    a.open(now=second(1, DAY - 1))
    a.note(Stretch(second(2, DAY - 1), second(9, DAY - 1)))
    with pytest.raises(NotYet, match="not booked"):
        a.depart(b, second(1))


async def test_nobody_leaves_before_others_have_told_of_the_day_before(
    places: list[Place],
) -> None:
    a, b, _ = places
    a.open(now=second(1, DAY - 1))
    stretch = Stretch(second(2, DAY - 1), second(9, DAY - 1))
    b.note(stretch)
    with pytest.raises(NotYet, match="not booked"):
        a.depart(b, second(1))
    a.note(stretch, B)
    await a.close(DAY - 1)
    a.depart(b, second(5))
    assert a.moved(B) == 70


def test_whoever_came_today_need_not_wait(places: list[Place]) -> None:
    a, b, _ = places
    a.open(now=second(0))
    assert b.arrive(a.depart(b, second(1)), second(1)).is_home


async def test_a_day_is_booked_by_one_home_only(places: list[Place]) -> None:
    a, b, _ = places
    a.open(now=second(1, DAY - 1))
    a.note(Stretch(second(2, DAY - 1), second(9, DAY - 1)))
    await a.close(DAY - 1)
    assert a.holds() == (70, 0)
    one, two = Stretch(second(5), second(20)), Stretch(second(15), second(40))
    for place in (a, b):
        place.note(one, A)
        place.note(two, B)
    b.arrive(a.depart(b, second(30)), second(31))
    for place in (a, b):
        await place.close(DAY)
    assert a.holds() == (0, 0)
    assert b.holds() == (70 + 350, 0)


async def test_days_that_ended_on_the_way_are_paid_on_arrival(places: list[Place]) -> None:
    a, b, _ = places
    a.open()
    for place in (a, b):
        place.note(Stretch(second(5), second(20)), A)
    data = a.depart(b, second(30))
    for place in (a, b):
        await place.close(DAY)
        assert place.holds() == (0, 0)
    late = second(10, DAY + 1)
    b.arrive(data, late)
    b.arrive(data, late)
    assert b.holds() == (150, 0)
    for place in (a, b):
        place.note(Stretch(second(5, DAY + 1), second(9, DAY + 1)), A)
        await place.close(DAY + 1)
    assert (a.holds(), b.holds()) == ((0, 0), (190, 0))


async def test_who_is_long_on_the_way_is_paid_for_the_days_that_are_kept(
    places: list[Place],
) -> None:
    a, b, _ = places
    a.open()
    data = a.depart(b)
    last = DAY + KEPT_DAYS + 3
    for day in range(DAY, last + 1):
        b.note(Stretch(second(35, day), second(36, day)))
        await b.close(day)
    assert b.holds() == (0, 0)
    b.arrive(data, second(10, last + 1))
    assert b.holds() == (10 * KEPT_DAYS, 0)


def test_what_a_guest_was_given_goes_home(places: list[Place]) -> None:
    a, b, _ = places
    a.open()
    with b.database.transaction() as connection:
        open_account(connection, ALICE, NOW)
        hear_opening(connection, A, Opening(ALICE, NOW), B, NOW)
    with pytest.raises(Conflict, match="nothing here"):
        b.depart(a)
    b.earn("m:9", 0, 1)
    data = b.depart(a)
    assert b.depart(a) == data
    assert a.arrive(data) == Arrived(B, 0, 1, False)
    assert (a.holds(), b.holds()) == ((0, 1), (0, 0))
    with a.database.reading() as connection:
        assert is_home(connection, ALICE, A)
    with b.database.transaction() as connection:
        assert take_moves(connection, NOW, 10) == ()


def test_where_nobody_can_go(places: list[Place]) -> None:
    a, _, _ = places
    with pytest.raises(NotFound, match="no such account"):
        a.depart(places[1])
    a.open()
    with a.database.transaction() as connection:
        with pytest.raises(Conflict, match="here already"):
            depart(connection, ALICE, A, KEYS[0], VIEW, NOW)
        with pytest.raises(NotFound, match="no such service"):
            depart(connection, ALICE, NodeKey(b"?" * 32), KEYS[0], VIEW, NOW)


def forge(change: Callable[[Departure], Departure], key: SigningKey = KEYS[0]) -> bytes:
    departure = Departure(
        ALICE, B, NOW, RULES.day_of(NOW), NOW, 1_000_000, 9, AccountFacts().encode()
    )
    return seal(key, NETWORK, change(departure))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (forge(lambda m: m, SigningKey(b"?" * 32)), ForgedError),
        (forge(lambda m: m, KEYS[1]), ForgedError),
        (forge(lambda m: replace(m, destination=C)), ForgedError),
        (forge(lambda m: replace(m, wallet=BOB)), Conflict),
        (forge(lambda m: replace(m, facts=b"{}")), MalformedError),
        (forge(lambda m: replace(m, departed_ms=TimeMs(NOW + 10**7))), ForgedError),
        (forge(lambda m: m)[:-1], MalformedError),
        (b"", MalformedError),
    ],
)
def test_what_is_no_departure_brings_nothing(
    tmp_path: Path, data: bytes, error: type[RemoteError]
) -> None:
    place = Place(1, Database.open(f"sqlite:///{tmp_path}/b.db"))
    with pytest.raises(error):
        place.arrive(data)
    assert place.holds() == (0, 0)
    with place.database.reading() as connection:
        assert find_home(connection, ALICE) is None
    place.database.close()


def test_who_signed_in_before_the_departure_was_brought_still_arrives(places: list[Place]) -> None:
    # B was not there when A told of the account, so that the sign-in is a claim to B.
    a, b, _ = places
    a.open()
    a.earn("m:1", 5_000, 3)
    data = a.depart(b)
    b.open(now=TimeMs(NOW + 10))
    assert b.arrive(data, TimeMs(NOW + 20)) == Arrived(A, 5_000, 3, True)
    assert (b.holds(), b.moved(A)) == ((5_000, 3), -5_000)


async def test_days_booked_after_such_a_sign_in_are_not_paid_again(places: list[Place]) -> None:
    a, b, _ = places
    a.open()
    data = a.depart(b)
    b.open(now=second(1, DAY + 1))
    b.note(Stretch(second(5, DAY), second(9, DAY)))
    b.note(Stretch(second(5, DAY + 1), second(20, DAY + 1)))
    for day in (DAY, DAY + 1):
        await b.close(day)
    assert b.holds() == (150, 0)
    b.arrive(data, second(10, DAY + 2))
    assert b.holds() == (150 + 40, 0)


def test_an_old_departure_brings_its_balances_and_nothing_else(places: list[Place]) -> None:
    a, b, c = places
    a.open()
    a.earn("m:1", 5_000)
    old = a.depart(b)
    # C had heard nothing of the account either, and gave it to B.
    c.open(now=TimeMs(NOW + 10))
    c.earn("m:2", 70)
    with c.database.transaction() as connection:
        connection.execute(insert(streaks).values(wallet=wallet_text(ALICE), days=4, last_day=DAY))
    b.arrive(c.depart(b, TimeMs(NOW + 20)), TimeMs(NOW + 21))
    with b.database.reading() as connection:
        before = read_facts(connection, ALICE, RULES, NOW), find_home(connection, ALICE)
    for _ in range(2):
        assert b.arrive(old, TimeMs(NOW + 30)) == Arrived(A, 5_000, 0, False)
        assert b.holds() == (5_070, 0)
    with b.database.reading() as connection:
        assert before == (
            read_facts(connection, ALICE, RULES, NOW),
            find_home(connection, ALICE),
        )


def test_an_old_departure_makes_no_second_home(places: list[Place]) -> None:
    a, b, _ = places
    a.open()
    a.earn("m:1", 5_000)
    old = a.depart(b)
    b.open(now=TimeMs(NOW + 10))
    a.arrive(b.depart(a, TimeMs(NOW + 20)), TimeMs(NOW + 21))
    assert b.arrive(old, TimeMs(NOW + 30)) == Arrived(A, 5_000, 0, False)
    for place in (a, b):
        with place.database.reading() as connection:
            assert is_home(connection, ALICE, place.service) == (place is a)
    # What it brought can follow.
    a.arrive(b.depart(a, TimeMs(NOW + 40)), TimeMs(NOW + 41))
    assert (a.holds(), b.holds()) == ((5_000, 0), (0, 0))


def test_clocks_that_differ_stop_nobody_who_comes_back(places: list[Place]) -> None:
    a, b, _ = places
    a.open()
    b.arrive(a.depart(b), TimeMs(NOW - 400))
    assert a.arrive(b.depart(a, TimeMs(NOW - 300))).is_home


def test_what_came_of_an_invitation_here_is_kept(places: list[Place]) -> None:
    a, b, _ = places
    a.open()
    b.open(now=TimeMs(NOW + 10))
    for place, values in ((a, {}), (b, {"granted_day": DAY, "share_from_ms": NOW})):
        with place.database.transaction() as connection:
            connection.execute(
                insert(referrals).values(
                    referee=wallet_text(ALICE),
                    referrer=wallet_text(BOB),
                    bound_ms=NOW,
                    gate_ms=NOW,
                    **values,
                )
            )
    b.arrive(a.depart(b), TimeMs(NOW + 20))
    with b.database.reading() as connection:
        found = find_referral(connection, ALICE)
    assert found is not None
    assert found.granted_day == DAY


def gossip(places: list[Place], now: TimeMs) -> None:
    """Everybody tells everybody, until nothing is left to tell."""
    for _ in range(9):
        told = [(place, *tell(place, now)) for place in places]
        for sender, openings, moves in told:
            for place in places:
                if place is sender:
                    continue
                with place.database.transaction() as connection:
                    for opening in openings:
                        hear_opening(connection, sender.service, opening, place.service, now)
                    for move in moves:
                        hear_of_move(connection, sender.service, move, place.service, now)


def tell(place: Place, now: TimeMs) -> tuple[tuple[Opening, ...], tuple[Move, ...]]:
    with place.database.transaction() as connection:
        return take_openings(connection, place.service, now, 10), take_moves(connection, now, 10)


@pytest.mark.parametrize("late", [-20, -1, 0, 1, 20])
def test_who_signs_in_at_two_and_moves_at_once_has_one_home(places: list[Place], late: int) -> None:
    a, b, c = places
    a.open()
    b.arrive(a.depart(b, TimeMs(NOW + 30)), TimeMs(NOW + 31))
    c.open(now=TimeMs(NOW + late))
    gossip(places, TimeMs(NOW + 40))
    homes = []
    for place in places:
        with place.database.reading() as connection:
            if is_home(connection, ALICE, place.service):
                homes.append(place)
    # Where it was opened first, or where it went from there.
    assert len(homes) == 1
    if abs(late) > 1:
        assert homes[0] is (c if late < 0 else b)


def test_an_account_is_as_old_as_it_was(places: list[Place]) -> None:
    a, b, _ = places
    a.open(now=TimeMs(NOW - 30 * RULES.day_ms))
    data = a.depart(b)
    b.open(now=TimeMs(NOW + 10))
    b.open(BOB)
    b.arrive(data, TimeMs(NOW + 20))
    with b.database.transaction() as connection:
        inviting = require_account(connection, BOB)
        with pytest.raises(Conflict, match="only a new account"):
            bind_referral(connection, ALICE, inviting.code, RULES, NOW + 30)


def test_the_most_revoked_keys_stop_no_account(places: list[Place]) -> None:
    a, b, _ = places
    a.open()
    with a.database.transaction() as connection:
        for number in range(MAX_REVOKED):
            key = NodeKey(bytes([number] * 32))
            bind_key(connection, ALICE, key, RULES, NOW)
            revoke_key(connection, ALICE, key, NOW + number)
    assert b.arrive(a.depart(b), TimeMs(NOW + 20)).is_home


def test_the_most_claims_stop_no_account(places: list[Place]) -> None:
    a, b, _ = places
    a.open()
    daily = range(MAX_CLAIMS - 1)
    claims = [(f"daily-{n:03}", DAY - ago, NOW - ago) for n in daily for ago in (0, 1)]
    # The oldest that still counts, behind more claims than can travel.
    weekly = ("weekly", DAY // 7, NOW - 5 * RULES.day_ms)
    claims.append(weekly)
    claims += [(f"gone-{n}", 0, NOW - 10**9) for n in range(20)]
    with a.database.transaction() as connection:
        for mission, window, claimed in claims:
            connection.execute(
                insert(mission_claims).values(
                    wallet=wallet_text(ALICE),
                    mission=mission,
                    window_number=window,
                    claimed_ms=claimed,
                    units=1,
                    tickets=0,
                )
            )
    data = a.depart(b)
    assert b.arrive(data, TimeMs(NOW + 20)).is_home
    expected = (*(Claim(f"daily-{n:03}", DAY, NOW) for n in daily), Claim(*weekly))
    assert AccountFacts.decode(message_of(data).facts).claims == expected


steps = st.lists(
    st.tuples(st.sampled_from(["earn", "depart", "arrive"]), st.integers(0, 8), st.integers(0, 8)),
    max_size=25,
)


@given(steps)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_is_asked_nothing_is_lost_or_made(
    tmp_path_factory: pytest.TempPathFactory, plan: list[tuple[str, int, int]]
) -> None:
    directory = tmp_path_factory.mktemp("moves")
    places = [Place(n, Database.open(f"sqlite:///{directory}/{n}.db")) for n in range(3)]
    try:
        places[0].open()
        earned, sent, now = 0, [], NOW
        arrived: set[bytes] = set()
        for number, (step, first, other) in enumerate(plan):
            now = TimeMs(now + 1)
            place = places[first % 3]
            try:
                if step == "earn":
                    place.earn(f"m:{number}", 100 + number)
                    earned += 100 + number
                elif step == "depart":
                    sent.append(place.depart(places[other % 3], now))
                elif sent:
                    data = sent[other % len(sent)]
                    goal = SERVICES.index(message_of(data).destination)
                    places[goal].arrive(data, now)
                    arrived.add(data)
            except RemoteError:
                continue
        under_way = sum(message_of(data).points for data in set(sent) - arrived)
        assert sum(place.holds()[0] for place in places) + under_way == earned
    finally:
        for place in places:
            place.database.close()

"""The popup's numbers: those of the ledger, and today's beside them."""

import json

import pytest

from p2p_node.zeronode.check_in import check_in
from p2p_node.zeronode.database import AsyncDatabase, Database
from p2p_node.zeronode.day_close import Facts, close_day
from p2p_node.zeronode.ledger import Unit, balance, user_account
from p2p_node.zeronode.location import Place, put_position, store_place
from p2p_node.zeronode.nft import link
from p2p_node.zeronode.referrals import bind_referral, make_share_finder, settle_gates
from p2p_node.zeronode.refusals import NotFound
from p2p_node.zeronode.standing import (
    MAX_SEGMENTS,
    Live,
    NextDraw,
    Standing,
    read_standing,
)
from protocols.coarse_places import Position
from protocols.types import NodeKey, TimeMs
from protocols.zeronode_rules import CHECK_IN_POINTS, UNITS_PER_POINT
from tests.p2p_node.zeronode.rewards_world import (
    ALICE,
    BOB,
    DAY,
    HOUR,
    RULES,
    SERVICE,
    at,
    open_accounts,
    points,
    run_node,
    tickets,
)

LIVE = Live(
    SERVICE, SERVICE, earning=True, reason="", link_base="https://zero.example/sign-in#ref="
)


def read(database: Database, now_ms: int, live: Live = LIVE) -> Standing:
    with database.reading() as connection:
        return read_standing(connection, ALICE, RULES, now_ms, live)


def test_a_new_account_has_nothing_and_is_told_what_is_next(database: Database) -> None:
    with database.reading() as connection, pytest.raises(NotFound):
        read_standing(connection, ALICE, RULES, at(DAY), LIVE)
    with database.transaction() as connection:
        (code,) = open_accounts(connection, ALICE)
    shown = read(database, at(DAY, 5)).to_json()
    assert (
        json.loads(json.dumps(shown))
        == shown
        == {
            "wallet": "0x" + ALICE.hex(),
            "home": True,
            "home_service": SERVICE.hex(),
            "now_ms": at(DAY, 5),
            "day": DAY,
            "day_ends_ms": at(DAY + 1),
            "uptime_today_s": 0,
            "segments_today": [],
            "today_units": 0,
            "pending_units": 0,
            "points_units": 0,
            "tickets": 0,
            "multiplier": 1,
            "nft": {"token": None, "state": "none"},
            "streak": {
                "days": 0,
                "checked_in": False,
                "next_units": CHECK_IN_POINTS[0] * UNITS_PER_POINT,
                "resets_ms": None,
            },
            "referral": {
                "code": code,
                "link": f"https://zero.example/sign-in#ref={code}",
                "referred": False,
                "run_s": 0,
                "gate_s": RULES.gate_ms // 1000,
                "gated": False,
                "waiting_reason": "",
                "invited": 0,
                "invited_gated": 0,
            },
            "location": {
                "country": "unknown",
                "region": "unknown",
                "network": "unknown",
                "coarse": None,
                "mismatch": None,
            },
            "status": {"earning": True, "reason": ""},
            "next_draw": None,
        }
    )


def test_all_that_an_account_can_have(database: Database) -> None:
    with database.transaction() as connection:
        _, bob = open_accounts(connection, ALICE, BOB)
        bind_referral(connection, ALICE, bob, RULES, at(DAY))
        run_node(connection, ALICE, at(DAY, HOUR), 7 * HOUR)
        settle_gates(connection, RULES, at(DAY, 8 * HOUR))
        check_in(connection, ALICE, RULES, at(DAY, 8 * HOUR))
        link(connection, ALICE, 7, TimeMs(at(DAY, 2 * HOUR)))
        store_place(connection, ALICE, Place("VN", "Hanoi", "Example Net"), at(DAY))
        put_position(connection, ALICE, Position(210, 1_058), at(DAY))
    live = Live(
        SERVICE,
        NodeKey(b"h" * 32),
        earning=False,
        reason="another browser of this account earns",
        next_draw=NextDraw("weekly-1", at(DAY + 3)),
    )
    shown = read(database, at(DAY, 8 * HOUR), live).to_json()
    assert shown["home"] is False
    assert shown["home_service"] == (b"h" * 32).hex()
    assert shown["uptime_today_s"] == 7 * 3_600
    assert shown["segments_today"] == [[at(DAY, HOUR), at(DAY, 8 * HOUR)]]
    assert shown["today_units"] == 7 * 3_600 * 10 + 6 * 3_600 * 10
    assert shown["points_units"] == CHECK_IN_POINTS[0] * UNITS_PER_POINT
    assert (shown["tickets"], shown["multiplier"]) == (1, 2)
    assert shown["nft"] == {"token": "7", "state": "linked"}
    assert shown["streak"] == {
        "days": 1,
        "checked_in": True,
        "next_units": CHECK_IN_POINTS[1] * UNITS_PER_POINT,
        "resets_ms": at(DAY + 2),
    }
    assert shown["referral"]["referred"] is shown["referral"]["gated"] is True
    assert shown["referral"]["run_s"] == 7 * 3_600
    assert shown["referral"]["link"] == ""
    assert shown["location"]["coarse"] == [210, 1_058]
    assert shown["location"]["mismatch"] is None
    assert shown["status"] == {"earning": False, "reason": live.reason}
    assert shown["next_draw"] == {"id": "weekly-1", "closes_ms": at(DAY + 3)}


def test_many_short_stretches_are_drawn_as_fewer(database: Database) -> None:
    with database.transaction() as connection:
        open_accounts(connection, ALICE)
        for number in range(100):
            run_node(connection, ALICE, at(DAY, number * 60_000), 20_000)
    standing = read(database, at(DAY, 3 * HOUR))
    assert len(standing.segments_today) == MAX_SEGMENTS
    assert standing.uptime_today_s == 2_000


async def test_what_is_pending_becomes_what_is_booked(database: Database) -> None:
    """24 hours are 300 points, and the referrer's share is a tenth of what follows the gate."""
    with database.transaction() as connection:
        alice, _ = open_accounts(connection, ALICE, BOB)
        bind_referral(connection, BOB, alice, RULES, at(DAY))
        for who in (ALICE, BOB):
            for start in range(at(DAY), at(DAY + 1), HOUR):
                run_node(connection, who, start, HOUR)
    assert read(database, at(DAY + 1) - 1).today_units == 300 * UNITS_PER_POINT
    before = read(database, at(DAY + 1, 1_000))
    assert (before.today_units, before.pending_units) == (0, 300 * UNITS_PER_POINT)
    assert before.points_units == 0
    now = RULES.close_time(DAY)
    facts = Facts({}, lambda connection, wallet, day: True, make_share_finder(RULES, now))
    for _ in range(2):
        await close_day(AsyncDatabase(database, inline=True), DAY, RULES, now, facts)
    after = read(database, now)
    share = 18 * 3_600
    assert (after.pending_units, after.today_units) == (0, 0)
    assert after.points_units == 300 * UNITS_PER_POINT + share
    with database.reading() as connection:
        assert points(connection, ALICE) == after.points_units
        assert points(connection, BOB) == 300 * UNITS_PER_POINT
        assert (tickets(connection, ALICE), tickets(connection, BOB)) == (1, 1)
        assert balance(connection, user_account(BOB), Unit.TICKETS) == 1

"""Missions: files that say what is wrong with them, and claims that pay once."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, insert

from p2p_node.zeronode.chain_tables import nft_holdings
from p2p_node.zeronode.check_in import check_in
from p2p_node.zeronode.database import Database
from p2p_node.zeronode.ledger import entries_of, user_account
from p2p_node.zeronode.missions import (
    MAX_MISSIONS,
    Claim,
    claim_mission,
    list_missions,
    parse_missions,
    read_missions,
)
from p2p_node.zeronode.nft import link
from p2p_node.zeronode.progress import read_progress
from p2p_node.zeronode.referrals import bind_referral, settle_gates
from p2p_node.zeronode.refusals import NotFound, NotYet
from p2p_node.zeronode.task_files import MAX_FILE_BYTES, TaskFileError
from protocols.types import TimeMs, Wallet
from protocols.zeronode_missions import Measure, Period
from protocols.zeronode_rules import UNITS_PER_POINT
from tests.p2p_node.zeronode.rewards_world import (
    ALICE,
    BOB,
    DAY,
    HOUR,
    RULES,
    at,
    open_accounts,
    points,
    run_node,
    tickets,
    wallet,
)

FILE = b"""
[hour]
period = "daily"
title = "An hour"
points = 10
uptime_today_hours = 1

[week]
period = "weekly"
title = "A week"
summary = "Ten hours."
points = 7
tickets = 2
uptime_week_hours = 10

[word]
period = "once"
title = "A word"
tickets = 1
code_sha256 = "%s"

[friend]
period = "once"
title = "A friend"
points = 5
referrals = 1

[row]
period = "once"
title = "In a row"
points = 5
run_hours = 7

[holder]
period = "once"
title = "A token"
points = 1
nft = true

[streak]
period = "weekly"
title = "Two days"
points = 5
streak_days = 2
""" % hashlib.sha256(b"kaisar").hexdigest().encode()
MISSIONS = parse_missions(FILE, "missions.toml")


def test_a_file_is_read_in_its_order() -> None:
    assert list(MISSIONS) == ["hour", "week", "word", "friend", "row", "holder", "streak"]
    week = MISSIONS["week"]
    assert week.period is Period.WEEKLY
    assert (week.task.units, week.task.tickets) == (7 * UNITS_PER_POINT, 2)
    assert week.task.summary == "Ten hours."
    assert week.task.condition.measure is Measure.UPTIME_WEEK
    assert week.task.condition.least == 36_000


def test_the_file_that_comes_with_the_node(data_dir: Path) -> None:
    missions = read_missions(data_dir)
    assert {each.period for each in missions.values()} == set(Period)
    assert missions["half-day-run"].task.condition.least == 12 * 3_600
    (data_dir / "missions.toml").write_bytes(FILE)
    assert list(read_missions(data_dir)) == list(MISSIONS)
    (data_dir / "missions.toml").write_bytes(b"")
    assert read_missions(data_dir) == {}
    with pytest.raises(TaskFileError, match=r"none.toml: found nothing, expected a file"):
        read_missions(data_dir, data_dir / "none.toml")
    with pytest.raises(TaskFileError, match="expected a file of missions"):
        read_missions(data_dir, data_dir)
    (data_dir / "missions.toml").write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(TaskFileError, match=f"more than {MAX_FILE_BYTES} bytes"):
        read_missions(data_dir)


GOOD = 'period = "daily"\ntitle = "T"\npoints = 1\nrun_hours = 1\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("= 1", "m.toml: "),
        ("[a]\n[a]", "m.toml: "),
        ("a = 1", "a: found 1, expected a table"),
        ("[Abc]\n" + GOOD, "found the name 'Abc', expected 1 to 32"),
        ("[a]", r"\[a\] period: found nothing, expected one of daily, weekly, once"),
        ('[a]\nperiod = "hourly"', "period: found 'hourly', expected one of"),
        ("[a]\nperiod = [1]", r"period: found \[1\], expected one of"),
        ("[a]\n" + GOOD + "colour = 1", r"\[a\]: found 'colour', expected some of title"),
        ("[a]\n" + GOOD + "nft = true", "found run_hours and nft, expected exactly one"),
        ("[a]\n" + GOOD.replace("run_hours = 1", ""), "no condition, expected exactly one"),
        ("[a]\n" + GOOD.replace("run_hours = 1", "nft = false"), "nft: found False, expected"),
        ("[a]\n" + GOOD.replace("run_hours = 1", "run_hours = 0"), "run_hours: found 0, expected"),
        ("[a]\n" + GOOD.replace("run_hours = 1", "run_hours = true"), "run_hours: found True"),
        ("[a]\n" + GOOD.replace("run_hours = 1", "run_hours = 1.5"), "run_hours: found 1.5"),
        ("[a]\n" + GOOD.replace("run_hours = 1", 'code_sha256 = "x"'), "expected 64 lower-case"),
        ("[a]\n" + GOOD.replace("points = 1", "points = -1"), "points: found -1, expected a whole"),
        ("[a]\n" + GOOD.replace("points = 1", "points = 0"), "pays nothing, expected points or"),
        ("[a]\n" + GOOD.replace("points = 1", "points = '1'"), "points: found '1', expected"),
        ("[a]\n" + GOOD.replace('"T"', '""'), r"\[a\] title: found '', expected a line"),
        ("[a]\n" + GOOD.replace('"T"', r'"a\nb"'), "title: found 'a"),
        ("[a]\n" + GOOD.replace('title = "T"', ""), "title: found nothing, expected a line"),
        ("[a]\n" + GOOD + "summary = 7", "summary: found 7, expected a line"),
        (
            "".join(f"[m{n}]\n{GOOD}" for n in range(MAX_MISSIONS + 1)),
            f"found {MAX_MISSIONS + 1} tables",
        ),
    ],
)
def test_what_is_wrong_with_a_file(content: str, message: str) -> None:
    with pytest.raises(TaskFileError, match=message) as refused:
        parse_missions(content.encode(), "m.toml")
    assert str(refused.value).startswith("m.toml: ")


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(TaskFileError, match=r"m\.toml: "):
        parse_missions(b"\xff", "m.toml")


def test_a_daily_mission_pays_each_day_once(database: Database) -> None:
    with database.transaction() as connection:
        with pytest.raises(NotFound, match="no such account"):
            claim_mission(connection, MISSIONS, ALICE, "hour", None, RULES, at(DAY))
        open_accounts(connection, ALICE)
        with pytest.raises(NotFound, match="no such mission"):
            claim_mission(connection, MISSIONS, ALICE, "none", None, RULES, at(DAY))
        run_node(connection, ALICE, at(DAY, HOUR), HOUR - 1)
        with pytest.raises(NotYet, match="uptime_today_s: 3599 of 3600"):
            claim_mission(connection, MISSIONS, ALICE, "hour", None, RULES, at(DAY, 2 * HOUR))
        run_node(connection, ALICE, at(DAY, 3 * HOUR), 1)
        now = at(DAY, 4 * HOUR)
        claim = claim_mission(connection, MISSIONS, ALICE, "hour", None, RULES, now)
        assert claim == Claim("hour", DAY, now, 10 * UNITS_PER_POINT, 0)
        again = claim_mission(connection, MISSIONS, ALICE, "hour", None, RULES, now + 9)
        assert again == claim
        assert points(connection, ALICE) == 10 * UNITS_PER_POINT
        with pytest.raises(NotYet):
            claim_mission(connection, MISSIONS, ALICE, "hour", None, RULES, at(DAY + 1))
        run_node(connection, ALICE, at(DAY + 1), HOUR)
        claim_mission(connection, MISSIONS, ALICE, "hour", None, RULES, at(DAY + 1, HOUR))
        assert points(connection, ALICE) == 20 * UNITS_PER_POINT


def test_a_claim_stays_what_it_was_when_the_file_changes(database: Database) -> None:
    dearer = parse_missions(FILE.replace(b"points = 10", b"points = 99"), "missions.toml")
    with database.transaction() as connection:
        open_accounts(connection, ALICE)
        run_node(connection, ALICE, at(DAY), HOUR)
        claim = claim_mission(connection, MISSIONS, ALICE, "hour", None, RULES, at(DAY, HOUR))
        assert claim == claim_mission(connection, dearer, ALICE, "hour", None, RULES, at(DAY, HOUR))


def test_weeks_words_friends_and_runs(database: Database) -> None:
    def claim(name: str, now: int, code: str | None = None) -> Claim:
        return claim_mission(connection, MISSIONS, ALICE, name, code, RULES, now)

    with database.transaction() as connection:
        alice, _ = open_accounts(connection, ALICE, BOB)
        for day in (DAY + 5, DAY + 6):
            run_node(connection, ALICE, at(day, 10 * HOUR), 5 * HOUR)
        sunday = at(DAY + 6, 15 * HOUR)
        claim("week", sunday)
        assert tickets(connection, ALICE) == 2
        run_node(connection, ALICE, at(DAY + 7), 9 * HOUR)
        with pytest.raises(NotYet, match="32400 of 36000"):
            claim("week", at(DAY + 7, 9 * HOUR))
        claim("row", at(DAY + 7, 9 * HOUR))
        for typed in (None, "", "kaiser"):
            with pytest.raises(NotYet, match="not the word"):
                claim("word", sunday, typed)
        claim("word", sunday, " Kaisar ")
        claim("word", sunday + HOUR, "whatever comes after it")
        assert tickets(connection, ALICE) == 3
        bind_referral(connection, BOB, alice, RULES, at(DAY))
        with pytest.raises(NotYet):
            claim("friend", sunday)
        run_node(connection, BOB, at(DAY), 6 * HOUR)
        settle_gates(connection, RULES, at(DAY, 7 * HOUR))
        claim("friend", sunday)
        check_in(connection, ALICE, RULES, at(DAY + 6))
        with pytest.raises(NotYet):
            claim("streak", at(DAY + 6))
        check_in(connection, ALICE, RULES, at(DAY + 7))
        claim("streak", at(DAY + 7))
        with pytest.raises(NotYet):
            claim("holder", sunday)
        link(connection, ALICE, 7, TimeMs(sunday))
        note_holder(connection, ALICE, 7, DAY - 1)
        claim("holder", sunday)


def note_holder(connection: Connection, wallet: Wallet, token: int, day: int) -> None:
    row = {"day": day, "token": str(token), "wallet": wallet, "linked_ms": 0}
    connection.execute(insert(nft_holdings).values(**row))


def test_a_token_that_goes_from_hand_to_hand_in_a_day_pays_nobody(database: Database) -> None:
    with database.transaction() as connection:
        open_accounts(connection, ALICE, BOB)
        for wallet in (ALICE, BOB):
            link(connection, wallet, 7, TimeMs(at(DAY)))
            with pytest.raises(NotYet):
                claim_mission(connection, MISSIONS, wallet, "holder", None, RULES, at(DAY))
        note_holder(connection, BOB, 7, DAY)
        claim_mission(connection, MISSIONS, BOB, "holder", None, RULES, at(DAY + 1))
        # Whoever held it once and has given it away, or another one, has none.
        link(connection, ALICE, 7, TimeMs(at(DAY + 1)))
        link(connection, BOB, 8, TimeMs(at(DAY + 1)))
        for wallet in (ALICE, BOB):
            assert read_progress(connection, wallet, RULES, at(DAY + 1)).nft == 0


def test_a_run_that_ended_yesterday_is_over(database: Database) -> None:
    with database.transaction() as connection:
        open_accounts(connection, ALICE)
        run_node(connection, ALICE, at(DAY, 10 * HOUR), 8 * HOUR)
        with pytest.raises(NotYet):
            claim_mission(connection, MISSIONS, ALICE, "row", None, RULES, at(DAY + 1, HOUR))
        claim_mission(connection, MISSIONS, ALICE, "row", None, RULES, at(DAY, 20 * HOUR))


def test_missions_as_an_account_sees_them(database: Database) -> None:
    with database.transaction() as connection:
        open_accounts(connection, ALICE)
        run_node(connection, ALICE, at(DAY), 2 * HOUR)
        now = at(DAY, 3 * HOUR)
        claim_mission(connection, MISSIONS, ALICE, "hour", None, RULES, now)
        hour, week, word, *_ = list_missions(connection, MISSIONS, ALICE, RULES, now)
    assert (hour.reached, hour.is_met, hour.claimed) == (7_200, True, True)
    assert hour.next_window_ms == at(DAY + 1)
    assert (week.reached, week.is_met, week.claimed) == (7_200, False, False)
    assert week.next_window_ms == at(DAY + 7)
    assert (word.reached, word.is_met, word.next_window_ms) == (0, False, None)
    with database.reading() as connection:
        tomorrow = list_missions(connection, MISSIONS, ALICE, RULES, at(DAY + 1))
    assert not tomorrow[0].claimed


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("claim", "run", "check-in", "day", "crash")),
        st.sampled_from(("hour", "week", "word", "row", "streak")),
        st.integers(1, 9),
    ),
    max_size=25,
)


class Crash(Exception):
    """The process ends before its transaction does."""


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS)
def test_nothing_is_ever_paid_twice(
    database: Database, counter: list[int], steps: list[tuple[str, str, int]]
) -> None:
    """Claims, crashes in the middle of them, and days: each window of each mission pays once."""
    counter[0] += 1
    who: Wallet = wallet(counter[0])
    now, expected, checked = at(DAY + 20), {}, set()
    with database.transaction() as connection:
        open_accounts(connection, who, now_ms=now)
    for action, name, hours in steps:
        mission = MISSIONS[name]
        window = {Period.DAILY: now // RULES.day_ms, Period.ONCE: 0}.get(
            mission.period, (now // RULES.day_ms + 3) // 7
        )
        try:
            with database.transaction() as connection:
                if action == "run":
                    run_node(connection, who, now, hours * HOUR)
                    now += hours * HOUR
                elif action == "day":
                    now += RULES.day_ms
                elif action == "check-in":
                    check_in(connection, who, RULES, now)
                    checked.add(now // RULES.day_ms)
                else:
                    claim_mission(connection, MISSIONS, who, name, "kaisar", RULES, now)
                    if action == "crash":
                        raise Crash
                    expected[name, window] = mission.task
        except (NotYet, Crash):
            continue
    with database.reading() as connection:
        entries = entries_of(connection, user_account(who), limit=1_000)
        paid = [each for each in entries if each.transfer.kind == "mission"]
        assert len(paid) == len(expected)
        assert tickets(connection, who) == sum(task.tickets for task in expected.values())
        streaks = [each for each in entries if each.transfer.kind == "check-in"]
        assert len(streaks) == len(checked)


@pytest.fixture
def counter() -> list[int]:
    """Numbers accounts, so that examples share a database and no account."""
    return [0]

"""Campaigns: windows, and budgets that hold whatever happens at once."""

import hashlib
import random
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from p2p_node.zeronode.account_tables import campaign_budgets
from p2p_node.zeronode.campaigns import (
    Campaigns,
    TaskClaim,
    claim_task,
    list_campaigns,
    parse_campaigns,
    read_campaigns,
    store_budgets,
)
from p2p_node.zeronode.database import Database
from p2p_node.zeronode.errors import DatabaseError
from p2p_node.zeronode.ledger import Unit, balance
from p2p_node.zeronode.refusals import Conflict, NotFound, NotYet
from p2p_node.zeronode.task_files import TaskFileError
from protocols.types import Wallet
from tests.p2p_node.zeronode.rewards_world import (
    ALICE,
    BOB,
    DAY,
    HOUR,
    RULES,
    at,
    open_accounts,
    run_node,
    tickets,
    wallet,
)

WORD = hashlib.sha256(b"kaisar").hexdigest()
FILE = f"""
[launch]
title = "Launch"
summary = "The first weeks."
opens = 2025-12-01T00:00:00Z
closes = 2025-12-03T02:00:00+02:00
tickets = 5

[launch.tasks.stay]
title = "Stay"
tickets = 2
run_hours = 2

[launch.tasks.word]
title = "Word"
tickets = 1
code_sha256 = "{WORD}"
"""
CAMPAIGNS = parse_campaigns(FILE.encode(), "campaigns.toml")
OPENS = at(DAY)
CLOSES = at(DAY + 2)


def claim(
    database: Database, who: Wallet, task: str, now: int, campaigns: Campaigns = CAMPAIGNS
) -> TaskClaim:
    with database.transaction() as connection:
        return claim_task(connection, campaigns, who, "launch", task, "kaisar", RULES, now)


def start(database: Database, *wallets: Wallet) -> None:
    with database.transaction() as connection:
        store_budgets(connection, CAMPAIGNS)
        open_accounts(connection, *wallets)


def test_a_file_is_read() -> None:
    launch = CAMPAIGNS["launch"]
    assert (launch.opens_ms, launch.closes_ms, launch.budget) == (OPENS, CLOSES, 5)
    assert list(launch.tasks) == ["stay", "word"]
    assert launch.tasks["stay"].tickets == 2


def test_no_file_is_no_campaign_unless_it_was_named(data_dir: Path) -> None:
    assert read_campaigns(data_dir) == {}
    (data_dir / "campaigns.toml").write_text(FILE)
    assert list(read_campaigns(data_dir)) == ["launch"]
    with pytest.raises(TaskFileError, match=r"none\.toml: found nothing, expected a file"):
        read_campaigns(data_dir, data_dir / "none.toml")


@pytest.mark.parametrize(
    ("found", "instead", "message"),
    [
        ("opens = 2025-12-01T00:00:00Z", "", r"\[launch\] opens: found nothing, expected a time"),
        ("00:00:00Z", "00:00:00", "opens: found 2025-12-01 00:00:00, expected a time with its"),
        ("2025-12-01T00:00:00Z", "2025-12-01", "opens: found 2025-12-01, expected a time"),
        ("2025-12-01T", "1925-12-01T", "opens: found 1925"),
        ("2025-12-01T", "2026-12-01T", "closes: found a time before"),
        ("tickets = 5", "tickets = 0", r"\[launch\] tickets: found 0, expected a whole number"),
        ("tickets = 5", "budget = 5", "found 'budget', expected some of title"),
        ("tickets = 2", "points = 2", "tasks.stay points: found 2, expected only tickets"),
        ("tickets = 2", "", "tasks.stay: pays nothing, expected tickets above 0"),
        ("tasks.stay", "tasks.Stay", "found the name 'Stay'"),
        ("[launch.tasks.stay]", "[launch.other]", "found 'other', expected"),
        ('title = "Launch"', 'tasks = 1\ntitle = "Launch"', "campaigns.toml: "),
    ],
)
def test_what_is_wrong_with_a_file(found: str, instead: str, message: str) -> None:
    with pytest.raises(TaskFileError, match=message):
        parse_campaigns(FILE.replace(found, instead, 1).encode(), "campaigns.toml")


def test_a_campaign_has_tasks() -> None:
    head = FILE.partition("[launch.tasks.stay]")[0]
    for tasks, found in (("", "none"), ("tasks = 1", "1"), ("[launch.tasks]", "0")):
        with pytest.raises(TaskFileError, match=f"tasks: found {found}, expected 1 to 20"):
            parse_campaigns((head + tasks).encode(), "campaigns.toml")
    with pytest.raises(TaskFileError, match=r"tasks\.stay: found 1, expected a table"):
        parse_campaigns((head + "tasks.stay = 1").encode(), "campaigns.toml")


def test_a_task_pays_once_within_its_window(database: Database) -> None:
    start(database, ALICE)
    with pytest.raises(NotFound, match="no such task"):
        claim(database, ALICE, "none", OPENS)
    with pytest.raises(NotFound, match="no such task"):
        claim(database, ALICE, "word", OPENS, {})
    with pytest.raises(NotFound, match="no such account"):
        claim(database, BOB, "word", OPENS)
    with pytest.raises(NotYet, match="not open yet"):
        claim(database, ALICE, "word", OPENS - 1)
    with pytest.raises(NotYet, match="does not hold yet"):
        claim(database, ALICE, "stay", OPENS)
    done = claim(database, ALICE, "word", OPENS)
    assert (
        claim(database, ALICE, "word", CLOSES + 5) == done == TaskClaim("launch", "word", OPENS, 1)
    )
    with database.transaction() as connection:
        run_node(connection, ALICE, CLOSES - 3 * HOUR, 3 * HOUR)
    with pytest.raises(Conflict, match="is over"):
        claim(database, ALICE, "stay", CLOSES)
    claim(database, ALICE, "stay", CLOSES - 1)
    with database.reading() as connection:
        assert tickets(connection, ALICE) == 3
        (state,) = list_campaigns(connection, CAMPAIGNS, ALICE)
        assert (state.spent, state.claimed) == (3, {"stay", "word"})
        (state,) = list_campaigns(connection, CAMPAIGNS)
        assert state.claimed == frozenset()


def test_a_budget_may_grow_and_never_shrinks_below_what_was_given(database: Database) -> None:
    many = [wallet(number) for number in range(7)]
    start(database, *many)
    for each in many[:5]:
        claim(database, each, "word", OPENS)
    with pytest.raises(Conflict, match="has given all its tickets"):
        claim(database, many[5], "word", OPENS)
    more = parse_campaigns(FILE.replace("tickets = 5", "tickets = 6").encode(), "c")
    with database.transaction() as connection:
        store_budgets(connection, more)
    claim(database, many[5], "word", OPENS, more)
    with (
        database.transaction() as connection,
        pytest.raises(
            TaskFileError, match="campaign launch tickets: found 5, expected at least the 6"
        ),
    ):
        store_budgets(connection, CAMPAIGNS)
    with pytest.raises(DatabaseError), database.transaction() as connection:
        connection.execute(update(campaign_budgets).values(spent=7))


def test_a_campaign_whose_budget_nobody_stored_gives_nothing(database: Database) -> None:
    with database.transaction() as connection:
        open_accounts(connection, ALICE)
        assert list_campaigns(connection, CAMPAIGNS)[0].spent == 0
    with pytest.raises(Conflict, match="has given all"):
        claim(database, ALICE, "word", OPENS)


def test_many_at_once_get_no_more_than_there_is(database_url: str) -> None:
    """Two processes' worth of connections, each account claiming from two threads."""
    databases = [Database.open(database_url) for _ in range(2)]
    many = [wallet(number) for number in range(8)]
    start(databases[0], *many)
    outcomes: list[Wallet] = []

    def try_all(number: int) -> None:
        mine = random.Random(number).sample(many, len(many))
        for each in mine:
            try:
                claim(databases[number % 2], each, "word", OPENS)
            except Conflict:
                continue
            outcomes.append(each)

    threads = [threading.Thread(target=try_all, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    with databases[0].reading() as connection:
        given = {each: tickets(connection, each) for each in many}
        assert sorted(given.values()) == [0, 0, 0, 1, 1, 1, 1, 1]
        assert set(outcomes) == {each for each, held in given.items() if held}
        assert balance(connection, "issue:campaign", Unit.TICKETS) == -5
    for database in databases:
        database.close()


class Crash(Exception):
    """The process ends before its transaction does."""


@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    budget=st.integers(1, 6),
    steps=st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from(("stay", "word")), st.booleans()),
        max_size=20,
    ),
)
def test_the_budget_is_what_was_given(
    database: Database, counter: list[int], budget: int, steps: list[tuple[int, str, bool]]
) -> None:
    counter[0] += 1
    name = f"c{counter[0]}"
    file = FILE.replace("launch", name).replace("tickets = 5", f"tickets = {budget}")
    campaigns = parse_campaigns(file.encode(), "c")
    tasks = campaigns[name].tasks
    who = [wallet(counter[0] * 10 + number) for number in range(5)]
    with database.transaction() as connection:
        store_budgets(connection, campaigns)
        open_accounts(connection, *who)
        for each in who:
            run_node(connection, each, OPENS, 3 * HOUR)
    done: set[tuple[int, str]] = set()
    for number, task, crashes in steps:
        given_before = sum(tasks[each].tickets for _, each in done)
        try:
            with database.transaction() as connection:
                claim_task(
                    connection,
                    campaigns,
                    who[number],
                    name,
                    task,
                    "kaisar",
                    RULES,
                    OPENS + 3 * HOUR,
                )
                if crashes:
                    raise Crash
        except Conflict:
            assert (number, task) not in done
            assert given_before + tasks[task].tickets > budget
        except Crash:
            continue
        else:
            done.add((number, task))
    spent = sum(tasks[each].tickets for _, each in done)
    with database.reading() as connection:
        assert list_campaigns(connection, campaigns)[0].spent == spent <= budget
        for number, each in enumerate(who):
            mine = [task for other, task in done if other == number]
            assert tickets(connection, each) == sum(tasks[task].tickets for task in mine)


@pytest.fixture
def counter() -> list[int]:
    """Numbers campaigns and accounts, so that examples share a database and nothing in it."""
    return [0]

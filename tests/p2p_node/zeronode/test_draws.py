"""Entering a draw takes tickets once, and never more than there are."""

import threading
from dataclasses import replace

import pytest

from p2p_node.zeronode import draws
from p2p_node.zeronode.database import Database
from p2p_node.zeronode.draws import Entered, Frozen, StaleError, State
from p2p_node.zeronode.errors import DatabaseError, InsufficientError, KeyReusedError
from p2p_node.zeronode.ledger import Unit, balance, draw_account, user_account
from p2p_node.zeronode.refusals import Conflict, NotFound, NotYet
from protocols.errors import LocalError, MalformedError
from protocols.lucky_draw import (
    MAX_ENTRIES,
    MAX_TICKETS,
    Award,
    Entry,
    Source,
    SourceKind,
    hash_server_seed,
)
from protocols.types import Digest, NodeKey, TimeMs, Wallet
from tests.p2p_node.zeronode.drawing_world import (
    ALICE,
    BOB,
    DRAW,
    KEY,
    NETWORK,
    OCCASION,
    START,
    give,
)

SEED = b"s" * 32
FROZEN = Frozen(Digest(b"r" * 32), Source(SourceKind.BEACON, 7), TimeMs(START + 600_000))


@pytest.fixture
def opened(database: Database) -> Database:
    give(database, ALICE, 10)
    give(database, BOB, 3)
    with database.transaction() as connection:
        draws.open_draw(connection, OCCASION, SEED)
    return database


def enter(database: Database, wallet: Wallet, tickets: int, request: str, now: int) -> Entered:
    with database.transaction() as connection:
        return draws.enter(connection, wallet, DRAW, tickets, request, now)


def test_entries_take_tickets_and_numbers_in_order(opened: Database) -> None:
    assert enter(opened, ALICE, 4, "r", START) == Entered(DRAW, 0, 4, 6)
    assert enter(opened, BOB, 1, "r", START) == Entered(DRAW, 4, 1, 2)
    assert enter(opened, ALICE, 1, "r2", START + 59_999) == Entered(DRAW, 5, 1, 5)
    with opened.reading() as connection:
        assert draws.read_entries(connection, DRAW) == (
            Entry(ALICE, 4),
            Entry(BOB, 1),
            Entry(ALICE, 1),
        )
        assert draws.entries_of_wallet(connection, DRAW, ALICE) == ((0, 4), (5, 1))
        assert draws.require_draw(connection, DRAW).tickets == 6
        assert balance(connection, draw_account(DRAW), Unit.TICKETS) == 6
        assert balance(connection, user_account(ALICE), Unit.TICKETS) == 5


def test_a_request_counts_once_also_when_the_draw_has_closed(opened: Database) -> None:
    first = enter(opened, ALICE, 4, "r", START)
    assert enter(opened, ALICE, 4, "r", START + 1) == first
    assert enter(opened, BOB, 1, "r", START + 1).first_ticket == 4
    with opened.transaction() as connection:
        draws.close(connection, draws.require_draw(connection, DRAW))
    assert enter(opened, ALICE, 4, "r", START + 99_000) == first
    with pytest.raises(KeyReusedError):
        enter(opened, ALICE, 3, "r", START)


@pytest.mark.parametrize(
    ("wallet", "tickets", "request_name", "now", "error"),
    [
        (ALICE, 0, "r", START, MalformedError),
        (ALICE, MAX_TICKETS + 1, "r", START, MalformedError),
        (ALICE, 1, "", START, MalformedError),
        (ALICE, 1, "r r", START, MalformedError),
        (ALICE, 11, "r", START, InsufficientError),
        (Wallet(b"c" * 20), 1, "r", START, NotFound),
        (ALICE, 1, "r", START - 1, NotYet),
        (ALICE, 1, "r", START + 60_000, Conflict),
    ],
)
def test_what_is_refused_changes_nothing(
    opened: Database,
    wallet: Wallet,
    tickets: int,
    request_name: str,
    now: int,
    error: type[Exception],
) -> None:
    with pytest.raises(error):
        enter(opened, wallet, tickets, request_name, now)
    with opened.reading() as connection:
        assert draws.read_entries(connection, DRAW) == ()
        assert balance(connection, user_account(ALICE), Unit.TICKETS) == 10


def test_there_are_only_so_many_places(opened: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (MAX_ENTRIES, MAX_TICKETS) == (draws.MAX_ENTRIES, draws.MAX_TICKETS)
    monkeypatch.setattr(draws, "MAX_ENTRIES", 2)
    monkeypatch.setattr(draws, "MAX_TICKETS", 5)
    enter(opened, ALICE, 3, "1", START)
    with pytest.raises(Conflict, match="full"):
        enter(opened, ALICE, 3, "2", START)
    enter(opened, ALICE, 1, "3", START)
    with pytest.raises(Conflict, match="full"):
        enter(opened, ALICE, 1, "4", START)


def test_no_draw_of_that_name(opened: Database) -> None:
    with opened.transaction() as connection, pytest.raises(NotFound):
        draws.enter(connection, ALICE, "other-1", 1, "r", START)
    with opened.reading() as connection:
        assert draws.read_transcript(connection, "other-1") is None


def test_one_ticket_is_entered_by_one_of_500_at_once(database: Database) -> None:
    give(database, ALICE, 1)
    with database.transaction() as connection:
        draws.open_draw(connection, OCCASION, SEED)
    outcomes: list[str] = []
    start = threading.Barrier(20)

    def try_them(first: int) -> None:
        start.wait(timeout=60)
        for number in range(first, 500, 20):
            try:
                enter(database, ALICE, 1, f"r-{number}", START)
            except InsufficientError:
                outcomes.append("refused")
            else:
                outcomes.append("entered")

    threads = [threading.Thread(target=try_them, args=(first,)) for first in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=240)
    assert sorted(outcomes) == ["entered"] + ["refused"] * 499
    with database.reading() as connection:
        assert draws.read_entries(connection, DRAW) == (Entry(ALICE, 1),)


def test_a_draw_is_opened_once_and_found(opened: Database) -> None:
    with opened.transaction() as connection:
        draws.open_draw(connection, OCCASION, b"t" * 32)
        later = replace(OCCASION, id="quick-1", closes_ms=TimeMs(START + 90_000))
        draws.open_draw(connection, later, SEED)
    with opened.reading() as connection:
        assert draws.require_draw(connection, DRAW).server_seed == SEED
        assert "server_seed" not in repr(draws.require_draw(connection, DRAW))
        assert [each.id for each in draws.list_draws(connection)] == ["quick-1", DRAW]
        assert [each.id for each in draws.list_unfinished(connection)] == [DRAW, "quick-1"]
        found = [draws.find_next_draw(connection, START + late) for late in (-1, 0, 60_000, 90_000)]
    assert [each and each.id for each in found] == [None, DRAW, "quick-1", None]


def test_steps_follow_each_other_and_are_taken_once(opened: Database) -> None:
    enter(opened, ALICE, 2, "r", START)
    with opened.transaction() as connection:
        draw = draws.require_draw(connection, DRAW)
        with pytest.raises(LocalError, match="not frozen"):
            draw.terms(NETWORK, NodeKey(bytes(KEY.verify_key)))
        with pytest.raises(LocalError, match="no longer closed"):
            draws.freeze(connection, draw, FROZEN)
        closed = draws.close(connection, draw)
        assert closed.state is State.CLOSED
        with pytest.raises(LocalError, match="no longer open"):
            draws.close(connection, draw)
        first = draws.freeze(connection, closed, FROZEN)
        again = draws.freeze(
            connection, first, replace(FROZEN, source=Source(SourceKind.BEACON, 9))
        )
        assert again.frozen is not None
        assert again.frozen.source.number == 9
        terms = again.terms(NETWORK, NodeKey(bytes(KEY.verify_key)))
        assert (terms.tickets, terms.root) == (2, FROZEN.root)
        assert terms.seed_hash == hash_server_seed(SEED)
        sending = draws.note_sending(connection, again, START + 61_000)
        with pytest.raises(LocalError, match="on its way"):
            draws.freeze(connection, sending, FROZEN)
        committed = draws.note_committed(connection, sending, START // 1000 + 62)
        assert committed.state is State.COMMITTED
        paying = draws.finish(connection, committed, b"file", False, START + 70_000)
        assert draws.read_transcript(connection, DRAW) == b"file"
        done = draws.pay(connection, paying, (Award(ALICE, 5, 1),), START + 71_000)
        assert done.state is State.DONE
        assert draws.list_unfinished(connection) == ()
        assert balance(connection, user_account(ALICE), Unit.POINTS) == 5
        assert balance(connection, user_account(ALICE), Unit.TICKETS) == 9
        assert balance(connection, draw_account(DRAW), Unit.TICKETS) == 0
        with pytest.raises(LocalError, match="no longer paying"):
            draws.pay(connection, paying, (Award(ALICE, 5, 1),), START + 71_000)


def test_two_processes_do_not_commit_to_different_terms(opened: Database) -> None:
    later = Frozen(FROZEN.root, Source(SourceKind.BEACON, 9), TimeMs(START + 900_000))
    with opened.transaction() as connection:
        draws.enter(connection, ALICE, DRAW, 1, "r", START)
        closed = draws.close(connection, draws.require_draw(connection, DRAW))
        frozen = draws.freeze(connection, closed, FROZEN)
        # Another process froze it anew meanwhile: what was read before is not what is sent.
        newer = draws.freeze(connection, frozen, later)
        with pytest.raises(StaleError):
            draws.note_sending(connection, frozen, START + 61_000)
        # And it has sent that: whoever still thinks that nothing was cannot freeze it anew.
        sending = draws.note_sending(connection, newer, START + 61_000)
        with pytest.raises(StaleError):
            draws.freeze(connection, newer, FROZEN)
        assert draws.require_draw(connection, DRAW) == sending


def test_awards_are_paid_in_parts_and_each_once(
    opened: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draws, "PAID_AT_ONCE", 1)
    enter(opened, ALICE, 2, "r", START)
    enter(opened, BOB, 1, "r", START)
    awards = (Award(ALICE, 0, 3), Award(BOB, 0, 2))
    with opened.transaction() as connection:
        draw = draws.close(connection, draws.require_draw(connection, DRAW))
        draw = draws.freeze(connection, draw, FROZEN)
        draw = draws.finish(connection, draw, b"file", True, START)
        draw = draws.pay(connection, draw, awards, START)
        assert (draw.state, draw.paid) == (State.PAYING, 1)
        draw = draws.pay(connection, draw, awards, START)
        assert (draw.state, draw.paid, draw.missed) == (State.DONE, 2, True)
        assert balance(connection, user_account(ALICE), Unit.TICKETS) == 11
        assert balance(connection, user_account(BOB), Unit.TICKETS) == 4
        assert balance(connection, draw_account(DRAW), Unit.TICKETS) == 0


def test_entries_and_transcripts_cannot_be_changed(opened: Database) -> None:
    enter(opened, ALICE, 2, "r", START)
    for statement in ("UPDATE draw_entries SET tickets = 9", "DELETE FROM draw_entries"):
        with pytest.raises(DatabaseError, match="append-only"):
            _execute(opened, statement)


def _execute(database: Database, statement: str) -> None:
    with database.transaction() as connection:
        connection.exec_driver_sql(statement)

"""The duty takes draws to their end: in time, after crashes, and when the chain stays away."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import pytest
import trio
from trio.testing import MockClock

from p2p_node.zeronode import drawing
from p2p_node.zeronode.database import AsyncDatabase, Database
from p2p_node.zeronode.drawing import PATIENCE_MS, Commitment, Step, choose_step
from p2p_node.zeronode.draws import Draw, Frozen, State
from p2p_node.zeronode.ledger import Unit, balance, draw_account, user_account
from p2p_node.zeronode.ledger_check import check_books
from protocols.draw_transcript import Record, Verdict, check_record, verify_transcript
from protocols.errors import ForgedError, LocalError
from protocols.lucky_draw import Source, SourceKind
from protocols.types import Digest, NodeKey, TimeMs
from tests.fakes.draws import FakeBeacon
from tests.p2p_node.zeronode.drawing_world import (
    ALICE,
    BOB,
    DRAW,
    KEY,
    NETWORK,
    OCCASION,
    PLAN,
    SCHEDULE,
    START,
    World,
    give,
    totals,
)

Result = TypeVar("Result")


async def run_for(world: World, seconds: float) -> None:
    """Let the duty run for a while, then stop it as a crash does."""
    with trio.move_on_after(seconds):
        await world.start().run()


async def open_with_entries(database: Database) -> World:
    world = World.make(database)
    give(database, ALICE, 10)
    give(database, BOB, 3)
    await run_for(world, 5)
    world.enter(ALICE, 4)
    world.enter(BOB, 2)
    world.enter(ALICE, 1, "second")
    return world


def check_with_chain(world: World, verdict: Verdict) -> None:
    """What the command would do."""
    terms = verdict.transcript.terms
    found = world.anchor.commitments.get(terms.key)
    seed = None
    if verdict.transcript.reveal is not None:
        seed = Digest(verdict.transcript.reveal.evidence)
    record = found and Record(
        found.commitment, found.committed_s, NodeKey(bytes(KEY.verify_key)), seed
    )
    check_record(verdict, record, 0, FakeBeacon.EPOCH_MS // 1000)


def check_end(world: World, missed: bool) -> Verdict:
    """The draw is over, its transcript holds, and everybody has what it says."""
    draw = world.draw()
    assert (draw.state, draw.missed) == (State.DONE, missed)
    content = world.transcript()
    assert content is not None
    verdict = verify_transcript(content)
    check_with_chain(world, verdict)
    with world.database.reading() as connection:
        assert balance(connection, draw_account(DRAW), Unit.TICKETS) == 0
        left = {ALICE: 5, BOB: 1}
        won = {each.wallet: each for each in verdict.transcript.awards}
        for wallet, tickets in left.items():
            account, award = user_account(wallet), won.get(wallet)
            assert balance(connection, account, Unit.TICKETS) == tickets + (
                award.tickets if award else 0
            )
            assert balance(connection, account, Unit.POINTS) == (award.units if award else 0)
        assert check_books(connection).problems == ()
        if missed:
            assert totals(connection) == {Unit.POINTS: 0, Unit.TICKETS: 15}
    return verdict


async def test_a_whole_draw(database: Database, autojump_clock: MockClock) -> None:
    world = await open_with_entries(database)
    assert world.draw().state is State.OPEN
    await run_for(world, 60)
    draw = world.draw()
    assert draw.state is State.COMMITTED
    assert world.transcript() is None
    await run_for(world, 75)
    verdict = check_end(world, missed=False)
    assert verdict.transcript.terms.tickets == 7
    assert verdict.seed is not None
    assert len(world.anchor.sent) == 1


async def test_a_draw_that_nobody_enters_ends_empty(
    database: Database, autojump_clock: MockClock
) -> None:
    world = World.make(database)
    await run_for(world, 70)
    assert world.draw().state is State.EMPTY
    assert world.anchor.sent == []
    assert world.transcript() is None


async def test_it_goes_on_after_being_stopped_at_any_moment(
    database: Database, autojump_clock: MockClock
) -> None:
    world = await open_with_entries(database)
    for number in range(90):
        await run_for(world, 0.3 + number % 7 * 0.4)
    check_end(world, missed=False)
    assert len(set(world.anchor.sent)) == 1


class Crash(Exception):
    """The power goes off."""


class CrashingDatabase(AsyncDatabase):
    """Lets so many writing transactions through, then breaks: before a commit, or after it."""

    def __init__(self, database: Database, good: int, commits_last: bool) -> None:
        super().__init__(database, inline=True)
        self._good = good
        self._commits_last = commits_last

    async def run(self, function: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Result:
        if self._good == 0 and not self._commits_last:
            raise Crash
        result = await super().run(function, *args, **kwargs)
        if self._good == 0:
            raise Crash
        self._good -= 1
        return result


@pytest.mark.parametrize("commits_last", [False, True])
@pytest.mark.parametrize("missed", [False, True])
async def test_it_goes_on_after_a_crash_at_each_step(
    database: Database, autojump_clock: MockClock, commits_last: bool, missed: bool
) -> None:
    """Each run does one transaction more, with the power going off at it or just behind it."""
    world = await open_with_entries(database)
    world.beacon.is_away = missed
    crashes = 0
    with trio.fail_after(1_000):
        while world.draw().state is not State.DONE:
            with trio.move_on_after(100):
                try:
                    broken = CrashingDatabase(world.database, crashes % 2, commits_last)
                    await world.start(broken).run()
                except* Crash:
                    crashes += 1
    assert crashes >= 3
    check_end(world, missed)
    assert len(set(world.anchor.sent)) == 1


async def test_a_chain_that_is_away_delays_a_draw(
    database: Database, autojump_clock: MockClock
) -> None:
    world = await open_with_entries(database)
    world.anchor.is_away = True
    await run_for(world, 600)
    assert world.draw().state is State.FROZEN
    assert world.draw().sent_ms is None
    world.anchor.is_away = False
    await run_for(world, 200)
    check_end(world, missed=False)


async def test_a_service_that_is_not_listed_gives_all_back_in_the_end(
    database: Database, autojump_clock: MockClock
) -> None:
    world = await open_with_entries(database)
    world.anchor.listed = False
    await run_for(world, 300)
    assert world.draw().state is State.FROZEN
    await trio.sleep(PATIENCE_MS / 1000)
    await run_for(world, 70)
    verdict = check_end(world, missed=True)
    assert verdict.transcript.committed_s == 0
    assert world.anchor.sent == []


async def test_a_commitment_that_never_arrives_is_a_missed_reveal(
    database: Database, autojump_clock: MockClock
) -> None:
    world = await open_with_entries(database)
    world.anchor.loses = True
    await run_for(world, 300)
    check_end(world, missed=True)


async def test_randomness_that_stays_away_is_a_missed_reveal(
    database: Database, autojump_clock: MockClock
) -> None:
    world = await open_with_entries(database)
    world.beacon.is_away = True
    await run_for(world, 100)
    assert world.draw().state is State.COMMITTED
    await run_for(world, 200)
    verdict = check_end(world, missed=True)
    assert verdict.transcript.committed_s > 0


async def test_a_service_that_comes_back_too_late_has_missed_the_reveal(
    database: Database, autojump_clock: MockClock
) -> None:
    world = await open_with_entries(database)
    await run_for(world, 60)
    assert world.draw().state is State.COMMITTED
    await trio.sleep(300)
    await run_for(world, 20)
    check_end(world, missed=True)


async def test_a_commitment_that_came_too_late_is_not_drawn_from(
    database: Database, autojump_clock: MockClock
) -> None:
    world = await open_with_entries(database)
    world.anchor.loses = True
    await run_for(world, 58)
    draw = world.draw()
    assert draw.sent_ms is not None
    assert draw.frozen is not None
    terms = draw.terms(NETWORK, NodeKey(bytes(KEY.verify_key)))
    late = world.beacon.known_from(draw.frozen.source) // 1000 + 1
    commitment = world.anchor.sent[0]
    world.anchor.commitments[terms.key] = Commitment(commitment, late)
    await run_for(world, 60)
    assert check_end(world, missed=True).transcript.committed_s == late


async def test_another_commitment_on_the_chain_is_not_drawn_from(
    database: Database, autojump_clock: MockClock
) -> None:
    world = await open_with_entries(database)
    world.anchor.is_away = True
    await run_for(world, 58)
    terms = world.draw().terms(NETWORK, NodeKey(bytes(KEY.verify_key)))
    world.anchor.commitments[terms.key] = Commitment(Digest(bytes(32)), START // 1000)
    world.anchor.is_away = False
    await run_for(world, 120)
    assert world.draw().missed
    content = world.transcript()
    assert content is not None
    assert verify_transcript(content).transcript.reveal is None


async def test_two_processes_do_not_get_in_each_others_way(
    database: Database, autojump_clock: MockClock
) -> None:
    world = await open_with_entries(database)
    with trio.move_on_after(200):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.start().run)
            await trio.sleep(0.5)
            nursery.start_soon(world.start().run)
    check_end(world, missed=False)
    assert len(set(world.anchor.sent)) == 1


async def test_a_fault_in_one_draw_does_not_stop_the_service(
    database: Database, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await open_with_entries(database)

    def fail(content: bytes) -> None:
        raise ForgedError("awards differ")

    with monkeypatch.context() as patch:
        patch.setattr(drawing, "verify_transcript", fail)
        await run_for(world, 130)
    assert world.draw().state is State.COMMITTED
    await run_for(world, 20)
    check_end(world, missed=False)


async def test_only_kinds_of_randomness_that_are_there(
    database: Database, autojump_clock: MockClock
) -> None:
    world = World.make(database)
    world.schedules = (replace(SCHEDULE, plan=replace(PLAN, source=SourceKind.DRAND)),)
    with pytest.raises(LocalError, match=r"\[quick\]: source: found drand"):
        world.start()


SOURCE = Source(SourceKind.BEACON, 7)
KNOWN = TimeMs(START + 90_000)
REVEAL_BY = TimeMs(START + 150_000)


def state(name: State, sent: bool = False) -> Draw:
    frozen = (
        None if name in (State.OPEN, State.CLOSED) else Frozen(Digest(bytes(32)), SOURCE, REVEAL_BY)
    )
    return Draw(
        DRAW,
        name,
        PLAN,
        OCCASION.opens_ms,
        OCCASION.closes_ms,
        bytes(32),
        1,
        frozen,
        TimeMs(START) if sent else None,
        0,
        False,
        0,
    )


@pytest.mark.parametrize(
    ("draw", "late_ms", "step"),
    [
        (state(State.OPEN), 59_999, Step.WAIT),
        (state(State.OPEN), 60_000, Step.CLOSE),
        (state(State.CLOSED), 60_000, Step.FREEZE),
        (state(State.FROZEN), 89_998, Step.COMMIT),
        (state(State.FROZEN), 89_999, Step.FREEZE),
        (state(State.FROZEN), 60_000 + PATIENCE_MS, Step.MISS),
        (state(State.FROZEN, sent=True), 89_998, Step.COMMIT),
        (state(State.FROZEN, sent=True), 149_999, Step.COMMIT),
        (state(State.FROZEN, sent=True), 150_000, Step.MISS),
        (state(State.COMMITTED), 89_999, Step.WAIT),
        (state(State.COMMITTED), 90_000, Step.REVEAL),
        (state(State.COMMITTED), 149_999, Step.REVEAL),
        (state(State.COMMITTED), 150_000, Step.MISS),
        (state(State.PAYING), 0, Step.PAY),
        (state(State.DONE), 0, Step.WAIT),
        (state(State.EMPTY), 0, Step.WAIT),
    ],
)
def test_what_is_next(draw: Draw, late_ms: int, step: Step) -> None:
    known_from = KNOWN if draw.frozen else None
    assert choose_step(draw, known_from, TimeMs(START + late_ms)) is step

"""Offences get to the chain: at once or in turn, once, and never without a look."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from chain.client import ChainClient
from chain.errors import FailedError, UnreachableError
from chain.records import BundleRecord, Call, SeatResult, SlotKind
from chain.transactions import TransactionManager
from p2p_node.clock import Clock
from p2p_node.duties.offence_book import MAX_WAITING, OffenceBook
from p2p_node.duties.policing import MAX_TRIES, police_contradictions, police_shard
from p2p_node.node import Node
from protocols.bans import Standing
from protocols.committee import compute_transmission_order
from protocols.epochs import Timeline
from protocols.gossip import Equivocation
from protocols.membership import EpochView
from protocols.params import LANES, MINIMAL
from protocols.reports import Report, SignedReport
from protocols.types import Digest, Epoch, Seat, Shard, TimeMs
from tests.fakes.chain import FakeChain, FakeTransactions

EPOCH, SHARD = Epoch(3), Shard(0)
SEATS = 4
TIMELINE = Timeline(TimeMs(0), MINIMAL)
VIEW = EpochView(
    epoch=EPOCH,
    seed=Digest(b"\x07" * 32),
    seats=SEATS,
    checker_slots=SEATS,
    provider_slots=3,
    checkers={},
    providers={},
)
COMMITTEE = VIEW.committee(SHARD)
TURNS = list(reversed(compute_transmission_order(VIEW.seed, SHARD, SEATS)))
"""Seats in the order in which they police."""


@pytest.mark.parametrize(
    ("fake", "real"), [(FakeChain, ChainClient), (FakeTransactions, TransactionManager)]
)
def test_the_fakes_are_asked_as_the_real_ones_are(fake: type, real: type) -> None:
    for name, method in inspect.getmembers(fake, inspect.isfunction):
        if not name.startswith("_"):
            expected = inspect.signature(getattr(real, name)).parameters
            assert list(inspect.signature(method).parameters) == list(expected), name


class FakeCalls:
    """Names the offence instead of encoding it."""

    def prove_equivocation(self, checker: int, first: SignedReport, second: SignedReport) -> Call:
        return Call(to=None, data=f"equivocation {checker}".encode())

    def slash_fraud(self, epoch: Epoch, shard: Shard, lane: int) -> Call:
        return Call(to=None, data=f"fraud {lane}".encode())

    def record_wrong(self, epoch: Epoch, shard: Shard, seat: Seat) -> Call:
        return Call(to=None, data=f"wrong {seat}".encode())


class Court:
    """A chain, and a node for each seat."""

    def __init__(self, moment: TimeMs) -> None:
        self.chain = FakeChain()
        self.clock = Clock(started_at=moment)
        self.nodes = [self._make_node() for _ in range(SEATS)]

    def _make_node(self) -> Node:
        epochs = {EPOCH: VIEW}
        return cast(
            "Node",
            SimpleNamespace(
                chain=self.chain,
                calls=FakeCalls(),
                transactions=FakeTransactions(self._punish),
                clock=self.clock,
                preset=MINIMAL,
                watcher=SimpleNamespace(timeline=TIMELINE, view=SimpleNamespace(epochs=epochs)),
                offences=OffenceBook(),
            ),
        )

    def _punish(self, label: str) -> None:
        words = label.split()
        index = int(words[words.index("provider" if "provider" in words else "checker") + 1])
        if words[0] == "equivocation":
            self.chain.stakes[SlotKind.CHECKER, index] = 0
        elif words[0] == "fraud":
            self.chain.punished.add((index, EPOCH))
        else:
            self.chain.standings[index] = Standing(1, (EPOCH,))

    def sent(self) -> list[tuple[int, str]]:
        """Who sent what, by seat."""
        return [
            (seat, call.data.decode())
            for seat, node in enumerate(self.nodes)
            for _, call in cast("Any", node.transactions).sent
        ]


def contradiction(checker: int) -> Equivocation:
    report = Report(EPOCH, SHARD, (5,) * LANES, 1, 0, Digest(bytes(32)))
    first = SignedReport(Seat(0), report, bytes(65))
    return Equivocation(checker, first, replace(first, report=replace(report, online=0)))


def make_bundle(*, fraud: int = 0, deviations: int = 0) -> BundleRecord:
    reports = tuple(
        SeatResult(seat, COMMITTEE[seat], deviations if seat == 1 else 0, 1000)
        for seat in range(SEATS)
    )
    return BundleRecord(EPOCH, SHARD, lanes=3, online=7, fraud=fraud, reports=reports)


IN_REVEAL = TimeMs(TIMELINE.reveal_start(EPOCH) + 300)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    with trio.fail_after(seconds):
        yield


async def police_all(court: Court, accused: int, *absent: int) -> None:
    """Every seat but the accused one and the absent sees the contradiction; until nothing moves."""
    court.chain.stakes[SlotKind.CHECKER, COMMITTEE[accused]] = 1000
    async with trio.open_nursery() as nursery:
        for seat, node in enumerate(court.nodes):
            if seat not in absent:
                nursery.start_soon(police_contradictions, node, COMMITTEE[seat])
                node.offences.add(contradiction(COMMITTEE[accused]))
        await trio.sleep(120)
        nursery.cancel_scope.cancel()


async def test_one_member_proves_a_contradiction_at_once(autojump_clock: MockClock) -> None:
    court = Court(IN_REVEAL)
    accused, first = TURNS[0], TURNS[1]
    await police_all(court, accused)
    assert court.sent() == [(first, f"equivocation {COMMITTEE[accused]}")]


async def test_the_next_one_does_where_the_first_is_gone_within_the_epoch(
    autojump_clock: MockClock,
) -> None:
    court = Court(IN_REVEAL)
    accused, absent, second = TURNS[0], TURNS[1], TURNS[2]
    court.chain.stakes[SlotKind.CHECKER, COMMITTEE[accused]] = 1000
    node = court.nodes[second]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(police_contradictions, node, COMMITTEE[second])
        node.offences.add(contradiction(COMMITTEE[accused]))
        while court.chain.stakes[SlotKind.CHECKER, COMMITTEE[accused]]:
            await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    assert absent != second
    assert court.clock.now() < TIMELINE.start_of(Epoch(EPOCH + 1))


async def test_who_is_accused_does_not_prove_it(autojump_clock: MockClock) -> None:
    court = Court(IN_REVEAL)
    others = [seat for seat in range(SEATS) if seat != TURNS[0]]
    await police_all(court, TURNS[0], *others)
    assert court.sent() == []


async def test_a_stake_that_is_gone_is_not_paid_for(autojump_clock: MockClock) -> None:
    court = Court(IN_REVEAL)
    node = court.nodes[TURNS[1]]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(police_contradictions, node, COMMITTEE[TURNS[1]])
        node.offences.add(contradiction(COMMITTEE[TURNS[0]]))
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert court.sent() == []


async def test_failures_are_tried_again_but_not_without_end(autojump_clock: MockClock) -> None:
    court = Court(IN_REVEAL)
    accused, first = TURNS[0], TURNS[1]
    node = court.nodes[first]
    court.chain.failures = [UnreachableError("the test says so")] * 40
    cast("Any", node.transactions).failures = [FailedError("proof", bytes(32), None)] * 9
    await police_all(court, accused, *[seat for seat in range(SEATS) if seat != first])
    # Looks that the chain did not answer are no tries.
    assert len(court.sent()) == MAX_TRIES


async def police_everywhere(court: Court) -> None:
    async with trio.open_nursery() as nursery:
        for seat, node in enumerate(court.nodes):
            nursery.start_soon(police_shard, node, VIEW, SHARD, Seat(seat))


async def test_what_a_bundle_accuses_is_followed_up_once(autojump_clock: MockClock) -> None:
    court = Court(IN_REVEAL)
    court.chain.bundles[EPOCH, SHARD] = make_bundle(fraud=0b101, deviations=2)
    await police_everywhere(court)
    first = TURNS[0]
    assert court.sent() == [(first, "fraud 0"), (first, "fraud 2"), (first, "wrong 1")]
    assert court.clock.now() >= TIMELINE.bundle_end(EPOCH)


async def test_half_of_the_lanes_is_not_yet_wrong(autojump_clock: MockClock) -> None:
    court = Court(IN_REVEAL)
    court.chain.bundles[EPOCH, SHARD] = make_bundle(deviations=1)
    await police_everywhere(court)
    assert court.sent() == []


async def test_a_later_wrong_report_has_made_this_one_uncountable(
    autojump_clock: MockClock,
) -> None:
    court = Court(IN_REVEAL)
    court.chain.bundles[EPOCH, SHARD] = make_bundle(deviations=3)
    court.chain.standings[COMMITTEE[1]] = Standing(1, (Epoch(EPOCH + 1),))
    await police_everywhere(court)
    assert court.sent() == []


async def test_an_earlier_wrong_report_does_not_hide_this_one(autojump_clock: MockClock) -> None:
    court = Court(IN_REVEAL)
    court.chain.bundles[EPOCH, SHARD] = make_bundle(deviations=3)
    court.chain.standings[COMMITTEE[1]] = Standing(1, (Epoch(EPOCH - 1),))
    await police_everywhere(court)
    assert court.sent() == [(TURNS[0], "wrong 1")]


async def test_without_a_bundle_there_is_nothing_to_do(autojump_clock: MockClock) -> None:
    court = Court(IN_REVEAL)
    with within(600):
        await police_everywhere(court)
    assert court.sent() == []


async def test_a_chain_that_stays_away_is_given_up(autojump_clock: MockClock) -> None:
    court = Court(IN_REVEAL)
    court.chain.failures = [UnreachableError("the test says so")] * 10_000
    with within(600):
        await police_everywhere(court)
    assert court.sent() == []


async def test_the_book_hands_out_each_contradiction_once() -> None:
    book = OffenceBook()
    for _ in range(3):
        book.add(contradiction(1))
    book.add(contradiction(2))
    assert [(await book.next()).checker for _ in range(2)] == [1, 2]
    with trio.move_on_after(0.01) as scope:
        await book.next()
    assert scope.cancelled_caught


async def test_what_does_not_fit_the_book_is_taken_up_when_it_is_repeated() -> None:
    book = OffenceBook()
    for checker in range(MAX_WAITING + 1):
        book.add(contradiction(checker))
    for checker in range(MAX_WAITING):
        assert (await book.next()).checker == checker
    book.add(contradiction(MAX_WAITING))
    assert (await book.next()).checker == MAX_WAITING

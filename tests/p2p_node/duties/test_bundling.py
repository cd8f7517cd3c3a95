"""Bundles go by rank, with what may be trusted, and are not paid for in vain without end."""

from types import SimpleNamespace
from typing import Any, cast

import trio
from trio.testing import MockClock

from chain.errors import FailedError
from chain.records import BundleRecord, Call
from p2p_node.clock import Clock
from p2p_node.duties.bundling import MAX_REVERTS, MOST_WAITS, PATIENCE_PARTS, send_bundle
from p2p_node.duties.reporting import ReportBook
from p2p_node.node import Node
from protocols.committee import compute_transmission_order
from protocols.envelopes import Verified
from protocols.epochs import Timeline
from protocols.membership import EpochView, Member
from protocols.messages import ReportMessage
from protocols.params import MINIMAL
from protocols.reports import SignedReport
from protocols.types import Digest, Epoch, NodeKey, Seat, Shard, TimeMs, Wallet
from tests.fakes.chain import FakeChain, FakeTransactions

EPOCH, SHARD = Epoch(3), Shard(0)
SEATS = 4
TIMELINE = Timeline(TimeMs(0), MINIMAL)
CHECKERS = {
    index: Member(
        index=index,
        wallet=Wallet(bytes([index]) * 20),
        node_key=NodeKey(bytes([index]) * 32),
        stake=1,
        joined=Epoch(0),
        exits=Epoch(1000),
    )
    for index in range(SEATS)
}
VIEW = EpochView(
    epoch=EPOCH,
    seed=Digest(b"\x07" * 32),
    seats=SEATS,
    checker_slots=SEATS,
    provider_slots=3,
    checkers=CHECKERS,
    providers={},
)
ORDER = compute_transmission_order(VIEW.seed, SHARD, SEATS)
START = TIMELINE.bundle_start(EPOCH)
PATIENCE_MS = MINIMAL.rank_delay_ms // PATIENCE_PARTS


def make_report(seat: int) -> Verified[ReportMessage]:
    message = ReportMessage(
        epoch=EPOCH,
        shard=SHARD,
        seat=Seat(seat),
        checker=VIEW.committee(SHARD)[seat],
        scores=bytes(512),
        online=bytes(32),
        fraud=bytes(32),
        evidence=Digest(bytes(32)),
        secret=bytes(32),
        salt=bytes(32),
        wallet_signature=bytes(65),
    )
    return Verified(NodeKey(bytes(32)), message, b"", b"%d" % seat)


class Desk:
    """One checker with its book of reports, and the chain; nobody can be asked for more."""

    def __init__(self, trusted: int, *, known: int | None = None) -> None:
        self.chain = FakeChain()
        self.book = ReportBook()
        for seat in range(trusted if known is None else known):
            self.book.add(make_report(seat))
        for seat in range(trusted):
            self.book.trust(EPOCH, SHARD, Seat(seat))
        self.transactions = FakeTransactions(self._land)
        self.clock = Clock(started_at=TimeMs(START - 1000))
        self.submitted: list[tuple[int, int]] = []
        """When, in milliseconds of the bundle phase, and how many reports."""
        self.node = cast(
            "Node",
            SimpleNamespace(
                chain=self.chain,
                calls=SimpleNamespace(submit=self._submit),
                transactions=self.transactions,
                clock=self.clock,
                preset=MINIMAL,
                reports=self.book,
                # Everybody else is this wallet too, so nobody is asked for reports.
                identity=SimpleNamespace(wallet=None),
                watcher=SimpleNamespace(timeline=TIMELINE, view=SimpleNamespace(network=bytes(32))),
                network=cast("Any", None),
            ),
        )

    def _submit(
        self, *, epoch: Epoch, shard: Shard, medians: object, reports: list[SignedReport]
    ) -> Call:
        self.submitted.append((self.clock.now() - START, len(reports)))
        return Call(to=None)

    def _land(self, _label: str) -> None:
        self.chain.bundles[EPOCH, SHARD] = BundleRecord(EPOCH, SHARD, 3, 0, 0, ())

    async def send(self, rank: int = 0) -> None:
        with trio.fail_after(120):
            await send_bundle(self.node, VIEW, SHARD, ORDER[rank])


async def asked_nobody(*_: object) -> None:
    """Stands for a round of questions that brings nothing."""


def without_questions(monkeypatch: Any) -> None:
    monkeypatch.setattr("p2p_node.duties.bundling._ask_around", asked_nobody)


async def test_the_first_rank_sends_at_once_what_is_complete(autojump_clock: MockClock) -> None:
    desk = Desk(SEATS)
    await desk.send()
    assert desk.submitted == [(0, SEATS)]


async def test_a_later_rank_pays_only_where_the_ranks_before_did_not(
    autojump_clock: MockClock,
) -> None:
    desk = Desk(SEATS)
    await desk.send(rank=2)
    assert desk.submitted == [(2 * MINIMAL.rank_delay_ms, SEATS)]
    late = Desk(SEATS)
    late._land("")
    await late.send(rank=1)
    assert late.submitted == []


async def test_a_quorum_waits_for_the_rest_but_not_long(
    autojump_clock: MockClock, monkeypatch: Any
) -> None:
    without_questions(monkeypatch)
    desk = Desk(MINIMAL.quorum)
    await desk.send()
    assert desk.submitted == [(MOST_WAITS * PATIENCE_MS, MINIMAL.quorum)]


async def test_reports_that_are_not_trusted_stay_out(
    autojump_clock: MockClock, monkeypatch: Any
) -> None:
    without_questions(monkeypatch)
    desk = Desk(MINIMAL.quorum, known=SEATS)
    await desk.send()
    assert [count for _, count in desk.submitted] == [MINIMAL.quorum]
    too_few = Desk(MINIMAL.quorum - 1, known=SEATS)
    await too_few.send()
    assert too_few.submitted == []


async def test_what_failed_its_audit_is_not_waited_for(autojump_clock: MockClock) -> None:
    desk = Desk(MINIMAL.quorum, known=SEATS)
    desk.book.refuse(EPOCH, SHARD, Seat(SEATS - 1))
    await desk.send()
    assert desk.submitted == [(0, MINIMAL.quorum)]


async def test_bundles_that_revert_are_given_up(autojump_clock: MockClock) -> None:
    desk = Desk(SEATS)
    desk.transactions.failures = [FailedError("bundle", bytes(32), None)] * 100
    await desk.send()
    assert len(desk.submitted) == MAX_REVERTS


async def test_a_pause_is_waited_out_and_not_paid_for(autojump_clock: MockClock) -> None:
    desk = Desk(SEATS)
    desk.chain.paused = START // 1000 + 3
    await desk.send()
    ((moment, _),) = desk.submitted
    assert moment >= desk.chain.paused * 1000 - START
    forever = Desk(SEATS)
    forever.chain.paused = START // 1000 + 86_400
    await forever.send()
    assert forever.submitted == []

"""Reports: built from observations, signed once, committed to, revealed, and never contradicted."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing

from p2p_node.duties.checking import assess_shard
from p2p_node.duties.committing import keep_commitments, publish_commitment, sign_report
from p2p_node.duties.observations import NO_EVIDENCE, Observation, Transcript
from p2p_node.duties.publishing import (
    ask_for_reports,
    follow_reports,
    reveal_report,
    serve_reports,
)
from p2p_node.duties.reporting import ReportBook, build_report
from p2p_node.net.errors import StreamEndedError
from p2p_node.node import Node
from p2p_node.roles.equivocating_checker import contradict_report
from p2p_node.storage import AsyncStore, Store
from protocols.envelopes import seal
from protocols.gossip import (
    ASK_REPORTS_PROTOCOL,
    COMMITMENTS_TOPIC,
    GossipMemory,
    reports_topic,
)
from protocols.merkle import build_tree, hash_leaf
from protocols.messages import ReportsRequest, ReportsResponse
from protocols.params import LANES
from protocols.reports import Report
from protocols.scoring import Verdict
from protocols.types import Digest, Epoch, Seat
from tests.p2p_node.duties.world import (
    EPOCH,
    IN_COMMIT,
    IN_REVEAL,
    NETWORK,
    PRESET,
    SHARD,
    World,
    open_world,
)


def observation(lane: int, verdict: Verdict, score: int = 0, digest: bytes = b"") -> Observation:
    return Observation(lane, verdict, score, score, Digest(digest or NO_EVIDENCE), Transcript())


def make_report(*scores: int, online: int = 0b11) -> Report:
    padded = (*scores, *[0] * (LANES - len(scores)))
    return Report(EPOCH, SHARD, padded, online, 0, NO_EVIDENCE)


def test_report_says_what_was_observed() -> None:
    seen = [
        observation(3, Verdict.WRONG, digest=b"\x03" * 32),
        observation(0, Verdict.OK, 700, digest=b"\x01" * 32),
        observation(1, Verdict.ABSENT),
        observation(2, Verdict.SLOW, digest=b"\x02" * 32),
        observation(4, Verdict.BUSY),
    ]
    report = build_report(EPOCH, SHARD, seen)
    assert report.scores[:5] == (700, 0, 0, 0, 0)
    assert report.online == 0b11101
    assert report.fraud == 0b01000
    leaves = [(0, b"\x01"), (2, b"\x02"), (3, b"\x03")]
    digests = [hash_leaf(lane.to_bytes(2, "big") + byte * 32) for lane, byte in leaves]
    assert report.evidence == build_tree(b"".join(digests)).root


def test_no_transcripts_no_evidence() -> None:
    assert build_report(EPOCH, SHARD, [observation(0, Verdict.ABSENT)]).evidence == NO_EVIDENCE


def seat_of(world: World, number: int) -> tuple[Node, dict[str, int]]:
    checker, seat = world.seat(number)
    return checker, {"seat": seat, "checker": world.view.committee(SHARD)[number]}


@asynccontextmanager
async def following(world: World, *numbers: int) -> AsyncIterator[None]:
    """The checkers of these seats, or else all, follow commitments and reports."""
    async with trio.open_nursery() as nursery:
        for number in numbers or range(len(world.checkers)):
            checker, place = seat_of(world, number)
            await nursery.start(keep_commitments, checker, place["checker"])
            follow_reports(checker, SHARD)
        yield
        nursery.cancel_scope.cancel()


async def commit_to(world: World, number: int, report: Report) -> tuple[Node, bytes]:
    """Have the checker of a seat commit to a report."""
    sender, place = seat_of(world, number)
    sealed = await sign_report(sender, world.view, report=report, **place)
    await publish_commitment(sender, sealed)
    return sender, sealed


async def show(world: World, number: int, report: Report) -> Node:
    """Have it committed to, and then revealed."""
    world.move_to(IN_COMMIT)
    sender, sealed = await commit_to(world, number, report)
    world.move_to(IN_REVEAL)
    await reveal_report(sender, sealed)
    return sender


async def test_revealed_report_reaches_followers(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_COMMIT) as world, following(world):
        report = make_report(10, 20)
        sender = await show(world, 0, report)
        for each in world.checkers:
            assert len(each.reports.sealed(EPOCH, SHARD)) == 1
        (signed,) = sender.reports.signed(EPOCH, SHARD)
        assert (signed.report, signed.seat) == (report, 0)


async def test_report_of_another_counts_when_it_is_trusted(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_COMMIT) as world, following(world):
        listener, _ = seat_of(world, 1)
        await show(world, 0, make_report(10, 20))
        book = listener.reports
        assert (book.count(EPOCH, SHARD), len(book.undecided(EPOCH, SHARD))) == (0, 1)
        book.trust(EPOCH, SHARD, Seat(0))
        assert (book.count(EPOCH, SHARD), book.undecided(EPOCH, SHARD)) == (1, [])
        assert read_report_scores(listener) == (10, 20)


async def test_refused_report_is_passed_on_but_never_bundled(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_COMMIT) as world, following(world):
        listener, _ = seat_of(world, 1)
        await show(world, 0, make_report(10, 20))
        listener.reports.refuse(EPOCH, SHARD, Seat(0))
        assert listener.reports.undecided(EPOCH, SHARD) == []
        assert listener.reports.signed(EPOCH, SHARD) == []
        assert listener.reports.count_refused(EPOCH, SHARD) == 1
        assert len(listener.reports.sealed(EPOCH, SHARD)) == 1


async def test_report_that_was_not_committed_to_is_kept_to_oneself(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_REVEAL) as world, following(world):
        sender, sealed = await commit_to(world, 0, make_report(10, 20))
        await reveal_report(sender, sealed)
        assert all(each.reports.sealed(EPOCH, SHARD) == [] for each in world.checkers)
        assert sender.network.counters.published[COMMITMENTS_TOPIC] == 0
        assert sender.network.counters.published[reports_topic(SHARD)] == 0


async def test_second_report_is_never_signed(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_COMMIT) as world, following(world):
        sender, first = await commit_to(world, 0, make_report(10, 20))
        _, second = await commit_to(world, 0, make_report(99, 20))
        assert second == first
        world.move_to(IN_REVEAL)
        await reveal_report(sender, second)
        assert read_report_scores(sender) == (10, 20)
        for each in world.checkers:
            assert each.network.counters.refused[reports_topic(SHARD), "equivocation"] == 0
            assert len(each.reports.sealed(EPOCH, SHARD)) == 1


def restart(node: Node, store: AsyncStore) -> Node:
    """What a restart leaves of a node: its keys and its store."""
    return replace(node, store=store, reports=ReportBook(), gossip=GossipMemory())


async def reopen(world: World, node: Node, directory: Path) -> AsyncStore:
    """The same file, opened anew."""
    number = world.checkers.index(node)
    await trio.to_thread.run_sync(node.store.store.close)
    return AsyncStore(Store.open(directory / str(number), NETWORK))


async def test_restarted_checker_repeats_commitment_and_report(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_COMMIT) as world:
        sender, first = await commit_to(world, 0, make_report(10, 20))
        async with await reopen(world, sender, tmp_path) as store, following(world, 1):
            restarted = restart(sender, store)
            place = seat_of(world, 0)[1]
            again = await sign_report(restarted, world.view, report=make_report(77, 88), **place)
            assert again == first
            await publish_commitment(restarted, again)
            world.move_to(IN_REVEAL)
            await reveal_report(restarted, again)
            assert read_report_scores(restarted) == (10, 20)
            assert seat_of(world, 1)[0].reports.sealed(EPOCH, SHARD) == [first]


async def test_checker_restarted_after_the_commitments_still_knows_them(tmp_path: Path) -> None:
    """Its own as well as those of others: otherwise it could bundle nothing."""
    async with open_world(tmp_path, IN_COMMIT) as world:
        listener, place = seat_of(world, 1)
        async with trio.open_nursery() as nursery:
            await nursery.start(keep_commitments, listener, place["checker"])
            sender, sealed = await commit_to(world, 0, make_report(10, 20))
            _, own = await commit_to(world, 1, make_report(10, 21))
            with trio.fail_after(5):
                while len(await listener.store.commitments(EPOCH)) < 2:
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        world.move_to(IN_REVEAL)
        async with await reopen(world, listener, tmp_path) as store:
            restarted = restart(listener, store)
            async with trio.open_nursery() as nursery:
                await nursery.start(keep_commitments, restarted, place["checker"])
                follow_reports(restarted, SHARD)
                await publish_commitment(restarted, own)
                await reveal_report(restarted, own)
                await reveal_report(sender, sealed)
                assert sorted(restarted.reports.sealed(EPOCH, SHARD)) == sorted([sealed, own])
                nursery.cancel_scope.cancel()


async def test_commitments_of_other_committees_are_not_stored(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_COMMIT) as world, trio.open_nursery() as nursery:
        nobody = len(world.checkers)
        await nursery.start(keep_commitments, world.outsider, nobody)
        await commit_to(world, 0, make_report(10, 20))
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert world.outsider.gossip.commitments.get(EPOCH, SHARD, Seat(0)) is not None
        assert await world.outsider.store.commitments(EPOCH) == []
        nursery.cancel_scope.cancel()


async def test_contradiction_goes_to_the_offence_book_once(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_COMMIT) as world, following(world):
        report = make_report(10, 20)
        sender = await show(world, 0, report)
        listener, _ = seat_of(world, 1)
        place = seat_of(world, 0)[1]
        for _ in range(2):
            second = contradict_report(sender, place["seat"], place["checker"], report)
            await sender.network.publish(reports_topic(SHARD), second)
        with trio.fail_after(5):
            found = await listener.offences.next()
        assert found.checker == place["checker"]
        assert {found.first.report.online, found.second.report.online} == {0b11, 0}
        assert len(listener.reports.sealed(EPOCH, SHARD)) == 1
        with trio.move_on_after(0.05) as scope:
            await listener.offences.next()
        assert scope.cancelled_caught


async def test_restarted_checker_reports_what_it_had_observed(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_REVEAL) as world:
        checker, place = seat_of(world, 0)
        seen = [observation(0, Verdict.OK, 500, b"\x01" * 32), observation(1, Verdict.ABSENT)]
        await checker.store.save_observations(EPOCH, SHARD, seen)
        report = await assess_shard(checker, world.view, SHARD, place["seat"], place["checker"])
        assert report == build_report(EPOCH, SHARD, seen)


async def test_checker_restarted_within_its_slot_asks_nobody_again(tmp_path: Path) -> None:
    """Its nonces are known to whoever got a job before the restart."""
    before_slot_0 = PRESET.draw_ms + PRESET.transfer_ms - 600
    async with open_world(tmp_path, before_slot_0) as world:
        checker, place = seat_of(world, 0)
        await checker.store.challenge_secret(EPOCH, SHARD, place["seat"], b"\x07" * 32)
        with trio.fail_after(5):
            report = await assess_shard(checker, world.view, SHARD, place["seat"], place["checker"])
        assert report is None


async def test_checker_that_missed_its_slot_says_nothing(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_REVEAL) as world:
        checker, place = seat_of(world, 0)
        assert (
            await assess_shard(checker, world.view, SHARD, place["seat"], place["checker"]) is None
        )


async def test_reports_can_be_asked_for(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_COMMIT) as world:
        holder, place = seat_of(world, 0)
        asker, own = seat_of(world, 1)
        serve_reports(holder)
        async with trio.open_nursery() as nursery:
            await nursery.start(keep_commitments, asker, own["checker"])
            await show(world, 0, make_report(10, 20))
            assert asker.reports.sealed(EPOCH, SHARD) == []
            member = world.view.checkers[place["checker"]]
            await ask_for_reports(asker, world.view, SHARD, member)
            assert asker.reports.sealed(EPOCH, SHARD) == holder.reports.sealed(EPOCH, SHARD) != []
            nursery.cancel_scope.cancel()


async def test_answers_with_foreign_reports_are_refused(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_REVEAL) as world:
        holder, place = seat_of(world, 0)
        asker, _ = seat_of(world, 1)
        key = holder.identity.node_key

        async def answer(stream) -> None:
            await stream.receive(1024)
            await stream.send(seal(key, NETWORK, ReportsResponse(reports=(b"junk",))))

        holder.network.serve(ASK_REPORTS_PROTOCOL, answer)
        member = world.view.checkers[place["checker"]]
        await ask_for_reports(asker, world.view, SHARD, member)
        assert asker.reports.count(EPOCH, SHARD) == 0
        assert any(
            where == ASK_REPORTS_PROTOCOL and count
            for (where, _), count in asker.network.counters.refused.items()
        )


@pytest.mark.parametrize("data", [b"", b"junk", bytes(4000)])
async def test_malformed_requests_end_the_stream_only(tmp_path: Path, data: bytes) -> None:
    async with open_world(tmp_path, IN_REVEAL) as world:
        holder, _ = seat_of(world, 0)
        serve_reports(holder)
        target = holder.network.node_key
        with trio.fail_after(5):
            async with world.outsider.network.open_stream(
                target, ASK_REPORTS_PROTOCOL, 5
            ) as stream:
                await stream.send(data)
                with pytest.raises(StreamEndedError):
                    await stream.receive(1024)
            request = seal(
                world.outsider.identity.node_key, NETWORK, ReportsRequest(epoch=EPOCH, shard=SHARD)
            )
            async with world.outsider.network.open_stream(
                target, ASK_REPORTS_PROTOCOL, 5
            ) as stream:
                await stream.send(request)
                assert await stream.receive(1024)
        assert sum(holder.network.counters.refused.values()) == 1


async def test_book_forgets_old_epochs(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_COMMIT) as world:
        sender = await show(world, 0, make_report(1, 2))
        assert sender.reports.count(EPOCH, SHARD) == 1
        sender.reports.refuse(EPOCH, SHARD, Seat(1))
        sender.reports.forget_before(Epoch(EPOCH + 1))
        assert sender.reports.sealed(EPOCH, SHARD) == []
        assert sender.reports.count(EPOCH, SHARD) == 0
        assert sender.reports.count_refused(EPOCH, SHARD) == 0


async def test_book_wakes_whoever_waits_for_it() -> None:
    book = ReportBook()
    for change in (
        lambda: book.trust(EPOCH, SHARD, Seat(0)),
        lambda: book.refuse(EPOCH, SHARD, Seat(1)),
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(book.wait_for_change)
            await trio.testing.wait_all_tasks_blocked()
            with trio.fail_after(5):
                change()


def read_report_scores(node: Node) -> tuple[int, ...]:
    (signed,) = node.reports.signed(EPOCH, SHARD)
    return signed.report.scores[:2]

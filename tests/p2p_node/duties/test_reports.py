"""Reports: built from observations, signed once, published, asked for, and never contradicted."""

from dataclasses import replace
from pathlib import Path

import pytest
import trio

from p2p_node.duties.checking import assess_shard
from p2p_node.duties.observations import NO_EVIDENCE, Observation, Transcript
from p2p_node.duties.publishing import (
    ask_for_reports,
    follow_reports,
    publish_report,
    republish_report,
    serve_reports,
)
from p2p_node.duties.reporting import ReportBook, build_report
from p2p_node.net.errors import StreamEndedError
from p2p_node.node import Node
from p2p_node.roles.lying_checker import invent_report
from p2p_node.storage import AsyncStore, Store
from protocols.envelopes import seal
from protocols.gossip import ASK_REPORTS_PROTOCOL, GossipMemory, reports_topic
from protocols.merkle import build_tree, hash_leaf
from protocols.messages import ReportsRequest, ReportsResponse
from protocols.params import LANES, MAX_SCORE
from protocols.reports import Report
from protocols.scoring import Verdict
from protocols.types import Digest, Epoch
from tests.p2p_node.duties.world import EPOCH, NETWORK, PRESET, SHARD, World, open_world

IN_REVEAL = PRESET.draw_ms + PRESET.transfer_ms + PRESET.check_ms + 50


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


async def test_published_report_reaches_followers(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_REVEAL) as world:
        for checker in world.checkers:
            follow_reports(checker, SHARD)
        sender, place = seat_of(world, 0)
        report = make_report(10, 20)
        await publish_report(sender, world.view, report=report, **place)
        with trio.fail_after(5):
            while any(each.reports.count(EPOCH, SHARD) < 1 for each in world.checkers):
                await trio.sleep(0.01)
        for each in world.checkers:
            (signed,) = each.reports.signed(EPOCH, SHARD)
            assert signed.report == report
            assert signed.seat == place["seat"]


async def test_second_report_is_never_published(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_REVEAL) as world:
        listener, _ = seat_of(world, 1)
        follow_reports(listener, SHARD)
        sender, place = seat_of(world, 0)
        await publish_report(sender, world.view, report=make_report(10, 20), **place)
        await publish_report(sender, world.view, report=make_report(99, 20), **place)
        with trio.fail_after(5):
            while listener.reports.count(EPOCH, SHARD) < 1:
                await trio.sleep(0.01)
        assert read_report_scores(listener) == (10, 20)
        assert listener.network.counters.refused[reports_topic(SHARD), "equivocation"] == 0


async def test_restarted_checker_repeats_its_first_report(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_REVEAL) as world:
        sender, place = seat_of(world, 0)
        await publish_report(sender, world.view, report=make_report(10, 20), **place)
        first = await sender.store.own_report(EPOCH, SHARD)
        number = world.checkers.index(sender)
        # What a restart is for the store: the same file, opened anew.
        await trio.to_thread.run_sync(sender.store.store.close)
        reopened = AsyncStore(Store.open(tmp_path / str(number), NETWORK))
        restarted = replace(sender, store=reopened, reports=ReportBook(), gossip=GossipMemory())
        async with reopened:
            await publish_report(restarted, world.view, report=make_report(77, 88), **place)
            assert await reopened.own_report(EPOCH, SHARD) == first
            assert read_report_scores(restarted) == (10, 20)


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
    async with open_world(tmp_path, IN_REVEAL) as world:
        holder, place = seat_of(world, 0)
        asker, _ = seat_of(world, 1)
        serve_reports(holder)
        await publish_report(holder, world.view, report=make_report(10, 20), **place)
        assert asker.reports.count(EPOCH, SHARD) == 0
        member = world.view.checkers[place["checker"]]
        await ask_for_reports(asker, world.view, SHARD, member)
        assert read_report_scores(asker) == (10, 20)


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


async def test_republished_report_counts_at_home(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_REVEAL) as world:
        sender, place = seat_of(world, 0)
        await publish_report(sender, world.view, report=make_report(10, 20), **place)
        stored = await sender.store.own_report(EPOCH, SHARD)
        assert stored is not None
        restarted = replace(sender, reports=ReportBook(), gossip=GossipMemory())
        await republish_report(restarted, stored)
        assert restarted.reports.sealed(EPOCH, SHARD) == [stored]


async def test_book_forgets_old_epochs(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_REVEAL) as world:
        sender, place = seat_of(world, 0)
        await publish_report(sender, world.view, report=make_report(1, 2), **place)
        sender.reports.forget_before(Epoch(EPOCH + 1))
        assert sender.reports.sealed(EPOCH, SHARD) == []


async def test_lies_fill_every_lane_that_has_a_provider(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_REVEAL) as world:
        report = invent_report(world.view, SHARD)
        assert all(0 < score <= MAX_SCORE for score in report.scores[:2])
        assert not any(report.scores[2:])


def read_report_scores(node: Node) -> tuple[int, ...]:
    (signed,) = node.reports.signed(EPOCH, SHARD)
    return signed.report.scores[:2]

"""Audits: reports that rest on jobs are trusted, others are not, and silence decides nothing."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from p2p_node.duties.auditing import MAX_ASKED, TranscriptServer, audit_reports
from p2p_node.duties.challenging import challenge_provider
from p2p_node.duties.committing import keep_commitments, publish_commitment, sign_report
from p2p_node.duties.observations import NO_EVIDENCE
from p2p_node.duties.publishing import follow_reports, reveal_report
from p2p_node.duties.reporting import build_report
from p2p_node.net.api import RequestStream
from p2p_node.net.errors import StreamEndedError
from p2p_node.node import Node
from p2p_node.roles.copying_checker import copy_report
from p2p_node.roles.lying_checker import belittle
from protocols.audits import AuditFault
from protocols.envelopes import ENVELOPE_OVERHEAD, open_envelope, seal
from protocols.gossip import AUDIT_PROTOCOL
from protocols.membership import EpochView
from protocols.messages import AuditRequest, AuditResponse
from protocols.reports import Report
from protocols.types import Epoch, Seat
from tests.p2p_node.duties.test_jobs import IN_SLOT_0, SECRET, make_challenge, serving
from tests.p2p_node.duties.world import (
    EPOCH,
    IN_COMMIT,
    IN_REVEAL,
    NETWORK,
    SHARD,
    World,
    open_world,
)

PATIENCE = 20
CHECKED, AUDITOR, THIRD = 0, 1, 2
"""Seats: whose report is audited, by whom, and who looks on."""


@asynccontextmanager
async def checked_world(directory: Path) -> AsyncIterator[tuple[World, Report]]:
    """A world in the commit phase; seat CHECKED has challenged both providers, one of which is
    gone, and everybody follows."""
    async with open_world(directory, IN_SLOT_0) as world, trio.open_nursery() as nursery:
        async with serving(world, 0):
            checker, challenge = await make_challenge(world, CHECKED)
            stored = await checker.store.challenge_secret(EPOCH, SHARD, Seat(CHECKED), SECRET)
            assert stored == SECRET
            world.hub.cut(checker.network.node_key, world.providers[1].network.node_key)
            seen = [
                await challenge_provider(checker, challenge, provider)
                for provider in world.view.shard_providers(SHARD)
            ]
        await checker.store.save_observations(EPOCH, SHARD, seen)
        world.move_to(IN_COMMIT)
        await follow_all(world, nursery)
        yield world, build_report(EPOCH, SHARD, seen)
        nursery.cancel_scope.cancel()


async def follow_all(world: World, nursery: trio.Nursery) -> None:
    """Let every checker keep commitments and reports from now on."""
    for index, each in enumerate(world.checkers):
        await nursery.start(keep_commitments, each, index)
        follow_reports(each, SHARD)


async def reveal(world: World, seat: int, report: Report) -> None:
    """Commit to a report, and reveal it."""
    checker, _ = world.seat(seat)
    index = world.view.committee(SHARD)[seat]
    sealed = await sign_report(checker, world.view, seat=Seat(seat), checker=index, report=report)
    await publish_commitment(checker, sealed)
    world.move_to(IN_REVEAL)
    await reveal_report(checker, sealed)


def auditor_of(world: World) -> Node:
    return world.seat(AUDITOR)[0]


@asynccontextmanager
async def auditing(world: World) -> AsyncIterator[Node]:
    node = auditor_of(world)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(audit_reports, node, world.view, SHARD, Seat(AUDITOR))
        yield node
        nursery.cancel_scope.cancel()


async def decide(node: Node) -> bool:
    """Wait until the one report that is there is trusted or refused, and tell which."""
    with trio.fail_after(PATIENCE):
        while node.reports.undecided(EPOCH, SHARD):
            await node.reports.wait_for_change()
    return node.reports.count(EPOCH, SHARD) == 1


def refusals(node: Node, reason: str) -> int:
    return node.network.counters.refused[AUDIT_PROTOCOL, reason]


async def test_report_with_its_transcripts_is_trusted(tmp_path: Path) -> None:
    async with checked_world(tmp_path) as (world, report):
        assert report.scores[0] > 0
        assert report.online == 1
        TranscriptServer(world.seat(CHECKED)[0]).serve()
        await reveal(world, CHECKED, report)
        async with auditing(world) as auditor:
            assert await decide(auditor)
        assert auditor.reports.signed(EPOCH, SHARD)[0].report == report


async def test_false_low_scores_are_left_to_the_median(tmp_path: Path) -> None:
    async with checked_world(tmp_path) as (world, report):
        TranscriptServer(world.seat(CHECKED)[0]).serve()
        await reveal(world, CHECKED, belittle(report))
        async with auditing(world) as auditor:
            assert await decide(auditor)


def raise_score(report: Report) -> Report:
    return replace(report, scores=(32_767, *report.scores[1:]))


def accuse(report: Report) -> Report:
    return replace(report, scores=(0, *report.scores[1:]), fraud=1)


def lose_evidence(report: Report) -> Report:
    return replace(report, evidence=NO_EVIDENCE)


def score_the_absent(report: Report) -> Report:
    return replace(report, scores=(report.scores[0], 5, *report.scores[2:]))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (raise_score, AuditFault.BOUND),
        (accuse, AuditFault.FRAUD),
        (lose_evidence, AuditFault.ROOT),
        (score_the_absent, AuditFault.OFFLINE),
    ],
)
async def test_report_that_does_not_follow_is_refused(
    tmp_path: Path, change: Callable[[Report], Report], fault: AuditFault
) -> None:
    async with checked_world(tmp_path) as (world, report):
        TranscriptServer(world.seat(CHECKED)[0]).serve()
        await reveal(world, CHECKED, change(report))
        async with auditing(world) as auditor:
            assert not await decide(auditor)
        assert refusals(auditor, fault.value) == 1
        assert auditor.reports.signed(EPOCH, SHARD) == []


async def test_copied_report_is_refused(tmp_path: Path) -> None:
    """By a checker that has the report and none of what is behind it."""
    async with checked_world(tmp_path) as (world, report):
        copier, _ = world.seat(THIRD)
        TranscriptServer(copier).serve()
        await reveal(world, THIRD, report)
        async with auditing(world) as auditor:
            assert not await decide(auditor)
        assert refusals(auditor, AuditFault.NOTHING.value) == 1


async def test_copier_repeats_the_last_epoch_of_another(tmp_path: Path) -> None:
    async with checked_world(tmp_path) as (world, report):
        await reveal(world, CHECKED, report)
        copier, seat = world.seat(THIRD)
        index = world.view.committee(SHARD)[THIRD]
        following: EpochView = replace(world.view, epoch=Epoch(EPOCH + 1))
        copied = await copy_report(copier, following, SHARD, seat, index)
        assert copied is not None
        assert (copied.epoch, copied.scores, copied.online) == (
            EPOCH + 1,
            report.scores,
            report.online,
        )
        own = world.view.committee(SHARD)[CHECKED]
        assert await copy_report(copier, following, SHARD, seat, own) is None


async def test_report_that_judges_nobody_needs_no_transcript(tmp_path: Path) -> None:
    async with checked_world(tmp_path) as (world, report):
        await reveal(world, THIRD, replace(report, scores=(0,) * 256, online=0))
        async with auditing(world) as auditor:
            assert await decide(auditor)


async def test_silence_is_asked_again_for_the_same_lane(tmp_path: Path) -> None:
    async with checked_world(tmp_path) as (world, report):
        asked: list[int] = []
        server = TranscriptServer(world.seat(CHECKED)[0])

        async def answer_the_third(stream: RequestStream) -> None:
            data = await stream.receive(AuditRequest.MAX_BYTES + ENVELOPE_OVERHEAD)
            request = open_envelope(data, AuditRequest, NETWORK).message
            asked.append(request.lane)
            if len(asked) < 3:
                raise StreamEndedError("the test says so")
            key = world.seat(CHECKED)[0].identity.node_key
            await stream.send(seal(key, NETWORK, await server._find(request)))

        world.seat(CHECKED)[0].network.serve(AUDIT_PROTOCOL, answer_the_third)
        everybody = replace(report, online=0b11)
        await reveal(world, CHECKED, everybody)
        async with auditing(world) as auditor:
            assert auditor.reports.count(EPOCH, SHARD) == 0
            await decide(auditor)
        assert len(asked) == 3
        assert len(set(asked)) == 1


async def test_garbage_for_a_transcript_is_refused(tmp_path: Path) -> None:
    async with checked_world(tmp_path) as (world, report):

        async def say_garbage(stream: RequestStream) -> None:
            await stream.receive(1024)
            await stream.send(b"\x93garbage")

        world.seat(CHECKED)[0].network.serve(AUDIT_PROTOCOL, say_garbage)
        await reveal(world, CHECKED, report)
        async with auditing(world) as auditor:
            assert not await decide(auditor)


async def ask(world: World, asker: Node, **changes: object) -> AuditResponse | None:
    """Ask the checked seat for a transcript; None when it cuts the stream."""
    request = replace(AuditRequest(epoch=EPOCH, shard=SHARD, lane=0), **changes)
    checked = world.seat(CHECKED)[0].network.node_key
    async with asker.network.open_stream(checked, AUDIT_PROTOCOL, PATIENCE) as stream:
        await stream.send(seal(asker.identity.node_key, NETWORK, request))
        try:
            data = await stream.receive(AuditResponse.MAX_BYTES + ENVELOPE_OVERHEAD)
        except StreamEndedError:
            return None
    return open_envelope(data, AuditResponse, NETWORK, signer=checked).message


async def test_transcripts_are_for_the_committee_while_reports_count(tmp_path: Path) -> None:
    async with checked_world(tmp_path) as (world, _):
        checked = world.seat(CHECKED)[0]
        TranscriptServer(checked).serve()
        asker = auditor_of(world)
        assert await ask(world, asker) is None
        assert refusals(checked, "not revealed yet") == 1
        world.move_to(IN_REVEAL)
        found = await ask(world, asker)
        assert found is not None
        assert found.messages
        for stranger in (world.outsider, world.providers[0]):
            assert await ask(world, stranger) is None
        assert refusals(checked, "not in committee") == 2
        assert await ask(world, asker, epoch=Epoch(EPOCH + 1)) is None
        end = checked.watcher.timeline.bundle_end(EPOCH)
        world.move_to(end - checked.watcher.timeline.start_of(EPOCH) + 1)
        assert await ask(world, asker) is None
        assert refusals(checked, "not an epoch to audit") == 2


async def test_lane_without_transcript_is_answered_with_nothing(tmp_path: Path) -> None:
    async with checked_world(tmp_path) as (world, _):
        TranscriptServer(world.seat(CHECKED)[0]).serve()
        world.move_to(IN_REVEAL)
        assert await ask(world, auditor_of(world), lane=1) == AuditResponse(path=b"", messages=())


async def test_nobody_asks_without_end(tmp_path: Path) -> None:
    async with checked_world(tmp_path) as (world, _):
        checked, asker = world.seat(CHECKED)[0], auditor_of(world)
        TranscriptServer(checked).serve()
        world.move_to(IN_REVEAL)
        for _ in range(MAX_ASKED):
            assert await ask(world, asker, lane=1) is not None
        assert await ask(world, asker, lane=1) is None
        assert refusals(checked, "asked too often") == 1
        assert await ask(world, world.seat(THIRD)[0], lane=1) is not None


async def test_one_transcript_at_a_time_for_each_member(tmp_path: Path) -> None:
    async with checked_world(tmp_path) as (world, _):
        checked, asker = world.seat(CHECKED)[0], auditor_of(world)
        TranscriptServer(checked).serve()
        world.move_to(IN_REVEAL)
        answers: list[AuditResponse | None] = []

        async def ask_once(who: Node) -> None:
            answers.append(await ask(world, who))

        async with trio.open_nursery() as nursery:
            for who in (asker, asker, world.seat(THIRD)[0]):
                nursery.start_soon(ask_once, who)
        assert sum(answer is None for answer in answers) == 1
        assert refusals(checked, "asked twice at once") == 1

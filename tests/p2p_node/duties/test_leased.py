"""A leased provider: what it answers, and what checkers and auditors make of that."""

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from chain.errors import TimedOutError, UnreachableError
from p2p_node.duties import auditing as auditing_duty
from p2p_node.duties import job_serving, lease_confirming
from p2p_node.duties.auditing import TranscriptServer
from p2p_node.duties.challenging import challenge_provider
from p2p_node.duties.job_answering import Host
from p2p_node.duties.job_serving import JobServer
from p2p_node.duties.lease_confirming import LeaseConfirmer
from p2p_node.duties.observations import Observation
from p2p_node.duties.reporting import build_report
from p2p_node.duties.transfer_serving import TransferServer
from p2p_node.net.api import RequestStream
from p2p_node.net.errors import StreamEndedError
from p2p_node.workloads.device_group import DeviceGroup
from protocols.audits import AuditFault
from protocols.envelopes import ENVELOPE_OVERHEAD, open_envelope, seal
from protocols.gossip import JOB_PROTOCOL
from protocols.leased_scores import LeaseUnproved, compute_leased_score
from protocols.leases import Base, Lease, LeaseState
from protocols.messages import Job, JobRefusal, PassRequest, Refusal
from protocols.params import TOKEN
from protocols.reports import Report
from protocols.scoring import Verdict
from protocols.transfer_messages import TRANSFER_PROTOCOL
from protocols.types import Epoch, Seat
from tests.fakes.leases import FakeLeases
from tests.p2p_node.duties.job_harness import PATIENCE, CountedBackend
from tests.p2p_node.duties.test_audits import (
    AUDITOR,
    CHECKED,
    auditing,
    decide,
    follow_all,
    refusals,
    reveal,
)
from tests.p2p_node.duties.test_jobs import (
    IN_SLOT_0,
    SECRET,
    Reply,
    commitment,
    exchange,
    hear,
    job_id,
    make_challenge,
    make_job,
    reply,
)
from tests.p2p_node.duties.transfer_world import open_transfer_world, seal_as
from tests.p2p_node.duties.world import EPOCH, GENESIS, IN_COMMIT, NETWORK, SHARD, World, open_world
from tests.protocols.lease_world import make_lease

LEASE_ID = 4711
BEFORE = GENESIS + 5
"""Within the epoch before EPOCH."""


def lease_of(world: World, **changes: Any) -> Lease:
    """A lease of provider 0 that lasts through EPOCH, worth more than what it proved."""
    member = world.view.providers[0]
    usual: dict[str, Any] = {
        "id": LEASE_ID,
        "provider": member.index,
        "provider_wallet": member.wallet,
        "started_at": BEFORE,
        "seconds": 3600,
        "price": 3 * TOKEN,
        "base": Base(Epoch(0), 500, 10_000),
    }
    return make_lease(**{**usual, **changes})


@asynccontextmanager
async def leasing(
    directory: Path, *, leased: Callable[[], int] = lambda: LEASE_ID
) -> AsyncIterator[tuple[World, CountedBackend]]:
    """A world in slot 0 whose provider 0 is leased, and its device."""
    backend = CountedBackend()
    devices = DeviceGroup((backend,))
    try:
        async with open_world(directory, IN_SLOT_0) as world, trio.open_nursery() as nursery:
            server = JobServer(world.providers[0], Host(devices), 0, leased=leased)
            nursery.start_soon(server.run)
            await trio.testing.wait_all_tasks_blocked()
            yield world, backend
            nursery.cancel_scope.cancel()
    finally:
        await devices.close()


def trust(world: World, seat: int, source: FakeLeases) -> FakeLeases:
    """Let the checker of a seat read leases from `source`."""
    index = world.view.committee(SHARD)[seat]
    world.checkers[index] = replace(world.checkers[index], leases=LeaseConfirmer(source))
    return source


async def check(world: World, seat: int = 0) -> Observation:
    checker, challenge = await make_challenge(world, seat)
    with trio.fail_after(PATIENCE):
        return await challenge_provider(checker, challenge, world.view.providers[0])


def counted(world: World, seat: int = 0) -> dict[str, int]:
    """What the checker of a seat counted of jobs."""
    counters = world.seat(seat)[0].network.counters
    return {reason: n for (name, reason), n in counters.refused.items() if name == JOB_PROTOCOL}


# The provider


async def test_every_job_is_refused_at_once_and_the_lease_named(tmp_path: Path) -> None:
    async with leasing(tmp_path) as (world, backend):
        checker, challenge = await make_challenge(world)
        job = seal(checker.identity.node_key, NETWORK, make_job(world, challenge))
        for _ in range(2):
            answer = await exchange(checker, world.providers[0], job)
            refusal = open_envelope(answer, JobRefusal, NETWORK).message
            assert (refusal.code, refusal.lease) == (Refusal.BUSY, LEASE_ID)
        assert backend.calls == dict.fromkeys(backend.NAMES, 0), "not touched"
        counters = world.providers[0].network.counters.refused
        assert counters[JOB_PROTOCOL, "job: busy"] == 2


async def test_whoever_is_not_seated_does_not_learn_of_the_lease(tmp_path: Path) -> None:
    async with leasing(tmp_path) as (world, _):
        checker, challenge = await make_challenge(world)
        job = replace(make_job(world, challenge), seat=Seat(1))
        sealed = seal(checker.identity.node_key, NETWORK, job)
        answer = await exchange(checker, world.providers[0], sealed)
        refusal = open_envelope(answer, JobRefusal, NETWORK).message
        assert (refusal.code, refusal.lease) == (Refusal.NOT_IN_COMMITTEE, 0)


async def test_devices_are_prepared_when_the_lease_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_serving, "PREPARE_PAUSE_SECONDS", 0.02)
    lease = LEASE_ID
    async with leasing(tmp_path, leased=lambda: lease) as (world, backend):
        await trio.sleep(0.1)
        assert backend.calls["prepare"] == 0
        lease = 0
        prepared = backend.stages["prepare"].entered
        assert await trio.to_thread.run_sync(prepared.wait, PATIENCE)
        seen = await check(world)
    assert (seen.verdict, seen.score > 0) == (Verdict.OK, True)


async def test_a_leased_provider_transfers_nothing() -> None:
    async with open_transfer_world() as world:
        lease = LEASE_ID
        server = TransferServer(world.providers[0], 0, lambda: lease)
        server.serve()
        node, _ = world.seated(0)
        key = world.providers[0].network.node_key
        request = seal_as(node, world.request())
        async with node.network.open_stream(key, TRANSFER_PROTOCOL, 4) as stream:
            await stream.send(request)
            with pytest.raises(StreamEndedError):
                await stream.receive(1024)
        counters = world.providers[0].network.counters.refused
        assert counters == {(TRANSFER_PROTOCOL, "transfer while leased"): 1}
        assert server.receipts_for(Epoch(1)) == []
        lease = 0
        async with node.network.open_stream(key, TRANSFER_PROTOCOL, 4) as stream:
            await stream.send(request)
            await stream.send(bytes(32))
            assert len(await stream.receive(61_440)) == 61_440


# The checker


async def test_a_lease_that_the_chain_has_is_scored(tmp_path: Path) -> None:
    async with leasing(tmp_path) as (world, _):
        lease = lease_of(world)
        trust(world, 0, FakeLeases(lease))
        seen = await check(world)
        worth = compute_leased_score(lease, EPOCH, world.outsider.watcher.timeline)
        assert worth > lease.base.score > 0
        assert (seen.verdict, seen.score, seen.rate) == (Verdict.BUSY, worth, 0)
        assert len(seen.parts.messages) == 2
        assert counted(world) == {"provider: leased": 1}
        report = build_report(EPOCH, SHARD, [seen])
        assert (report.scores[0], report.online, report.fraud) == (worth, 1, 0)


async def test_every_checker_finds_the_same(tmp_path: Path) -> None:
    async with leasing(tmp_path) as (world, _):
        source = FakeLeases(lease_of(world))
        scores = set()
        for seat in range(3):
            trust(world, seat, source)
            slot = world.outsider.watcher.timeline.slot_start(EPOCH, Seat(seat))
            world.move_to(slot - world.outsider.watcher.timeline.start_of(EPOCH) + 50)
            scores.add((await check(world, seat)).score)
        assert len(scores) == 1


Change = Callable[[World], dict[str, Any]]

FALSE: dict[str, tuple[Change, str]] = {
    "of another provider": (lambda world: {"provider": 1}, "lease of another provider"),
    "of whoever had the slot before": (
        lambda world: {"provider_wallet": world.view.providers[1].wallet},
        "lease of another wallet",
    ),
    "reserved": (
        lambda world: {"state": LeaseState.RESERVED, "started_at": 0},
        "lease not accepted",
    ),
    "reclaimed": (
        lambda world: {"state": LeaseState.RECLAIMED, "started_at": 0},
        "lease not accepted",
    ),
    "expired": (lambda world: {"seconds": 10}, "lease over"),
    "ended": (
        lambda world: {"state": LeaseState.SETTLED, "ended_at": BEFORE + 10},
        "lease over",
    ),
    "of tomorrow": (lambda world: {"started_at": BEFORE + 86_400}, "lease not begun"),
    "unknown": (lambda world: {"id": LEASE_ID + 1}, "no such lease"),
}


@pytest.mark.parametrize(("change", "reason"), FALSE.values(), ids=FALSE)
async def test_a_lease_that_excuses_nobody_scores_nothing(
    tmp_path: Path, change: Change, reason: str
) -> None:
    async with leasing(tmp_path) as (world, _):
        trust(world, 0, FakeLeases(lease_of(world, **change(world))))
        seen = await check(world)
        assert (seen.verdict, seen.score) == (Verdict.BUSY, 0)
        assert counted(world) == {reason: 1}


async def test_where_nothing_is_rented_no_lease_counts(tmp_path: Path) -> None:
    async with leasing(tmp_path) as (world, _):
        seen = await check(world)
        assert (seen.verdict, seen.score) == (Verdict.BUSY, 0)
        assert counted(world) == {"no such lease": 1}


async def test_a_chain_that_fails_confirms_nothing(tmp_path: Path) -> None:
    async with leasing(tmp_path) as (world, _):
        source = trust(world, 0, FakeLeases(lease_of(world)))
        source.failures = [UnreachableError("the test says so")]
        seen = await check(world)
        assert (seen.verdict, seen.score) == (Verdict.BUSY, 0)
        assert counted(world) == {"lease not read": 1}


async def test_a_chain_that_hangs_ends_with_the_slot(tmp_path: Path) -> None:
    async with leasing(tmp_path) as (world, _):
        timeline = world.outsider.watcher.timeline
        world.move_to(timeline.slot_end(EPOCH, Seat(0)) - timeline.start_of(EPOCH) - 400)
        source = trust(world, 0, FakeLeases(lease_of(world)))
        source.hangs = True
        seen = await check(world)
        assert (seen.verdict, seen.score) == (Verdict.BUSY, 0)
        assert counted(world) == {"lease not read": 1}


async def refuse(world: World, stream: RequestStream, job: bytes, code: Refusal) -> None:
    """Refuse a job with one code or another, and name the lease."""
    await reply(world, stream, JobRefusal(job=job_id(job), code=code, detail="", lease=LEASE_ID))


async def commit_and_refuse(world: World, stream: RequestStream, job: bytes) -> None:
    await reply(world, stream, commitment(job_id(job)))
    await hear(stream, PassRequest)
    await refuse(world, stream, job, Refusal.BUSY)


async def be_not_ready(world: World, stream: RequestStream, job: bytes) -> None:
    await refuse(world, stream, job, Refusal.NOT_READY)


@pytest.mark.parametrize(
    ("behaviour", "verdict"), [(commit_and_refuse, Verdict.SLOW), (be_not_ready, Verdict.BUSY)]
)
async def test_a_lease_excuses_only_from_the_whole_job(
    tmp_path: Path, behaviour: Reply, verdict: Verdict
) -> None:
    """Who has taken it cannot be leased, nor who gives another reason."""
    async with open_world(tmp_path, IN_SLOT_0) as world:
        source = trust(world, 0, FakeLeases(lease_of(world)))
        serve_jobs(world, behaviour)
        seen = await check(world)
        assert (seen.verdict, seen.score) == (verdict, 0)
        assert source.reads == []


def serve_jobs(world: World, behaviour: Reply) -> None:
    """Let provider 0 answer its jobs like that."""

    async def answer(stream: RequestStream) -> None:
        await behaviour(world, stream, await stream.receive(Job.MAX_BYTES + ENVELOPE_OVERHEAD))

    world.providers[0].network.serve(JOB_PROTOCOL, answer)


# What is remembered


async def find_score(
    world: World,
    confirmer: LeaseConfirmer,
    epoch: int = EPOCH,
    seat: int = 0,
    lease: int = LEASE_ID,
) -> int:
    return await confirmer.find_score(
        lease,
        world.view.providers[0],
        epoch=Epoch(epoch),
        seat=Seat(seat),
        timeline=world.outsider.watcher.timeline,
        deadline=trio.current_time() + 5,
    )


async def test_a_lease_is_read_once_in_an_epoch(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_SLOT_0) as world:
        source = FakeLeases(lease_of(world))
        confirmer = LeaseConfirmer(source)
        assert await find_score(world, confirmer) == await find_score(world, confirmer, seat=2)
        assert source.reads == [LEASE_ID]
        await find_score(world, confirmer, epoch=EPOCH + 1)
        assert source.reads == [LEASE_ID] * 2


async def test_a_lease_that_seems_over_is_read_again(tmp_path: Path) -> None:
    """It may have been extended since."""
    async with open_world(tmp_path, IN_SLOT_0) as world:
        timeline = world.outsider.watcher.timeline
        seconds = timeline.slot_end(EPOCH, Seat(0)) // 1000 - BEFORE
        source = FakeLeases(lease_of(world, seconds=seconds))
        confirmer = LeaseConfirmer(source)
        await find_score(world, confirmer)
        with pytest.raises(LeaseUnproved, match="lease over"):
            await find_score(world, confirmer, seat=3)
        source.known[LEASE_ID] = lease_of(world, seconds=2 * seconds)
        assert await find_score(world, confirmer, seat=3) > 0
        assert source.reads == [LEASE_ID] * 3


async def test_the_oldest_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_confirming, "KEPT_LEASES", 2)
    async with open_world(tmp_path, IN_SLOT_0) as world:
        source = FakeLeases(*(lease_of(world, id=number) for number in (1, 2, 3)))
        confirmer = LeaseConfirmer(source)
        for number in (1, 2, 3, 3, 2, 1):
            await find_score(world, confirmer, lease=number)
        assert source.reads == [1, 2, 3, 1]


async def test_what_does_not_exist_is_not_kept(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_SLOT_0) as world:
        confirmer = LeaseConfirmer(FakeLeases())
        for number in range(10):
            with pytest.raises(LeaseUnproved, match="no such lease"):
                await find_score(world, confirmer, lease=number)
        assert len(confirmer._known) == 0


async def test_an_endpoint_is_asked_for_a_few_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_confirming, "READS_AT_ONCE", 3)
    async with open_world(tmp_path, IN_SLOT_0) as world:
        source = FakeLeases()
        source.hangs = True
        confirmer = LeaseConfirmer(source)
        failed = itertools.count()

        async def ask(number: int) -> None:
            with pytest.raises(TimedOutError):
                await confirmer.find_score(
                    number,
                    world.view.providers[0],
                    epoch=EPOCH,
                    seat=Seat(0),
                    timeline=world.outsider.watcher.timeline,
                    deadline=trio.current_time() + 0.2,
                )
            next(failed)

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(ask, number)
        assert next(failed) == 10
        assert source.most_at_once == 3


# The auditor


@asynccontextmanager
async def reporting(world: World) -> AsyncIterator[Report]:
    """Let seat CHECKED check provider 0 and go on to the commit phase; its report."""
    checker, _ = world.seat(CHECKED)
    async with trio.open_nursery() as nursery:
        await checker.store.challenge_secret(EPOCH, SHARD, Seat(CHECKED), SECRET)
        seen = [await check(world, CHECKED)]
        await checker.store.save_observations(EPOCH, SHARD, seen)
        world.move_to(IN_COMMIT)
        await follow_all(world, nursery)
        TranscriptServer(checker).serve()
        yield build_report(EPOCH, SHARD, seen)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def reported(directory: Path) -> AsyncIterator[tuple[World, Report, Lease]]:
    """A world in the commit phase; seat CHECKED has seen that provider 0 is leased."""
    async with leasing(directory) as (world, _):
        lease = lease_of(world)
        trust(world, CHECKED, FakeLeases(lease))
        async with reporting(world) as report:
            assert report.scores[0] > 0
            yield world, report, lease


async def test_a_confirmed_lease_passes_the_audit(tmp_path: Path) -> None:
    async with reported(tmp_path) as (world, report, lease):
        source = trust(world, AUDITOR, FakeLeases(lease))
        await reveal(world, CHECKED, report)
        async with auditing(world) as auditor:
            assert await decide(auditor)
        assert source.reads == [LEASE_ID]


async def test_more_than_the_lease_is_worth_fails(tmp_path: Path) -> None:
    async with reported(tmp_path) as (world, report, lease):
        trust(world, AUDITOR, FakeLeases(lease))
        await reveal(world, CHECKED, add_point(report))
        async with auditing(world) as auditor:
            assert not await decide(auditor)
        assert refusals(auditor, AuditFault.SCORE.value) == 1


def add_point(report: Report) -> Report:
    """The same report with a higher score of provider 0."""
    return replace(report, scores=(report.scores[0] + 1, *report.scores[1:]))


@pytest.mark.parametrize(("change", "reason"), FALSE.values(), ids=FALSE)
async def test_a_checker_that_scores_by_a_false_lease_fails(
    tmp_path: Path, change: Change, reason: str
) -> None:
    """Its friend, the provider, names one that does not excuse it."""
    async with reported(tmp_path) as (world, report, _):
        trust(world, AUDITOR, FakeLeases(lease_of(world, **change(world))))
        await reveal(world, CHECKED, report)
        async with auditing(world) as auditor:
            assert not await decide(auditor)
        assert refusals(auditor, AuditFault.SCORE.value) == 1
        assert refusals(auditor, reason) == 1


async def be_busy(world: World, stream: RequestStream, job: bytes) -> None:
    await reply(world, stream, JobRefusal(job_id(job), Refusal.BUSY, "", lease=0))


async def test_a_checker_that_scores_a_busy_provider_fails(tmp_path: Path) -> None:
    """No lease is named, though the chain has one."""
    async with open_world(tmp_path, IN_SLOT_0) as world:
        serve_jobs(world, be_busy)
        source = trust(world, AUDITOR, FakeLeases(lease_of(world)))
        async with reporting(world) as report:
            assert (report.scores[0], report.online) == (0, 1)
            await reveal(world, CHECKED, add_point(report))
            async with auditing(world) as auditor:
                assert not await decide(auditor)
        assert refusals(auditor, AuditFault.SCORE.value) == 1
        assert source.reads == []


async def test_a_chain_that_fails_is_no_fault_of_the_checker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The auditor looks again until it knows."""
    monkeypatch.setattr(auditing_duty, "RETRY_SECONDS", 0.02)
    async with reported(tmp_path) as (world, report, lease):
        source = trust(world, AUDITOR, FakeLeases(lease))
        source.failures = [UnreachableError("the test says so"), TimedOutError("again")]
        await reveal(world, CHECKED, report)
        async with auditing(world) as auditor:
            assert await decide(auditor)
        assert refusals(auditor, "rpc unreachable") == 1
        assert refusals(auditor, "rpc timed out") == 1

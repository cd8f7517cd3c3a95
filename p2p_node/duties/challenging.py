"""The checker's side of one job: ask for each proof in turn, have it opened, judge.

A job has a stage for each proof: work of all devices, passes over their memory, chains on the
cores. Openings of all of them are drawn when the last commitment has arrived. What is asked, and
how answers are judged, is in `protocols.jobs`, which audits go by as well.

Lockstep is kept here. Streams are opened beforehand; then every provider of the shard is sent each
request at the same fixed moment, whatever it answered before. If a stage began when the one before
was answered, a host behind several identities could have them served one after another.
"""

import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import trio

from chain.errors import ChainError
from p2p_node.duties.exchange import Exchange, RefusedJob
from p2p_node.duties.observations import NO_EVIDENCE, Observation, Transcript
from p2p_node.node import Node
from p2p_node.workloads.core_chains import count_cores
from protocols.audits import REFUSED_MESSAGES
from protocols.errors import RemoteError
from protocols.freivalds import RowCheck
from protocols.gossip import JOB_PROTOCOL
from protocols.jobs import Claims, JobPlan, plan_job
from protocols.leased_scores import LeaseUnproved
from protocols.measurement import Assessment, Measurement, assess, score_terms
from protocols.membership import EpochView, Member
from protocols.messages import Chains, Commitment, Openings, Passes
from protocols.params import LANES
from protocols.rejection import ProofRejected
from protocols.scoring import MILLI, Verdict
from protocols.transfers import open_receipts, sum_receipts
from protocols.types import Seat, Shard, TimeMs

logger = logging.getLogger(__name__)

OPENING_SECONDS = 0.5
"""Time to open a stream when the challenge's moment is nearer than that, or past: a checker that
comes late to its slot."""

_NOW = TimeMs(0)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One checker's challenge of one shard: everything that its jobs have in common.

    `start` is the moment in which every provider is sent its Job; one that is past means now.
    """

    view: EpochView
    shard: Shard
    seat: Seat
    checker: int
    secret: bytes = field(repr=False)
    check: RowCheck = field(repr=False)
    start: TimeMs = _NOW
    verifiers: trio.CapacityLimiter = field(
        default_factory=lambda: trio.CapacityLimiter(count_cores()), repr=False, compare=False
    )
    """Proofs are taken apart and verified in so many threads: what a whole shard sends at once is
    held as it came until its turn, and other users of threads do not wait behind it."""


async def challenge_provider(node: Node, challenge: Challenge, provider: Member) -> Observation:
    """Run one job with one provider and judge it; never raises for what the provider does."""
    transcript = Transcript()
    outcome = await _run(node, challenge, provider, transcript)
    verdict, reason, found = outcome.verdict, outcome.reason, outcome.found
    score = score_terms(found.terms, provider.stake, node.preset) if found else 0
    if outcome.lease:
        score, reason = await _excuse(node, challenge, provider, outcome.lease)
    if verdict not in (Verdict.OK, Verdict.ABSENT):
        node.network.counters.refuse(JOB_PROTOCOL, reason)
    logger.info(
        "epoch %d seat %d provider %d: %s %s",
        challenge.view.epoch,
        challenge.seat,
        provider.index,
        verdict.name,
        _describe(found, score) if found else reason,
    )
    return Observation(
        lane=provider.index % LANES,
        verdict=verdict,
        score=score,
        rate=found.rate if found else 0,
        transcript=transcript.digest() if transcript.answered else NO_EVIDENCE,
        parts=transcript,
    )


async def _excuse(
    node: Node, challenge: Challenge, provider: Member, lease: int
) -> tuple[int, str]:
    """Look up the lease that a busy provider names: its score, and what is counted."""
    timeline, epoch, seat = node.watcher.timeline, challenge.view.epoch, challenge.seat
    try:
        score = await node.leases.find_score(
            lease,
            provider,
            epoch=epoch,
            seat=seat,
            timeline=timeline,
            deadline=node.clock.deadline(timeline.slot_end(epoch, seat)),
        )
    except LeaseUnproved as error:
        logger.info("provider %d names lease %d: %s", provider.index, lease, error)
        return 0, error.reason
    except ChainError as error:
        # This checker's misfortune, and the provider's: the others' medians are left.
        logger.warning("provider %d names lease %d: not read: %s", provider.index, lease, error)
        return 0, "lease not read"
    logger.info("provider %d is leased (%d): score %d", provider.index, lease, score)
    return score, "provider: leased"


def _describe(found: Assessment, score: int) -> str:
    terms = " ".join(f"{name} {points / MILLI:.3f}" for name, points in found.terms.items())
    return f"score {score} ({terms}; {found.rate / 1e9:.1f} Gop/s)"


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How a job ended. `reason` of what was refused, `lease` of a provider that is busy by it."""

    verdict: Verdict
    reason: str = ""
    found: Assessment | None = None
    lease: int = 0


async def _run(
    node: Node, challenge: Challenge, provider: Member, transcript: Transcript
) -> _Outcome:
    if provider.node_key == node.network.node_key:
        # A node opens no stream to itself; the others challenge it.
        return _Outcome(Verdict.ABSENT, "own node")
    plan = plan_job(
        epoch=challenge.view.epoch,
        shard=challenge.shard,
        seat=challenge.seat,
        checker=challenge.checker,
        secret=challenge.secret,
        provider=provider,
        preset=node.preset,
    )
    slot_end = node.watcher.timeline.slot_end(challenge.view.epoch, challenge.seat)
    left = (slot_end - node.clock.now()) / MILLI
    try:
        async with AsyncExitStack() as stack:
            # Who delays this is served alone when the others are done: so it has until the start.
            start = max(node.clock.deadline(challenge.start), trio.current_time() + OPENING_SECONDS)
            opening = node.network.open_stream(provider.node_key, JOB_PROTOCOL, max(left, 0.001))
            with trio.move_on_at(start) as scope:
                stream = await stack.enter_async_context(opening)
            if scope.cancelled_caught:
                return _Outcome(Verdict.ABSENT, "stream not open in time")
            exchange = Exchange(
                stream,
                job=plan.id,
                key=node.identity.node_key,
                network=node.watcher.view.network,
                provider=provider.node_key,
                transcript=transcript,
            )
            await node.clock.sleep_until(challenge.start)
            measurement = await _measure(node, challenge, plan, exchange)
    except ProofRejected as error:
        return _Outcome(Verdict.WRONG, error.reason)
    except RefusedJob as error:
        # A provider that has answered something else before has taken the job.
        if len(transcript.messages) > REFUSED_MESSAGES:
            return _Outcome(Verdict.SLOW, error.reason)
        return _Outcome(Verdict.BUSY, error.reason, lease=error.lease)
    except RemoteError as error:
        # Everything else the other side can do: not to be there, silence, a cut stream, malformed
        # answers. It is absent when nothing signed came back, and slow when it answered once and
        # then failed: so whoever is reported as online has a transcript.
        return _Outcome(Verdict.SLOW if transcript.answered else Verdict.ABSENT, error.reason)
    return _Outcome(Verdict.OK, found=assess(measurement, node.preset))


async def _measure(
    node: Node, challenge: Challenge, plan: JobPlan, exchange: Exchange
) -> Measurement:
    """Go through all stages. Raises RefusedJob, ProofRejected, or another RemoteError."""
    preset = node.preset
    started = trio.current_time()
    work_s = (preset.window_ms + preset.commitment_slack_ms) / MILLI
    pass_s = (preset.pass_window_ms + preset.pass_slack_ms) / MILLI
    chain_s = (preset.chain_window_ms + preset.chain_slack_ms) / MILLI
    committed, work_us = await exchange.ask(plan.job, Commitment, within=work_s)
    works = plan.read_works(committed)
    await trio.sleep_until(started + work_s)
    passed, pass_us = await exchange.ask(plan.pass_request, Passes, within=pass_s)
    passes = plan.read_passes(passed, works)
    await trio.sleep_until(started + work_s + pass_s)
    chained, chain_us = await exchange.ask(plan.chain_request, Chains, within=chain_s)
    claims = Claims(works, passes, plan.read_chains(chained))
    await _check_openings(node, challenge, plan, exchange, claims)
    rates = sum_receipts(
        open_receipts(committed.receipts, node.watcher.view.network),
        challenge.view,
        node.watcher.timeline,
        plan.provider.index,
    )
    return Measurement(
        works=works,
        work_us=work_us,
        passes=passes,
        pass_us=pass_us,
        chains=claims.chains,
        chain_us=chain_us,
        down_bits_per_s=rates.down_bits_per_s,
        up_bits_per_s=rates.up_bits_per_s,
    )


async def _check_openings(
    node: Node, challenge: Challenge, plan: JobPlan, exchange: Exchange, claims: Claims
) -> None:
    drawn = plan.draw(exchange.digest(), claims)
    within = node.preset.opening_ms / MILLI
    sealed, _ = await exchange.fetch(drawn.request, cap=drawn.max_bytes, within=within)

    def judge() -> None:
        plan.verify(challenge.check, claims, drawn, exchange.read(sealed, Openings))

    await trio.to_thread.run_sync(judge, limiter=challenge.verifiers)

"""The checker's side of one job: ask for each proof in turn, have it opened, judge.

A job has a stage for each proof: work of all devices, passes over their memory, chains on the
cores. Openings of all of them are drawn when the last commitment has arrived.

Lockstep is kept here. Streams are opened beforehand; then every provider of the shard is sent each
request at the same fixed moment, whatever it answered before. If a stage began when the one before
was answered, a host behind several identities could have them served one after another.
"""

import logging
import secrets
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import trio

from p2p_node.duties.exchange import Exchange, RefusedJob
from p2p_node.duties.observations import NO_EVIDENCE, Observation, Transcript
from p2p_node.net.errors import PeerUnreachableError, ProtocolRefusedError
from p2p_node.node import Node
from p2p_node.workloads.core_chains import count_cores
from protocols.chains import (
    ChainCommitment,
    ChainJob,
    compute_segment_openings_size,
    decode_commitments,
    derive_iterations,
    draw_segments,
    encode_segment_indices,
    verify_segments,
)
from protocols.draws import RANDOMNESS_BYTES
from protocols.envelopes import ENVELOPE_OVERHEAD
from protocols.errors import RemoteError
from protocols.freivalds import RowCheck
from protocols.gossip import JOB_PROTOCOL
from protocols.host_proof import (
    DeviceWork,
    HostJob,
    compute_rows_size,
    decode_passes,
    decode_works,
    draw_request,
    verify_host,
)
from protocols.measurement import Assessment, Measurement, assess
from protocols.membership import EpochView, Member
from protocols.memory import PassCommitment
from protocols.messages import (
    MAX_OPENINGS_BYTES,
    MAX_PASS_OPENINGS_BYTES,
    ChainRequest,
    Chains,
    Commitment,
    Job,
    Openings,
    OpenRequest,
    Passes,
    PassRequest,
    compute_chain_nonce,
    compute_job_nonce,
    compute_message_digest,
    compute_pass_nonce,
)
from protocols.params import LANES
from protocols.rejection import ProofRejected
from protocols.scoring import MILLI, Verdict, compute_score
from protocols.transfers import open_receipts, sum_receipts
from protocols.types import Digest, Seat, Shard, TimeMs
from protocols.wire import Message

logger = logging.getLogger(__name__)

OPENING_SECONDS = 0.5
"""Time to open a stream when the challenge's moment is nearer than that, or past: a checker that
comes late to its slot."""

REFUSED_MESSAGES = 2
"""In the transcript of a job that was not taken: the Job and its JobRefusal."""


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
    verdict, reason, found = await _run(node, challenge, provider, transcript)
    if verdict not in (Verdict.OK, Verdict.ABSENT):
        node.network.counters.refuse(JOB_PROTOCOL, reason)
    score = _score(node, provider, found) if found else 0
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


def _score(node: Node, provider: Member, found: Assessment) -> int:
    return compute_score(
        uptime=MILLI,
        validity=MILLI,
        stake=provider.stake,
        terms=found.terms,
        preset=node.preset,
    )


def _describe(found: Assessment, score: int) -> str:
    terms = " ".join(f"{name} {points / MILLI:.3f}" for name, points in found.terms.items())
    return f"score {score} ({terms}; {found.rate / 1e9:.1f} Gop/s)"


async def _run(
    node: Node, challenge: Challenge, provider: Member, transcript: Transcript
) -> tuple[Verdict, str, Assessment | None]:
    if provider.node_key == node.network.node_key:
        # A node opens no stream to itself; the others challenge it.
        return Verdict.ABSENT, "own node", None
    job = _Job(node, challenge, provider)
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
                return Verdict.ABSENT, "stream not open in time", None
            exchange = Exchange(
                stream,
                job=job.id,
                key=node.identity.node_key,
                network=node.watcher.view.network,
                provider=provider.node_key,
                transcript=transcript,
            )
            await node.clock.sleep_until(challenge.start)
            measurement = await job.run(exchange)
    except ProofRejected as error:
        return Verdict.WRONG, error.reason, None
    except RefusedJob as error:
        # A provider that has answered something else before has taken the job.
        taken = len(transcript.messages) > REFUSED_MESSAGES
        return (Verdict.SLOW if taken else Verdict.BUSY), error.reason, None
    except (PeerUnreachableError, ProtocolRefusedError) as error:
        return Verdict.ABSENT, error.reason, None
    except RemoteError as error:
        # Everything else the other side can do: silence, a cut stream, malformed answers. It is
        # absent when nothing signed came back, and slow when it answered once and then failed.
        return (Verdict.SLOW if transcript.answered else Verdict.ABSENT), error.reason, None
    return Verdict.OK, "", assess(measurement, node.preset)


class _Job:
    """One job with one provider, stage by stage."""

    def __init__(self, node: Node, challenge: Challenge, provider: Member) -> None:
        self._node = node
        self._preset = node.preset
        self._challenge = challenge
        self._provider = provider
        secret, key = challenge.secret, provider.node_key
        self._nonce = compute_job_nonce(secret, key)
        self._pass_nonce = compute_pass_nonce(secret, key)
        self._chain_nonce = compute_chain_nonce(secret, key)
        self._job = Job(
            epoch=challenge.view.epoch,
            shard=challenge.shard,
            seat=challenge.seat,
            checker=challenge.checker,
            provider=provider.index,
            nonce=self._nonce,
            k=self._preset.k,
            n=self._preset.n,
            window_ms=self._preset.window_ms,
        )
        self.id = compute_message_digest(self._job.encode())

    async def run(self, exchange: Exchange) -> Measurement:
        """Go through all stages. Raises RefusedJob, ProofRejected, or another RemoteError."""
        preset = self._preset
        started = trio.current_time()
        work_s = (preset.window_ms + preset.commitment_slack_ms) / MILLI
        pass_s = (preset.pass_window_ms + preset.pass_slack_ms) / MILLI
        chain_s = (preset.chain_window_ms + preset.chain_slack_ms) / MILLI
        answer, work_us = await exchange.ask(self._job, Commitment, within=work_s)
        self._require_job(answer.job)
        works = decode_works(answer.devices, preset.k, preset.n)
        await trio.sleep_until(started + work_s)
        request = PassRequest(self.id, self._pass_nonce, preset.pass_window_ms)
        passed, pass_us = await exchange.ask(request, Passes, within=pass_s)
        self._require_answer(passed.job, passed.request, request)
        passes = decode_passes(passed.devices, works)
        await trio.sleep_until(started + work_s + pass_s)
        chain_request = ChainRequest(self.id, self._chain_nonce, preset.chain_window_ms)
        chained, chain_us = await exchange.ask(chain_request, Chains, within=chain_s)
        self._require_answer(chained.job, chained.request, chain_request)
        # A host need not offer its cores.
        chains = decode_commitments(chained.chains) if chained.chains else ()
        await self._check_openings(exchange, works, passes, chains)
        rates = sum_receipts(
            open_receipts(answer.receipts, self._node.watcher.view.network),
            self._challenge.view,
            self._node.watcher.timeline,
            self._provider.index,
        )
        return Measurement(
            works=works,
            work_us=work_us,
            passes=passes,
            pass_us=pass_us,
            chains=chains,
            chain_us=chain_us,
            down_bits_per_s=rates.down_bits_per_s,
            up_bits_per_s=rates.up_bits_per_s,
        )

    async def _check_openings(
        self,
        exchange: Exchange,
        works: Sequence[DeviceWork],
        passes: Sequence[PassCommitment | None],
        chains: Sequence[ChainCommitment],
    ) -> None:
        preset = self._preset
        randomness = secrets.token_bytes(RANDOMNESS_BYTES)
        drawn = draw_request(randomness, works, passes)
        segments = draw_segments(randomness, chains)
        request = OpenRequest(
            job=self.id,
            rows=drawn.encode_rows(),
            passes=drawn.encode_passes(),
            chains=encode_segment_indices(segments),
        )
        # An answer of another size is refused by its length alone; the slack is for the envelope
        # and what stands around the data.
        size = (
            compute_rows_size(works, drawn)
            + MAX_PASS_OPENINGS_BYTES * sum(map(bool, drawn.passes))
            + compute_segment_openings_size(chains, segments)
            + 4 * ENVELOPE_OVERHEAD
        )
        # Sixteen devices with the most rounds can be asked for more than a stream carries.
        cap = min(size, MAX_OPENINGS_BYTES)
        sealed, _ = await exchange.fetch(request, cap=cap, within=preset.opening_ms / MILLI)
        check, key = self._challenge.check, self._provider.node_key
        host_job = HostJob(check.b_seed, self._nonce, self._pass_nonce, key)
        iterations = derive_iterations(preset.reference_chain_rate, preset.chain_window_ms)
        chain_job = ChainJob(self.id, self._chain_nonce, key, iterations)

        def judge() -> None:
            opened = exchange.read(sealed, Openings)
            self._require_answer(opened.job, opened.request, request)
            verify_host(check, host_job, works, passes, drawn, opened.rows, opened.passes)
            verify_segments(chain_job, chains, segments, opened.chains)

        await trio.to_thread.run_sync(judge, limiter=self._challenge.verifiers)

    def _require_job(self, job: Digest) -> None:
        if job != self.id:
            raise RemoteError("answer to another job")

    def _require_answer(self, job: Digest, answered: Digest, request: Message) -> None:
        self._require_job(job)
        if answered != compute_message_digest(request.encode()):
            raise RemoteError("answer to another request")

"""The checker's side of one job: send it, take the time, have rows opened, judge.

One clock counts: this checker's, from the job's last byte handed to the transport to the
commitment's arrival, nothing subtracted.
"""

import logging
import secrets
from dataclasses import dataclass, field

import trio

from p2p_node.duties.observations import NO_EVIDENCE, Observation, Transcript
from p2p_node.net.api import RequestStream
from p2p_node.net.errors import PeerUnreachableError, ProtocolRefusedError
from p2p_node.node import Node
from protocols.compute import ComputeJob, WorkCommitment, parse_commitment
from protocols.envelopes import ENVELOPE_OVERHEAD, open_envelope, peek_kind, seal
from protocols.errors import RemoteError
from protocols.freivalds import RowCheck
from protocols.gossip import JOB_PROTOCOL
from protocols.membership import EpochView, Member
from protocols.messages import (
    Commitment,
    Job,
    JobRefusal,
    Openings,
    OpenRequest,
    Refusal,
    compute_job_nonce,
    compute_message_digest,
)
from protocols.openings import compute_openings_size, draw_openings, encode_indices
from protocols.params import LANES, OPENINGS
from protocols.scoring import MILLI, Verdict, compute_rate, compute_score, gpu_term
from protocols.types import Digest, NodeKey, Seat, Shard
from protocols.verify import ProofRejected, verify_openings

logger = logging.getLogger(__name__)

DEVICE = 0
"""The device that a job is for; a CPU node has one."""

_ANSWER_BYTES = max(Commitment.MAX_BYTES, JobRefusal.MAX_BYTES) + ENVELOPE_OVERHEAD


@dataclass(frozen=True, slots=True)
class Challenge:
    """One checker's challenge of one shard: everything that its jobs have in common."""

    view: EpochView
    shard: Shard
    seat: Seat
    checker: int
    secret: bytes = field(repr=False)
    check: RowCheck = field(repr=False)


@dataclass(slots=True)
class _Exchange:
    """How far one job got; filled in while it runs, so that a time-out leaves the evidence."""

    transcript: Transcript = field(default_factory=Transcript)
    elapsed_us: int = 0
    rounds: int = 0


class _RefusedJob(RemoteError):
    """The provider answered that it does not take the job."""


async def challenge_provider(node: Node, challenge: Challenge, provider: Member) -> Observation:
    """Run one job with one provider and judge it; never raises for what the provider does."""
    exchange = _Exchange()
    verdict, reason = await _run(node, challenge, provider, exchange)
    rate = 0
    if verdict is Verdict.OK:
        rate = compute_rate(node.preset.shape, exchange.rounds, exchange.elapsed_us)
    elif verdict is not Verdict.ABSENT:
        node.network.counters.refuse(JOB_PROTOCOL, reason)
    logger.info(
        "epoch %d seat %d provider %d: %s %s(%d rounds in %d ms)",
        challenge.view.epoch,
        challenge.seat,
        provider.index,
        verdict.name,
        f"{reason} " if reason else "",
        exchange.rounds,
        exchange.elapsed_us // 1000,
    )
    return Observation(
        lane=provider.index % LANES,
        verdict=verdict,
        score=_score(node, provider, rate),
        rate=rate,
        transcript=exchange.transcript.digest() if exchange.transcript.answer else NO_EVIDENCE,
        parts=exchange.transcript,
    )


def _score(node: Node, provider: Member, rate: int) -> int:
    if not rate:
        return 0
    return compute_score(
        uptime=MILLI,
        validity=MILLI,
        stake=provider.stake,
        terms={"gpu": gpu_term(rate, node.preset.reference_rate)},
        preset=node.preset,
    )


async def _run(
    node: Node, challenge: Challenge, provider: Member, exchange: _Exchange
) -> tuple[Verdict, str]:
    slot_end = node.watcher.timeline.slot_end(challenge.view.epoch, challenge.seat)
    left = (slot_end - node.clock.now()) / 1000
    try:
        async with node.network.open_stream(
            provider.node_key, JOB_PROTOCOL, max(left, 0.001)
        ) as stream:
            await _talk(node, stream, challenge, provider, exchange)
    except ProofRejected as error:
        return Verdict.WRONG, error.reason
    except _RefusedJob as error:
        return Verdict.BUSY, error.reason
    except (PeerUnreachableError, ProtocolRefusedError) as error:
        return Verdict.ABSENT, error.reason
    except RemoteError as error:
        # Everything else the other side can do: silence, a cut stream, malformed answers. It is
        # absent when nothing signed came back, and slow when it answered once and then failed.
        alive = exchange.transcript.answer is not None
        return (Verdict.SLOW if alive else Verdict.ABSENT), error.reason
    return Verdict.OK, ""


async def _talk(
    node: Node,
    stream: RequestStream,
    challenge: Challenge,
    provider: Member,
    exchange: _Exchange,
) -> None:
    preset, network = node.preset, node.watcher.view.network
    nonce = compute_job_nonce(challenge.secret, provider.node_key)
    job = Job(
        epoch=challenge.view.epoch,
        shard=challenge.shard,
        seat=challenge.seat,
        checker=challenge.checker,
        provider=provider.index,
        device=DEVICE,
        nonce=nonce,
        m=preset.shape.m,
        k=preset.shape.k,
        n=preset.shape.n,
        window_ms=preset.window_ms,
    )
    sealed = seal(node.identity.node_key, network, job)
    job_id = compute_message_digest(job.encode())
    exchange.transcript.job = sealed
    await stream.send(sealed)
    started = trio.current_time()
    within = (preset.window_ms + preset.commitment_slack_ms) / 1000
    answer = await stream.receive(_ANSWER_BYTES, within=within)
    exchange.elapsed_us = max(1, round((trio.current_time() - started) * 1_000_000))
    commitment = _read_answer(node, answer, provider.node_key, job_id)
    exchange.transcript.answer = answer
    exchange.rounds = commitment.rounds
    indices = draw_openings(secrets.token_bytes(32), commitment.rounds, preset.shape.m, OPENINGS)
    request = OpenRequest(job=job_id, indices=encode_indices(indices))
    exchange.transcript.request = seal(node.identity.node_key, network, request)
    size = compute_openings_size(preset.shape, commitment.rounds, indices)
    within = preset.opening_ms / 1000
    asked = trio.current_time()
    await stream.send(exchange.transcript.request, within=within)
    within -= trio.current_time() - asked
    # Openings of another size are refused by their length alone; the slack is for the envelope
    # and the fields around the data.
    sealed_openings = await stream.receive(size + 2 * ENVELOPE_OVERHEAD, within=max(within, 0.001))
    exchange.transcript.openings = sealed_openings
    opened = open_envelope(sealed_openings, Openings, network, signer=provider.node_key).message
    if (opened.job, opened.request) != (job_id, compute_message_digest(request.encode())):
        raise RemoteError("openings of another request")
    compute_job = ComputeJob(preset.shape, challenge.check.b_seed, nonce, provider.node_key, DEVICE)
    await trio.to_thread.run_sync(
        verify_openings, challenge.check, compute_job, commitment, indices, opened.data
    )


def _read_answer(node: Node, data: bytes, provider: NodeKey, job_id: Digest) -> WorkCommitment:
    network = node.watcher.view.network
    if peek_kind(data, _ANSWER_BYTES, network) == JobRefusal.KIND:
        refusal = open_envelope(data, JobRefusal, network, signer=provider).message
        raise _RefusedJob(_name_refusal(refusal.code), refusal.detail)
    commitment = open_envelope(data, Commitment, network, signer=provider).message
    if commitment.job != job_id:
        raise RemoteError("commitment of another job")
    return parse_commitment(commitment.rounds, commitment.root)


def _name_refusal(code: int) -> str:
    try:
        return f"provider: {Refusal(code).name.lower().replace('_', ' ')}"
    except ValueError:
        return "provider: unknown refusal"

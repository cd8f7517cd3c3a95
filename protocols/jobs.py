"""One job from the side of whoever judges it: the checker as it goes, an auditor afterwards.

Everything that a checker sends follows from its challenge's secret and from what the provider has
answered, so that whoever learns the secret later can say of a transcript whether it is that job's.
And every answer is read, and every proof verified, by the functions below: an audit comes to the
same verdict as the check, or one of the two was not honest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from protocols.chains import (
    ChainCommitment,
    ChainJob,
    SegmentIndex,
    compute_segment_openings_size,
    decode_commitments,
    derive_iterations,
    draw_segments,
    encode_segment_indices,
    verify_segments,
)
from protocols.envelopes import ENVELOPE_OVERHEAD
from protocols.errors import RemoteError
from protocols.freivalds import RowCheck
from protocols.hashing import keccak256
from protocols.host_proof import (
    DeviceWork,
    HostJob,
    OpeningRequest,
    compute_rows_size,
    decode_passes,
    decode_works,
    draw_request,
    verify_host,
)
from protocols.membership import Member
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
from protocols.params import Preset
from protocols.types import Digest, Epoch, Seat, Shard
from protocols.wire import Message


@dataclass(frozen=True, slots=True)
class Claims:
    """What a provider has committed to in the three stages of a job."""

    works: Sequence[DeviceWork]
    passes: Sequence[PassCommitment | None]
    chains: Sequence[ChainCommitment]


@dataclass(frozen=True, slots=True)
class Drawn:
    """What is to be opened of the claims of one job."""

    request: OpenRequest
    rows: OpeningRequest
    segments: Sequence[SegmentIndex]
    max_bytes: int
    """An answer of another size is refused by its length alone; the slack is for the envelope and
    what stands around the data. Sixteen devices with the most rounds can be asked for more than a
    stream carries."""


@dataclass(frozen=True, slots=True)
class JobPlan:
    """A job with one provider: its first three requests, and what is needed to judge the answers.

    Made by `plan_job`.
    """

    preset: Preset
    provider: Member
    job: Job
    pass_request: PassRequest
    chain_request: ChainRequest
    secret: bytes = field(repr=False)

    @property
    def id(self) -> Digest:
        """Digest of the job, which all other messages name."""
        return self.pass_request.job

    def read_works(self, answer: Commitment) -> tuple[DeviceWork, ...]:
        """Parse the works; RemoteError when they are another job's or not allowed."""
        self._require_job(answer.job)
        return decode_works(answer.devices, self.preset.k, self.preset.n)

    def read_passes(
        self, answer: Passes, works: Sequence[DeviceWork]
    ) -> tuple[PassCommitment | None, ...]:
        """Parse the passes over these works; RemoteError likewise."""
        self._require_answer(answer.job, answer.request, self.pass_request)
        return decode_passes(answer.devices, works)

    def read_chains(self, answer: Chains) -> tuple[ChainCommitment, ...]:
        """Parse the chains; RemoteError likewise. A host need not offer its cores."""
        self._require_answer(answer.job, answer.request, self.chain_request)
        return decode_commitments(answer.chains) if answer.chains else ()

    def draw(self, transcript: Digest, claims: Claims) -> Drawn:
        """Draw what is to be opened, once all commitments are in.

        `transcript` is the digest of all messages so far. The secret is known to nobody else until
        the report, so no provider can work towards the draw; and with the transcript it leaves
        the checker no choice, so that none can ask a friend for what the friend has.
        """
        randomness = keccak256(b"kaisar/openings/1", self.secret, transcript)
        rows = draw_request(randomness, claims.works, claims.passes)
        segments = draw_segments(randomness, claims.chains)
        size = (
            compute_rows_size(claims.works, rows)
            + MAX_PASS_OPENINGS_BYTES * sum(map(bool, rows.passes))
            + compute_segment_openings_size(claims.chains, segments)
            + 4 * ENVELOPE_OVERHEAD
        )
        request = OpenRequest(
            job=self.id,
            rows=rows.encode_rows(),
            passes=rows.encode_passes(),
            chains=encode_segment_indices(segments),
        )
        return Drawn(request, rows, segments, min(size, MAX_OPENINGS_BYTES))

    def verify(self, check: RowCheck, claims: Claims, drawn: Drawn, opened: Openings) -> None:
        """Verify the openings of all claims.

        Raises ProofRejected when they refute a claim, another RemoteError when they are no answer.
        """
        self._require_answer(opened.job, opened.request, drawn.request)
        key = self.provider.node_key
        host = HostJob(check.b_seed, self.job.nonce, self.pass_request.nonce, key)
        verify_host(
            check, host, claims.works, claims.passes, drawn.rows, opened.rows, opened.passes
        )
        iterations = derive_iterations(
            self.preset.reference_chain_rate, self.preset.chain_window_ms
        )
        chain_job = ChainJob(self.id, self.chain_request.nonce, key, iterations)
        verify_segments(chain_job, claims.chains, drawn.segments, opened.chains)

    def _require_job(self, job: Digest) -> None:
        if job != self.id:
            raise RemoteError("answer to another job")

    def _require_answer(self, job: Digest, answered: Digest, request: Message) -> None:
        self._require_job(job)
        if answered != compute_message_digest(request.encode()):
            raise RemoteError("answer to another request")


def plan_job(
    *,
    epoch: Epoch,
    shard: Shard,
    seat: Seat,
    checker: int,
    secret: bytes,
    provider: Member,
    preset: Preset,
) -> JobPlan:
    """Say what the challenge with this secret asks of one provider."""
    job = Job(
        epoch=epoch,
        shard=shard,
        seat=seat,
        checker=checker,
        provider=provider.index,
        nonce=compute_job_nonce(secret, provider.node_key),
        k=preset.k,
        n=preset.n,
        window_ms=preset.window_ms,
    )
    digest = compute_message_digest(job.encode())
    pass_nonce = compute_pass_nonce(secret, provider.node_key)
    chain_nonce = compute_chain_nonce(secret, provider.node_key)
    return JobPlan(
        preset=preset,
        provider=provider,
        job=job,
        pass_request=PassRequest(digest, pass_nonce, preset.pass_window_ms),
        chain_request=ChainRequest(digest, chain_nonce, preset.chain_window_ms),
        secret=secret,
    )

"""Audits: does what a report says of a lane follow from the transcript that it rests on?

A checker may ask any other for the transcript behind a lane of its report, as soon as the report is
public. It goes through the job once more, with the secret that the report reveals and with its own
row check: the requests must be those that the secret gives, the answers signed by the provider. A
checker that did no job has nothing to show, whatever scores it committed to.

What a transcript cannot show is time. So a score is held against the most that the work in it can
be worth, and a false low score is left to the median.

Nor can it show that a provider which was busy was leased: it only names the lease. The auditor
looks that up on the chain as the checker did, and says what it is worth (`find_named_lease`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from protocols.draws import draw_from_parts
from protocols.envelopes import Verified, open_envelope, peek_kind
from protocols.errors import MalformedError, RemoteError
from protocols.evidence import compute_transcript_digest, find_evidence_root
from protocols.freivalds import RowCheck
from protocols.gossip import NetworkView, read_report
from protocols.jobs import Claims, JobPlan, plan_job
from protocols.measurement import Measurement, bound_score
from protocols.membership import EpochView, Member
from protocols.messages import (
    AuditResponse,
    Chains,
    Commitment,
    JobRefusal,
    Openings,
    Passes,
    ReportMessage,
)
from protocols.params import AUDIT_LANES, LANES
from protocols.rejection import ProofRejected
from protocols.reports import Report
from protocols.scoring import Verdict
from protocols.transfers import open_receipts, sum_receipts
from protocols.types import NetworkId, NodeKey
from protocols.wire import Message

DRAW_TAG = b"kaisar/audit/draw/1"

REFUSED_MESSAGES = 2
"""In the transcript of a job that was not taken: the Job and its JobRefusal."""

Answer = TypeVar("Answer", bound=Message)


class AuditFault(StrEnum):
    """Why a report fails its audit; the text is the reason that is counted."""

    OFFLINE = "offline lane judged"
    """A score, or a fraud mark, for a provider of which the report itself says that it sent
    nothing."""

    VACANT = "vacant lane judged"
    """The same for a lane without an active provider."""

    NOTHING = "no transcript"
    """The provider is called online, and nothing that it signed is shown."""

    ROOT = "transcript not in evidence"
    """Not the transcript that the report was signed with."""

    REQUEST = "request not of this job"
    """Not what the checker had to send: another job's or seat's, another secret's or draw's, or not
    signed by it."""

    ANSWER = "answer not signed by provider"
    """Or not of the kind that was asked for."""

    ORDER = "transcript goes on"
    """There are messages behind the one at which an honest checker stops."""

    SCORE = "score without proof"
    """The job was not done to its end, or refuted, and the lane has a score. Or it was refused, and
    the lane has more than the lease is worth that the refusal names."""

    BOUND = "score above proof"
    """More than the work in the transcript can be worth."""

    FRAUD = "fraud without proof"
    """The provider is accused, and its openings refute nothing."""

    SPARED = "fraud not reported"
    """Its openings refute it, and it is not accused."""


class AuditFailed(RemoteError):
    """A report that does not follow from what it rests on; `fault` says why."""

    def __init__(self, fault: AuditFault, detail: str = "") -> None:
        super().__init__(fault.value, detail)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Replay:
    """What a transcript shows: how the job ended and, when its proof holds, what was measured.

    The times of `measurement` are 0: a transcript does not have them. `lease` is the one that a
    refusal names, or 0.
    """

    verdict: Verdict
    measurement: Measurement | None = None
    lease: int = 0


def draw_lanes(report: Report, randomness: bytes, count: int = AUDIT_LANES) -> tuple[int, ...]:
    """Draw the lanes to be audited, ascending, among those that the report calls online.

    `randomness` is 32 fresh bytes of the auditor's own, drawn after it has seen the report.
    """
    online = [lane for lane in range(LANES) if report.online >> lane & 1]
    if not online:
        return ()
    (drawn,) = draw_from_parts(DRAW_TAG, randomness, [len(online)], count)
    return tuple(online[position] for position in drawn)


def audit_report(report: Report, view: EpochView) -> None:
    """Hold a report against itself and the registry, which needs no transcript.

    Raises AuditFailed when it judges a lane that it calls offline, or one without an active
    provider.
    """
    active = {provider.index % LANES for provider in view.shard_providers(report.shard)}
    for lane, score in enumerate(report.scores):
        judged = bool(score or report.fraud >> lane & 1)
        if judged and not report.online >> lane & 1:
            raise AuditFailed(AuditFault.OFFLINE, f"lane {lane}")
        if report.online >> lane & 1 and lane not in active:
            raise AuditFailed(AuditFault.VACANT, f"lane {lane}")


def audit_lane(
    network: NetworkView,
    view: EpochView,
    check: RowCheck,
    message: ReportMessage,
    lane: int,
    response: AuditResponse,
    leased_score: int = 0,
) -> None:
    """Hold an online lane of an accepted report against the transcript that its checker shows.

    `view` is the report's epoch, `check` the auditor's own for that epoch; `leased_score` what the
    lease is worth that `find_named_lease` finds in the response, as far as the auditor could
    confirm it. Takes as long as the verification of a job. Raises AuditFailed.
    """
    report = read_report(message).report
    checker = view.seated(message.shard, message.seat)
    provider = view.providers.get(message.shard * LANES + lane)
    if checker is None or provider is None or not provider.is_active(view.epoch):
        raise AuditFailed(AuditFault.VACANT, f"lane {lane}")
    if not report.online >> lane & 1:
        raise AuditFailed(AuditFault.OFFLINE, f"lane {lane}")
    if not response.messages:
        raise AuditFailed(AuditFault.NOTHING, f"lane {lane}")
    _require_evidence(report, lane, response)
    plan = plan_job(
        epoch=message.epoch,
        shard=message.shard,
        seat=message.seat,
        checker=message.checker,
        secret=message.secret,
        provider=provider,
        preset=network.timeline.preset,
    )
    replay = replay_job(network, view, check, plan, checker.node_key, response.messages)
    _compare(
        replay,
        plan,
        score=report.scores[lane],
        fraud=bool(report.fraud >> lane & 1),
        leased_score=leased_score,
    )


def find_named_lease(network: NetworkId, provider: Member, response: AuditResponse) -> int:
    """Return the lease that a transcript's refusal names, or 0.

    That is what the auditor has to look up before it judges the lane. Whether the refusal belongs
    to the job is part of that judgement.
    """
    if len(response.messages) != REFUSED_MESSAGES:
        return 0
    try:
        refusal = open_envelope(
            response.messages[-1], JobRefusal, network, signer=provider.node_key
        )
    except RemoteError:
        return 0
    return refusal.message.named_lease


def replay_job(
    network: NetworkView,
    view: EpochView,
    check: RowCheck,
    plan: JobPlan,
    checker: NodeKey,
    messages: Sequence[bytes],
) -> Replay:
    """Go through a job once more, as its checker went through it.

    Raises AuditFailed when these cannot be the messages of an honest checker.
    """
    reader = _Reader(network.network, checker, plan, messages)
    measurement, lease = None, 0
    try:
        measurement = _replay(network, view, check, plan, reader)
        verdict = Verdict.OK
    except AuditFailed:
        raise
    except ProofRejected:
        verdict = Verdict.WRONG
    except _Refused as error:
        taken = reader.read > REFUSED_MESSAGES
        verdict = Verdict.SLOW if taken else Verdict.BUSY
        lease = 0 if taken else error.lease
    except RemoteError:
        verdict = Verdict.SLOW
    if reader.read < 2:
        raise AuditFailed(AuditFault.NOTHING, "no answer in it")
    if reader.read < len(messages):
        raise AuditFailed(AuditFault.ORDER, f"{len(messages) - reader.read} messages more")
    return Replay(verdict, measurement, lease)


def _require_evidence(report: Report, lane: int, response: AuditResponse) -> None:
    digest = compute_transcript_digest(response.messages)
    try:
        root = find_evidence_root(report.online, lane, digest, response.path)
    except MalformedError as error:
        raise AuditFailed(AuditFault.ROOT, str(error)) from error
    if root != report.evidence:
        raise AuditFailed(AuditFault.ROOT, f"lane {lane}")


def _compare(replay: Replay, plan: JobPlan, *, score: int, fraud: bool, leased_score: int) -> None:
    """Hold what a report says of a lane against what its transcript shows."""
    if fraud != (replay.verdict is Verdict.WRONG):
        fault = AuditFault.FRAUD if fraud else AuditFault.SPARED
        raise AuditFailed(fault, f"found {replay.verdict.name}")
    if replay.measurement is None:
        if score > (leased_score if replay.lease else 0):
            raise AuditFailed(AuditFault.SCORE, f"{score}, found {replay.verdict.name}")
        return
    most = bound_score(replay.measurement, plan.provider.stake, plan.preset)
    if score > most:
        raise AuditFailed(AuditFault.BOUND, f"{score}, at most {most}")


def _replay(
    network: NetworkView, view: EpochView, check: RowCheck, plan: JobPlan, reader: "_Reader"
) -> Measurement:
    reader.expect(plan.job)
    answer = reader.take(Commitment)
    works = plan.read_works(answer.message)
    reader.expect(plan.pass_request)
    passes = plan.read_passes(reader.take(Passes).message, works)
    reader.expect(plan.chain_request)
    chains = plan.read_chains(reader.take(Chains).message)
    claims = Claims(works, passes, chains)
    drawn = plan.draw(compute_transcript_digest(reader.so_far), claims)
    reader.expect(drawn.request)
    plan.verify(check, claims, drawn, reader.take(Openings).message)
    rates = sum_receipts(
        open_receipts(answer.message.receipts, network.network),
        view,
        network.timeline,
        plan.provider.index,
    )
    return Measurement(
        works=works,
        work_us=0,
        passes=passes,
        chains=chains,
        down_bits_per_s=rates.down_bits_per_s,
        up_bits_per_s=rates.up_bits_per_s,
    )


class _Refused(RemoteError):
    """The provider did not take the job, or not to its end."""

    def __init__(self, lease: int) -> None:
        super().__init__("refused")
        self.lease = lease


class _Ended(RemoteError):
    """The transcript ends where another message could be."""


@dataclass(slots=True)
class _Reader:
    """Reads a transcript message by message."""

    network: NetworkId
    checker: NodeKey
    plan: JobPlan
    messages: Sequence[bytes]
    read: int = 0

    @property
    def so_far(self) -> Sequence[bytes]:
        """The messages read up to here."""
        return self.messages[: self.read]

    def expect(self, request: Message) -> None:
        """Read a request, which must be this one and signed by the checker."""
        data = self._next()
        try:
            verified = open_envelope(data, type(request), self.network, signer=self.checker)
        except RemoteError as error:
            raise AuditFailed(AuditFault.REQUEST, str(error)) from error
        if verified.message != request:
            raise AuditFailed(AuditFault.REQUEST, type(request).__name__)

    def take(self, kind: type[Answer]) -> Verified[Answer]:
        """Read an answer of one kind, signed by the provider; _Refused for a JobRefusal of this
        job, another RemoteError for one of another."""
        data = self._next()
        key = self.plan.provider.node_key
        try:
            if peek_kind(data, len(data), self.network) != JobRefusal.KIND:
                return open_envelope(data, kind, self.network, signer=key)
            refusal = open_envelope(data, JobRefusal, self.network, signer=key).message
        except RemoteError as error:
            raise AuditFailed(AuditFault.ANSWER, str(error)) from error
        if refusal.job != self.plan.id:
            raise RemoteError("answer to another job")
        raise _Refused(refusal.named_lease)

    def _next(self) -> bytes:
        if self.read == len(self.messages):
            raise _Ended("transcript ends")
        self.read += 1
        return self.messages[self.read - 1]

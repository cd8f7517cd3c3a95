"""A job's requests beside the reference's, and readings of answers that are none of this job."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.chains import ChainCommitment
from protocols.compute import MAX_M, MAX_ROUNDS, Shape, WorkCommitment
from protocols.envelopes import ENVELOPE_OVERHEAD
from protocols.errors import RemoteError
from protocols.evidence import compute_transcript_digest
from protocols.host_proof import MAX_DEVICES, DeviceWork
from protocols.jobs import Claims, JobPlan, plan_job
from protocols.memory import MAX_PASSES, PassCommitment
from protocols.messages import (
    MAX_AUDIT_BYTES,
    AuditResponse,
    ChainRequest,
    Chains,
    Commitment,
    Job,
    JobRefusal,
    OpenRequest,
    Passes,
    PassRequest,
)
from protocols.params import PRESETS, Preset
from protocols.types import Digest, Epoch, NodeKey, Seat, Shard
from tests.protocols import wire_reference as ref
from tests.protocols.test_audits import load_network
from tests.vectors.builders import audits, scene
from tests.vectors.builders.actors import secret

of_every_preset = pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS.keys())


def make_plan(preset: Preset | None = None, secret_: bytes | None = None) -> JobPlan:
    """The plan of the job of the audit vectors."""
    network = load_network()
    return plan_job(
        epoch=Epoch(scene.EPOCH),
        shard=Shard(0),
        seat=Seat(audits.SEAT),
        checker=audits.CHECKER,
        secret=secret_ or scene.challenge_secret(scene.EPOCH, 0, audits.SEAT),
        provider=network.epochs[Epoch(scene.EPOCH)].providers[0],
        preset=preset or network.timeline.preset,
    )


def test_requests_are_those_of_the_reference() -> None:
    plan, job = make_plan(), audits.job()

    assert plan.job.encode() == ref.body("Job", job.job())
    assert plan.pass_request.encode() == ref.body("PassRequest", job.pass_request())
    assert plan.chain_request.encode() == ref.body("ChainRequest", job.chain_request())
    assert plan.id == job.id


def test_openings_are_drawn_as_in_the_reference() -> None:
    job = audits.job().other(devices=audits.LARGER)
    messages = job.messages()
    plan = make_plan()
    works = plan.read_works(Commitment.decode(ref.body("Commitment", job.commitment())))
    claims = Claims(
        works,
        plan.read_passes(Passes.decode(ref.body("Passes", job.passes())), works),
        read_chains(plan),
    )
    drawn = plan.draw(compute_transcript_digest(messages[:6]), claims)

    asked = job.open_request(job.randomness(messages[:6]))
    assert drawn.request.encode() == ref.body("OpenRequest", asked)
    assert len(messages[7]) <= drawn.max_bytes


@given(transcript=st.binary(min_size=32, max_size=32), other=st.binary(min_size=32, max_size=32))
def test_draws_follow_from_secret_and_transcript(transcript: bytes, other: bytes) -> None:
    work = DeviceWork(0, Shape(1024, 32, 16), 0, WorkCommitment(900, bytes(32)))
    claims = Claims((work,), (None,), ())

    first = make_plan().draw(Digest(transcript), claims).request

    assert make_plan().draw(Digest(transcript), claims).request == first
    if transcript != other:
        assert make_plan().draw(Digest(other), claims).request != first
    assert make_plan(secret_=secret("another")).draw(Digest(transcript), claims).request != first


def read_works(plan: JobPlan, **change: Any) -> tuple[DeviceWork, ...]:
    fields = audits.job().commitment(**change)
    return plan.read_works(Commitment.decode(ref.body("Commitment", fields)))


def read_passes(plan: JobPlan, **change: Any) -> tuple[PassCommitment | None, ...]:
    works = read_works(plan)
    return plan.read_passes(Passes.decode(ref.body("Passes", audits.job().passes(**change))), works)


def read_chains(plan: JobPlan, **change: Any) -> tuple[ChainCommitment, ...]:
    return plan.read_chains(Chains.decode(ref.body("Chains", audits.job().chain_answer(**change))))


@pytest.mark.parametrize(
    ("read", "change", "reason"),
    [
        (read_works, {"job": bytes(32)}, "answer to another job"),
        (read_passes, {"job": bytes(32)}, "answer to another job"),
        (read_passes, {"request": bytes(32)}, "answer to another request"),
        (read_chains, {"job": bytes(32)}, "answer to another job"),
        (read_chains, {"request": bytes(32)}, "answer to another request"),
    ],
)
def test_an_answer_to_something_else_is_refused(
    read: Callable[..., object], change: dict[str, Any], reason: str
) -> None:
    plan = make_plan()
    assert read(plan)

    with pytest.raises(RemoteError) as caught:
        read(plan, **change)
    assert caught.value.reason == reason


def test_a_host_need_not_offer_its_cores() -> None:
    answer = audits.job().other(segments=()).chain_answer()

    assert make_plan().read_chains(Chains.decode(ref.body("Chains", answer))) == ()


@of_every_preset
def test_the_largest_transcript_fits_an_audit(preset: Preset) -> None:
    """Sixteen devices with the largest shapes, the most rounds and passes, and all receipts."""
    plan = make_plan(preset)
    shape = Shape(MAX_M, preset.k, preset.n)
    works = tuple(
        DeviceWork(device, shape, 1, WorkCommitment(MAX_ROUNDS, bytes(32)))
        for device in range(MAX_DEVICES)
    )
    passes = (PassCommitment(MAX_PASSES, bytes(32)),) * MAX_DEVICES
    chains = (ChainCommitment(1 << 16, b"\x01" * 32),) * 512
    drawn = plan.draw(Digest(bytes(32)), Claims(works, passes, chains))
    requests = (Job, PassRequest, ChainRequest, OpenRequest)
    answers = (Commitment, Passes, Chains)
    others = sum(kind.MAX_BYTES + ENVELOPE_OVERHEAD for kind in (*requests, *answers))

    # Around each message in the response there are five bytes at most.
    assert drawn.max_bytes + others + 8 * 5 + 300 <= MAX_AUDIT_BYTES


def test_the_largest_response_fits_a_frame() -> None:
    room = MAX_AUDIT_BYTES - 300
    largest = AuditResponse(path=bytes(256), messages=(bytes(room), *[b""] * 7))

    assert len(largest.encode()) + ENVELOPE_OVERHEAD <= 16 << 20
    assert AuditResponse.decode(largest.encode()) == largest


def test_a_plan_keeps_its_secret_to_itself() -> None:
    assert "secret" not in repr(make_plan())
    assert JobRefusal.KIND != Job.KIND
    assert make_plan().provider.node_key != NodeKey(bytes(32))

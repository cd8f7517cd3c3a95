"""Device reports between a provider and a checker: what is labelled how, and why."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from nacl.signing import SigningKey

from p2p_node.duties import device_book, device_reporting
from p2p_node.duties.device_book import DeviceBook, DeviceRecord, Label
from p2p_node.duties.device_reporting import DeviceReporter, ask_for_device_report, find_work
from p2p_node.duties.observations import Transcript
from p2p_node.net.api import RequestStream
from p2p_node.workloads.attestation.policy import Policy
from protocols.compute import Shape, WorkCommitment
from protocols.device_facts import DeviceFacts, encode_facts
from protocols.device_messages import (
    DEVICE_PROTOCOL,
    DeviceReport,
    DeviceRequest,
    compute_attestation_nonce,
    encode_attestation,
)
from protocols.envelopes import seal
from protocols.host_proof import DeviceWork, encode_work
from protocols.messages import Commitment, Job, JobRefusal, Refusal, compute_message_digest
from protocols.types import Digest, Epoch, NodeKey
from protocols.wire import Message
from tests.fakes.nvml import GOOD_GPU, FakeGpus
from tests.p2p_node.duties.world import EPOCH, GENESIS, NETWORK, PRESET, World, open_world
from tests.p2p_node.workloads.attestation_samples import (
    SPECS,
    Spec,
    fingerprint,
    key,
    make_chain,
    make_unsigned,
    pem,
    sign,
)

JOB = Digest(b"\x0b" * 32)
ROOTS = (b"\x01" * 32,)


def long_valid(_place: int, spec: Spec) -> Spec:
    return replace(spec, start=GENESIS - 10_000_000, end=GENESIS + 10_000_000)


CHAIN = make_chain(long_valid)
POLICY = Policy(roots=frozenset({fingerprint(CHAIN[-1])}))
EXPIRED = make_chain(
    lambda at, spec: (
        replace(long_valid(at, spec), end=GENESIS - 1) if at == 0 else long_valid(at, spec)
    )
)

SECOND_CHIP = key("second chip")
SECOND_CHAIN = (
    replace(long_valid(0, SPECS[0]), issuer=("GX1 BROM", "BB03"), issuer_key=SECOND_CHIP).make(),
    replace(long_valid(1, SPECS[1]), name=("GX1 BROM", "BB03"), key=SECOND_CHIP).make(),
    *CHAIN[2:],
)


def attest(index: int, nonce: bytes) -> tuple[bytes, bytes]:
    """A different genuine chip for each index."""
    return sign(make_unsigned(nonce)), pem((CHAIN, SECOND_CHAIN)[index])


def genuine(count: int = 1) -> FakeGpus:
    return FakeGpus(gpus=(GOOD_GPU,) * count, attestations=attest)


@asynccontextmanager
async def open_pair(tmp_path: Path, gpus: FakeGpus | None = None) -> AsyncIterator[World]:
    """A world whose first provider answers for JOB, asked by the first checker."""
    async with open_world(tmp_path, 50) as world:
        if gpus is not None:
            reporter = DeviceReporter(world.providers[0], gpus.open)
            reporter.serve()
            reporter.note_job(JOB, world.checkers[0].network.node_key, ROOTS)
        yield world


async def ask(
    world: World,
    book: DeviceBook | None = None,
    *,
    job: Digest = JOB,
    roots: tuple[bytes, ...] = ROOTS,
    checker: int = 0,
) -> DeviceRecord | None:
    with trio.fail_after(10):
        return await ask_for_device_report(
            world.checkers[checker],
            DeviceBook(POLICY) if book is None else book,
            world.view.providers[0],
            epoch=EPOCH,
            job=job,
            roots=roots,
            within=5,
        )


async def test_gpu_that_signs_is_attested(tmp_path: Path) -> None:
    book = DeviceBook(POLICY)
    async with open_pair(tmp_path, genuine()) as world:
        record = await ask(world, book)
        assert world.checkers[0].network.counters.refused == {}
    assert record is not None
    assert (record.label, record.reason) == (Label.ATTESTED, "")
    assert record.facts.gpus == (GOOD_GPU,)
    assert record.facts.software.driver == "580.65.06"
    assert record.facts.host.disk_free
    assert [device.ueid for device in record.devices] == ["aa01"]
    assert book.get(record.node_key) is record
    assert book.records() == (record,)


async def test_several_gpus_of_a_host_are_attested_together(tmp_path: Path) -> None:
    async with open_pair(tmp_path, genuine(2)) as world:
        record = await ask(world)
    assert record is not None
    assert record.label is Label.ATTESTED
    assert len({device.device_id for device in record.devices}) == 2


async def test_host_without_a_gpu_reports_and_says_so(tmp_path: Path) -> None:
    async with open_pair(tmp_path, FakeGpus(is_absent=True)) as world:
        record = await ask(world)
        assert world.checkers[0].network.counters.refused == {}
    assert record is not None
    assert (record.label, record.reason) == (Label.REPORTED, "nothing attested")
    assert record.facts.note == "no NVIDIA driver is installed (no libnvidia-ml)"
    assert record.facts.gpus == ()
    assert record.facts.host.cores


async def test_gpu_that_does_not_sign_is_reported(tmp_path: Path) -> None:
    async with open_pair(
        tmp_path, FakeGpus(problems={0: "the GPU has fallen off the bus"})
    ) as world:
        record = await ask(world)
    assert record is not None
    assert (record.label, record.reason) == (Label.REPORTED, "nothing attested")
    assert record.facts.note == "GPU 0: the GPU has fallen off the bus"


async def test_driver_without_gpus_is_said(tmp_path: Path) -> None:
    async with open_pair(tmp_path, FakeGpus(gpus=())) as world:
        record = await ask(world)
    assert record is not None
    assert record.facts.note == "the driver shows no GPU"


@pytest.mark.parametrize(
    ("attestations", "reason"),
    [
        (lambda _, nonce: (sign(make_unsigned(nonce)), pem(EXPIRED)), "certificate expired"),
        (
            lambda _, nonce: (sign(make_unsigned(nonce), key("me")), pem(CHAIN)),
            "bad report signature",
        ),
        (lambda _, nonce: (sign(make_unsigned(nonce)), pem(CHAIN[:-1])), "unknown root"),
        # What the provider itself notices is not sent.
        (lambda _, nonce: (sign(make_unsigned(bytes(32))), pem(CHAIN)), "nothing attested"),
        (lambda _, nonce: (sign(make_unsigned(nonce))[:-1], pem(CHAIN)), "nothing attested"),
        (lambda _, nonce: (sign(make_unsigned(nonce)), b"no PEM"), "nothing attested"),
    ],
)
async def test_evidence_that_does_not_hold_is_only_reported(
    tmp_path: Path, attestations: Callable[[int, bytes], tuple[bytes, bytes]], reason: str
) -> None:
    async with open_pair(tmp_path, FakeGpus(attestations=attestations)) as world:
        record = await ask(world)
        refused = world.checkers[0].network.counters.refused
        assert dict(refused) == ({(DEVICE_PROTOCOL, reason): 1} if "nothing" not in reason else {})
    assert record is not None
    assert (record.label, record.reason, record.devices) == (Label.REPORTED, reason, ())


async def test_one_chip_shown_twice_is_not_two(tmp_path: Path) -> None:
    gpus = FakeGpus(gpus=(GOOD_GPU,) * 2, attestations=lambda _, nonce: attest(0, nonce))
    async with open_pair(tmp_path, gpus) as world:
        record = await ask(world)
    assert record is not None
    assert (record.label, record.reason) == (Label.REPORTED, "device twice")
    assert len(record.devices) == 1


async def test_every_device_of_the_job_has_to_sign(tmp_path: Path) -> None:
    roots = (b"\x01" * 32, b"\x02" * 32)
    async with open_pair(tmp_path) as world:
        reporter = DeviceReporter(world.providers[0], genuine().open)
        reporter.serve()
        reporter.note_job(JOB, world.checkers[0].network.node_key, roots)
        record = await ask(world, roots=roots)
    assert record is not None
    assert (record.label, record.reason) == (Label.REPORTED, "fewer devices than the job had")


async def test_nonce_of_another_work_attests_nothing(tmp_path: Path) -> None:
    async with open_pair(tmp_path, genuine()) as world:
        record = await ask(world, roots=(b"\x02" * 32,))
    assert record is not None
    assert (record.label, record.reason) == (Label.REPORTED, "wrong nonce")


async def test_operators_policy_counts(tmp_path: Path) -> None:
    revoking = replace(
        POLICY, revoked_serials=frozenset({0xAA01}), revoked_fingerprints=frozenset()
    )
    async with open_pair(tmp_path, genuine()) as world:
        record = await ask(world, DeviceBook(revoking))
    assert record is not None
    assert (record.label, record.reason) == (Label.REPORTED, "certificate revoked")


# Which job


def make_transcript(*messages: Message) -> Transcript:
    return Transcript([seal(SigningKey(bytes(32)), NETWORK, message) for message in messages])


def test_work_is_found_in_a_transcript() -> None:
    job = Job(1, 0, 0, 0, 0, Digest(bytes(32)), PRESET.k, PRESET.n, 50)  # type: ignore[arg-type]
    job_id = compute_message_digest(job.encode())
    works = [
        DeviceWork(
            device, Shape(16, PRESET.k, PRESET.n), 1, WorkCommitment(3, bytes([device]) * 32)
        )
        for device in (1, 5)
    ]
    commitment = Commitment(job_id, tuple(map(encode_work, works)), ())
    transcript = make_transcript(job, commitment)
    assert find_work(transcript, NETWORK, PRESET) == (job_id, (b"\1" * 32, b"\5" * 32))
    refusal = JobRefusal(job_id, Refusal.BUSY, "busy", 0)
    for messages in ((), (job,), (job, refusal), (job, job), (job, Commitment(job_id, (), ()))):
        assert find_work(make_transcript(*messages), NETWORK, PRESET) is None


# Who may ask


async def test_only_the_jobs_checker_is_answered_and_once(tmp_path: Path) -> None:
    async with open_pair(tmp_path, genuine()) as world:
        assert await ask(world, checker=1) is None
        assert await ask(world, job=Digest(bytes(32))) is None
        assert await ask(world) is not None
        assert await ask(world) is None
        refused = world.providers[0].network.counters.refused
    assert refused[DEVICE_PROTOCOL, "device report of another job"] == 3


async def test_old_jobs_are_forgotten(tmp_path: Path) -> None:
    async with open_pair(tmp_path) as world:
        reporter = DeviceReporter(world.providers[0], genuine().open)
        reporter.serve()
        checker = world.checkers[0].network.node_key
        for number in range(device_reporting.MAX_JOBS + 1):
            reporter.note_job(Digest(bytes([number]) * 32), checker, ROOTS)
        assert await ask(world, job=Digest(bytes(32))) is None
        assert await ask(world, job=Digest(b"\x01" * 32)) is not None


# Providers that misbehave


async def say_garbage(stream: RequestStream, _world: World) -> None:
    await stream.send(b"\x93garbage")


async def say_another_job(stream: RequestStream, world: World) -> None:
    await _reply(stream, world, DeviceReport(Digest(bytes(32)), FACTS, (), ""))


async def say_other_facts(stream: RequestStream, world: World) -> None:
    await _reply(stream, world, DeviceReport(JOB, b"\x90", (), ""))


async def say_other_attestation(stream: RequestStream, world: World) -> None:
    await _reply(stream, world, DeviceReport(JOB, FACTS, (b"\x90",), ""))


async def say_it_in_anothers_name(stream: RequestStream, world: World) -> None:
    report = DeviceReport(JOB, FACTS, (), "")
    await stream.send(seal(world.outsider.identity.node_key, NETWORK, report))


async def _reply(stream: RequestStream, world: World, message: Message) -> None:
    await stream.send(seal(world.providers[0].identity.node_key, NETWORK, message))


FACTS = encode_facts(DeviceFacts())


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (say_garbage, None),
        (say_another_job, "device report of another job"),
        (say_other_facts, "wrong field count"),
        (say_other_attestation, "wrong field count"),
        (say_it_in_anothers_name, "unexpected signer"),
    ],
)
async def test_provider_that_misbehaves_has_no_record(
    tmp_path: Path, behave: Callable[..., object], reason: str | None
) -> None:
    async with open_pair(tmp_path) as world:

        async def answer(stream: RequestStream) -> None:
            await stream.receive(DeviceRequest.MAX_BYTES + 256)
            await behave(stream, world)  # type: ignore[misc]

        world.providers[0].network.serve(DEVICE_PROTOCOL, answer)
        book = DeviceBook(POLICY)
        assert await ask(world, book) is None
        assert book.records() == ()
        refused = world.checkers[0].network.counters.refused
        assert sum(refused.values()) == 1
        assert reason is None or refused[DEVICE_PROTOCOL, reason] == 1


async def test_provider_that_says_nothing_is_waited_for_so_long(tmp_path: Path) -> None:
    async with open_pair(tmp_path) as world:

        async def answer(_stream: RequestStream) -> None:
            await trio.sleep_forever()

        world.providers[0].network.serve(DEVICE_PROTOCOL, answer)
        with trio.fail_after(5):
            assert (
                await ask_for_device_report(
                    world.checkers[0],
                    DeviceBook(POLICY),
                    world.view.providers[0],
                    epoch=EPOCH,
                    job=JOB,
                    roots=ROOTS,
                    within=0.1,
                )
                is None
            )


async def test_stolen_evidence_attests_nothing(tmp_path: Path) -> None:
    """Another node's report, complete and genuine, names that node's key in its nonce."""
    async with open_pair(tmp_path) as world:
        other = world.providers[1].network.node_key
        report, _ = attest(0, compute_attestation_nonce(ROOTS, other))

        async def answer(stream: RequestStream) -> None:
            await stream.receive(DeviceRequest.MAX_BYTES + 256)
            data = (encode_attestation(report, CHAIN),)
            await _reply(stream, world, DeviceReport(JOB, FACTS, data, ""))

        world.providers[0].network.serve(DEVICE_PROTOCOL, answer)
        record = await ask(world)
    assert record is not None
    assert (record.label, record.reason) == (Label.REPORTED, "wrong nonce")


# The book


async def make_record(tmp_path: Path) -> DeviceRecord:
    async with open_pair(tmp_path, genuine()) as world:
        record = await ask(world)
    assert record is not None
    return record


def of(record: DeviceRecord, number: int, epoch: int = EPOCH) -> DeviceRecord:
    key_bytes = NodeKey(number.to_bytes(32, "big"))
    return replace(record, provider=number, node_key=key_bytes, epoch=Epoch(epoch))


async def test_one_gpu_does_not_stand_behind_two_nodes(tmp_path: Path) -> None:
    record = await make_record(tmp_path)
    book = DeviceBook(POLICY)
    assert book.add(of(record, 1)).label is Label.ATTESTED
    second = book.add(of(record, 2))
    assert (second.label, second.reason) == (Label.REPORTED, "device of another node")
    assert book.get(second.node_key) == second
    # The first one still owns it, and may show it again.
    assert book.add(of(record, 1)).label is Label.ATTESTED
    assert book.add(of(record, 2)).label is Label.REPORTED


async def test_gpu_may_move_to_another_node(tmp_path: Path) -> None:
    record = await make_record(tmp_path)
    book = DeviceBook(POLICY)
    book.add(of(record, 1))
    assert book.add(of(record, 2, epoch=EPOCH + 1)).label is Label.ATTESTED
    assert book.add(of(record, 1, epoch=EPOCH + 1)).label is Label.REPORTED


async def test_book_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = await make_record(tmp_path)
    monkeypatch.setattr(device_book, "MAX_RECORDS", 3)
    monkeypatch.setattr(device_book, "MAX_DEVICES", 2)
    book = DeviceBook()
    assert book.policy == Policy()
    for number in range(10):
        (device,) = record.devices
        devices = (replace(device, device_id=bytes([number]) * 32),)
        book.add(replace(of(record, number), devices=devices))
    assert [each.provider for each in book.records()] == [7, 8, 9]
    assert len(book._owners) == 2
    assert book.get(NodeKey(bytes(32))) is None

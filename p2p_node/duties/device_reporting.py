"""Asking a provider what its machine is, answering such a question, and what to make of it.

A report is *reported*, a hint for people; it is *attested* when as many GPUs as the job had devices
signed this job's nonce, each with a key that the pinned root vouches for. Neither changes a score.
"""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import trio

from p2p_node.duties.device_book import DeviceBook, DeviceRecord, Label
from p2p_node.duties.observations import Transcript
from p2p_node.net.api import RequestStream
from p2p_node.node import Node
from p2p_node.workloads.attestation.collect import Collected, collect_evidence
from p2p_node.workloads.attestation.errors import AttestationRejected
from p2p_node.workloads.attestation.policy import Policy
from p2p_node.workloads.attestation.verify import AttestedDevice, Evidence, verify_attestation
from p2p_node.workloads.device_facts import OpenGpus, read_device_facts
from p2p_node.workloads.nvml import NvmlUnavailableError, open_nvml
from protocols.device_facts import DeviceFacts, decode_facts, encode_facts
from protocols.device_messages import (
    DEVICE_PROTOCOL,
    DeviceReport,
    DeviceRequest,
    compute_attestation_nonce,
    decode_attestation,
    encode_attestation,
)
from protocols.envelopes import ENVELOPE_OVERHEAD, open_envelope, seal
from protocols.errors import RemoteError
from protocols.host_proof import decode_works
from protocols.membership import Member
from protocols.messages import Commitment, Job, compute_message_digest
from protocols.params import Preset
from protocols.types import Digest, Epoch, NetworkId, NodeKey

logger = logging.getLogger(__name__)

ASK_SECONDS: Final = 20.0
"""How long a provider has to report; sixteen GPUs sign one after the other."""

MAX_JOBS: Final = 64
"""Jobs that a provider remembers for questions: those of several epochs."""

_MAX_DETAIL: Final = 128


class DeviceReporter:
    """The provider's side: answers the checker of a job, once per job.

    Reports are made one at a time, in a thread.
    """

    def __init__(self, node: Node, open_gpus: OpenGpus = open_nvml) -> None:
        self._node = node
        self._open_gpus = open_gpus
        self._limiter = trio.CapacityLimiter(1)
        self._jobs: OrderedDict[Digest, tuple[NodeKey, tuple[bytes, ...]]] = OrderedDict()

    def serve(self) -> None:
        """Begin to answer."""
        self._node.network.serve(DEVICE_PROTOCOL, self._answer)

    def note_job(self, job: Digest, checker: NodeKey, roots: Sequence[bytes]) -> None:
        """Remember a job whose commitment has been sent, with the work root of each device as the
        commitment lists them. `job` is the digest of its body."""
        self._jobs[job] = checker, tuple(roots)
        while len(self._jobs) > MAX_JOBS:
            self._jobs.popitem(last=False)

    async def _answer(self, stream: RequestStream) -> None:
        network = self._node.watcher.view.network
        data = await stream.receive(DeviceRequest.MAX_BYTES + ENVELOPE_OVERHEAD)
        request = open_envelope(data, DeviceRequest, network, signer=stream.peer).message
        checker, roots = self._jobs.get(request.job, (None, ()))
        if checker != stream.peer:
            raise RemoteError("device report of another job")
        del self._jobs[request.job]
        nonce = compute_attestation_nonce(roots, self._node.network.node_key)
        facts, collected = await trio.to_thread.run_sync(
            self._read,
            nonce,
            limiter=self._limiter,
            # A driver that hangs must not keep the node from ending.
            abandon_on_cancel=True,
        )
        report = DeviceReport(
            job=request.job,
            facts=encode_facts(facts),
            attestations=tuple(
                encode_attestation(each.report, each.chain) for each in collected.evidence.values()
            ),
            detail=_shorten(collected.detail),
        )
        await stream.send(seal(self._node.identity.node_key, network, report))

    def _read(self, nonce: bytes) -> tuple[DeviceFacts, Collected]:
        facts = read_device_facts(self._node.data_dir, self._open_gpus)
        try:
            with self._open_gpus() as source:
                return facts, collect_evidence(source, len(facts.gpus), nonce)
        except NvmlUnavailableError as error:
            return facts, Collected({}, str(error))


def find_work(
    transcript: Transcript, network: NetworkId, preset: Preset
) -> tuple[Digest, tuple[bytes, ...]] | None:
    """Return a job's id and the work roots of its commitment, for `ask_for_device_report`.

    None when the job did not get so far.
    """
    if len(transcript.messages) < 2:
        return None
    sent, answered = transcript.messages[:2]
    try:
        job = open_envelope(sent, Job, network)
        commitment = open_envelope(answered, Commitment, network).message
        works = decode_works(commitment.devices, preset.k, preset.n)
    except RemoteError:
        # A refusal, or an answer that was none: the job's verdict says so.
        return None
    return compute_message_digest(job.body), tuple(work.commitment.root for work in works)


async def ask_for_device_report(
    node: Node,
    book: DeviceBook,
    provider: Member,
    *,
    epoch: Epoch,
    job: Digest,
    roots: Sequence[bytes],
    within: float = ASK_SECONDS,
) -> DeviceRecord | None:
    """Ask for the report that belongs to a job, judge it and keep it in the book.

    `job` and `roots` as in `DeviceReporter.note_job`; `within` in seconds. None when no valid
    report came back: nothing is raised for what the provider does, and nothing follows from it.
    """
    network = node.watcher.view.network
    request = DeviceRequest(job=job)
    try:
        async with node.network.open_stream(provider.node_key, DEVICE_PROTOCOL, within) as stream:
            await stream.send(seal(node.identity.node_key, network, request))
            data = await stream.receive(DeviceReport.MAX_BYTES + ENVELOPE_OVERHEAD, within=within)
        report = open_envelope(data, DeviceReport, network, signer=provider.node_key).message
        if report.job != job:
            raise RemoteError("device report of another job")
        facts = decode_facts(report.facts)
        nonce = compute_attestation_nonce(roots, provider.node_key)
        label, reason, devices = await trio.to_thread.run_sync(
            judge_attestations,
            report,
            len(roots),
            nonce,
            node.clock.now() // 1000,
            book.policy,
        )
    except RemoteError as error:
        node.network.counters.refuse(DEVICE_PROTOCOL, error.reason)
        logger.info("no device report from provider %d: %s", provider.index, error)
        return None
    if reason and report.attestations:
        node.network.counters.refuse(DEVICE_PROTOCOL, reason)
    record = book.add(
        DeviceRecord(provider.index, provider.node_key, epoch, label, reason, facts, devices)
    )
    _log(record, report.detail)
    return record


def judge_attestations(
    report: DeviceReport, expected: int, nonce: bytes, now: int, policy: Policy
) -> tuple[Label, str, tuple[AttestedDevice, ...]]:
    """Verify what the GPUs of a report signed, at Unix time `now`; `expected` devices did the job.

    Returns the label, the reason when it is not ATTESTED, and the devices that hold, none twice.
    Raises MalformedError for an attestation that does not parse.
    """
    found: dict[bytes, AttestedDevice] = {}
    reason = ""
    for data in report.attestations:
        evidence = Evidence(*decode_attestation(data))
        try:
            device = verify_attestation(evidence, nonce=nonce, now=now, policy=policy)
        except AttestationRejected as error:
            reason = reason or error.reason
            logger.info("attestation refused: %s", error)
            continue
        if device.device_id in found:
            reason = reason or "device twice"
        found[device.device_id] = device
    if not report.attestations:
        reason = "nothing attested"
    elif len(found) < expected:
        reason = reason or "fewer devices than the job had"
    return (Label.REPORTED if reason else Label.ATTESTED), reason, tuple(found.values())


def _log(record: DeviceRecord, detail: str) -> None:
    names = ", ".join(gpu.name or "a GPU without a name" for gpu in record.facts.gpus)
    why = ": ".join(text for text in (record.reason, detail) if text)
    logger.info(
        "provider %d: %s, %s%s",
        record.provider,
        names or record.facts.note or "no GPU",
        record.label,
        f" ({why})" if why else "",
    )
    for device in record.devices:
        logger.info("provider %d: %s", record.provider, device.describe())


def _shorten(text: str) -> str:
    kept = "".join(mark for mark in text if mark.isascii() and mark.isprintable())
    return kept[:_MAX_DETAIL]

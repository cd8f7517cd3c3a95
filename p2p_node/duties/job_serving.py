"""The provider's side of a job: judge it, run it, commit, open.

One job at a time: in lockstep no honest committee needs a second one, and a machine that took two
at once would halve both rates.
"""

import logging

from p2p_node.net.api import RequestStream
from p2p_node.node import Node
from p2p_node.workloads.backend import JobTimeoutError, Work
from p2p_node.workloads.compute_worker import ComputeWorker
from protocols.compute import ComputeJob, derive_b_seed
from protocols.envelopes import ENVELOPE_OVERHEAD, Verified, open_envelope, seal
from protocols.errors import MalformedError
from protocols.gossip import JOB_PROTOCOL
from protocols.messages import (
    Commitment,
    Job,
    JobRefusal,
    Openings,
    OpenRequest,
    Refusal,
    compute_message_digest,
)
from protocols.openings import decode_indices
from protocols.params import CLOCK_DISPARITY_MS, LANES
from protocols.types import Digest, Epoch, Seat, Shard

logger = logging.getLogger(__name__)

DEVICE = 0
"""A CPU node offers one device."""


class JobServer:
    """Answers jobs for one provider slot with one compute worker."""

    def __init__(self, node: Node, worker: ComputeWorker, provider: int) -> None:
        self._node = node
        self._worker = worker
        self._provider = provider
        self._busy = False
        self._answered: set[tuple[Epoch, Shard, Seat]] = set()

    async def run(self) -> None:
        """Serve jobs, and make each epoch's B resident as soon as its seed is known."""
        self._node.network.serve(JOB_PROTOCOL, self._answer)
        watcher, shape = self._node.watcher, self._node.preset.shape
        last = Epoch(watcher.current_epoch() - 1)
        while True:
            view = await watcher.next_view(last)
            last = view.epoch
            await self._worker.prepare(derive_b_seed(view.seed, shape.k, shape.n), shape)
            self._answered = {key for key in self._answered if key[0] >= last}

    async def _answer(self, stream: RequestStream) -> None:
        network = self._node.watcher.view.network
        data = await stream.receive(Job.MAX_BYTES + ENVELOPE_OVERHEAD)
        verified = open_envelope(data, Job, network, signer=stream.peer)
        refusal = self._judge(verified)
        if refusal is not None:
            await self._refuse(stream, verified, refusal)
            return
        job = verified.message
        self._busy = True
        self._answered.add((job.epoch, job.shard, job.seat))
        try:
            await self._serve(stream, verified)
        finally:
            self._busy = False

    def _judge(self, verified: Verified[Job]) -> Refusal | None:
        """Say why this job is not taken, or None. Only the seat's holder, in its slot, once."""
        node, job = self._node, verified.message
        view = node.watcher.view.epochs.get(job.epoch)
        if view is None or view.epoch != node.watcher.current_epoch():
            return Refusal.NOT_IN_SLOT
        if (job.provider, job.shard, job.device) != (
            self._provider,
            self._provider // LANES,
            DEVICE,
        ):
            return Refusal.NOT_FOR_ME
        checker = view.seated(job.shard, job.seat)
        if checker is None or (checker.index, checker.node_key) != (job.checker, verified.signer):
            return Refusal.NOT_IN_COMMITTEE
        timeline, now = node.watcher.timeline, node.clock.now()
        start, end = (
            timeline.slot_start(job.epoch, job.seat),
            timeline.slot_end(job.epoch, job.seat),
        )
        if not start - CLOCK_DISPARITY_MS <= now < end + CLOCK_DISPARITY_MS:
            return Refusal.NOT_IN_SLOT
        shape = node.preset.shape
        if (job.m, job.k, job.n) != (shape.m, shape.k, shape.n):
            return Refusal.BAD_SHAPE
        if job.window_ms != node.preset.window_ms:
            return Refusal.BAD_SHAPE
        if (job.epoch, job.shard, job.seat) in self._answered:
            return Refusal.ALREADY_ANSWERED
        return Refusal.BUSY if self._busy else None

    async def _refuse(
        self, stream: RequestStream, verified: Verified[Job], refusal: Refusal
    ) -> None:
        self._node.network.counters.refuse(JOB_PROTOCOL, f"job: {refusal.name.lower()}")
        logger.info("job of checker %d refused: %s", verified.message.checker, refusal.name)
        message = JobRefusal(
            job=compute_message_digest(verified.body), code=refusal, detail=refusal.name.lower()
        )
        await self._send(stream, message)

    async def _serve(self, stream: RequestStream, verified: Verified[Job]) -> None:
        node, job = self._node, verified.message
        preset, job_id = node.preset, compute_message_digest(verified.body)
        seed = node.watcher.view.epochs[job.epoch].seed
        compute_job = ComputeJob(
            preset.shape,
            derive_b_seed(seed, preset.shape.k, preset.shape.n),
            job.nonce,
            node.network.node_key,
            job.device,
        )
        try:
            work = await self._worker.run(
                compute_job,
                window_s=preset.window_ms / 1000,
                # Half of the slack is left for the commitment's way back.
                limit_s=(preset.window_ms + preset.commitment_slack_ms // 2) / 1000,
            )
        except JobTimeoutError:
            # Not one round in time: this host is too busy to take part.
            await self._refuse(stream, verified, Refusal.NOT_READY)
            return
        try:
            await self._commit_and_open(stream, job_id, work)
        finally:
            work.close()

    async def _commit_and_open(self, stream: RequestStream, job_id: Digest, work: Work) -> None:
        node, commitment = self._node, work.commitment
        await self._send(
            stream, Commitment(job=job_id, rounds=commitment.rounds, root=Digest(commitment.root))
        )
        data = await stream.receive(OpenRequest.MAX_BYTES + ENVELOPE_OVERHEAD)
        network = node.watcher.view.network
        request = open_envelope(data, OpenRequest, network, signer=stream.peer)
        if request.message.job != job_id:
            raise MalformedError("opening of another job")
        indices = decode_indices(request.message.indices, commitment.rounds, node.preset.shape.m)
        opened = await self._worker.open(work, indices)
        digest = compute_message_digest(request.body)
        await self._send(stream, Openings(job=job_id, request=digest, data=opened))

    async def _send(
        self, stream: RequestStream, message: Commitment | JobRefusal | Openings
    ) -> None:
        network = self._node.watcher.view.network
        await stream.send(seal(self._node.identity.node_key, network, message))

"""The provider's side of a job: judge it, run it on all devices, see it through.

One job at a time: in lockstep no honest committee needs a second one, and a machine that took two
at once would halve both rates. Only where two slots meet there can be two for a moment, and then
the second one waits for the devices.

While the machine is leased it is its renter's: every job is refused, and named is the lease, for
the checker to confirm.
"""

import logging
from collections.abc import Callable, Sequence

import trio

from p2p_node.duties.job_answering import Host, JobAnswer
from p2p_node.net.api import RequestStream
from p2p_node.node import Node
from p2p_node.workloads.backend import DeviceBusyError
from p2p_node.workloads.device_group import DEVICE_FAULTS, NoDeviceLeftError
from protocols.compute import derive_b_seed
from protocols.envelopes import ENVELOPE_OVERHEAD, Verified, open_envelope, seal
from protocols.errors import RemoteError
from protocols.gossip import JOB_PROTOCOL
from protocols.membership import EpochView
from protocols.messages import Job, JobRefusal, Refusal, compute_message_digest
from protocols.params import CLOCK_DISPARITY_MS, LANES
from protocols.types import Digest, Epoch, NodeKey, Seat, Shard

logger = logging.getLogger(__name__)


PREPARE_PAUSE_SECONDS = 1.0
"""After B could not be made resident, before the next try. Longer each time when a device fails,
for it will hardly come back; devices that somebody else uses are waited for."""

LONGEST_PAUSE_SECONDS = 60.0


NoteJob = Callable[[Digest, NodeKey, Sequence[bytes]], None]

Leased = Callable[[], int]
"""Says which lease this machine is given to at this moment; 0 for none."""


class JobServer:
    """Answers jobs for one provider slot with one host.

    `receipts_for` gives the sealed receipts of an epoch's transfers, at most MAX_SEATS; `note_job`
    is told of each job that is committed to: its digest, its checker, and the work roots. No job is
    begun, and nothing prepared for one, while the machine is `leased`.
    """

    def __init__(
        self,
        node: Node,
        host: Host,
        provider: int,
        receipts_for: Callable[[Epoch], Sequence[bytes]] = lambda _: (),
        note_job: NoteJob = lambda _job, _checker, _roots: None,
        leased: Leased = lambda: 0,
    ) -> None:
        self._node = node
        self._host = host
        self._provider = provider
        self._receipts_for = receipts_for
        self._note_job = note_job
        self._leased = leased
        self._answered: set[tuple[Epoch, Shard, Seat]] = set()

    async def run(self) -> None:
        """Serve jobs, and make each epoch's B resident as soon as its seed is known."""
        self._node.network.serve(JOB_PROTOCOL, self._answer)
        watcher = self._node.watcher
        last = Epoch(watcher.current_epoch() - 1)
        while True:
            view = await watcher.next_view(last)
            last = view.epoch
            self._answered = {key for key in self._answered if key[0] >= last}
            await self._prepare(view)

    async def _prepare(self, view: EpochView) -> None:
        """Make the epoch's B resident; try until that is done, or another epoch begins.

        Jobs do not depend on it: each makes up for it, and is late then. It waits for the end of a
        lease.
        """
        preset, pause = self._node.preset, PREPARE_PAUSE_SECONDS
        b_seed, told = derive_b_seed(view.seed, preset.k, preset.n), ""
        while True:
            problem = told
            try:
                if not self._leased():
                    # Who waits here looks like a job in progress, and hides from `_judge` that the
                    # devices are reserved: so it waits below.
                    await self._host.devices.prepare(b_seed, preset.k, preset.n, wait_s=0)
                    return
            except DeviceBusyError as error:
                problem = str(error)
            except (NoDeviceLeftError, OSError) as error:
                # OSError: of the file that reserves devices, on a disk that is full for example.
                problem, pause = str(error), min(2 * pause, LONGEST_PAUSE_SECONDS)
            if problem != told:
                logger.warning("epoch %d: devices not prepared: %s", view.epoch, problem)
                told = problem
            with trio.move_on_after(pause):
                await self._node.watcher.next_view(view.epoch)
                return

    async def _answer(self, stream: RequestStream) -> None:
        network = self._node.watcher.view.network
        data = await stream.receive(Job.MAX_BYTES + ENVELOPE_OVERHEAD)
        verified = open_envelope(data, Job, network, signer=stream.peer)
        refusal = self._judge(verified)
        if refusal is not None:
            await self._refuse(stream, verified, refusal)
            return
        job = verified.message
        self._answered.add((job.epoch, job.shard, job.seat))
        end = self._node.watcher.timeline.slot_end(job.epoch, job.seat)
        # A checker that dawdles does not take the time of the next one.
        with trio.move_on_at(self._node.clock.deadline(end)) as scope:
            await self._serve(stream, verified)
        if scope.cancelled_caught:
            raise RemoteError("job not done within its slot")

    def _judge(self, verified: Verified[Job]) -> Refusal | None:
        """Say why this job is not taken, or None. Only the seat's holder, in its slot, once."""
        node, job = self._node, verified.message
        view = node.watcher.view.epochs.get(job.epoch)
        if view is None or view.epoch != node.watcher.current_epoch():
            return Refusal.NOT_IN_SLOT
        if (job.provider, job.shard) != (self._provider, self._provider // LANES):
            return Refusal.NOT_FOR_ME
        checker = view.seated(job.shard, job.seat)
        if checker is None or (checker.index, checker.node_key) != (job.checker, verified.signer):
            return Refusal.NOT_IN_COMMITTEE
        timeline, now = node.watcher.timeline, node.clock.now()
        start, end = (
            timeline.slot_start(job.epoch, job.seat),
            timeline.slot_end(job.epoch, job.seat),
        )
        if not start - CLOCK_DISPARITY_MS <= now < end:
            return Refusal.NOT_IN_SLOT
        preset = node.preset
        if (job.k, job.n, job.window_ms) != (preset.k, preset.n, preset.window_ms):
            return Refusal.BAD_SHAPE
        if (job.epoch, job.shard, job.seat) in self._answered:
            return Refusal.ALREADY_ANSWERED
        # A job of the slot before may be on its way out: `_serve` waits a moment for the devices.
        return Refusal.BUSY if self._leased() or self._is_reserved() else None

    def _is_reserved(self) -> bool:
        try:
            return self._host.devices.find_reservation() is not None
        except OSError as error:
            logger.warning("it is not known whether the devices are reserved: %s", error)
            return True

    async def _serve(self, stream: RequestStream, verified: Verified[Job]) -> None:
        node, job, preset = self._node, verified.message, self._node.preset
        seed = node.watcher.view.epochs[job.epoch].seed
        try:
            async with self._host.devices.work(
                b_seed=derive_b_seed(seed, preset.k, preset.n),
                k=preset.k,
                n=preset.n,
                nonce=job.nonce,
                provider=node.network.node_key,
                window_s=preset.window_ms / 1000,
                # Half of the slack is left for the commitment's way back.
                limit_s=(preset.window_ms + preset.commitment_slack_ms // 2) / 1000,
            ) as work:
                job_id = compute_message_digest(verified.body)
                answer = JobAnswer(node, self._host, stream, job_id, work)
                self._note_job(job_id, stream.peer, answer.roots)
                await self._see_through(answer, job)
        except (NoDeviceLeftError, OSError) as error:
            # Not one round in time, or no device that works: this host cannot take part now.
            logger.warning("job of checker %d: %s", job.checker, error)
            await self._refuse(stream, verified, Refusal.NOT_READY)
        except DeviceBusyError as error:
            logger.info("job of checker %d: %s", job.checker, error)
            await self._refuse(stream, verified, Refusal.BUSY)

    async def _see_through(self, answer: JobAnswer, job: Job) -> None:
        try:
            await answer.run(self._receipts_for(job.epoch))
        except DEVICE_FAULTS as error:
            # Committed already, and nothing left to open it with: the checker sees the stream end.
            logger.warning("job of checker %d given up: %s", job.checker, error)

    async def _refuse(
        self, stream: RequestStream, verified: Verified[Job], refusal: Refusal
    ) -> None:
        self._node.network.counters.refuse(JOB_PROTOCOL, f"job: {refusal.name.lower()}")
        logger.info("job of checker %d refused: %s", verified.message.checker, refusal.name)
        message = JobRefusal(
            job=compute_message_digest(verified.body),
            code=refusal,
            detail=refusal.name.lower(),
            lease=self._leased() if refusal is Refusal.BUSY else 0,
        )
        network = self._node.watcher.view.network
        await stream.send(seal(self._node.identity.node_key, network, message))

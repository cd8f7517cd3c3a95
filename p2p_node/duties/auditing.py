"""Audits between checkers: the transcript behind a lane of a report, served and asked for.

Whoever bundles vouches for nothing but the signatures; so each member of a committee asks every
other for the transcript behind lanes of its own choice, and bundles only what was shown to rest on
a job. A report that was copied rests on none.
"""

import logging
import secrets
from dataclasses import dataclass, field

import trio

from chain.errors import ChainError
from p2p_node.duties.checking import prepare_row_check
from p2p_node.net.api import RequestStream
from p2p_node.net.errors import (
    DeadlineError,
    PeerUnreachableError,
    ProtocolRefusedError,
    StreamEndedError,
)
from p2p_node.node import Node
from p2p_node.workloads.core_chains import count_cores
from protocols.audits import audit_lane, audit_report, draw_lanes, find_named_lease
from protocols.draws import RANDOMNESS_BYTES
from protocols.envelopes import ENVELOPE_OVERHEAD, Verified, open_envelope, seal
from protocols.errors import RemoteError
from protocols.evidence import NO_EVIDENCE, compute_evidence_path
from protocols.freivalds import RowCheck
from protocols.gossip import AUDIT_PROTOCOL, read_report
from protocols.leased_scores import LeaseUnproved
from protocols.membership import EpochView, Member
from protocols.messages import AuditRequest, AuditResponse, ReportMessage
from protocols.params import AUDIT_LANES, LANES
from protocols.scoring import MILLI
from protocols.types import NodeKey, Seat, Shard

logger = logging.getLogger(__name__)

AUDITS_AT_ONCE = 8
"""Transcripts that one checker fetches at the same time: some 3 MB each on mainnet, 16 at most."""

RETRY_SECONDS = 0.5
"""Pause before a peer that did not answer is asked again. It is asked for the same lanes, or it
could stay silent until it is asked for one that it has."""

MAX_ASKED = 16 * AUDIT_LANES
"""How often one member of a committee may ask for transcripts of one report."""

SILENCE = (
    ChainError,
    DeadlineError,
    PeerUnreachableError,
    ProtocolRefusedError,
    StreamEndedError,
)
"""What need not be the fault of the peer, and may be otherwise the next time. ChainError: a lease
could not be looked up."""

KEPT_COUNTS = 1024
"""Reports and members whose requests are counted; the oldest are forgotten."""


class TranscriptServer:
    """Hands the transcripts of this checker's own reports to the members of their committees."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._asked: dict[tuple[NodeKey, int, Shard], int] = {}
        self._busy: set[tuple[NodeKey, Shard]] = set()

    def serve(self) -> None:
        """Answer streams of the audit protocol from now on."""
        self._node.network.serve(AUDIT_PROTOCOL, self._answer)

    async def _answer(self, stream: RequestStream) -> None:
        network = self._node.watcher.view.network
        data = await stream.receive(AuditRequest.MAX_BYTES + ENVELOPE_OVERHEAD)
        request = open_envelope(data, AuditRequest, network, signer=stream.peer).message
        self._admit(request, stream.peer)
        place = (stream.peer, request.shard)
        if place in self._busy:
            raise RemoteError("asked twice at once")
        self._busy.add(place)
        try:
            response = await self._find(request)
            key = self._node.identity.node_key
            # Megabytes are hashed for the signature.
            sealed = await trio.to_thread.run_sync(seal, key, network, response)
            await stream.send(sealed, within=_patience(self._node))
        finally:
            self._busy.discard(place)

    def _admit(self, request: AuditRequest, peer: NodeKey) -> None:
        """Take a request from a member of the committee, while the report can be bundled."""
        node = self._node
        view = node.watcher.view.epochs.get(request.epoch)
        now, timeline = node.clock.now(), node.watcher.timeline
        if view is None or now > timeline.bundle_end(request.epoch):
            raise RemoteError("not an epoch to audit")
        if now < timeline.reveal_start(request.epoch):
            raise RemoteError("not revealed yet")
        committee = view.committee(request.shard)
        members = [view.seated(request.shard, Seat(seat)) for seat in range(len(committee))]
        if not any(member is not None and member.node_key == peer for member in members):
            raise RemoteError("not in committee")
        key = (peer, request.epoch, request.shard)
        count = self._asked.pop(key, 0)
        self._asked[key] = count + 1
        if len(self._asked) > KEPT_COUNTS:
            del self._asked[next(iter(self._asked))]
        if count >= MAX_ASKED:
            raise RemoteError("asked too often")

    async def _find(self, request: AuditRequest) -> AuditResponse:
        store = self._node.store
        place = (request.epoch, request.shard)
        observations = await store.observations(*place) or []
        transcript = await store.transcript(*place, request.lane)
        transcripts = {
            each.lane: each.transcript for each in observations if each.transcript != NO_EVIDENCE
        }
        if transcript is None or request.lane not in transcripts:
            return AuditResponse(path=b"", messages=())
        return AuditResponse(
            path=compute_evidence_path(transcripts, request.lane),
            messages=tuple(transcript.messages),
        )


async def audit_reports(node: Node, view: EpochView, shard: Shard, seat: Seat) -> None:
    """Audit the reports of all other seats as they are revealed, until cancelled.

    What holds may be bundled from then on. Whoever does not answer is asked again and again.
    """
    auditor = _Auditor(
        node=node,
        view=view,
        shard=shard,
        check=await prepare_row_check(node, view),
        streams=trio.CapacityLimiter(AUDITS_AT_ONCE),
        threads=trio.CapacityLimiter(count_cores()),
    )
    begun = {seat}
    async with trio.open_nursery() as nursery:
        while True:
            for verified in node.reports.undecided(view.epoch, shard):
                if verified.message.seat not in begun:
                    begun.add(verified.message.seat)
                    nursery.start_soon(auditor.audit, verified)
            await node.reports.wait_for_change()


@dataclass(frozen=True, slots=True)
class _Auditor:
    """What the audits of one shard's reports have in common."""

    node: Node
    view: EpochView
    shard: Shard
    check: RowCheck = field(repr=False)
    streams: trio.CapacityLimiter
    threads: trio.CapacityLimiter

    async def audit(self, verified: Verified[ReportMessage]) -> None:
        """Ask until every lane drawn is shown, or one is refuted."""
        node, message = self.node, verified.message
        place = (self.view.epoch, self.shard, message.seat)
        try:
            await self._audit(message)
        except RemoteError as error:
            node.network.counters.refuse(AUDIT_PROTOCOL, error.reason)
            logger.warning(
                "epoch %d shard %d: report of seat %d fails its audit: %s", *place, error
            )
            node.reports.refuse(*place)
        else:
            node.reports.trust(*place)

    async def _audit(self, message: ReportMessage) -> None:
        """Raises or another RemoteError for an answer that is none."""
        report = read_report(message).report
        audit_report(report, self.view)
        member = self.view.seated(self.shard, message.seat)
        if member is None:
            # Not since the gossip rule has seen a holder of the seat, in this very view.
            raise RemoteError("not in committee")
        # Not before the report was seen, so that no report can be made for these lanes.
        for lane in draw_lanes(report, secrets.token_bytes(RANDOMNESS_BYTES)):
            await self._audit_lane(message, member, lane)

    async def _audit_lane(self, message: ReportMessage, member: Member, lane: int) -> None:
        while True:
            try:
                async with self.streams:
                    sealed = await self._ask(member, lane)
                    response = await trio.to_thread.run_sync(
                        self._open, member, sealed, limiter=self.threads
                    )
                    leased_score = await self._find_leased_score(message, lane, response)
                    await trio.to_thread.run_sync(
                        self._judge, message, lane, response, leased_score, limiter=self.threads
                    )
            except SILENCE as error:
                self.node.network.counters.refuse(AUDIT_PROTOCOL, error.reason)
                logger.info(
                    "epoch %d shard %d: no audit of checker %d yet: %s",
                    self.view.epoch,
                    self.shard,
                    member.index,
                    error,
                )
                await trio.sleep(RETRY_SECONDS)
            else:
                return

    def _open(self, member: Member, sealed: bytes) -> AuditResponse:
        network = self.node.watcher.view.network
        return open_envelope(sealed, AuditResponse, network, signer=member.node_key).message

    async def _find_leased_score(
        self, message: ReportMessage, lane: int, response: AuditResponse
    ) -> int:
        """Confirm the lease that a transcript names, as the checker had to; 0 when it is none.

        ChainError when the chain cannot be read: that is no fault of the checker.
        """
        node, provider = self.node, self.view.providers.get(self.shard * LANES + lane)
        if provider is None:
            return 0
        lease = find_named_lease(node.watcher.view.network, provider, response)
        if not lease:
            return 0
        try:
            return await node.leases.find_score(
                lease,
                provider,
                epoch=self.view.epoch,
                seat=Seat(message.seat),
                timeline=node.watcher.timeline,
                deadline=trio.current_time() + _patience(node),
            )
        except LeaseUnproved as error:
            node.network.counters.refuse(AUDIT_PROTOCOL, error.reason)
            logger.info("provider %d names lease %d: %s", provider.index, lease, error)
            return 0

    def _judge(
        self, message: ReportMessage, lane: int, response: AuditResponse, leased_score: int
    ) -> None:
        network = self.node.watcher.view
        audit_lane(network, self.view, self.check, message, lane, response, leased_score)

    async def _ask(self, member: Member, lane: int) -> bytes:
        node = self.node
        request = AuditRequest(epoch=self.view.epoch, shard=self.shard, lane=lane)
        sealed = seal(node.identity.node_key, node.watcher.view.network, request)
        within = _patience(node)
        async with node.network.open_stream(member.node_key, AUDIT_PROTOCOL, within) as stream:
            await stream.send(sealed)
            return await stream.receive(AuditResponse.MAX_BYTES + ENVELOPE_OVERHEAD, within=within)


def _patience(node: Node) -> float:
    """Seconds for one transcript: as long as reports have to be known everywhere."""
    return node.preset.reveal_ms / MILLI

"""Signing and publishing a checker's report, exactly once per epoch and shard."""

import logging

from p2p_node.duties.gossiping import make_judge
from p2p_node.duties.reporting import report_digest, seal_report
from p2p_node.net.api import RequestStream
from p2p_node.node import Node
from protocols.envelopes import ENVELOPE_OVERHEAD, open_envelope, seal
from protocols.errors import RemoteError
from protocols.gossip import ASK_REPORTS_PROTOCOL, reports_topic, validate_report_gossip
from protocols.membership import EpochView, Member
from protocols.messages import ReportMessage, ReportsRequest, ReportsResponse
from protocols.reports import Report, SignedReport
from protocols.types import Seat, Shard

logger = logging.getLogger(__name__)

ASK_SECONDS = 2.0
"""How long a peer has to hand over the reports it holds: a few KiB."""


async def publish_report(
    node: Node, view: EpochView, *, seat: Seat, checker: int, report: Report
) -> None:
    """Sign `report`, store it, and only then publish it.

    If the store already holds another report for this epoch and shard, that one is published
    again and the new one is dropped: a restarted checker never contradicts itself.
    """
    digest = report_digest(node.watcher.view, report)
    secret = await node.store.challenge_secret(view.epoch, report.shard, seat, bytes(32))
    sealed = seal_report(
        node.identity.node_key,
        node.watcher.view,
        signed=SignedReport(seat, report, node.identity.sign_digest(digest)),
        checker=checker,
        secret=secret,
    )
    stored = await node.store.record_own_report(view.epoch, report.shard, seat, digest, sealed)
    if stored != sealed:
        logger.warning(
            "epoch %d shard %d: already signed; the first report stands", view.epoch, report.shard
        )
    await republish_report(node, stored)


async def republish_report(node: Node, sealed: bytes) -> None:
    """Publish a stored report of one's own, and count it in one's own book."""
    message = open_envelope(sealed, ReportMessage, node.watcher.view.network).message
    _take(node, sealed)
    handed = await node.network.publish(reports_topic(message.shard), sealed)
    logger.info(
        "epoch %d shard %d: report of seat %d published to %d peers",
        message.epoch,
        message.shard,
        message.seat,
        handed,
    )


def follow_reports(node: Node, shard: Shard) -> None:
    """Subscribe to the reports on one shard; accepted ones go into the book."""
    judge = make_judge(
        validate_report_gossip, node.reports.add, memory=node.gossip, watcher=node.watcher
    )
    node.network.subscribe(reports_topic(shard), judge, deliver=False)


def serve_reports(node: Node) -> None:
    """Answer peers that ask for the reports of an epoch and shard."""

    async def answer(stream: RequestStream) -> None:
        network = node.watcher.view.network
        data = await stream.receive(ReportsRequest.MAX_BYTES + ENVELOPE_OVERHEAD)
        request = open_envelope(data, ReportsRequest, network, signer=stream.peer).message
        held = node.reports.sealed(request.epoch, request.shard)
        await stream.send(
            seal(node.identity.node_key, network, ReportsResponse(reports=tuple(held)))
        )

    node.network.serve(ASK_REPORTS_PROTOCOL, answer)


async def ask_for_reports(node: Node, view: EpochView, shard: Shard, peer: Member) -> None:
    """Ask one member for its reports; each is judged as if it had come by gossip."""
    network = node.watcher.view.network
    request = ReportsRequest(epoch=view.epoch, shard=shard)
    try:
        async with node.network.open_stream(
            peer.node_key, ASK_REPORTS_PROTOCOL, ASK_SECONDS
        ) as stream:
            await stream.send(seal(node.identity.node_key, network, request))
            data = await stream.receive(ReportsResponse.MAX_BYTES + ENVELOPE_OVERHEAD)
        response = open_envelope(data, ReportsResponse, network, signer=peer.node_key).message
    except RemoteError as error:
        logger.info("no reports from checker %d: %s", peer.index, error)
        return
    for sealed in response.reports:
        _take(node, sealed)


def _take(node: Node, sealed: bytes) -> None:
    """Judge a report that did not come by gossip, and keep it if it holds."""
    try:
        verified = validate_report_gossip(node.gossip, node.watcher.view, sealed, node.clock.now())
    except RemoteError as error:
        if error.reason != "seen before":
            node.network.counters.refuse(ASK_REPORTS_PROTOCOL, error.reason)
        return
    node.reports.add(verified)

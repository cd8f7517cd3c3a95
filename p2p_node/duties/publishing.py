"""Showing one's own report, following those of others, and asking for what was missed."""

import logging
from functools import partial

from p2p_node.duties.gossiping import make_judge
from p2p_node.net.api import RequestStream
from p2p_node.node import Node
from protocols.envelopes import ENVELOPE_OVERHEAD, Verified, open_envelope, seal
from protocols.errors import RemoteError
from protocols.gossip import (
    ASK_REPORTS_PROTOCOL,
    Equivocation,
    GossipMemory,
    NetworkView,
    reports_topic,
    validate_report_gossip,
)
from protocols.membership import EpochView, Member
from protocols.messages import ReportMessage, ReportsRequest, ReportsResponse
from protocols.types import Shard, TimeMs

logger = logging.getLogger(__name__)

ASK_SECONDS = 2.0
"""How long a peer has to hand over the reports it holds: a few KiB."""


async def reveal_report(node: Node, sealed: bytes) -> None:
    """Publish a stored report of one's own, and count it in one's own book."""
    message = open_envelope(sealed, ReportMessage, node.watcher.view.network).message
    if not _take(node, sealed):
        logger.warning(
            "epoch %d shard %d: own report not shown: nobody would take it",
            message.epoch,
            message.shard,
        )
        return
    node.reports.trust(message.epoch, message.shard, message.seat)
    handed = await node.network.publish(reports_topic(message.shard), sealed)
    logger.info(
        "epoch %d shard %d: report of seat %d published to %d peers",
        message.epoch,
        message.shard,
        message.seat,
        handed,
    )


def follow_reports(node: Node, shard: Shard) -> None:
    """Subscribe to the reports on one shard; accepted ones go into the book, contradictions to
    whoever polices them."""
    node.network.subscribe(
        reports_topic(shard),
        make_judge(
            partial(_judge, node), node.reports.add, memory=node.gossip, watcher=node.watcher
        ),
        deliver=False,
    )


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


def _judge(
    node: Node, memory: GossipMemory, view: NetworkView, data: bytes, now: TimeMs
) -> Verified[ReportMessage]:
    """Apply the rule, and keep the evidence where a report contradicts another."""
    try:
        return validate_report_gossip(memory, view, data, now)
    except Equivocation as found:
        node.offences.add(found)
        raise


def _take(node: Node, sealed: bytes) -> bool:
    """Judge a report that did not come by gossip; keep it if it holds, and tell whether it does."""
    try:
        verified = _judge(node, node.gossip, node.watcher.view, sealed, node.clock.now())
    except RemoteError as error:
        if error.reason == "seen before":
            return True
        node.network.counters.refuse(ASK_REPORTS_PROTOCOL, error.reason)
        return False
    node.reports.add(verified)
    return True

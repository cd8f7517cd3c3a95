"""Committing to a report before anybody shows one, and keeping what others committed to.

A checker's report exists once per epoch and shard. It is signed and stored, with the salt of its
commitment, before a word about it leaves the node; what is published later comes from the store. So
a checker that is started again at any moment repeats itself and never contradicts itself.
"""

import logging
import secrets

import trio

from p2p_node.duties.gossiping import make_judge
from p2p_node.duties.reporting import report_digest, seal_report
from p2p_node.node import Node
from protocols.envelopes import Verified, open_envelope, seal
from protocols.errors import RemoteError
from protocols.gossip import (
    COMMITMENTS_TOPIC,
    read_report,
    restore_commitment,
    validate_commitment_gossip,
)
from protocols.membership import EpochView
from protocols.messages import ReportCommitment, ReportMessage, compute_report_commitment
from protocols.reports import Report, SignedReport
from protocols.types import Epoch, Seat

logger = logging.getLogger(__name__)

SALT_BYTES = 32


async def sign_report(
    node: Node, view: EpochView, *, seat: Seat, checker: int, report: Report
) -> bytes:
    """Sign `report`, store it, and return the sealed report that stands.

    If the store already holds another one for this epoch and shard, that is returned and the new
    one is dropped.
    """
    digest = report_digest(node.watcher.view, report)
    secret = await node.store.challenge_secret(view.epoch, report.shard, seat, bytes(32))
    sealed = seal_report(
        node.identity.node_key,
        node.watcher.view,
        signed=SignedReport(seat, report, node.identity.sign_digest(digest)),
        checker=checker,
        secret=secret,
        salt=secrets.token_bytes(SALT_BYTES),
    )
    stored = await node.store.record_own_report(view.epoch, report.shard, seat, digest, sealed)
    if stored != sealed:
        logger.warning(
            "epoch %d shard %d: already signed; the first report stands", view.epoch, report.shard
        )
    return stored


async def publish_commitment(node: Node, sealed: bytes) -> None:
    """Publish the commitment to a stored report of one's own, unless it is too late for that."""
    network = node.watcher.view.network
    message = open_envelope(sealed, ReportMessage, network).message
    epoch, shard = message.epoch, message.shard
    if node.clock.now() >= node.watcher.timeline.reveal_start(epoch):
        logger.info("epoch %d shard %d: too late to commit", epoch, shard)
        return
    committed = seal(node.identity.node_key, network, make_commitment(node, message))
    try:
        validate_commitment_gossip(node.gossip, node.watcher.view, committed, node.clock.now())
    except RemoteError as error:
        if error.reason != "seen before":
            # Others would say the same.
            logger.warning("epoch %d shard %d: not committed: %s", epoch, shard, error)
            return
    await node.store.save_commitments([(epoch, shard, message.seat, committed)])
    handed = await node.network.publish(COMMITMENTS_TOPIC, committed)
    logger.info(
        "epoch %d shard %d: commitment of seat %d published to %d peers",
        epoch,
        shard,
        message.seat,
        handed,
    )


def make_commitment(node: Node, message: ReportMessage) -> ReportCommitment:
    """Commit to a report of one's own."""
    digest = report_digest(node.watcher.view, read_report(message).report)
    return ReportCommitment(
        epoch=message.epoch,
        shard=message.shard,
        seat=message.seat,
        checker=message.checker,
        commitment=compute_report_commitment(node.identity.wallet, digest, message.salt),
    )


async def keep_commitments(
    node: Node,
    checker: int,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Follow commitments until cancelled, and store those of one's own committees.

    Those that were stored before a restart are taken up first, before it is said to have started.
    """

    def take_note(_verified: Verified[ReportCommitment]) -> None:
        # The rule itself remembers the commitment; to the disk it comes from the queue.
        return

    await _restore(node)
    subscription = node.network.subscribe(
        COMMITMENTS_TOPIC,
        make_judge(validate_commitment_gossip, take_note, memory=node.gossip, watcher=node.watcher),
    )
    task_status.started()
    try:
        async for each in subscription:
            await _store(node, checker, each.data)
    finally:
        subscription.close()


async def _store(node: Node, checker: int, sealed: bytes) -> None:
    message = open_envelope(sealed, ReportCommitment, node.watcher.view.network).message
    view = node.watcher.view.epochs.get(message.epoch)
    # Reports on other shards are nothing that this checker would bundle.
    if view is not None and checker in view.committee(message.shard):
        await node.store.save_commitments([(message.epoch, message.shard, message.seat, sealed)])


async def _restore(node: Node) -> None:
    # The epoch in its grace may still be bundled.
    first = Epoch(node.watcher.current_epoch() - 1)
    for sealed in await node.store.commitments(first):
        try:
            restore_commitment(node.gossip, node.watcher.view, sealed, node.clock.now())
        except RemoteError as error:
            logger.info("a stored commitment is of no use: %s", error)

"""Taking the bundle to the chain: by rank, after a look whether it is already there."""

import logging
from itertools import count

import trio

from chain.errors import ChainError, FailedError, ObsoleteError
from p2p_node.duties.bundle_finality import stays_on_chain
from p2p_node.duties.publishing import ask_for_reports
from p2p_node.node import Node
from protocols.committee import compute_transmission_order
from protocols.membership import EpochView
from protocols.reports import agree
from protocols.types import Seat, Shard, TimeMs

logger = logging.getLogger(__name__)

PATIENCE_PARTS = 4
"""A rank with a quorum but not every report asks around and waits a quarter of Δ for the rest."""


async def send_bundle(node: Node, view: EpochView, shard: Shard, seat: Seat) -> None:
    """Wait for this seat's rank, then see to it that the chain has the bundle of the shard.

    Returns when it is there for good, sent by whomever, or when the contract no longer takes it.
    """
    timeline, preset = node.watcher.timeline, node.preset
    committee = view.committee(shard)
    order = compute_transmission_order(view.seed, shard, len(committee))
    start = timeline.bundle_start(view.epoch) + order.index(seat) * preset.rank_delay_ms
    await node.clock.sleep_until(TimeMs(start))
    patience = preset.rank_delay_ms // PATIENCE_PARTS
    with trio.move_on_at(node.clock.deadline(timeline.bundle_end(view.epoch))):
        for attempt in count():
            try:
                if await node.chain.has_bundle(view.epoch, shard):
                    if await stays_on_chain(node, view, shard, order.index(seat)):
                        return
                    continue
                held = node.reports.count(view.epoch, shard)
                complete = held == len(committee) or (attempt > 0 and held >= preset.quorum)
                if complete and await _submit(node, view, shard):
                    return
                if not complete:
                    await _ask_around(node, view, shard)
            except ChainError as error:
                logger.warning("epoch %d shard %d: %s", view.epoch, shard, error)
            await trio.sleep(patience / 1000)
    logger.warning("epoch %d shard %d: no bundle in time", view.epoch, shard)


async def _ask_around(node: Node, view: EpochView, shard: Shard) -> None:
    async with trio.open_nursery() as nursery:
        for other in range(len(view.committee(shard))):
            member = view.seated(shard, Seat(other))
            if member is not None and member.wallet != node.identity.wallet:
                nursery.start_soon(ask_for_reports, node, view, shard, member)


async def _submit(node: Node, view: EpochView, shard: Shard) -> bool:
    reports = node.reports.signed(view.epoch, shard)
    agreement = agree([each.report for each in reports], node.preset.tolerance_shift)
    call = node.calls.submit(
        epoch=view.epoch,
        shard=shard,
        medians=agreement.medians,
        reports=reports,
    )
    end = node.watcher.timeline.bundle_end(view.epoch)
    label = f"bundle {view.epoch}/{shard}"
    try:
        receipt = await node.transactions.execute(
            call,
            label=label,
            deadline=node.clock.deadline(end),
            is_obsolete=lambda: node.chain.has_bundle(view.epoch, shard),
        )
    except (FailedError, ObsoleteError) as error:
        # Most likely somebody else's bundle came first; the next look at the chain tells.
        logger.info("epoch %d shard %d: %s", view.epoch, shard, error)
        return False
    logger.info(
        "epoch %d shard %d: bundle of %d reports accepted, %d gas",
        view.epoch,
        shard,
        len(reports),
        receipt.gas_used,
    )
    return True

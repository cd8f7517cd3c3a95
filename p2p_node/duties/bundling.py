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
from protocols.scoring import MILLI
from protocols.types import Seat, Shard, TimeMs

logger = logging.getLogger(__name__)

PATIENCE_PARTS = 4
"""A rank with a quorum but not every report asks around, and waits up to twice a quarter of Δ for
the rest: a report that is still on its way, or an audit that is not done."""

MOST_WAITS = 2

MAX_REVERTS = 3
"""Bundles of one epoch and shard that this node pays for in vain. Whatever the contract has against
it will not have changed by the fourth."""


async def send_bundle(node: Node, view: EpochView, shard: Shard, seat: Seat) -> None:
    """Wait for this seat's rank, then see to it that the chain has the bundle of the shard.

    Only reports that may be trusted go into it: one's own, and those whose audit held. Returns when
    the bundle is there for good, sent by whomever, or when the contract no longer takes it.
    """
    timeline, preset = node.watcher.timeline, node.preset
    order = compute_transmission_order(view.seed, shard, len(view.committee(shard)))
    start = timeline.bundle_start(view.epoch) + order.index(seat) * preset.rank_delay_ms
    await node.clock.sleep_until(TimeMs(start))
    patience = preset.rank_delay_ms // PATIENCE_PARTS
    reverts = 0
    with trio.move_on_at(node.clock.deadline(timeline.bundle_end(view.epoch))):
        for attempt in count():
            try:
                if await node.chain.has_bundle(view.epoch, shard):
                    if await stays_on_chain(node, view, shard, order.index(seat)):
                        return
                    continue
                if not _is_complete(node, view, shard):
                    await _ask_around(node, view, shard)
                if _is_ready(node, view, shard, attempt):
                    await _wait_for_pause(node, view, shard)
                    if await _submit(node, view, shard):
                        return
            except FailedError as error:
                # Most likely somebody else's bundle came first; the next look at the chain tells.
                logger.info("epoch %d shard %d: %s", view.epoch, shard, error)
                reverts += 1
                if reverts >= MAX_REVERTS:
                    logger.warning("epoch %d shard %d: bundle given up", view.epoch, shard)
                    return
            except ChainError as error:
                logger.warning("epoch %d shard %d: %s", view.epoch, shard, error)
            await trio.sleep(patience / 1000)
    logger.warning("epoch %d shard %d: no final bundle in time", view.epoch, shard)


def _is_complete(node: Node, view: EpochView, shard: Shard) -> bool:
    """Whether every report that there can be is there, and found good or bad."""
    seats = map(Seat, range(len(view.committee(shard))))
    expected = sum(view.seated(shard, each) is not None for each in seats)
    decided = node.reports.count(view.epoch, shard) + node.reports.count_refused(view.epoch, shard)
    return decided >= expected


def _is_ready(node: Node, view: EpochView, shard: Shard, attempt: int) -> bool:
    if node.reports.count(view.epoch, shard) < node.preset.quorum:
        return False
    return attempt >= MOST_WAITS or _is_complete(node, view, shard)


async def _wait_for_pause(node: Node, view: EpochView, shard: Shard) -> None:
    """Wait until the contract takes bundles, where the Steward has paused that."""
    until = await node.chain.paused_until()
    if until * MILLI > node.clock.now():
        logger.warning(
            "epoch %d shard %d: bundles are paused until %d (Unix seconds)",
            view.epoch,
            shard,
            until,
        )
        await node.clock.sleep_until(TimeMs(until * MILLI))


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
    except ObsoleteError as error:
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

"""A checker's epochs, one after another: transfer, assess, commit, reveal, audit, bundle.

How a shard is assessed, and who sends its bundle, is handed in, so that a dishonest checker is
another role and not a switch in this one.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from p2p_node.duties.auditing import audit_reports
from p2p_node.duties.bundling import send_bundle
from p2p_node.duties.committing import keep_commitments, publish_commitment, sign_report
from p2p_node.duties.policing import police_contradictions, police_shard
from p2p_node.duties.publishing import follow_reports, reveal_report
from p2p_node.duties.seeding import contribute_to_seed
from p2p_node.duties.transferring import measure_transfers
from p2p_node.node import Node
from protocols.membership import EpochView
from protocols.reports import Report
from protocols.types import Epoch, Seat, Shard

logger = logging.getLogger(__name__)

Assess = Callable[[EpochView, Shard, Seat], Awaitable[Report | None]]
"""Judges one shard in the slot of one seat; None when there is nothing to report."""

Send = Callable[[Node, EpochView, Shard, Seat], Awaitable[None]]
"""Sees to it that the bundle of one shard gets to the chain, in the turn of one seat."""


@dataclass(frozen=True, slots=True)
class Conduct:
    """What tells one kind of checker from another."""

    assess: Assess
    send: Send = send_bundle


async def run_rounds(node: Node, checker: int, conduct: Conduct) -> None:
    """Take part in every epoch from now on, until cancelled."""
    followed: set[Shard] = set()
    last = Epoch(node.watcher.current_epoch() - 1)
    async with trio.open_nursery() as nursery:
        view = await node.watcher.next_view(last)
        await nursery.start(keep_commitments, node, checker)
        nursery.start_soon(police_contradictions, node, checker)
        while True:
            last = view.epoch
            for shard in map(Shard, range(view.shards)):
                if shard not in followed:
                    follow_reports(node, shard)
                    followed.add(shard)
            node.reports.forget_before(Epoch(view.epoch - 1))
            nursery.start_soon(_follow_epoch, node, view, checker, conduct)
            view = await node.watcher.next_view(last)


async def _follow_epoch(node: Node, view: EpochView, checker: int, conduct: Conduct) -> None:
    """Run an epoch, from its start again if a reorganisation draws its seats anew in time."""
    left: EpochView | None = view
    while left is not None:
        current, left = left, None
        async with trio.open_nursery() as nursery:

            async def run(drawn: EpochView, scope: trio.CancelScope) -> None:
                await _run_epoch(node, drawn, checker, conduct)
                scope.cancel()

            nursery.start_soon(run, current, nursery.cancel_scope)
            left = await node.watcher.wait_for_replacement(current)
            nursery.cancel_scope.cancel()


async def _run_epoch(node: Node, view: EpochView, checker: int, conduct: Conduct) -> None:
    member = view.checkers.get(checker)
    if member is None or not member.is_active(view.epoch):
        logger.info("epoch %d: not active", view.epoch)
        return
    seats = view.seats_of(checker)
    logger.info(
        "epoch %d: %s",
        view.epoch,
        ", ".join(f"seat {j} of shard {s}" for s, j in seats) or "no seat",
    )
    await node.store.prune(view.epoch)
    # By the end of the grace everything about this epoch's bundles is decided.
    with trio.move_on_at(node.clock.deadline(node.watcher.timeline.bundle_end(view.epoch))):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(contribute_to_seed, node, view, checker)
            for shard, seat in seats:
                nursery.start_soon(_serve_seat, node, view, checker, shard, seat, conduct)
    async with trio.open_nursery() as nursery:
        for shard, seat in seats:
            nursery.start_soon(police_shard, node, view, shard, seat)


async def _serve_seat(
    node: Node,
    view: EpochView,
    checker: int,
    shard: Shard,
    seat: Seat,
    conduct: Conduct,
) -> None:
    timeline = node.watcher.timeline
    stored = await node.store.own_report(view.epoch, shard)
    if stored is None:
        report = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(measure_transfers, node, view, shard, seat, checker)
            report = await conduct.assess(view, shard, seat)
        await node.clock.sleep_until(timeline.commit_start(view.epoch))
        # Once others show theirs, nobody takes a commitment any more.
        if report is not None and node.clock.now() < timeline.reveal_start(view.epoch):
            stored = await sign_report(node, view, seat=seat, checker=checker, report=report)
    if stored is not None:
        await publish_commitment(node, stored)
    await node.clock.sleep_until(timeline.reveal_start(view.epoch))
    if stored is not None:
        await reveal_report(node, stored)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(audit_reports, node, view, shard, seat)
        await conduct.send(node, view, shard, seat)
        nursery.cancel_scope.cancel()

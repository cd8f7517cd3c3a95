"""Taking offences to the chain: contradictions, providers marked as frauds, wrong reports.

Anybody may, and one is enough. So the committee's members take turns, each looking whether it was
done before paying for it, in the reverse of the order in which they send the bundle: whoever is
first there has least time here.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from chain.errors import ChainError, ObsoleteError, UnavailableError
from chain.records import BundleRecord, Call, SlotKind
from p2p_node.node import Node
from protocols.committee import compute_transmission_order
from protocols.gossip import Equivocation
from protocols.membership import EpochView
from protocols.params import LANES
from protocols.reports import is_wrong
from protocols.types import Epoch, Seat, Shard, TimeMs

logger = logging.getLogger(__name__)

URGENT_TURNS = 3
"""A contradiction is to be proved within its epoch: the committee's first members get a third of
what is left of it each, and all others come with the third."""

MAX_TRIES = 3
"""Transactions spent on one offence. Somebody else's success looks like a failure of one's own."""

RETRY_SECONDS = 1.0

POLICED_EPOCHS = 2
"""How long after its epoch an offence is followed up; others will have done it."""


@dataclass(frozen=True, slots=True)
class _Case:
    """Something to be done once by anybody: what, how to see that it is done, and how to do it."""

    label: str
    is_done: Callable[[], Awaitable[bool]]
    call: Call


async def police_contradictions(node: Node, checker: int) -> None:
    """Prove every equivocation that reaches this node, until cancelled."""
    async with trio.open_nursery() as nursery:
        while True:
            found = await node.offences.next()
            if found.checker != checker:
                nursery.start_soon(_prove, node, checker, found)


async def police_shard(node: Node, view: EpochView, shard: Shard, seat: Seat) -> None:
    """Follow up what the bundle of a shard says about providers and checkers.

    Returns when all of it is done, by whomever, or when it has waited long enough.
    """
    timeline = node.watcher.timeline
    # Until then the wallet is kept free for the bundle, and the contract takes no wrong report.
    start = timeline.bundle_end(view.epoch)
    end = timeline.bundle_end(Epoch(view.epoch + POLICED_EPOCHS))
    await node.clock.sleep_until(start)
    with trio.move_on_at(node.clock.deadline(end)):
        bundle = await _read_bundle(node, view.epoch, shard)
        cases = _find_cases(node, bundle) if bundle is not None else []
        # A turn has the time of a rank for each case, as one wallet does them one after another.
        turn = node.preset.rank_delay_ms * len(cases)
        await node.clock.sleep_until(TimeMs(start + _turn_of(view, shard, seat) * turn))
        for case in cases:
            await _see_to(node, case, end)


async def _prove(node: Node, checker: int, found: Equivocation) -> None:
    report = found.first.report
    logger.warning(
        "epoch %d shard %d: checker %d signed two reports",
        report.epoch,
        report.shard,
        found.checker,
    )
    view = node.watcher.view.epochs.get(report.epoch)
    if view is None:
        return
    now, timeline = node.clock.now(), node.watcher.timeline
    left = timeline.start_of(Epoch(report.epoch + 1)) - now
    step = max(0, min(node.preset.rank_delay_ms, left // URGENT_TURNS))
    committee = view.committee(report.shard)
    turn = URGENT_TURNS
    if checker in committee:
        turn = _turn_of(view, report.shard, Seat(committee.index(checker)), without=found.checker)
    await node.clock.sleep_until(TimeMs(now + min(turn, URGENT_TURNS - 1) * step))

    async def is_done() -> bool:
        return not await node.chain.stake_of(SlotKind.CHECKER, found.checker)

    case = _Case(
        f"equivocation of checker {found.checker} in epoch {report.epoch}",
        is_done,
        node.calls.prove_equivocation(found.checker, found.first, found.second),
    )
    await _see_to(node, case, timeline.bundle_end(Epoch(report.epoch + POLICED_EPOCHS)))


def _turn_of(view: EpochView, shard: Shard, seat: Seat, *, without: int | None = None) -> int:
    """Place of a seat in the reverse order of transmission, the accused left out."""
    committee = view.committee(shard)
    order = compute_transmission_order(view.seed, shard, len(committee))
    return [each for each in reversed(order) if committee[each] != without].index(seat)


async def _read_bundle(node: Node, epoch: Epoch, shard: Shard) -> BundleRecord | None:
    while True:
        try:
            return await node.chain.bundle(epoch, shard)
        except ChainError as error:
            logger.warning("epoch %d shard %d: bundle not read: %s", epoch, shard, error)
        await trio.sleep(RETRY_SECONDS)


def _find_cases(node: Node, bundle: BundleRecord) -> list[_Case]:
    """List what a bundle accuses: lanes that a majority marked, and reports far from it."""
    frauds = [lane for lane in range(LANES) if bundle.fraud >> lane & 1]
    wrong = [report for report in bundle.reports if is_wrong(report.deviations, bundle.lanes)]
    return [
        *(_fraud_case(node, bundle, lane) for lane in frauds),
        *(_wrong_case(node, bundle, Seat(report.seat), report.checker) for report in wrong),
    ]


def _fraud_case(node: Node, bundle: BundleRecord, lane: int) -> _Case:
    provider = bundle.shard * LANES + lane

    async def is_done() -> bool:
        return await node.chain.fraud_punished(provider, bundle.epoch)

    return _Case(
        f"fraud of provider {provider} in epoch {bundle.epoch}",
        is_done,
        node.calls.slash_fraud(bundle.epoch, bundle.shard, lane),
    )


def _wrong_case(node: Node, bundle: BundleRecord, seat: Seat, checker: int) -> _Case:
    async def is_done() -> bool:
        # They are counted in the order of epochs: with a later one, this one is past counting.
        latest = (await node.chain.standing(checker)).latest
        return bool(latest) and latest[0] >= bundle.epoch

    return _Case(
        f"wrong report of checker {checker} in epoch {bundle.epoch}",
        is_done,
        node.calls.record_wrong(bundle.epoch, bundle.shard, seat),
    )


async def _see_to(node: Node, case: _Case, end: TimeMs) -> None:
    """Do it unless it is done, a few times at most; an outage of the chain is waited out."""
    deadline = node.clock.deadline(end)
    tries = 0
    while tries < MAX_TRIES and trio.current_time() < deadline:
        try:
            if await case.is_done():
                return
            receipt = await node.transactions.execute(
                case.call, label=case.label, deadline=deadline, is_obsolete=case.is_done
            )
        except ObsoleteError:
            return
        except ChainError as error:
            logger.warning("%s: not on the chain yet: %s", case.label, error)
            tries += not isinstance(error, UnavailableError)
            await trio.sleep(RETRY_SECONDS)
        else:
            logger.warning("%s: punished, %d gas", case.label, receipt.gas_used)
            return
    logger.warning("%s: given up", case.label)

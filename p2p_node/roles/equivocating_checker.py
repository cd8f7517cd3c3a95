"""An adversary for tests and the local network: a checker that signs two reports on one shard."""

import secrets
from dataclasses import replace

import trio

from p2p_node.duties.checking import assess_shard
from p2p_node.duties.committing import SALT_BYTES
from p2p_node.duties.participation import participate_as_checker
from p2p_node.duties.reporting import report_digest, seal_report
from p2p_node.node import Node
from protocols.gossip import reports_topic
from protocols.membership import EpochView
from protocols.reports import Report, SignedReport
from protocols.types import Seat, Shard


async def run_equivocating_checker(node: Node) -> None:
    """Join as a checker, check as others do, and show a second report beside the first."""
    async with trio.open_nursery() as nursery:

        async def assess(
            node: Node, view: EpochView, shard: Shard, seat: Seat, checker: int
        ) -> Report | None:
            report = await assess_shard(node, view, shard, seat, checker)
            if report is not None:
                nursery.start_soon(_contradict, node, seat, checker, report)
            return report

        await participate_as_checker(node, assess)


async def _contradict(node: Node, seat: Seat, checker: int, report: Report) -> None:
    await node.clock.sleep_until(node.watcher.timeline.reveal_start(report.epoch))
    second = contradict_report(node, seat, checker, report)
    await node.network.publish(reports_topic(report.shard), second)


def contradict_report(node: Node, seat: Seat, checker: int, report: Report) -> bytes:
    """Sign another report than `report`, past the store that would not allow it."""
    other = replace(report, online=0)
    if other == report:
        other = replace(report, online=1)
    signature = node.identity.sign_digest(report_digest(node.watcher.view, other))
    return seal_report(
        node.identity.node_key,
        node.watcher.view,
        signed=SignedReport(seat, other, signature),
        checker=checker,
        secret=secrets.token_bytes(32),
        salt=secrets.token_bytes(SALT_BYTES),
    )

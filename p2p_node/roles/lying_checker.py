"""An adversary for tests and the local network: a checker that does its jobs and reports less.

Its transcripts are in order, so its audits hold; only the others' reports show that it lies.
"""

from dataclasses import replace

from p2p_node.duties.checking import assess_shard
from p2p_node.duties.participation import participate_as_checker
from p2p_node.node import Node
from protocols.membership import EpochView
from protocols.reports import Report
from protocols.types import Seat, Shard

KEPT_PART = 4
"""It reports a quarter of each score: below what any preset tolerates."""


async def run_lying_checker(node: Node) -> None:
    """Join as a checker, then report too little for everybody, until cancelled."""
    await participate_as_checker(node, _assess)


def belittle(report: Report) -> Report:
    """Lower every score of a report."""
    return replace(report, scores=tuple(score // KEPT_PART for score in report.scores))


async def _assess(
    node: Node, view: EpochView, shard: Shard, seat: Seat, checker: int
) -> Report | None:
    report = await assess_shard(node, view, shard, seat, checker)
    return None if report is None else belittle(report)

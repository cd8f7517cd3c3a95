"""An adversary for tests and the local network: a checker that measures nothing and invents."""

import secrets

from p2p_node.duties.observations import NO_EVIDENCE
from p2p_node.duties.participation import participate_as_checker
from p2p_node.node import Node
from protocols.lanes import bitmap_of
from protocols.membership import EpochView
from protocols.params import LANES, MAX_SCORE
from protocols.reports import Report
from protocols.types import Seat, Shard


async def run_lying_checker(node: Node) -> None:
    """Join as a checker, then report random scores for everybody, until cancelled."""
    await participate_as_checker(node, _assess)


def invent_report(view: EpochView, shard: Shard) -> Report:
    """Make up a score for every lane of the shard, and call everybody online."""
    lanes = view.lanes_of(shard)
    invented = [secrets.randbelow(MAX_SCORE) + 1 for _ in range(lanes)]
    return Report(
        epoch=view.epoch,
        shard=shard,
        scores=(*invented, *[0] * (LANES - lanes)),
        online=bitmap_of(range(lanes)),
        fraud=0,
        evidence=NO_EVIDENCE,
    )


async def _assess(_node: Node, view: EpochView, shard: Shard, _seat: Seat, _checker: int) -> Report:
    return invent_report(view, shard)

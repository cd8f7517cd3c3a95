"""An adversary for tests and the local network: a checker that measures nothing and copies.

What others reveal comes too late to commit to. So it repeats the newest that it has read, which is
an epoch old, and hopes that nobody asks for the transcripts behind it. It saves the gas of bundles
as well.
"""

from p2p_node.duties.observations import NO_EVIDENCE
from p2p_node.duties.participation import participate_as_checker
from p2p_node.node import Node
from protocols.envelopes import open_envelope
from protocols.gossip import read_report
from protocols.membership import EpochView
from protocols.messages import ReportMessage
from protocols.reports import Report
from protocols.types import Epoch, Seat, Shard


async def run_copying_checker(node: Node) -> None:
    """Join as a checker, then repeat in each epoch what another one said in the last."""
    await participate_as_checker(node, copy_report, send=leave_to_others)


async def copy_report(
    node: Node, view: EpochView, shard: Shard, _seat: Seat, checker: int
) -> Report | None:
    """Repeat the last epoch's report of somebody else, as if it were of this epoch."""
    last = Epoch(view.epoch - 1)
    for sealed in node.reports.sealed(last, shard):
        message = open_envelope(sealed, ReportMessage, node.watcher.view.network).message
        if message.checker != checker:
            report = read_report(message).report
            lanes = view.lanes_of(shard)
            return Report(
                epoch=view.epoch,
                shard=shard,
                scores=(*report.scores[:lanes], *[0] * (len(report.scores) - lanes)),
                online=report.online,
                fraud=report.fraud,
                evidence=NO_EVIDENCE,
            )
    return None


async def leave_to_others(_node: Node, _view: EpochView, _shard: Shard, _seat: Seat) -> None:
    """Send no bundle."""

"""The whole life of a provider or a checker: join, announce, work, claim.

Honest and dishonest roles differ in what they compute or assess, which they hand in; everything
around it is the same code.
"""

from collections.abc import Awaitable, Callable

import trio

from chain.records import SlotKind
from p2p_node.duties.announcing import announce, follow_announcements
from p2p_node.duties.auditing import TranscriptServer
from p2p_node.duties.bundling import send_bundle
from p2p_node.duties.challenges import follow_challenges
from p2p_node.duties.claiming import claim_forever
from p2p_node.duties.device_reporting import DeviceReporter
from p2p_node.duties.identifying import identify
from p2p_node.duties.job_answering import Host
from p2p_node.duties.job_serving import JobServer, Leased
from p2p_node.duties.publishing import serve_reports
from p2p_node.duties.registering import ensure_registered
from p2p_node.duties.rounds import Conduct, Send, run_rounds
from p2p_node.duties.transfer_serving import TransferServer
from p2p_node.node import Node
from p2p_node.rental.landlord import make_landlord
from protocols.membership import EpochView
from protocols.messages import Role
from protocols.reports import Report
from protocols.types import Seat, Shard

AssessAs = Callable[[Node, EpochView, Shard, Seat, int], Awaitable[Report | None]]
"""Judges one shard from one seat, as the checker with this index."""


async def participate_as_provider(node: Node, host: Host, leased: Leased | None = None) -> None:
    """Join as a provider if need be, then serve jobs with what `host` offers until cancelled.

    None is taken while `leased` names a lease; without it, that is as the landlord says.
    """
    follow_announcements(node)
    follow_challenges(node)
    index = await ensure_registered(node, Role.PROVIDER)
    slot = await node.chain.slot(SlotKind.PROVIDER, index)
    landlord = make_landlord(node, index, host.devices)
    leased = leased or landlord.leased
    transfers = TransferServer(node, index, leased)
    landlord.show_receipts(transfers.newest_receipts)
    transfers.serve()
    reporter = DeviceReporter(node)
    reporter.serve()
    server = JobServer(node, host, index, transfers.receipts_for, reporter.note_job, leased)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(announce, node, Role.PROVIDER)
        nursery.start_soon(claim_forever, node, Role.PROVIDER, index, slot.since_epoch)
        nursery.start_soon(server.run)
        nursery.start_soon(landlord.run)
        if node.keeper is not None:
            nursery.start_soon(identify, node.keeper, node.machine, node.network.counters)


async def participate_as_checker(node: Node, assess: AssessAs, *, send: Send = send_bundle) -> None:
    """Join as a checker if need be, then take part in every epoch until cancelled."""
    follow_announcements(node)
    follow_challenges(node)
    serve_reports(node)
    TranscriptServer(node).serve()
    index = await ensure_registered(node, Role.CHECKER)
    slot = await node.chain.slot(SlotKind.CHECKER, index)

    async def assess_as_self(view: EpochView, shard: Shard, seat: Seat) -> Report | None:
        return await assess(node, view, shard, seat, index)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(announce, node, Role.CHECKER)
        nursery.start_soon(claim_forever, node, Role.CHECKER, index, slot.since_epoch)
        nursery.start_soon(run_rounds, node, index, Conduct(assess_as_self, send))

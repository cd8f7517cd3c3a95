"""The ZeroNode service: counts the uptime of browser extensions and keeps their accounts."""

from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final

from chain.hexes import to_hex
from chain.zeronode_client import ZeroNodeClient
from p2p_node.node import Node
from p2p_node.zeronode.anchoring import Anchoring
from p2p_node.zeronode.context import ZeroNodeContext
from p2p_node.zeronode.draw_duty import make_draw_duty
from p2p_node.zeronode.nft import HolderReader
from p2p_node.zeronode.parts import Service, ServiceContracts, ServiceIdentity
from p2p_node.zeronode.receipts import ReceiptExchange, Speaker
from p2p_node.zeronode.service import Duty, Running, open_service, run_service
from protocols.errors import LocalError
from protocols.uptime_gossip import ServiceView
from protocols.zeronode_rules import rules_of

ANCHOR_LOOKS_PER_DAY: Final = 30
MAX_ANCHOR_PAUSE: Final = 30.0
"""Seconds between two looks whether there is a root to anchor, at most."""


async def run_zeronode(node: Node) -> None:
    """Serve extensions, exchange receipts with other services, anchor roots and hold draws, until
    cancelled. Takes no slot in the Registry."""
    context = node.zeronode
    if context is None or node.services is None:
        raise LocalError("zeronode: this node was not given what the role needs")
    client = ZeroNodeClient(context.rpc, context.deployment)
    async with _open(node, context, client) as service:
        service.listed = partial(getattr, node.services, "active")
        await run_service(
            service,
            holders=HolderReader(service.database, client, service.rules),
            duties=(
                node.services.run,
                partial(_exchange, node, service),
                _make_anchoring(node, service, client),
                make_draw_duty(service, client, context.deployment, node.transactions),
            ),
            on_listening=partial(_note_url, context),
        )


def _open(
    node: Node, context: ZeroNodeContext, client: ZeroNodeClient
) -> AbstractAsyncContextManager[Service]:
    deployment = context.deployment
    return open_service(
        context.settings,
        ServiceIdentity(node.identity.node_key, deployment.network_id, deployment.chain_id),
        rules_of(node.preset.name),
        node.clock,
        node.data_dir,
        chain=client,
        contracts=ServiceContracts(
            anchor=to_hex(deployment.address("ZeroNodeAnchor")),
            nft=to_hex(deployment.address("Nft")),
        ),
    )


def _note_url(context: ZeroNodeContext, running: Running) -> None:
    context.note_url(running.url)


async def _exchange(node: Node, service: Service) -> None:
    """Tell and take receipts. Begins when it is known where the service is reached."""
    identity = service.identity

    def view() -> ServiceView:
        return ServiceView(identity.network, service.listed(), service.rules)

    speaker = Speaker(identity.node_key, service.public_url, service.rules)
    await ReceiptExchange(service.database, node.network, speaker, view, node.clock).run()


def _make_anchoring(node: Node, service: Service, client: ZeroNodeClient) -> Duty:
    pause = min(MAX_ANCHOR_PAUSE, service.rules.day_ms / 1000 / ANCHOR_LOOKS_PER_DAY)
    return Anchoring(
        service.database, client, node.transactions, node.clock.now, pause_seconds=pause
    ).run

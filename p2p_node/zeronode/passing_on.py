"""A bootstrap node passes receipts of uptime on, so that services need not be neighbours."""

from p2p_node.clock import Clock
from p2p_node.net.api import Network
from p2p_node.net.judgement import ACCEPT, Judgement
from p2p_node.zeronode.service_list import ServiceList
from protocols.types import NetworkId
from protocols.uptime_gossip import (
    UPTIME_TOPIC,
    ReceiptMemory,
    ServiceView,
    validate_receipts_gossip,
)
from protocols.zeronode_rules import ZeroNodeRules


def pass_receipts_on(
    network: Network,
    services: ServiceList,
    rules: ZeroNodeRules,
    network_id: NetworkId,
    clock: Clock,
) -> None:
    """Follow the topic of receipts, and keep none of them."""
    memory = ReceiptMemory()

    def judge(data: bytes, _sender: bytes) -> Judgement:
        view = ServiceView(network_id, services.active, rules)
        validate_receipts_gossip(memory, view, data, clock.now())
        return ACCEPT

    network.subscribe(UPTIME_TOPIC, judge, deliver=False)

"""The checker: challenges providers in its slots, reports what it measured, helps to agree."""

from p2p_node.duties.checking import assess_shard
from p2p_node.duties.participation import participate_as_checker
from p2p_node.node import Node


async def run_checker(node: Node) -> None:
    """Join as a checker if need be, then check until cancelled."""
    await participate_as_checker(node, assess_shard)

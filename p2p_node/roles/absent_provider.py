"""An adversary for tests and the local network: a provider that registers and is then gone."""

from p2p_node.duties.registering import ensure_registered
from p2p_node.node import Node
from protocols.messages import Role


async def run_absent_provider(node: Node) -> None:
    """Register, and return at once."""
    await ensure_registered(node, Role.PROVIDER)

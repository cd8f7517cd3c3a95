"""The provider: offers a machine, answers jobs, is paid for what was proved."""

from p2p_node.duties.participation import participate_as_provider
from p2p_node.node import Node
from p2p_node.workloads.numpy_backend import NumpyBackend


async def run_provider(node: Node) -> None:
    """Join as a provider if need be, then serve jobs on this host's CPU until cancelled."""
    await participate_as_provider(node, NumpyBackend())

"""The provider: offers a machine, answers jobs, is paid for what was proved."""

from p2p_node.duties.hosting import open_host
from p2p_node.duties.participation import participate_as_provider
from p2p_node.node import Node
from p2p_node.workloads.numpy_backend import NumpyBackend


async def run_provider(node: Node) -> None:
    """Join as a provider if need be, then serve jobs with this host until cancelled."""
    backend = NumpyBackend(node.host.cpu_threads, node.host.cpu_memory_bytes)
    async with open_host(node, [backend]) as host:
        await participate_as_provider(node, host)

"""The provider: offers a machine, answers jobs, is paid for what was proved."""

from functools import partial

import trio

from p2p_node.duties.hosting import open_host
from p2p_node.duties.participation import participate_as_provider
from p2p_node.node import Node
from p2p_node.workloads.devices import open_devices, parse_devices
from p2p_node.workloads.self_check import check_devices, log_findings


async def run_provider(node: Node) -> None:
    """Join as a provider if need be, then serve jobs with this host until cancelled.

    Checks the machine first, and says what is wrong with it. Raises NoSuchDeviceError when the
    devices that the settings name cannot be used.
    """
    log_findings(await trio.to_thread.run_sync(check_devices))
    backends = await trio.to_thread.run_sync(
        partial(
            open_devices,
            parse_devices(node.host.devices),
            cpu_threads=node.host.cpu_threads,
            cpu_memory_bytes=node.host.cpu_memory_bytes,
        )
    )
    async with open_host(node, backends) as host:
        await participate_as_provider(node, host)

"""What a provider offers, opened for as long as its role lasts."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio

from p2p_node.duties.job_answering import Host
from p2p_node.node import Node
from p2p_node.workloads.backend import ComputeBackend
from p2p_node.workloads.compute_worker import GIVE_UP_SECONDS
from p2p_node.workloads.core_chains import CoreChains
from p2p_node.workloads.core_worker import CoreWorker
from p2p_node.workloads.device_group import DeviceGroup
from p2p_node.workloads.reservation import LOCK_FILE, Reservation


@asynccontextmanager
async def open_host(node: Node, backends: Sequence[ComputeBackend]) -> AsyncIterator[Host]:
    """Offer `backends`, and as many cores as the node's settings say.

    Closes all of them at the end. The devices can be reserved by others through a lock in the
    node's data directory. Raises OSError when that cannot be opened.
    """
    try:
        reservation = Reservation(node.data_dir / LOCK_FILE)
    except OSError:
        for backend in backends:
            backend.close()
        raise
    devices = DeviceGroup(backends, reservation)
    try:
        cores = None if node.host.cores == 0 else CoreChains(node.host.cores)
        try:
            yield Host(devices, CoreWorker(cores) if cores else None)
        finally:
            if cores:
                await _close_cores(cores)
    finally:
        await devices.close()


async def _close_cores(cores: CoreChains) -> None:
    """End the threads, also when cancelled; threads that hang are left behind."""
    with trio.move_on_after(GIVE_UP_SECONDS, shield=True):
        await trio.to_thread.run_sync(cores.close, abandon_on_cancel=True)

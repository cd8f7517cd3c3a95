"""Keeping the machine's devices for a renter, with their memory free."""

import logging
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

import trio

from p2p_node.workloads.backend import DeviceBusyError
from protocols.errors import LocalError

logger = logging.getLogger(__name__)

TURN_SECONDS: Final = 60.0
"""How long a job that runs may still take: longer than any does."""

RETRY_SECONDS: Final = 2.0

PATIENCE_SECONDS: Final = 180.0
"""How long a renter's place waits for the devices before it is given up."""


class RentedDevices(Protocol):
    """What is needed of `workloads.device_group.DeviceGroup`."""

    def reserve(self, reason: str, wait_s: float) -> AbstractAsyncContextManager[None]:
        """Keep jobs away; entered once the running job has ended."""
        ...

    async def release(self) -> None:
        """Give back all memory of the devices, until the next job."""
        ...


class DeviceHold:
    """Has the devices for one lease, from `run` until that is cancelled."""

    def __init__(self, devices: RentedDevices, lease_id: int) -> None:
        self._devices = devices
        self._lease = lease_id
        self._held = trio.Event()
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Get the devices, and keep them until `end`."""
        told = ""
        with self._scope:
            while True:
                try:
                    async with self._devices.reserve(f"lease {self._lease}", TURN_SECONDS):
                        await self._devices.release()
                        self._held.set()
                        await trio.sleep_forever()
                except (DeviceBusyError, OSError) as error:
                    # OSError: of the file that reserves devices between processes.
                    if str(error) != told:
                        told = str(error)
                        logger.warning("lease %d waits for the devices: %s", self._lease, error)
                    await trio.sleep(RETRY_SECONDS)

    async def wait(self) -> None:
        """Wait until the renter can have the devices; LocalError if that takes too long."""
        with trio.move_on_after(PATIENCE_SECONDS):
            await self._held.wait()
            return
        raise LocalError(f"the devices were still in use after {PATIENCE_SECONDS:g} s")

    def end(self) -> None:
        """Let go of them. May be called again."""
        self._scope.cancel()

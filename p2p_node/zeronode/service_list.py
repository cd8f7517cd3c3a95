"""Which services the chain lists: whose receipts are taken, and whose departures are believed."""

import logging
from collections.abc import Sequence
from typing import Final, Protocol

import trio

from chain.errors import ChainError
from chain.outage import Outage
from chain.zeronode_client import Service
from protocols.types import NodeKey

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 60.0
"""Between two looks, or an epoch where that is shorter: services come and go by the year."""


class ServiceReader(Protocol):
    """What is read from the chain."""

    async def services(self) -> Sequence[Service]:
        """Return all services that were ever listed."""


class ServiceList:
    """The services that are listed and not retired; empty until the chain was read."""

    def __init__(self, reader: ServiceReader, epoch_seconds: float) -> None:
        self._reader = reader
        self._pause = min(LOOK_SECONDS, epoch_seconds)
        self._changed = trio.Event()
        self.services: tuple[Service, ...] = ()
        """As they were read last, retired ones too."""
        self.active: frozenset[NodeKey] = frozenset()

    async def run(self) -> None:
        """Look again and again, until cancelled. While the chain is not read, the list stays."""
        outage = Outage(logger, "the list of ZeroNode services is not read")
        while True:
            try:
                services = tuple(await self._reader.services())
            except ChainError as error:
                outage.note(error)
            else:
                outage.end()
                self._take(services)
            await trio.sleep(self._pause)

    async def wait_for(self, key: NodeKey) -> None:
        """Wait until a service is listed."""
        while key not in self.active:
            await self._changed.wait()

    def _take(self, services: tuple[Service, ...]) -> None:
        active = frozenset(each.node_key for each in services if each.is_active)
        if active != self.active:
            logger.info("%d ZeroNode services are listed", len(active))
        self.services, self.active = services, active
        self._changed.set()
        self._changed = trio.Event()

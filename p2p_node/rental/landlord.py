"""A provider as a landlord: everything about renting it out, put together.

Without a price in the settings nothing is offered and nothing accepted, but leases that there are
go on to their end.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import trio

from p2p_node.node import Node
from p2p_node.rental.accepting import accept_forever
from p2p_node.rental.cashing import Cashier
from p2p_node.rental.contract import RentalContract
from p2p_node.rental.device_hold import RentedDevices
from p2p_node.rental.keeping import ChooseRunner, LeaseKeeper
from p2p_node.rental.offering import GiveReceipts, Offerer, ReadTemplates
from p2p_node.rental.serving import LeaseServer
from p2p_node.workloads.backend import DeviceInfo


@dataclass(frozen=True, slots=True)
class RunnerTools:
    """How a runner is found, and what it can be asked to run; both block."""

    choose_runner: ChooseRunner
    read_templates: ReadTemplates


class Landlord:
    """Rents out one provider's machine, for as long as `run` runs."""

    def __init__(
        self,
        node: Node,
        contract: RentalContract,
        provider: int,
        devices: RentedDevices,
        described: Sequence[DeviceInfo],
        tools: RunnerTools,
        give_receipts: GiveReceipts = tuple,
    ) -> None:
        self.keeper = LeaseKeeper(node, contract, provider, devices, tools.choose_runner)
        self.offerer = Offerer(self.keeper, described, tools.read_templates, give_receipts)
        self.server = LeaseServer(self.keeper, self.offerer, tools.read_templates)

    def leased(self) -> int:
        """Return the lease that has this machine now; 0 for none."""
        return self.keeper.leased()

    async def run(self) -> None:
        """Offer, accept, serve, end and be paid, until cancelled."""
        self.offerer.serve()
        self.server.serve()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.keeper.run)
            nursery.start_soon(self.offerer.run)
            nursery.start_soon(accept_forever, self.keeper)
            nursery.start_soon(Cashier(self.keeper).run)

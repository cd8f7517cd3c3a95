"""A provider as a landlord: everything about renting it out, put together.

Without a price in the settings nothing is offered and nothing accepted, but leases that there are
go on to their end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import trio

from p2p_node.node import Node
from p2p_node.rental.accepting import accept_forever
from p2p_node.rental.cashing import Cashier
from p2p_node.rental.choosing import choose_runner
from p2p_node.rental.contract import RentalContract
from p2p_node.rental.device_hold import RentedDevices
from p2p_node.rental.keeping import LeaseKeeper
from p2p_node.rental.offering import GiveReceipts, Offerer, ReadTemplates
from p2p_node.rental.runner_finding import ChooseRunner
from p2p_node.rental.serving import LeaseServer
from p2p_node.rental.templates import read_templates
from p2p_node.workloads.backend import DeviceInfo
from p2p_node.workloads.device_group import DeviceGroup
from protocols.errors import LocalError


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
    ) -> None:
        self.keeper = LeaseKeeper(node, contract, provider, devices, tools.choose_runner)
        self.offerer = Offerer(self.keeper, described, tools.read_templates)
        self.server = LeaseServer(self.keeper, self.offerer, tools.read_templates)

    def leased(self) -> int:
        """Return the lease that has this machine now; 0 for none."""
        return self.keeper.leased()

    def show_receipts(self, give: GiveReceipts) -> None:
        """Hand the receipts of transfers to whoever looks at the offer."""
        self.offerer.give_receipts = give

    async def run(self) -> None:
        """Offer, accept, serve, end and be paid, until cancelled."""
        self.offerer.serve()
        self.server.serve()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.keeper.run)
            nursery.start_soon(self.offerer.run)
            nursery.start_soon(accept_forever, self.keeper)
            nursery.start_soon(Cashier(self.keeper).run)


def make_landlord(node: Node, provider: int, devices: DeviceGroup) -> Landlord:
    """Put together the landlord of a node's provider slot."""
    if node.rental is None:
        raise LocalError("a provider needs the contract of rentals")
    templates = node.rental.settings.templates
    tools = RunnerTools(choose_runner, partial(read_templates, node.data_dir, templates))
    return Landlord(node, node.rental, provider, devices, devices.describe(), tools)

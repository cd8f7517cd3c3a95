"""What a node needs to rent its machine out on a chain."""

from dataclasses import dataclass

from chain.rental_calls import RentalCalls
from p2p_node.rental.chain_view import LeaseReader
from p2p_node.rental.settings import RentalSettings
from protocols.types import Wallet


@dataclass(frozen=True, slots=True)
class RentalContract:
    """The contract, read and written, and what the operator wants of it."""

    settings: RentalSettings
    reader: LeaseReader
    calls: RentalCalls

    @property
    def address(self) -> Wallet:
        """Where the contract is."""
        return self.calls.deployment.address("Rental")

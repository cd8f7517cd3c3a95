"""Networks that several tests start from, each with a copy of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace

import boa

from tests.chain.contracts.world import World


@dataclass(frozen=True)
class Snapshot:
    """A network as it stood when the snapshot was taken.

    titanoboa undoes after each test what it did to the chain. What is left to put back are the
    lists of people, and the clock, which networks that were built later have moved on.
    """

    network: World
    timestamp: int

    @staticmethod
    def of(network: World) -> Snapshot:
        return Snapshot(network, boa.env.timestamp)

    def resume(self) -> World:
        boa.env.timestamp = self.timestamp
        network = self.network
        return replace(network, checkers=[*network.checkers], providers=[*network.providers])

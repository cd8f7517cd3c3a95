"""Worlds that the contract tests share.

titanoboa's pytest plugin undoes on the chain what a test, a fixture or a Hypothesis example does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from boa.contracts.vyper.vyper_contract import VyperContract

from tests.chain.contracts import world as worlds
from tests.chain.contracts.snapshots import Snapshot
from tests.chain.contracts.world import World


@pytest.fixture(scope="session", autouse=True)
def _short_descriptions() -> Iterator[None]:
    """Keep titanoboa from describing a contract's whole storage at every revert.

    It takes most of the time of a test that expects one, and it fails for some maps.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VyperContract, "__repr__", lambda contract: str(contract.address))
        yield


@pytest.fixture(scope="session")
def _network() -> Snapshot:
    world = worlds.build(seats=4)
    world.populate(checkers=16, providers=256 + 44)
    world.enter(1)
    return Snapshot.of(world)


@pytest.fixture
def network(_network: Snapshot) -> World:
    """Sixteen checkers, a full and a partial shard, four seats; at the start of epoch 1."""
    return _network.resume()


@pytest.fixture
def with_seats(network: World) -> Callable[[int], World]:
    """The same network with committees of another size."""

    def with_seats(seats: int) -> World:
        consensus = worlds.deployer("Consensus").deploy(
            network.registry,
            network.beacon,
            seats,
            worlds.GRACE_SECONDS,
            worlds.TOLERANCE_SHIFT,
            worlds.RING,
        )
        return replace(network, consensus=consensus, seats=seats)

    return with_seats


@pytest.fixture(scope="session")
def _empty() -> Snapshot:
    return Snapshot.of(worlds.build(seats=4))


@pytest.fixture
def empty(_empty: Snapshot) -> World:
    """Nobody registered yet; in epoch 0."""
    return _empty.resume()


@pytest.fixture(scope="session")
def _small() -> Snapshot:
    world = worlds.build(seats=4)
    world.populate(checkers=4, providers=4)
    world.token.approve(world.rewards, worlds.SUPPLY)
    world.rewards.fund(100_000 * worlds.UNIT)
    world.commit_all()
    world.enter(1)
    return Snapshot.of(world)


@pytest.fixture
def small(_small: Snapshot) -> World:
    """Four checkers on four seats and four providers, funded; all committed; in epoch 1."""
    return _small.resume()

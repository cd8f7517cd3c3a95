"""Delegation with a real Registry and stand-ins for what else it knows."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import boa
from eth_utils import to_checksum_address

from chain.addresses import predict_address
from protocols.types import Wallet
from tests.chain.contracts.world import (
    EPOCH_SECONDS,
    RING,
    SUPPLY,
    UNIT,
    UNSTAKE_DELAY,
    deployer,
    wallet,
)

REUSE_DELAY = RING + 1
WARMUP = RING + 1
PENALTIES = wallet("penalties")
STAKE = 10 * UNIT


@dataclass
class Scene:
    """Contracts, and the checkers' tenancies: index and first epoch of the present tenant."""

    token: Any
    registry: Any
    around: Any
    delegation: Any
    tenants: list[tuple[str, int]] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        return int(self.registry.current_epoch())

    def pass_epochs(self, count: int) -> None:
        """Move the clock to the start of a later epoch."""
        boa.env.timestamp = self.registry.epoch_start(self.epoch + count)

    def act(self, person: str) -> AbstractContextManager[Any]:
        return boa.env.prank(wallet(person))  # type: ignore[no-any-return]

    def balance(self, person: str) -> int:
        return int(self.token.balanceOf(wallet(person)))

    def register(self, person: str) -> int:
        """Make somebody a checker."""
        self.token.transfer(wallet(person), STAKE)
        with self.act(person):
            self.token.approve(self.registry, STAKE)
            index = int(self.registry.register_checker(b"\x01" * 32, bytes(32), bytes(32), STAKE))
        tenant = (person, self.epoch + 1)
        self.tenants[index : index + 1] = [tenant]
        return index

    def since(self, index: int) -> int:
        return self.tenants[index][1]

    def units(self, index: int) -> int:
        return int(self.registry.checker(index).stake_units)

    def deposit(self, person: str, amount: int, index: int = 0) -> None:
        """Leave stake for the present tenant, out of what the person is given for it."""
        self.token.transfer(wallet(person), amount)
        with self.act(person):
            self.token.approve(self.delegation, amount)
            self.delegation.deposit(index, self.since(index), amount)

    def activate(self, person: str, index: int = 0) -> int:
        return int(self.delegation.activate(wallet(person), index, self.since(index)))

    def delegate(self, person: str, amount: int, index: int = 0) -> int:
        """Deposit, wait, activate."""
        self.deposit(person, amount, index)
        self.pass_epochs(WARMUP)
        return self.activate(person, index)

    def undelegate(self, person: str, shares: int, index: int = 0) -> int:
        with self.act(person):
            return int(self.delegation.undelegate(index, self.since(index), shares))

    def withdraw(self, person: str, index: int = 0) -> int:
        return int(self.delegation.withdraw(wallet(person), index, self.since(index)))

    def collect(self, person: str, index: int = 0) -> int:
        return int(self.delegation.collect(wallet(person), index, self.since(index)))

    def slash(self, bps: int, index: int = 0) -> int:
        with boa.env.prank(PENALTIES):
            return int(self.delegation.slash(index, bps))

    def pay(self, amount: int, index: int = 0) -> None:
        """Let Rewards pay the delegators of a checker."""
        self.token.transfer(self.around, amount)
        self.around.pay(index, amount)

    def holding(self, person: str, index: int = 0, since: int | None = None) -> Any:
        since = self.since(index) if since is None else since
        return self.delegation.holding(wallet(person), index, since)

    def pool(self, index: int = 0) -> Any:
        return self.delegation.pool(index, self.since(index))


def build_scene(token: Any = None, checkers: int = 2) -> Scene:
    """Deploy in epoch 0 and let checkers register; now it is epoch 1."""
    if token is None:
        token = deployer("Token").deploy("Kaisar", "KAI", SUPPLY)
    here = predict_next(2)
    registry = deployer("Registry").deploy(
        token,
        predict_next(1),
        PENALTIES,
        here,
        UNIT,
        boa.env.timestamp,
        EPOCH_SECONDS,
        UNSTAKE_DELAY,
        REUSE_DELAY,
    )
    around = deployer("AroundDelegation").deploy(token, here, RING)
    delegation = deployer("Delegation").deploy(token, registry, around, PENALTIES, WARMUP)
    assert delegation.address == here
    scene = Scene(token, registry, around, delegation)
    for number in range(checkers):
        scene.register(f"checker {number}")
    scene.pass_epochs(1)
    return scene


def predict_next(place: int) -> str:
    """The address of the contract that is deployed `place` contracts after the next."""
    sender = boa.env.eoa.canonical_address
    nonce = boa.env.evm.vm.state.get_nonce(sender) + place
    return str(to_checksum_address(predict_address(Wallet(sender), nonce)))

"""What registering costs, and that one slot leaves the others alone."""

import boa
import pytest

from chain.records import SlotKind
from protocols.signing import sign_binding
from protocols.types import NodeKey
from tests.chain.backends import CHAIN_ID
from tests.chain.contracts import world
from tests.chain.contracts.world import UNIT, UNSTAKE_DELAY, World, wallet
from tests.chain.network import network

KINDS = ("provider", "checker")
MAX_GAS = 250_000


@pytest.fixture
def net() -> World:
    """Nobody is registered; epoch 0 has just begun."""
    return world.build(seats=4)


async def test_registration_gas() -> None:
    """On the devchain, whose receipts count cold storage and calldata as a real chain's do."""
    async with network(2, 2) as net:
        stake = net.preset.min_provider_stake + net.preset.min_checker_stake
        for kind, people in (
            (SlotKind.PROVIDER, net.checkers),
            (SlotKind.CHECKER, net.providers),
        ):
            for person in people:
                owner = person.signer.address
                await net.execute(net.funder, net.calls.transfer(owner, stake), "stake")
                approve, register = net.calls.register(
                    kind,
                    NodeKey(bytes(person.node_key.verify_key)),
                    sign_binding(
                        person.node_key, CHAIN_ID, net.deployment.address("Registry"), owner
                    ),
                    stake,
                )
                await net.execute(person.manager, approve, "approval")
                receipt = await net.execute(person.manager, register, "registration")
                # Five new words of storage are the least that a registration can cost.
                assert 5 * 22_100 < receipt.gas_used <= MAX_GAS


def test_leaving_as_one_kind_keeps_the_other(net: World) -> None:
    for kind in KINDS:
        net.register(kind, "alice")
    with boa.env.prank(wallet("alice")):
        exit_epoch = net.registry.leave_provider()
    assert net.registry.checker(0).exit_epoch == world.NO_EXIT
    net.enter(exit_epoch, UNSTAKE_DELAY)
    with boa.reverts("registry: has not left"):
        net.registry.withdraw_checker(0)
    net.registry.withdraw_provider(0)
    assert net.registry.checker(0).stake == 10 * UNIT
    assert net.token.balanceOf(net.registry) == 10 * UNIT


def test_withdrawal_leaves_the_stakes_of_others(net: World) -> None:
    stakes = {"alice": 3 * UNIT, "bob": 7 * UNIT + 5, "carol": 2 * UNIT}
    for person, stake in stakes.items():
        net.register("checker", person, stake)
    with boa.env.prank(wallet("bob")):
        net.registry.leave_checker()
    net.enter(1, UNSTAKE_DELAY)
    with boa.env.prank(wallet("mallory")):
        net.registry.withdraw_checker(1)
    assert net.token.balanceOf(wallet("bob")) == stakes["bob"]
    assert net.token.balanceOf(wallet("mallory")) == 0
    assert [net.registry.checker(i).stake for i in range(3)] == [3 * UNIT, 0, 2 * UNIT]
    assert net.token.balanceOf(net.registry) == 5 * UNIT

"""Delegation and the Steward through calls, client and events, on the devchain."""

from dataclasses import replace

import pytest

from chain.calls import Calls
from chain.delegation_events import (
    Activated,
    CommissionAnnounced,
    DelegationEvent,
    Deposited,
    TakenBack,
    Undelegated,
)
from chain.errors import RevertedError
from chain.events import Executed, decode_event
from chain.records import Call, DelegationPool, Holding, Parameter, Receipt, SlotKind
from protocols.errors import LocalError
from protocols.params import TOKEN
from protocols.types import Epoch, Shard
from tests.chain.network import PRESET, Network, network
from tests.chain.samples import DEPLOYMENT

AMOUNT = 50 * TOKEN
WARMUP = PRESET.ring_epochs + 1


def events_of(net: Network, receipt: Receipt) -> list[object]:
    return [decode_event(net.deployment, log) for log in receipt.logs]


async def test_stake_is_entrusted_and_given_back() -> None:
    async with network(1, 1) as net:
        client, calls = net.client, net.calls
        person, owner = net.checkers[0], net.funder
        index, wallet = person.index, owner.wallet
        assert await client.tenant(index) == (person.signer.address, 1)
        assert await client.tenant(99) is None
        since = Epoch(1)
        net.enter(1)

        async def do(label: str, call: Call) -> DelegationEvent:
            receipt = await net.execute(owner, call, label)
            (event,) = (e for e in events_of(net, receipt) if isinstance(e, DelegationEvent))
            return event

        approve, deposit = calls.delegate(index, since, AMOUNT)
        await net.execute(owner, approve, "approval")
        ready = Epoch(1 + WARMUP)
        assert await do("deposit", deposit) == Deposited(wallet, index, since, AMOUNT, ready)
        waiting = Holding(AMOUNT, ready, 0, 0, 0, 0, 0)
        assert await client.holding(wallet, index, since) == waiting
        with pytest.raises(RevertedError, match="warm-up is not over"):
            await do("activation", calls.activate(wallet, index, since))

        terms = await net.execute(person.manager, calls.set_commission(index, 2_500), "terms")
        assert CommissionAnnounced(index, since, 2_500, ready) in events_of(net, terms)

        net.enter(1 + WARMUP)
        activated = Activated(wallet, index, since, AMOUNT, AMOUNT)
        assert await do("activation", calls.activate(wallet, index, since)) == activated
        pool = DelegationPool(shares=AMOUNT, stake=AMOUNT, leaving=0, closed=False)
        assert await client.delegation_pool(index, since) == pool
        assert await client.commission(index) == 2_500
        slot = await client.slot(SlotKind.CHECKER, index)
        assert slot.stake_units == (PRESET.min_checker_stake + AMOUNT) // TOKEN
        assert slot.stake == PRESET.min_checker_stake

        half = AMOUNT // 2
        left = await do("undelegation", calls.undelegate(index, since, half))
        assert isinstance(left, Undelegated)
        assert (left.amount, left.shares) == (half, half)
        assert left.unlocks_at >= net.now + PRESET.unstake_delay_seconds
        holding = await client.holding(wallet, index, since)
        assert (holding.stake, holding.leaving, holding.unlocks_at) == (half, half, left.unlocks_at)
        with pytest.raises(RevertedError, match="unstake delay is not over"):
            await do("withdrawal", calls.withdraw_delegation(wallet, index, since))
        net.enter(2 + WARMUP, PRESET.unstake_delay_seconds)
        await do("withdrawal", calls.withdraw_delegation(wallet, index, since))
        assert (await client.holding(wallet, index, since)).leaving == 0
        with pytest.raises(RevertedError, match="nothing to collect"):
            await do("collection", calls.collect(wallet, index, since))

        approve, deposit = calls.delegate(index, since, 7)
        await net.execute(owner, approve, "second approval")
        await do("second deposit", deposit)
        back = await do("taking back", calls.take_back(index, since))
        assert back == TakenBack(wallet, index, since, 7)


async def test_the_steward_changes_parameters_after_its_delay() -> None:
    async with network(1, 0) as net:
        client, calls, owner = net.client, net.calls, net.funder
        bounty = Parameter.BOUNTY_BPS
        assert await client.parameter(bounty) == PRESET.bounty_bps
        assert await client.minimum_stake(SlotKind.PROVIDER) == PRESET.min_provider_stake
        assert await client.minimum_stake(SlotKind.CHECKER) == PRESET.min_checker_stake
        await net.execute(owner, calls.propose(bounty, 5), "proposal")
        with pytest.raises(RevertedError, match="delay is not over"):
            await net.execute(owner, calls.execute_proposal(bounty), "execution")
        stranger = net.checkers[0].manager
        with pytest.raises(RevertedError, match="caller is not the owner"):
            await net.execute(stranger, calls.cancel_proposal(bounty), "cancellation")
        net.enter(1, PRESET.steward_delay_seconds)
        receipt = await net.execute(stranger, calls.execute_proposal(bounty), "execution")
        assert Executed(bounty, 5) in events_of(net, receipt)
        assert await client.parameter(bounty) == 5
        await net.execute(owner, calls.propose(bounty, 6), "second proposal")
        await net.execute(owner, calls.cancel_proposal(bounty), "cancellation")
        with pytest.raises(RevertedError, match="nothing is proposed"):
            await net.execute(stranger, calls.execute_proposal(bounty), "second execution")


async def test_a_pause_stops_bundles_and_nothing_else() -> None:
    async with network(4, 1) as net:
        client, calls, owner = net.client, net.calls, net.funder
        assert await client.paused_until() == 0
        net.enter(1)
        call = await net.bundle(Epoch(1), await net.sign_reports(Epoch(1), [[9]] * 4))
        await net.execute(owner, calls.pause(), "pause")
        assert await client.paused_until() > net.now
        # Asked for without a limit of gas, a call that fails costs nothing.
        with pytest.raises(RevertedError, match="bundles are paused"):
            await net.execute(owner, replace(call, gas_limit=None), "bundle")
        await net.execute(net.providers[0].manager, calls.leave(SlotKind.PROVIDER), "leaving")
        await net.execute(owner, calls.unpause(), "end of the pause")
        await net.execute(owner, call, "bundle")
        assert await client.has_bundle(Epoch(1), Shard(0))


def test_a_part_is_at_most_all() -> None:
    calls = Calls(DEPLOYMENT)
    for bps in (-1, 10_001):
        with pytest.raises(LocalError, match=f"commission: found {bps}, expected 0 … 10000"):
            calls.set_commission(0, bps)

"""The contracts through client, calls and events, on the devchain: a network's whole life."""

from dataclasses import replace

import pytest
import trio

from chain.deployment import Deployment, verify_deployment
from chain.errors import FailedError, RevertedError, WrongChainError
from chain.events import (
    BundleAccepted,
    CheckerPaid,
    Contributed,
    ProviderPaid,
    Registered,
    SeedFrozen,
    Transferred,
    decode_event,
)
from chain.records import NO_EXIT, SlotKind
from protocols.committee import compute_committee
from protocols.hashing import keccak256
from protocols.params import LANES, TOKEN
from protocols.reports import compute_weight
from protocols.settlement import compute_pool_unit
from protocols.signing import is_binding_valid
from protocols.types import Epoch, NodeKey, Seat, Shard
from tests.chain.backends import CHAIN_ID, FUNDER
from tests.chain.network import PRESET, Network, network, secret_of

EPOCH = Epoch(1)
SHARD = Shard(0)


async def test_what_registering_leaves_behind() -> None:
    async with network() as net:
        await verify_deployment(net.rpc, net.deployment)
        client = net.client
        slots = await client.providers()
        assert [slot.index for slot in slots] == [0, 1, 2]
        person = next(each for each in net.providers if each.index == 1)
        slot = slots[1]
        assert slot == await client.slot(SlotKind.PROVIDER, 1)
        assert slot.wallet == person.signer.address
        assert slot.node_key == bytes(person.node_key.verify_key)
        registry = net.deployment.address("Registry")
        assert is_binding_valid(slot.node_key, CHAIN_ID, registry, slot.wallet, slot.binding)
        assert (slot.created_epoch, slot.joined_epoch, slot.exit_epoch) == (0, 1, NO_EXIT)
        assert slot.stake == PRESET.min_provider_stake == slot.stake_units * TOKEN
        assert not slot.is_active(Epoch(0))
        assert slot.is_active(EPOCH)
        assert await client.slot_index(SlotKind.CHECKER, slot.wallet) is None
        with pytest.raises(RevertedError, match="no such slot"):
            await client.slot(SlotKind.PROVIDER, 3)
        assert await client.token_balance(slot.wallet) == 0
        assert await client.allowance(slot.wallet, registry) == 0
        assert await client.gas_balance(slot.wallet) > 0
        assert await client.reward_fund() == 100_000 * TOKEN
        found = [event for event, _ in await client.events(net.deployment.block, "latest")]
        registered = [event for event in found if isinstance(event, Registered)]
        quiet = await client.events(net.deployment.block, "latest", token=False)
        assert [event for event, _ in quiet] == [e for e in found if not isinstance(e, Transferred)]
        log = next(log for event, log in quiet if isinstance(event, SeedFrozen))
        creation = await client.transaction(log.transaction_hash)
        assert creation is not None
        assert (creation.hash, creation.to) == (log.transaction_hash, None)
        assert await client.transaction(b"\x11" * 32) is None
        assert sorted((e.kind, e.index) for e in registered) == [
            *((SlotKind.PROVIDER, index) for index in range(3)),
            *((SlotKind.CHECKER, index) for index in range(4)),
        ]


async def test_reads_are_about_the_block_they_name() -> None:
    async with network(1, 1) as net:
        head = await net.client.head()
        final = await net.client.head("finalized")
        assert final.number < head.number
        assert await net.client.head(final.number) == final
        before = net.deployment.block
        assert await net.client.checkers("latest") != ()
        # Before its contract existed there was nothing to read.
        assert await net.client.gas_balance(FUNDER.address, before - 1) > 0
        net.enter(1)
        assert await net.client.epoch() == 1
        assert await net.client.epoch(head.number) == 0


async def contribute_all(net: Network, epoch: int) -> None:
    async with trio.open_nursery() as nursery:
        for person in net.checkers:
            nursery.start_soon(net.contribute, person, epoch)


async def test_secrets_make_the_next_seed() -> None:
    async with network() as net:
        client = net.client
        net.enter(1)
        seed = await client.seed(EPOCH)
        person = net.checkers[0]
        assert (await client.commitment(person.index)).digest == keccak256(
            secret_of(person.index, 0)
        )
        receipt = await net.contribute(person, 1)
        assert await client.seed(EPOCH) == seed, "the running epoch's seed is fixed"
        assert await client.contributed(EPOCH, person.index)
        assert not await client.contributed(EPOCH, net.checkers[1].index)
        commitment = await client.commitment(person.index)
        assert commitment.digest == keccak256(secret_of(person.index, 1))
        assert commitment.epoch == EPOCH
        events = [decode_event(net.deployment, log) for log in receipt.logs]
        assert (
            Contributed(EPOCH, person.index, secret_of(person.index, 0), commitment.digest)
            in events
        )
        with pytest.raises(FailedError, match="commitment is of this epoch"):
            await net.contribute(person, 2)
        with pytest.raises(RevertedError, match="no seed"):
            await client.seed(Epoch(2))
        net.enter(2)
        assert await client.seed(EPOCH) == seed
        assert await client.seed(Epoch(2)) != seed


async def test_an_epoch_is_settled_and_paid() -> None:
    async with network() as net:
        client = net.client
        net.enter(1)
        await contribute_all(net, 1)
        reports = await net.sign_reports(
            EPOCH, [[100, 200, 0], [110, 190, 0], [105, 200, 0], [9_000, 9_000, 9_000]]
        )
        assert not await client.has_bundle(EPOCH, SHARD)
        assert await client.bundle(EPOCH, SHARD) is None
        assert await client.scores(EPOCH, SHARD) is None
        sender = net.checkers[0]
        receipt = await net.execute(sender.manager, await net.bundle(EPOCH, reports), "bundle")

        assert await client.has_bundle(EPOCH, SHARD)
        bundle = await client.bundle(EPOCH, SHARD)
        assert bundle is not None
        assert (bundle.lanes, bundle.online, bundle.fraud) == (3, 0b111, 0)
        committee = compute_committee(await client.seed(EPOCH), SHARD, 4, PRESET.seats)
        assert [(each.seat, each.checker) for each in bundle.reports] == list(enumerate(committee))
        assert [each.deviations for each in bundle.reports] == [0, 0, 0, 3]
        assert await client.scores(EPOCH, SHARD) == (105, 200) + (0,) * (LANES - 2)
        (accepted,) = (
            event
            for log in receipt.logs
            if isinstance(event := decode_event(net.deployment, log), BundleAccepted)
        )
        assert accepted.reports == bundle.reports
        assert (accepted.sender, accepted.total) == (sender.signer.address, 305)

        with pytest.raises(FailedError) as caught:
            await net.execute(sender.manager, await net.bundle(EPOCH, reports), "bundle again")
        assert caught.value.revert_reason == "consensus: bundle exists"

        assert not await client.is_closed(EPOCH)
        assert await client.provider_reward(0, EPOCH) == 0
        net.enter(2, PRESET.grace_seconds)
        assert await client.is_closed(EPOCH)
        assert await client.is_claimable(EPOCH)
        totals = await client.totals(EPOCH)
        assert totals.provider_total > 0
        weights = [compute_weight(each.deviations, bundle.lanes) for each in bundle.reports]
        assert totals.checker_total == sum(weights) * PRESET.min_checker_stake // TOKEN
        await claim_everything(net)


async def claim_everything(net: Network) -> None:
    client = net.client
    paid = 0
    for person in net.providers:
        reward = await client.provider_reward(person.index, EPOCH)
        assert not await client.provider_claimed(person.index, EPOCH)
        call = net.calls.claim_provider(person.index, [EPOCH])
        if reward == 0:
            with pytest.raises(RevertedError, match="nothing to claim"):
                await net.execute(net.funder, call, "claim of nothing")
            continue
        # Anybody may send it; the wallet is paid.
        receipt = await net.execute(net.funder, call, f"claim of provider {person.index}")
        events = [decode_event(net.deployment, log) for log in receipt.logs]
        assert ProviderPaid(person.index, person.signer.address, reward, 1) in events
        assert await client.provider_claimed(person.index, EPOCH)
        assert await client.token_balance(person.signer.address) == reward
        paid += reward
    bundle = await client.bundle(EPOCH, SHARD)
    assert bundle is not None
    by_index = {person.index: person for person in net.checkers}
    for result in bundle.reports:
        seat = Seat(result.seat)
        reward = await client.checker_reward(result.checker, EPOCH, SHARD, seat)
        assert (reward == 0) is (result.deviations > 0)
        if reward == 0:
            continue
        person = by_index[result.checker]
        call = net.calls.claim_checker(result.checker, [(EPOCH, SHARD, seat)])
        receipt = await net.execute(person.manager, call, "claim")
        wallet = person.signer.address
        events = [decode_event(net.deployment, log) for log in receipt.logs]
        assert CheckerPaid(result.checker, wallet, reward, 0, 1) in events
        assert await client.checker_claimed(result.checker, EPOCH, SHARD)
        assert await client.token_balance(wallet) == reward
        paid += reward
    assert await client.reward_fund() == 100_000 * TOKEN - paid
    assert await client.next_open_epoch() == EPOCH + 1, "claims close what they need"
    provider_pool, checker_pool = await client.pools(EPOCH)
    pools = provider_pool + checker_pool
    unit = compute_pool_unit(PRESET)
    assert 0 <= PRESET.provider_pool - provider_pool < unit
    assert 0 <= PRESET.checker_pool - checker_pool < unit
    assert await client.carries() == (
        PRESET.provider_pool - provider_pool,
        PRESET.checker_pool - checker_pool,
    )
    assert pools - 10 < paid <= pools, "all but rounding dust is paid"


async def test_a_stake_is_had_back_after_its_delay() -> None:
    async with network(1, 1) as net:
        person = net.providers[0]
        net.enter(1)
        await net.execute(person.manager, net.calls.leave(SlotKind.PROVIDER), "leaving")
        slot = await net.client.slot(SlotKind.PROVIDER, person.index)
        assert slot.exit_epoch == 2
        withdraw = net.calls.withdraw(SlotKind.PROVIDER, person.index)
        with pytest.raises(RevertedError, match="unstake delay is not over"):
            await net.execute(person.manager, withdraw, "withdrawal")
        net.enter(2, PRESET.unstake_delay_seconds)
        await net.execute(person.manager, withdraw, "withdrawal")
        stake = await net.client.token_balance(person.signer.address)
        assert stake == PRESET.min_provider_stake


async def test_a_registration_below_the_minimum_is_refused() -> None:
    async with network(1, 0) as net:
        wallet = FUNDER.address
        approve, register = net.calls.register(
            SlotKind.PROVIDER, NodeKey(b"\x01" * 32), bytes(64), PRESET.min_provider_stake - 1
        )
        await net.execute(net.funder, approve, "approval")
        with pytest.raises(RevertedError, match="stake is too small"):
            await net.execute(net.funder, register, "registration")
        assert await net.client.slot_index(SlotKind.PROVIDER, wallet) is None


def with_other(deployment: Deployment, name: str, **change: object) -> Deployment:
    contract = replace(deployment.contracts[name], **change)
    return replace(deployment, contracts={**deployment.contracts, name: contract})


async def test_a_deployment_is_held_against_the_chain() -> None:
    async with network(1, 0) as net:
        good = net.deployment
        beacon = good.address("Beacon")
        cases = [
            (replace(good, chain_id=1), "chain id: found 31337, expected 1"),
            (with_other(good, "Token", address=bytes(20)), "Token: found no code"),
            (with_other(good, "Rewards", address=beacon), "Rewards: found other code"),
            (replace(good, genesis=5), r"Registry\.genesis: found \d+ on the chain, expected 5"),
            (
                replace(good, preset=replace(good.preset, seats=5)),
                r"Consensus\.seats: found 4 on the chain, expected 5",
            ),
            (
                replace(good, preset=replace(good.preset, ban_month_epochs=5)),
                r"Penalties\.month_epochs: found "
                rf"{PRESET.ban_month_epochs} on the chain, expected 5",
            ),
            # The code is there, but it is not the token that the others know.
            (
                replace(good, contracts={**good.contracts, "Token": good.contracts["Beacon"]}),
                r"Registry\.token: found 0x\w+ on the chain, expected 0x\w+",
            ),
        ]
        for deployment, words in cases:
            with pytest.raises(WrongChainError, match=words):
                await verify_deployment(net.rpc, deployment)

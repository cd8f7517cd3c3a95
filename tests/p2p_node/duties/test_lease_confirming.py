"""Leases confirmed on a chain with the real contracts: what is read there, and what it is worth."""

import pytest
import trio
from nacl.signing import SigningKey

from chain.records import Call, SlotKind
from chain.rental_calls import RentalCalls
from chain.rental_client import RentalClient
from p2p_node.duties.lease_confirming import LeaseConfirmer
from protocols.epochs import Timeline
from protocols.leased_scores import LeaseUnproved, compute_leased_score
from protocols.leases import Base, compute_fee
from protocols.membership import Member
from protocols.params import TOKEN
from protocols.settlement import compute_schedule
from protocols.types import Digest, Epoch, NodeKey, Seat, TimeMs
from tests.chain.network import PRESET, Network, Person, network

PROVED = Epoch(1)
LEASED = Epoch(2)
SECONDS = 2 * PRESET.epoch_seconds
CLOSED = PRESET.grace_seconds + 10
"""Seconds into an epoch when the one before is closed."""

KEY = NodeKey(bytes(SigningKey(b"\x01" * 32).verify_key))


async def prove(net: Network) -> None:
    """Let the network agree on scores in epoch PROVED."""
    net.enter(PROVED)
    reports = await net.sign_reports(PROVED, [[100, 200]] * PRESET.quorum)
    await net.execute(net.checkers[0].manager, await net.bundle(PROVED, reports), "bundle")


async def member_of(net: Network, index: int) -> Member:
    slot = await net.client.slot(SlotKind.PROVIDER, index)
    return Member(
        index=slot.index,
        wallet=slot.wallet,
        node_key=slot.node_key,
        stake=slot.scored_stake,
        joined=slot.joined_epoch,
        exits=Epoch(slot.exit_epoch),
    )


async def execute_all(net: Network, person: Person, calls: tuple[Call, ...], name: str) -> None:
    for number, call in enumerate(calls):
        await net.execute(person.manager, call, f"{name} {number}")


async def test_a_lease_is_worth_what_the_contract_laid_down() -> None:
    async with network(providers=2) as net:
        calls = RentalCalls(net.deployment)
        client = RentalClient(net.rpc, net.deployment)
        timeline = Timeline(TimeMs(net.deployment.genesis * 1000), net.preset)
        confirmer = LeaseConfirmer(client)
        member, other = await member_of(net, 1), await member_of(net, 0)
        provider = next(each for each in net.providers if each.index == 1)

        async def find_score(lease: int, epoch: int, by: Member = member) -> int:
            return await confirmer.find_score(
                lease,
                by,
                epoch=Epoch(epoch),
                seat=Seat(0),
                timeline=timeline,
                deadline=trio.current_time() + 10,
            )

        await prove(net)
        net.enter(LEASED, CLOSED)
        offer = calls.offer(TOKEN, 60, SECONDS, Digest(bytes(32)))
        await net.execute(provider.manager, offer, "offer")
        for number, call in enumerate(calls.open(1, SECONDS, TOKEN, KEY)):
            await net.execute(net.funder, call, f"open {number}")
        with pytest.raises(LeaseUnproved, match="lease not accepted"):
            await find_score(1, LEASED)
        with pytest.raises(LeaseUnproved, match="no such lease"):
            await find_score(2, LEASED)

        reserved = await client.lease(1)
        assert reserved is not None
        bond = net.calls.transfer(provider.signer.address, reserved.terms.bond)
        await net.execute(net.funder, bond, "bond")
        await execute_all(net, provider, calls.accept(reserved), "accept")
        lease = await client.lease(1)
        assert lease is not None
        assert lease.base == Base(PROVED, 200, 300)
        assert lease.key == KEY

        # Its slots were over when it began.
        with pytest.raises(LeaseUnproved, match="lease not begun"):
            await find_score(1, LEASED)
        with pytest.raises(LeaseUnproved, match="lease of another provider"):
            await find_score(1, LEASED + 1, by=other)
        paid = (timeline.start_of(Epoch(LEASED + 1)) // 1000 - lease.started_at) * TOKEN
        pool = compute_schedule(net.preset.provider_pool, PROVED, net.preset)
        points = compute_fee(paid, net.preset.lease_fee_bps) * 300 // pool
        assert 200 < points < 800
        assert await find_score(1, LEASED + 1) == points

        net.enter(LEASED + 1, 100)
        await net.execute(net.funder, calls.end(1, confirmed=True), "end")
        ended = await client.lease(1)
        assert ended is not None
        # The slot before its end is excused as it was, by whoever looks it up now.
        assert compute_leased_score(ended, Epoch(LEASED + 1), timeline) == points
        assert (
            await LeaseConfirmer(client).find_score(
                1,
                member,
                epoch=Epoch(LEASED + 1),
                seat=Seat(0),
                timeline=timeline,
                deadline=trio.current_time() + 10,
            )
            == points
        )
        with pytest.raises(LeaseUnproved, match="lease over"):
            await find_score(1, LEASED + 2)

"""Leases through calls, reads and events, on the devchain and on anvil, beside a real consensus."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import pytest

from chain.deployment import verify_deployment
from chain.errors import MalformedAnswerError, RevertedError, WrongChainError
from chain.events import decode_event
from chain.records import Call, Receipt
from chain.rental_calls import MAX_JUDGED, RentalCalls
from chain.rental_client import RentalClient
from chain.rental_events import (
    FeesSwept,
    LeaseAccepted,
    LeaseCollected,
    LeaseEnded,
    LeaseExtended,
    LeaseOpened,
    LeaseReclaimed,
    LeaseSettled,
    OfferMade,
    OfferWithdrawn,
    OwedWithdrawn,
)
from chain.rental_words import unpack_kept_seconds, unpack_lease
from chain.transactions import TransactionManager
from protocols.errors import LocalError
from protocols.leases import (
    Lease,
    LeaseState,
    Offer,
    compute_escrow,
    compute_fee,
    compute_settlement,
)
from protocols.params import TOKEN
from protocols.types import Digest, Epoch, NodeKey, Wallet
from tests.chain.audit.test_audit import audit, settle
from tests.chain.audit.test_audit_anvil import serve_anvil
from tests.chain.network import PRESET, Network, Running, network, serve_devchain
from tests.chain.samples import DEPLOYMENT

Serve = Callable[[Sequence[Wallet]], AbstractContextManager[Running]]

PRICE, LEAST, MOST = TOKEN // 100, 60, 10_000
CAPABILITY, KEY = Digest(b"\x55" * 32), NodeKey(b"\x77" * 32)


class Scene:
    """A network whose provider 0 rents out its machine to the funder."""

    def __init__(self, net: Network) -> None:
        self.net = net
        self.rental = RentalClient(net.rpc, net.deployment)
        self.calls = RentalCalls(net.deployment)
        (self.person,) = (person for person in net.providers if person.index == 0)
        self.provider = self.person.manager
        self.renter = net.funder
        self._labels = 0

    async def do(self, manager: TransactionManager, *calls: Call) -> tuple[Receipt, list[object]]:
        """Send calls one after another; the last one's receipt, and what Rental reported in it."""
        for call in calls:
            self._labels += 1
            receipt = await self.net.execute(manager, call, f"step {self._labels}")
        here = self.net.deployment.address("Rental")
        logs = [log for log in receipt.logs if log.address == here]
        return receipt, [decode_event(self.net.deployment, log) for log in logs]

    async def lease(self, lease_id: int) -> Lease:
        lease = await self.rental.lease(lease_id)
        assert lease is not None
        return lease

    async def balance(self, wallet: Wallet) -> int:
        return await self.net.client.token_balance(wallet)

    async def start(self, seconds: int) -> Lease:
        """A lease that was opened and accepted."""
        _, events = await self.do(self.renter, *self.calls.open(0, seconds, PRICE, KEY))
        (opened,) = events
        assert isinstance(opened, LeaseOpened)
        reserved = await self.lease(opened.id)
        _, events = await self.do(self.provider, *self.calls.accept(reserved))
        assert events == [LeaseAccepted(opened.id, 0, reserved.terms.bond)]
        return await self.lease(opened.id)


async def prepare(net: Network) -> Scene:
    """Everybody has money, and provider 0 has offered."""
    scene = Scene(net)
    wallet = scene.person.signer.address
    await net.execute(net.funder, net.calls.transfer(wallet, 1_000 * TOKEN), "money for bonds")
    await settle(net, 1, 1, scores=(10, 20, 30))
    _, events = await scene.do(scene.provider, scene.calls.offer(PRICE, LEAST, MOST, CAPABILITY))
    assert events == [OfferMade(0, wallet, Epoch(1), PRICE, LEAST, MOST, CAPABILITY)]
    return scene


@pytest.mark.parametrize("serve", [serve_devchain, serve_anvil], ids=["devchain", "anvil"])
async def test_a_lease_from_its_offer_to_its_end(serve: Serve) -> None:
    async with network(4, 3, serve=serve) as net:
        scene = await prepare(net)
        rental, calls, client = scene.rental, scene.calls, net.client
        wallet, renter = scene.person.signer.address, scene.renter.wallet
        offer = Offer(0, wallet, Epoch(1), PRICE, LEAST, MOST, CAPABILITY)
        assert await rental.offers() == (offer,)
        assert await rental.offer(0) == offer
        assert await rental.offer(1) is None
        assert await rental.lease_count() == 0
        assert await rental.lease(1) is None
        before = await scene.balance(renter), await scene.balance(wallet)

        net.enter(2, 150)
        await settle_late(net, 2)
        lease = await scene.start(1_200)
        assert lease.state is LeaseState.ACTIVE
        assert (lease.provider_wallet, lease.renter, lease.key) == (wallet, renter, KEY)
        assert lease.terms.fee_bps == PRESET.lease_fee_bps
        # Epoch 1 was closed; of epoch 2 the bundle may not be the last one.
        assert (lease.base.epoch, lease.base.score, lease.base.total) == (1, 10, 60)
        assert await rental.current_lease(0) == lease.id == 1
        assert await rental.leases(1) == (lease,)
        _, events = await scene.do(scene.renter, *calls.extend(lease, 100))
        paid = compute_escrow(1_300, lease.terms) - compute_escrow(1_200, lease.terms)
        assert events == [LeaseExtended(1, 1_300, paid)]

        # It is away in the whole third epoch, and there in the fourth.
        await settle(net, 3, 2, scores=(10, 20, 30), away=1)
        net.enter(4, PRESET.grace_seconds)
        earned = net.deployment.genesis + 3 * PRESET.epoch_seconds - lease.started_at
        _, events = await scene.do(scene.provider, calls.collect(1))
        assert events == [
            LeaseCollected(1, earned * PRICE),
            OwedWithdrawn(wallet, earned * PRICE),
        ]
        assert (await scene.lease(1)).away_seconds == PRESET.epoch_seconds
        await scene.do(scene.renter, calls.judge(1))
        with pytest.raises(RevertedError, match="time is not over"):
            await scene.do(scene.renter, calls.settle(1))
        _, events = await scene.do(scene.renter, calls.end(1, confirmed=False))
        ended = await scene.lease(1)
        assert (ended.state, ended.collected) == (LeaseState.ENDED, earned * PRICE)
        assert isinstance(events[0], LeaseEnded)
        kept = ended.ended_at - ended.started_at - PRESET.epoch_seconds
        rest = compute_escrow(1_300, ended.terms) - compute_escrow(kept, ended.terms)
        assert events == [
            LeaseEnded(1, renter, ended.ended_at, False, rest),
            OwedWithdrawn(renter, rest),
        ]
        assert await rental.current_lease(0) == 0

        await settle_late(net, 4)
        net.enter(5, PRESET.grace_seconds)
        _, events = await scene.do(net.checkers[0].manager, calls.settle(1))
        settled = compute_settlement(ended, ended.ended_at, PRESET.epoch_seconds, gone=False)
        assert events == [
            LeaseSettled(
                1,
                settled.paid,
                settled.fee,
                settled.refund,
                settled.bond_back,
                settled.penalty,
            )
        ]
        assert settled.paid == kept * PRICE
        assert settled.penalty == 0
        assert await rental.owed(renter) == 0
        assert await rental.owed(wallet) == settled.paid - earned * PRICE + settled.bond_back
        await scene.do(scene.renter, calls.withdraw(wallet))
        assert await scene.balance(wallet) == before[1] + settled.paid
        assert await scene.balance(renter) == before[0] - settled.paid - settled.fee
        assert await rental.fees() == settled.fee == compute_fee(settled.paid, 500)
        fund = await client.reward_fund()
        _, events = await scene.do(scene.provider, calls.sweep_fees())
        assert events == [FeesSwept(settled.fee)]
        assert await client.reward_fund() == fund + settled.fee
        assert await rental.fees() == 0
        assert await scene.balance(net.deployment.address("Rental")) == 0

        # Nothing of it is in an audit's way.
        net.enter(6, 200)
        for verdict in await audit(net, 1, 3):
            assert verdict.difference is None, str(verdict.difference)
        await verify_deployment(net.rpc, net.deployment)


async def settle_late(net: Network, epoch: int) -> None:
    """A bundle of the epoch that is, wherever in it the clock stands."""
    reports = await net.sign_reports(Epoch(epoch), [[10, 20, 30]] * net.preset.seats)
    await net.execute(net.funder, await net.bundle(Epoch(epoch), reports), f"bundle {epoch}")


async def test_leases_that_end_at_once_or_never_begin() -> None:
    async with network(4, 3) as net:
        scene = await prepare(net)
        calls, renter = scene.calls, scene.renter.wallet
        before = await scene.balance(renter)
        for _ in range(2):
            await scene.do(scene.renter, *calls.open(0, 600, PRICE, KEY))
        assert [lease.id for lease in await scene.rental.leases(1)] == [1, 2]
        assert [lease.id for lease in await scene.rental.leases(2, 1)] == [2]
        assert await scene.rental.leases(3) == ()
        escrow = 600 * PRICE * 105 // 100
        assert await scene.balance(renter) == before - 2 * escrow
        _, events = await scene.do(scene.renter, calls.reclaim(1))
        assert events == [LeaseReclaimed(1, escrow), OwedWithdrawn(renter, escrow)]
        with pytest.raises(RevertedError, match="not in this state"):
            await scene.do(scene.provider, *calls.accept(await scene.lease(1)))

        await scene.do(scene.provider, *calls.accept(await scene.lease(2)))
        with pytest.raises(RevertedError, match="not the renter"):
            await scene.do(scene.provider, calls.end(2, confirmed=True))
        _, events = await scene.do(scene.renter, calls.end(2, confirmed=True))
        lease = await scene.lease(2)
        assert lease.state is LeaseState.SETTLED
        settled = compute_settlement(lease, lease.ended_at, 0, gone=False)
        assert settled.paid == max(LEAST, lease.ended_at - lease.started_at) * PRICE
        assert await scene.balance(renter) == before - settled.paid - settled.fee
        assert [type(event) for event in events] == [LeaseEnded, LeaseSettled, OwedWithdrawn]

        _, events = await scene.do(scene.provider, calls.withdraw_offer())
        assert events == [OfferWithdrawn(0, scene.person.signer.address)]
        assert await scene.rental.offers() == ()
        with pytest.raises(RevertedError, match="no offer"):
            await scene.do(scene.renter, *calls.open(0, 600, PRICE, KEY))
        assert await scene.rental.lease_count() == 2


async def test_reads_are_about_the_block_they_name() -> None:
    async with network(4, 3) as net:
        scene = await prepare(net)
        block = (await net.client.head()).number
        lease = await scene.start(600)
        assert await scene.rental.lease(lease.id, block) is None
        assert await scene.rental.lease_count(block) == 0
        assert await scene.rental.lease(lease.id, "latest") == lease
        assert await scene.rental.current_lease(0, "finalized") == 0
        assert await scene.rental.current_lease(0) == lease.id


async def test_other_numbers_than_the_deployments_are_found_out() -> None:
    async with network(1, 0) as net:
        for name in (
            "lease_fee_bps",
            "lease_penalty_bps",
            "lease_accept_seconds",
            "max_lease_seconds",
        ):
            preset = replace(net.preset, **{name: 77})
            with pytest.raises(WrongChainError, match=r"Rental\.\w+: found"):
                await verify_deployment(net.rpc, replace(net.deployment, preset=preset))


@pytest.mark.parametrize(
    ("price", "least", "most"),
    [(0, 1, 2), (1, 0, 2), (1, 3, 2), (1, 1, DEPLOYMENT.preset.max_lease_seconds + 1)],
)
def test_offers_that_would_revert_are_not_sent(price: int, least: int, most: int) -> None:
    with pytest.raises(LocalError, match="offer: found"):
        RentalCalls(DEPLOYMENT).offer(price, least, most, CAPABILITY)


@pytest.mark.parametrize("count", [0, MAX_JUDGED + 1])
def test_no_more_epochs_are_judged_than_the_contract_does(count: int) -> None:
    with pytest.raises(LocalError, match="judge: found"):
        RentalCalls(DEPLOYMENT).judge(1, count)


def test_words_that_no_contract_wrote() -> None:
    nothing = (0, 0, bytes(32), 0, 0)
    assert unpack_lease(1, nothing, PRESET) is None
    assert unpack_kept_seconds(0) == 0
    with pytest.raises(ValueError, match="LeaseState"):
        unpack_lease(1, (0, 0, bytes(32), 0, 6), PRESET)
    with pytest.raises(ValueError, match="words of other types"):
        unpack_lease(1, (0, 0, 0, 0, 1), PRESET)


class Saying:
    """An endpoint whose every call gives the same answer."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    async def octets(self, *_: object) -> bytes:
        return self._answer


def words(*values: int) -> bytes:
    return b"".join(value.to_bytes(32, "big") for value in values)


@pytest.mark.parametrize(
    ("method", "arguments", "answer"),
    [
        ("offers", (), words(32, 1, 5, 7, 1, 1, 1, 1, 0)),
        ("leases", (1,), words(32, 1, 0, 0, 0, 0, 0)),
        ("leases", (1,), words(32, 1, 0, 0, 0, 0, 9)),
        ("lease", (1,), words(0, 0, 0, 0, 9)),
        ("lease", (1,), words(0)),
    ],
    ids=["offer elsewhere", "no lease", "lease in no state", "no state", "too short"],
)
async def test_answers_that_no_contract_gives(
    method: str, arguments: tuple[int, ...], answer: bytes
) -> None:
    client = RentalClient(Saying(answer), DEPLOYMENT)  # type: ignore[arg-type]
    with pytest.raises(MalformedAnswerError):
        await getattr(client, method)(*arguments)


async def test_offers_without_end_are_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chain.rental_client.MAX_PAGES", 2)
    page = words(32, 64, *[0] * 7 * 64)
    with pytest.raises(MalformedAnswerError, match="more than 2 pages"):
        await RentalClient(Saying(page), DEPLOYMENT).offers()  # type: ignore[arg-type]

"""Rental with tokens and wallets that misbehave: nothing is lost, and no end is blocked."""

from __future__ import annotations

import boa
import pytest

from protocols.leases import LeaseState
from tests.chain.contracts.renting import (
    FUNDS,
    PRICE,
    SECONDS,
    Market,
    build_market,
    escrow_of,
)
from tests.chain.contracts.world import ACCEPT_SECONDS, EPOCH_SECONDS, SUPPLY, deployer, wallet

BOND = SECONDS * PRICE // 10
REVERT, RETURN_FALSE = 1, 2

modes = pytest.mark.parametrize("mode", [REVERT, RETURN_FALSE], ids=["reverts", "says no"])


@pytest.fixture(scope="module")
def _market() -> Market:
    market = build_market(token=deployer("OddToken").deploy(SUPPLY))
    market.offer("provider 0")
    return market


@pytest.fixture
def market(_market: Market) -> Market:
    return _market.copy(EPOCH_SECONDS + 10)


@modes
def test_nothing_is_opened_with_a_token_that_does_not_move(market: Market, mode: int) -> None:
    market.net.token.set_mode(mode)
    with boa.reverts():
        market.open()
    assert market.rental.lease_count() == 0
    market.net.token.set_mode(0)
    market.open()


def test_a_refusal_without_a_revert_is_one(market: Market) -> None:
    market.net.token.set_mode(RETURN_FALSE)
    with boa.reverts("rental: transfer failed"):
        market.open()


def test_a_token_that_takes_a_fee_is_not_taken(market: Market) -> None:
    lease_id = market.open()
    market.net.token.set_fee(1)
    with boa.reverts("rental: not all arrived"):
        market.open()
    with boa.reverts("rental: not all arrived"):
        market.call("provider 0", "accept", lease_id)
    market.net.token.set_fee(0)
    market.call("provider 0", "accept", lease_id)
    market.net.token.set_fee(1)
    with boa.reverts("rental: not all arrived"):
        market.call("renter", "extend", lease_id, 100)
    assert market.held == escrow_of(SECONDS) + BOND
    # Going out, the fee is the receiver's loss.
    market.call("renter", "end", lease_id, True)
    market.call("provider 0", "withdraw", wallet("provider 0"))
    market.call("provider 0", "sweep_fees")
    assert market.held == 0


@modes
def test_every_end_goes_through_though_nobody_can_be_paid(market: Market, mode: int) -> None:
    token = market.net.token
    reserved, ended, settled = market.open(), market.open(), market.open()
    market.call("provider 0", "accept", ended)
    token.set_mode(mode)
    market.wait(50)
    market.call("renter", "reclaim", reserved)
    assert market.owed("renter") == escrow_of(SECONDS)
    market.call("renter", "end", ended, False)
    assert market.owed("renter") == 2 * escrow_of(SECONDS) - escrow_of(60)
    token.set_mode(0)
    market.call("provider 0", "accept", settled)
    token.set_mode(mode)
    market.close(4)
    market.call("provider 0", "collect", settled)
    market.call("provider 0", "settle", ended)
    market.close(5)
    market.call("provider 0", "settle", settled)
    assert [market.lease(lease_id).state for lease_id in (reserved, ended, settled)] == [
        LeaseState.RECLAIMED,
        LeaseState.SETTLED,
        LeaseState.SETTLED,
    ]
    for person in ("renter", "provider 0"):
        with boa.reverts("rental: transfer failed"):
            market.call(person, "withdraw", wallet(person))
    with boa.reverts():
        market.call("stranger", "sweep_fees")
    assert market.rental.fees() > 0
    token.set_mode(0)
    for person in ("renter", "provider 0"):
        market.call("stranger", "withdraw", wallet(person))
    market.call("stranger", "sweep_fees")
    assert market.held == 0
    assert market.balance("provider 0") == FUNDS + (60 + SECONDS) * PRICE


def test_a_wallet_that_takes_no_tokens_is_in_nobodys_way(market: Market) -> None:
    token = market.net.token
    lease_id = market.start()
    for person in ("renter", "provider 0"):
        token.set_refusing(wallet(person), True)
    market.wait(100)
    market.call("renter", "end", lease_id, True)
    assert market.lease(lease_id).state is LeaseState.SETTLED
    owed = market.owed("renter"), market.owed("provider 0")
    assert owed == (escrow_of(SECONDS) - escrow_of(100), 100 * PRICE + BOND)
    for person in ("renter", "provider 0"):
        with boa.reverts("rental: transfer failed"):
            market.call("stranger", "withdraw", wallet(person))
    market.call("stranger", "sweep_fees")
    token.set_refusing(wallet("renter"), False)
    market.call("stranger", "withdraw", wallet("renter"))
    assert market.held == market.owed("provider 0") == owed[1]


@pytest.mark.parametrize(
    "name", ["withdraw", "end", "settle", "reclaim", "collect", "sweep_fees", "open", "accept"]
)
def test_a_token_that_calls_back_meets_locked_functions(market: Market, name: str) -> None:
    """The call in the middle of a transfer fails, and with it the transfer; it stays owed."""
    first = market.start()
    market.call("renter", "end", first, True)
    lease_id = market.start()
    arguments: dict[str, tuple[object, ...]] = {
        "withdraw": (wallet("provider 0"),),
        "end": (lease_id, False),
        "settle": (lease_id,),
        "reclaim": (lease_id,),
        "collect": (lease_id,),
        "accept": (lease_id,),
        "open": (0, SECONDS, PRICE, SECONDS, b"\x01" * 32),
        "sweep_fees": (),
    }
    call = getattr(market.rental, name).prepare_calldata(*arguments[name])
    market.wait(100)
    market.net.token.set_hook(market.rental, call)
    before = market.balance("renter"), market.held
    market.call("renter", "end", lease_id, True)
    assert (market.balance("renter"), market.held) == before
    assert market.owed("renter") == escrow_of(SECONDS) - escrow_of(100)
    # The hook was undone with the transfer.
    market.net.token.set_hook("0x" + "00" * 20, b"")
    market.call("stranger", "withdraw", wallet("renter"))
    assert market.owed("renter") == 0


def test_a_token_that_answers_nothing_is_fine() -> None:
    market = build_market(providers=1, token=deployer("SilentToken").deploy(SUPPLY))
    market.offer("provider 0")
    reclaimed, lease_id = market.open(), market.open()
    market.call("provider 0", "accept", lease_id)
    market.call("renter", "reclaim", reclaimed)
    market.wait(100)
    market.call("renter", "end", lease_id, True)
    market.call("provider 0", "withdraw", wallet("provider 0"))
    market.call("provider 0", "sweep_fees")
    assert market.balance("renter") == FUNDS - escrow_of(100)
    assert market.held == 0


def test_tokens_that_are_sent_by_mistake_are_nobodys(market: Market) -> None:
    market.net.token.transfer(market.rental, 777)
    lease_id = market.start()
    market.wait(ACCEPT_SECONDS)
    market.call("renter", "end", lease_id, True)
    market.call("provider 0", "withdraw", wallet("provider 0"))
    market.call("provider 0", "sweep_fees")
    assert market.held == 777

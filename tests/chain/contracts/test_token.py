"""The test token: a plain ERC-20 that behaves like one somebody else wrote."""

from __future__ import annotations

from typing import Any

import boa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.chain.contracts.world import deployer, wallet

SUPPLY = 1_000
PEOPLE = ("alice", "bob", "carol")


@pytest.fixture
def token() -> Any:
    return deployer("Token").deploy("Kaisar", "KAI", SUPPLY)


def test_supply_is_the_deployers(token: Any) -> None:
    assert (token.name(), token.symbol(), token.decimals()) == ("Kaisar", "KAI", 18)
    assert token.totalSupply() == token.balanceOf(boa.env.eoa) == SUPPLY


def test_events(token: Any) -> None:
    token.approve(wallet("bob"), 5)
    (event,) = token.get_logs()
    assert (event.owner, event.spender, event.value) == (boa.env.eoa, wallet("bob"), 5)
    token.transfer(wallet("alice"), 7)
    (event,) = token.get_logs()
    assert (event.sender, event.receiver, event.value) == (boa.env.eoa, wallet("alice"), 7)


def test_refusals(token: Any) -> None:
    with boa.reverts("token: balance is too small"):
        token.transfer(wallet("alice"), SUPPLY + 1)
    with boa.reverts("token: receiver is the zero address"):
        token.transfer("0x" + "0" * 40, 1)
    owner = boa.env.eoa
    with boa.env.prank(wallet("bob")), boa.reverts("token: allowance is too small"):
        token.transferFrom(owner, wallet("bob"), 1)


def test_unlimited_allowance_is_not_used_up(token: Any) -> None:
    token.approve(wallet("bob"), 2**256 - 1)
    owner = boa.env.eoa
    with boa.env.prank(wallet("bob")):
        token.transferFrom(owner, wallet("bob"), 10)
    assert token.balanceOf(wallet("bob")) == 10
    assert token.allowance(owner, wallet("bob")) == 2**256 - 1


OPERATIONS = st.tuples(
    st.sampled_from(["transfer", "approve", "transferFrom"]),
    st.sampled_from(PEOPLE),
    st.sampled_from(PEOPLE),
    st.sampled_from(PEOPLE),
    st.integers(0, 600),
)


@given(operations=st.lists(OPERATIONS, max_size=12))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_behaves_like_snekmates(token: Any, operations: list[tuple[Any, ...]]) -> None:
    other = deployer("SnekmateToken").deploy(SUPPLY)
    for contract in (token, other):
        contract.transfer(wallet("alice"), SUPPLY // 2)
        contract.transfer(wallet("bob"), SUPPLY // 2)
    for name, caller, first, second, amount in operations:
        people = [wallet(first), wallet(second)] if name == "transferFrom" else [wallet(first)]
        outcomes = []
        for contract in (token, other):
            with boa.env.prank(wallet(caller)):
                try:
                    outcomes.append(getattr(contract, name)(*people, amount))
                except boa.BoaError:
                    outcomes.append(None)
        assert outcomes[0] == outcomes[1]
    for owner in map(wallet, PEOPLE):
        assert token.balanceOf(owner) == other.balanceOf(owner)
        for spender in map(wallet, PEOPLE):
            assert token.allowance(owner, spender) == other.allowance(owner, spender)
    assert sum(token.balanceOf(wallet(person)) for person in PEOPLE) == SUPPLY

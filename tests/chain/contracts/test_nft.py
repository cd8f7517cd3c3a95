"""The test collection: ERC-721 with its enumeration, minted by one wallet only."""

from __future__ import annotations

from typing import Any

import boa
import pytest
from eth_utils import keccak
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chain.compile import compile_contract
from tests.chain.contracts.world import deployer, events, wallet

ZERO = "0x" + "0" * 40
MINTER, ALICE, BOB, CAROL = map(wallet, ("minter", "alice", "bob", "carol"))
INTERFACES = {
    "0x01ffc9a7": "ERC-165",
    "0x80ac58cd": "ERC-721",
    "0x780e9d63": "ERC-721 Enumerable",
    "0x5b5e139f": "ERC-721 Metadata",
}


@pytest.fixture
def nft() -> Any:
    return deployer("Nft").deploy("Kaisar ZeroNode", "KZN", MINTER)


def mint(nft: Any, to: str) -> int:
    with boa.env.prank(MINTER):
        return int(nft.mint(to))


def held(nft: Any, owner: str) -> list[int]:
    return [nft.tokenOfOwnerByIndex(owner, place) for place in range(nft.balanceOf(owner))]


def test_what_it_says_of_itself(nft: Any) -> None:
    assert (nft.name(), nft.symbol(), nft.minter()) == ("Kaisar ZeroNode", "KZN", MINTER)
    assert nft.totalSupply() == 0
    for number in INTERFACES:
        assert nft.supportsInterface(bytes.fromhex(number[2:]))
    for number in ("ffffffff", "00000000", "36372b07"):
        assert not nft.supportsInterface(bytes.fromhex(number))


def test_interfaces_are_those_of_the_standards() -> None:
    """ERC-165: an interface's number is all of its functions' selectors, one over the other."""
    functions = {
        "0x80ac58cd": (
            *("balanceOf(address)", "ownerOf(uint256)", "approve(address,uint256)"),
            *("getApproved(uint256)", "setApprovalForAll(address,bool)"),
            *("isApprovedForAll(address,address)", "transferFrom(address,address,uint256)"),
            "safeTransferFrom(address,address,uint256)",
            "safeTransferFrom(address,address,uint256,bytes)",
        ),
        "0x780e9d63": (
            *("totalSupply()", "tokenByIndex(uint256)", "tokenOfOwnerByIndex(address,uint256)"),
        ),
        "0x5b5e139f": ("name()", "symbol()", "tokenURI(uint256)"),
        "0x01ffc9a7": ("supportsInterface(bytes4)",),
    }
    offered = {
        f"{entry['name']}({','.join(item['type'] for item in entry['inputs'])})"
        for entry in compile_contract("Nft")["abi"]  # type: ignore[attr-defined]
        if entry["type"] == "function"
    }
    assert functions.keys() == INTERFACES.keys()
    for number, signatures in functions.items():
        value = 0
        for signature in signatures:
            value ^= int.from_bytes(keccak(signature.encode())[:4], "big")
        assert f"0x{value:08x}" == number
        assert offered >= {*signatures}


def test_only_the_minter_mints(nft: Any) -> None:
    for sender in (ALICE, str(boa.env.eoa)):
        with boa.env.prank(sender), boa.reverts("nft: caller is not the minter"):
            nft.mint(ALICE)
    with boa.reverts("nft: receiver is the zero address"):
        mint(nft, ZERO)
    assert [mint(nft, ALICE), mint(nft, BOB)] == [1, 2]
    (event,) = events(nft)
    assert (event.sender, event.receiver, event.token_id) == (ZERO, BOB, 2)
    assert (nft.ownerOf(1), nft.ownerOf(2), nft.totalSupply()) == (ALICE, BOB, 2)


def test_tokens_that_there_are_not(nft: Any) -> None:
    mint(nft, ALICE)
    for token in (0, 2, 2**256 - 1):
        for call in (nft.ownerOf, nft.getApproved, nft.tokenURI):
            with boa.reverts("nft: no such token"):
                call(token)
        with boa.env.prank(ALICE):
            with boa.reverts("nft: no such token"):
                nft.transferFrom(ALICE, BOB, token)
            with boa.reverts("nft: no such token"):
                nft.approve(BOB, token)
    assert nft.tokenURI(1) == ""
    assert nft.tokenByIndex(0) == 1
    for place in (1, 2**256 - 1):
        with boa.reverts("nft: no such place"):
            nft.tokenByIndex(place)
        with boa.reverts("nft: no such place"):
            nft.tokenOfOwnerByIndex(ALICE, place)


def test_who_may_move_a_token(nft: Any) -> None:
    mint(nft, ALICE)
    mint(nft, ALICE)
    with boa.env.prank(BOB):
        for call in (
            lambda: nft.transferFrom(ALICE, BOB, 1),
            lambda: nft.safeTransferFrom(ALICE, BOB, 1),
            lambda: nft.approve(BOB, 1),
        ):
            with boa.reverts("nft: caller may not"):
                call()
        with boa.reverts("nft: sender does not own it"):
            nft.transferFrom(BOB, CAROL, 1)
    with boa.env.prank(ALICE), boa.reverts("nft: receiver is the zero address"):
        nft.transferFrom(ALICE, ZERO, 1)
    # Approved for one token, until it moves.
    with boa.env.prank(ALICE):
        nft.approve(BOB, 1)
    (event,) = events(nft)
    assert (event.owner, event.approved, event.token_id) == (ALICE, BOB, 1)
    assert (nft.getApproved(1), nft.getApproved(2)) == (BOB, ZERO)
    with boa.env.prank(BOB):
        with boa.reverts("nft: caller may not"):
            nft.transferFrom(ALICE, BOB, 2)
        nft.transferFrom(ALICE, CAROL, 1)
        (event,) = events(nft)
        assert (event.sender, event.receiver, event.token_id) == (ALICE, CAROL, 1)
        assert nft.getApproved(1) == ZERO
        with boa.reverts("nft: caller may not"):
            nft.transferFrom(CAROL, BOB, 1)
    # An operator, until it is none any more; it may approve as well.
    with boa.env.prank(ALICE):
        nft.setApprovalForAll(BOB, True)
    (event,) = events(nft)
    assert (event.owner, event.operator, event.approved) == (ALICE, BOB, True)
    assert nft.isApprovedForAll(ALICE, BOB)
    with boa.env.prank(BOB):
        nft.approve(CAROL, 2)
        nft.transferFrom(ALICE, BOB, 2)
    assert nft.getApproved(2) == ZERO
    with boa.env.prank(CAROL), boa.reverts("nft: caller may not"):
        nft.transferFrom(BOB, CAROL, 2)
    with boa.env.prank(BOB):
        nft.transferFrom(BOB, ALICE, 2)
    with boa.env.prank(ALICE):
        nft.setApprovalForAll(BOB, False)
    with boa.env.prank(BOB), boa.reverts("nft: caller may not"):
        nft.transferFrom(ALICE, BOB, 2)


def test_a_contract_is_asked_whether_it_takes_a_token(nft: Any) -> None:
    mint(nft, ALICE)
    source = """
# pragma version 0.4.3
seen: public(Bytes[1024])
operator: public(address)
sender: public(address)
answer: public(bytes4)

@deploy
def __init__(answer: bytes4):
    self.answer = answer

@external
def onERC721Received(
    operator: address, sender: address, token_id: uint256, data: Bytes[1024]
) -> bytes4:
    assert token_id == 1
    self.operator = operator
    self.sender = sender
    self.seen = data
    return self.answer
"""
    willing = boa.loads(source, bytes.fromhex("150b7a02"))
    unwilling = boa.loads(source, bytes.fromhex("ffffffff"))
    with boa.env.prank(ALICE):
        nft.approve(BOB, 1)
    with boa.env.prank(BOB):
        with boa.reverts("nft: receiver refuses"):
            nft.safeTransferFrom(ALICE, unwilling, 1)
        # A contract that knows nothing of tokens.
        with boa.reverts():
            nft.safeTransferFrom(ALICE, nft, 1)
        assert nft.ownerOf(1) == ALICE
        nft.safeTransferFrom(ALICE, willing, 1, b"words")
    assert nft.ownerOf(1) == willing.address
    assert (willing.operator(), willing.sender(), willing.seen()) == (BOB, ALICE, b"words")
    # A wallet is not asked.
    mint(nft, ALICE)
    with boa.env.prank(ALICE):
        nft.safeTransferFrom(ALICE, BOB, 2)
    assert nft.ownerOf(2) == BOB


def test_it_takes_no_money(nft: Any) -> None:
    mint(nft, ALICE)
    boa.env.set_balance(ALICE, 10)
    with boa.env.prank(ALICE):
        for call in (
            lambda: nft.transferFrom(ALICE, BOB, 1, value=1),
            lambda: nft.approve(BOB, 1, value=1),
        ):
            with boa.reverts():
                call()
    assert nft.ownerOf(1) == ALICE


PEOPLE = st.sampled_from([ALICE, BOB, CAROL])


class Collecting(RuleBasedStateMachine):
    """Mints and moves in any order; after each of them everything fits a plain dictionary."""

    @initialize()
    def start(self) -> None:
        self.nft = deployer("Nft").deploy("Kaisar ZeroNode", "KZN", MINTER)
        self.owners: dict[int, str] = {}

    @rule(to=PEOPLE)
    def mint(self, to: str) -> None:
        self.owners[mint(self.nft, to)] = to

    @precondition(lambda self: self.owners)
    @rule(to=PEOPLE, data=st.data())
    def move(self, to: str, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(sorted(self.owners)))
        with boa.env.prank(self.owners[token]):
            self.nft.transferFrom(self.owners[token], to, token)
        self.owners[token] = to

    @precondition(lambda self: self.owners)
    @rule(thief=PEOPLE, data=st.data())
    def steal(self, thief: str, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(sorted(self.owners)))
        if self.owners[token] != thief:
            with boa.env.prank(thief), boa.reverts("nft: caller may not"):
                self.nft.transferFrom(self.owners[token], thief, token)

    @invariant()
    def fits(self) -> None:
        nft = self.nft
        assert nft.totalSupply() == len(self.owners)
        assert [nft.tokenByIndex(place) for place in range(len(self.owners))] == [*self.owners]
        for token, owner in self.owners.items():
            assert nft.ownerOf(token) == owner
        for person in (ALICE, BOB, CAROL):
            mine = sorted(token for token, owner in self.owners.items() if owner == person)
            assert sorted(held(nft, person)) == mine
            with boa.reverts("nft: no such place"):
                nft.tokenOfOwnerByIndex(person, len(mine))


TestCollecting = Collecting.TestCase
TestCollecting.settings = settings(max_examples=10, stateful_step_count=15, deadline=None)

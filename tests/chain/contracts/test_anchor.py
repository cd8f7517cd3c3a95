"""Services, roots of days and commitments of draws: who may what, and that nothing is replaced."""

from __future__ import annotations

from typing import Any

import boa
import pytest

from tests.chain.contracts.world import deployer, events, wallet

DAY = 86_400
ZERO = "0x" + "0" * 40
NOTHING = bytes(32)
KEY, OTHER_KEY = b"\x11" * 32, b"\x12" * 32
ROOT, OTHER_ROOT = b"\x21" * 32, b"\x22" * 32
DRAW, OTHER_DRAW = b"\x31" * 32, b"\x32" * 32
COMMITMENT, OTHER_COMMITMENT = b"\x41" * 32, b"\x42" * 32
OWNER, ONE, TWO, STRANGER = map(wallet, ("owner", "service one", "service two", "stranger"))


@pytest.fixture
def anchor() -> Any:
    nft = deployer("Nft").deploy("Kaisar ZeroNode", "KZN", OWNER)
    return deployer("ZeroNodeAnchor").deploy(OWNER, nft, DAY)


def add(anchor: Any, service: str = ONE, key: bytes = KEY) -> int:
    with boa.env.prank(OWNER):
        return int(anchor.add_service(service, key))


def retire(anchor: Any, service: int = 0) -> None:
    with boa.env.prank(OWNER):
        anchor.retire_service(service)


def today() -> int:
    return int(boa.env.timestamp) // DAY


def send(anchor: Any, day: int, root: bytes = ROOT, sender: str = ONE) -> None:
    with boa.env.prank(sender):
        anchor.anchor(day, root)


def commit(
    anchor: Any, draw: bytes = DRAW, commitment: bytes = COMMITMENT, sender: str = ONE
) -> None:
    with boa.env.prank(sender):
        anchor.commit_draw(draw, commitment)


# -- setting up


def test_what_is_fixed() -> None:
    nft = deployer("Nft").deploy("Kaisar ZeroNode", "KZN", OWNER)
    anchor = deployer("ZeroNodeAnchor").deploy(OWNER, nft, DAY)
    (event,) = events(anchor)
    assert (event.before, event.owner) == (ZERO, OWNER)
    assert (anchor.owner(), anchor.heir(), anchor.nft()) == (OWNER, ZERO, nft.address)
    assert (anchor.day_seconds(), anchor.service_count()) == (DAY, 0)
    assert (anchor.MAX_SERVICES(), anchor.MAX_DAY_SECONDS()) == (1_024, DAY)
    assert anchor.services(0, 64) == []


def test_what_is_refused_at_creation() -> None:
    nft = deployer("Nft").deploy("Kaisar ZeroNode", "KZN", OWNER)
    make = deployer("ZeroNodeAnchor").deploy
    with boa.reverts("anchor: owner is the zero address"):
        make(ZERO, nft, DAY)
    with boa.reverts("anchor: nft is not a contract"):
        make(OWNER, ONE, DAY)
    for length in (0, DAY + 1):
        with boa.reverts("anchor: length of a day out of range"):
            make(OWNER, nft, length)
    assert make(OWNER, nft, 1).day_seconds() == 1


# -- services


def test_services_are_listed_and_retired(anchor: Any) -> None:
    assert add(anchor) == 0
    (event,) = events(anchor)
    assert (event.service, event.wallet, event.node_key) == (0, ONE, KEY)
    added_at = boa.env.timestamp
    assert add(anchor, TWO, OTHER_KEY) == 1
    assert anchor.services(0, 64) == [(ONE, KEY, added_at, 0), (TWO, OTHER_KEY, added_at, 0)]
    assert anchor.service_index(TWO) == (True, 1)
    assert anchor.service_index(STRANGER) == (False, 0)

    boa.env.timestamp += 5
    retire(anchor)
    (gone,) = events(anchor)
    assert gone.service == 0
    assert anchor.services(0, 1) == [(ONE, KEY, added_at, added_at + 5)]
    assert anchor.service_index(ONE) == (False, 0)
    assert anchor.service_index(TWO) == (True, 1)
    # Another index, so that nobody takes its roots for those of the one before.
    assert add(anchor, ONE, KEY) == 2
    assert anchor.service_index(ONE) == (True, 2)
    assert anchor.service_count() == 3


def test_no_two_active_services_share_a_wallet_or_a_key(anchor: Any) -> None:
    add(anchor)
    with boa.reverts("anchor: wallet is listed already"):
        add(anchor, ONE, OTHER_KEY)
    with boa.reverts("anchor: node key is listed already"):
        add(anchor, TWO, KEY)
    with boa.reverts("anchor: wallet is the zero address"):
        add(anchor, ZERO, OTHER_KEY)
    with boa.reverts("anchor: node key is zero"):
        add(anchor, TWO, NOTHING)
    assert anchor.service_count() == 1


def test_only_a_service_that_is_active_can_be_retired(anchor: Any) -> None:
    with boa.reverts("anchor: no such service"):
        retire(anchor)
    add(anchor)
    retire(anchor)
    with boa.reverts("anchor: service is retired"):
        retire(anchor)
    # Its successor of the same wallet is not touched by that.
    add(anchor)
    with boa.reverts("anchor: service is retired"):
        retire(anchor)
    assert anchor.service_index(ONE) == (True, 1)


def test_pages(anchor: Any) -> None:
    for number in range(70):
        add(anchor, wallet(f"service {number}"), (number + 1).to_bytes(32, "big"))
    assert [len(anchor.services(first, 64)) for first in (0, 6, 64, 69, 70, 2**256 - 1)] == [
        *(64, 64, 6, 1, 0, 0)
    ]
    assert len(anchor.services(0, 2**256 - 1)) == 64
    assert anchor.services(3, 0) == []
    assert [entry[0] for entry in anchor.services(5, 2)] == [
        wallet("service 5"),
        wallet("service 6"),
    ]


def test_services_have_a_bound(anchor: Any) -> None:
    anchor.eval("self.service_count = 1_024")
    with boa.reverts("anchor: too many services"):
        add(anchor)
    anchor.eval("self.service_count = 1_023")
    assert add(anchor) == 1_023


# -- who may not


@pytest.mark.parametrize("sender", [STRANGER, ONE, "deployer"])
def test_nobody_but_the_owner_manages(anchor: Any, sender: str) -> None:
    add(anchor)
    who = boa.env.eoa if sender == "deployer" else sender
    with boa.env.prank(who):
        for call in (
            lambda: anchor.add_service(TWO, OTHER_KEY),
            lambda: anchor.retire_service(0),
            lambda: anchor.offer_ownership(STRANGER),
        ):
            with boa.reverts("anchor: caller is not the owner"):
                call()
        with boa.reverts("anchor: ownership was not offered"):
            anchor.accept_ownership()
    assert anchor.service_count() == 1
    assert anchor.service_index(ONE) == (True, 0)
    assert (anchor.owner(), anchor.heir()) == (OWNER, ZERO)


@pytest.mark.parametrize("sender", [STRANGER, OWNER, TWO])
def test_nobody_but_an_active_service_sends(anchor: Any, sender: str) -> None:
    add(anchor)
    add(anchor, TWO, OTHER_KEY)
    retire(anchor, 1)
    with boa.reverts("anchor: caller is no active service"):
        send(anchor, today() - 1, sender=sender)
    with boa.reverts("anchor: caller is no active service"):
        commit(anchor, sender=sender)
    for service in (0, 1):
        assert anchor.root_of(service, today() - 1) == NOTHING
        assert anchor.draw_of(service, DRAW) == (NOTHING, 0)


def test_ownership_moves_in_two_steps(anchor: Any) -> None:
    with boa.env.prank(OWNER):
        anchor.offer_ownership(STRANGER)
    (offered,) = events(anchor)
    assert (offered.owner, offered.heir) == (OWNER, STRANGER)
    # Until it is accepted, nothing has changed.
    add(anchor)
    with boa.env.prank(STRANGER), boa.reverts("anchor: caller is not the owner"):
        anchor.add_service(TWO, OTHER_KEY)
    with boa.env.prank(TWO), boa.reverts("anchor: ownership was not offered"):
        anchor.accept_ownership()
    with boa.env.prank(STRANGER):
        anchor.accept_ownership()
    (moved,) = events(anchor)
    assert (moved.before, moved.owner) == (OWNER, STRANGER)
    assert (anchor.owner(), anchor.heir()) == (STRANGER, ZERO)
    with boa.reverts("anchor: caller is not the owner"):
        add(anchor, TWO, OTHER_KEY)
    with boa.env.prank(STRANGER):
        assert anchor.add_service(TWO, OTHER_KEY) == 1
        with boa.reverts("anchor: ownership was not offered"):
            anchor.accept_ownership()


def test_an_offer_of_ownership_can_be_taken_back(anchor: Any) -> None:
    with boa.env.prank(OWNER):
        anchor.offer_ownership(STRANGER)
        anchor.offer_ownership(ZERO)
    with boa.env.prank(STRANGER), boa.reverts("anchor: ownership was not offered"):
        anchor.accept_ownership()


# -- roots


def test_a_root_is_anchored_when_its_day_is_over(anchor: Any) -> None:
    add(anchor)
    day = today()
    with boa.reverts("anchor: day is not over"):
        send(anchor, day)
    boa.env.timestamp = (day + 1) * DAY - 1
    with boa.reverts("anchor: day is not over"):
        send(anchor, day)
    boa.env.timestamp += 1
    send(anchor, day)
    (event,) = events(anchor)
    assert (event.service, event.day, event.root) == (0, day, ROOT)
    assert anchor.root_of(0, day) == ROOT
    assert anchor.root_of(0, day - 1) == anchor.root_of(1, day) == NOTHING
    # Days may be made up for, in any order.
    send(anchor, day - 7, OTHER_ROOT)
    assert anchor.root_of(0, day - 7) == OTHER_ROOT
    for later in (day + 1, 2**256 - 1):
        with boa.reverts("anchor: day is not over"):
            send(anchor, later)


def test_a_root_is_never_replaced(anchor: Any) -> None:
    add(anchor)
    day = today() - 1
    with boa.reverts("anchor: root is zero"):
        send(anchor, day, NOTHING)
    send(anchor, day)
    for root in (ROOT, OTHER_ROOT):
        with boa.reverts("anchor: day has its root"):
            send(anchor, day, root)
    with boa.reverts("anchor: root is zero"):
        send(anchor, day, NOTHING)
    retire(anchor)
    assert anchor.root_of(0, day) == ROOT
    # Not even by a successor with the same wallet and key.
    add(anchor)
    send(anchor, day, OTHER_ROOT)
    assert (anchor.root_of(0, day), anchor.root_of(1, day)) == (ROOT, OTHER_ROOT)


def test_services_do_not_get_in_each_others_way(anchor: Any) -> None:
    add(anchor)
    add(anchor, TWO, OTHER_KEY)
    day = today() - 1
    send(anchor, day, ROOT, ONE)
    send(anchor, day, OTHER_ROOT, TWO)
    assert (anchor.root_of(0, day), anchor.root_of(1, day)) == (ROOT, OTHER_ROOT)
    commit(anchor, sender=TWO, commitment=OTHER_COMMITMENT)
    commit(anchor, sender=ONE)
    now = boa.env.timestamp
    assert anchor.draw_of(0, DRAW) == (COMMITMENT, now)
    assert anchor.draw_of(1, DRAW) == (OTHER_COMMITMENT, now)


# -- draws


def test_a_commitment_keeps_its_time(anchor: Any) -> None:
    add(anchor)
    now = boa.env.timestamp
    commit(anchor)
    (event,) = events(anchor)
    assert (event.service, event.draw, event.commitment) == (0, DRAW, COMMITMENT)
    boa.env.timestamp += 100
    assert anchor.draw_of(0, DRAW) == (COMMITMENT, now)
    assert anchor.draw_of(0, OTHER_DRAW) == (NOTHING, 0)
    commit(anchor, OTHER_DRAW, OTHER_COMMITMENT)
    assert anchor.draw_of(0, OTHER_DRAW) == (OTHER_COMMITMENT, now + 100)


def test_a_commitment_is_never_replaced(anchor: Any) -> None:
    add(anchor)
    with boa.reverts("anchor: commitment is zero"):
        commit(anchor, commitment=NOTHING)
    commit(anchor)
    before = anchor.draw_of(0, DRAW)
    boa.env.timestamp += 1
    for commitment in (COMMITMENT, OTHER_COMMITMENT):
        with boa.reverts("anchor: draw has its commitment"):
            commit(anchor, commitment=commitment)
    retire(anchor)
    assert anchor.draw_of(0, DRAW) == before


def test_it_takes_no_money(anchor: Any) -> None:
    boa.env.set_balance(ONE, 10)
    add(anchor)
    with boa.env.prank(ONE), boa.reverts():
        anchor.anchor(today() - 1, ROOT, value=1)
    assert boa.env.get_balance(anchor.address) == 0

"""Joining: with the stake that the chain asks for now, and not before a ban is over."""

import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from nacl.signing import SigningKey
from trio.testing import MockClock

from chain.errors import UnreachableError
from chain.records import NO_EXIT, Call, Commitment, SlotKind, SlotRecord
from p2p_node.clock import Clock
from p2p_node.duties.registering import BannedError, ensure_registered
from p2p_node.node import Node
from protocols.epochs import Timeline
from protocols.messages import Role
from protocols.params import MINIMAL, TOKEN
from protocols.types import Digest, Epoch, NodeKey, TimeMs, Wallet
from tests.fakes.epochs import make_slot

KEY = SigningKey(b"\x01" * 32)
WALLET = Wallet(b"\xab" * 20)
TIMELINE = Timeline(TimeMs(0), MINIMAL)
NOW = Epoch(5)


class Office:
    """A chain on which one wallet registers."""

    def __init__(self, *, barred: int = 0, slot: SlotRecord | None = None) -> None:
        self.barred, self.registered = barred, slot
        self.minimum = 7 * TOKEN
        self.failures = 0
        self.stakes: list[int] = []
        self.moments: list[TimeMs] = []
        self.clock = Clock(started_at=TIMELINE.start_of(NOW))
        self.node = cast(
            "Node",
            SimpleNamespace(
                identity=SimpleNamespace(wallet=WALLET, node_key=KEY),
                clock=self.clock,
                chain=self,
                calls=SimpleNamespace(register=self._register),
                transactions=SimpleNamespace(execute=self._execute),
                network=SimpleNamespace(node_key=NodeKey(bytes(KEY.verify_key))),
                watcher=SimpleNamespace(
                    timeline=TIMELINE,
                    current_epoch=lambda: TIMELINE.epoch_at(self.clock.now()),
                ),
            ),
        )
        self.deployment = SimpleNamespace(chain_id=1, address=lambda _name: Wallet(bytes(20)))

    async def slot_index(self, kind: SlotKind, wallet: Wallet) -> int | None:
        if self.failures:
            self.failures -= 1
            raise UnreachableError("the test says so")
        return None if self.registered is None else self.registered.index

    async def slot(self, kind: SlotKind, index: int) -> SlotRecord:
        assert self.registered is not None
        return self.registered

    async def barred_until(self, wallet: Wallet) -> Epoch:
        return Epoch(self.barred)

    async def minimum_stake(self, kind: SlotKind) -> int:
        return self.minimum

    async def token_balance(self, wallet: Wallet) -> int:
        return self.minimum

    async def gas_balance(self, wallet: Wallet) -> int:
        return 10**18

    async def allowance(self, owner: Wallet, spender: Wallet) -> int:
        return 10**30

    async def commitment(self, checker: int) -> Commitment:
        return Commitment(Digest(b"\x01" * 32), Epoch(0))

    def _register(self, kind: SlotKind, key: NodeKey, binding: bytes, stake: int) -> Any:
        self.stakes.append(stake)
        return Call(to=None), Call(to=None)

    async def _execute(self, call: Call, **_: object) -> None:
        self.moments.append(self.clock.now())
        self.registered = make_slot(3, KEY, WALLET, joined=NOW + 1)


@pytest.mark.parametrize("role", list(Role))
async def test_the_stake_is_what_the_chain_asks_for(autojump_clock: MockClock, role: Role) -> None:
    office = Office()
    office.failures = 3
    assert await ensure_registered(office.node, role) == 3
    assert office.stakes == [7 * TOKEN]


async def test_who_is_registered_does_not_register_again(autojump_clock: MockClock) -> None:
    office = Office(slot=make_slot(4, KEY, WALLET))
    assert await ensure_registered(office.node, Role.CHECKER) == 4
    assert office.stakes == []


async def test_a_banned_wallet_waits_for_the_end_of_its_ban(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    office = Office(barred=NOW + 10)
    await ensure_registered(office.node, Role.CHECKER)
    # Registered in the epoch before, it is active from the first one that it may take part in.
    assert office.moments[0] >= TIMELINE.start_of(Epoch(NOW + 9))
    assert f"banned from checking until epoch {NOW + 10}" in caplog.text


async def test_a_ban_from_checking_does_not_keep_a_provider_out(autojump_clock: MockClock) -> None:
    office = Office(barred=NO_EXIT)
    assert await ensure_registered(office.node, Role.PROVIDER) == 3


async def test_a_ban_for_good_ends_the_node(autojump_clock: MockClock) -> None:
    office = Office(barred=NO_EXIT)
    with trio.fail_after(60), pytest.raises(BannedError, match="banned from checking for good"):
        await ensure_registered(office.node, Role.CHECKER)


@pytest.mark.parametrize(
    ("exits", "joined", "said"),
    [
        (NOW + 1, NOW + 61, f"checker 4 is banned in the epochs {NOW + 1} … {NOW + 60}"),
        (NOW, 0, f"checker 4 has left, or was made to, with epoch {NOW}"),
        (NOW - 3, NOW - 1, ""),
        (NO_EXIT, 0, ""),
    ],
)
async def test_it_says_why_a_slot_takes_no_part(
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    exits: int,
    joined: int,
    said: str,
) -> None:
    caplog.set_level(logging.WARNING)
    office = Office(slot=make_slot(4, KEY, WALLET, joined=joined, exits=exits))
    await ensure_registered(office.node, Role.CHECKER)
    assert said in caplog.text
    assert bool(said) is bool(caplog.text)

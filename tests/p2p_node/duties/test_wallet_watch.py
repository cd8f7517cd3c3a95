"""When the wallet runs dry: who is told what, and how often."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from chain.errors import UnreachableError
from chain.records import Head, SlotKind
from p2p_node.duties.wallet_watch import REMIND_SECONDS, Reminder, watch_wallet
from p2p_node.funds import ENOUGH_EPOCHS, read_spending
from p2p_node.keystore import checksum_address
from p2p_node.node import Node
from protocols.params import MAINNET
from protocols.types import Wallet

WALLET = Wallet(b"\xab" * 20)
PEAQ = 10**18
HOUR = MAINNET.epoch_seconds


class FakeChain:
    """Has one wallet, with `balance` wei, and gas at 100 gwei."""

    def __init__(self, balance: int) -> None:
        self.balance = balance
        self.fails = False
        self.deployment = SimpleNamespace(chain_id=3338)

    async def head(self) -> Head:
        if self.fails:
            raise UnreachableError("eth_getBlockByNumber")
        return Head(1, bytes(32), 0, 100 * 10**9)

    async def gas_balance(self, wallet: Wallet) -> int:
        assert wallet == WALLET
        return self.balance


def make_node(chain: FakeChain, data_dir: Path) -> tuple[Node, SimpleNamespace]:
    transactions = SimpleNamespace(paid=0)
    node = SimpleNamespace(
        chain=chain,
        data_dir=data_dir,
        preset=MAINNET,
        transactions=transactions,
        identity=SimpleNamespace(wallet=WALLET),
    )
    return cast("Node", node), transactions


async def watch(node: Node, hours: float) -> None:
    with trio.move_on_after(hours * HOUR):
        await watch_wallet(node, SlotKind.CHECKER)


async def test_it_is_said_well_before(
    autojump_clock: Any, data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chain = FakeChain(3 * PEAQ)
    node, _ = make_node(chain, data_dir)
    await watch(node, 0.5)
    (told,) = caplog.messages
    assert told.startswith("the wallet runs dry: it holds 3 PEAQ, enough for about ")
    left = int(told.split("about ")[1].split()[0])
    assert 30 < left < ENOUGH_EPOCHS
    assert told.endswith(f"PEAQ or more to {checksum_address(WALLET)}")


async def test_a_full_wallet_is_nothing_to_talk_about(
    autojump_clock: Any, data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    node, _ = make_node(FakeChain(100 * PEAQ), data_dir)
    await watch(node, 30)
    assert caplog.messages == []


async def test_it_is_not_said_every_epoch(
    autojump_clock: Any, data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    node, _ = make_node(FakeChain(3 * PEAQ), data_dir)
    await watch(node, 24.5)
    assert len(caplog.messages) == 1 + 24 * 3600 // REMIND_SECONDS


async def test_after_filling_it_up(
    autojump_clock: Any, data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    chain = FakeChain(3 * PEAQ)
    node, _ = make_node(chain, data_dir)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, node, 5)
        await trio.sleep(HOUR / 2)
        chain.balance = 50 * PEAQ
    assert len(caplog.messages) == 2
    assert "enough again" in caplog.messages[1]


async def test_what_was_paid_is_noted_and_kept(autojump_clock: Any, data_dir: Path) -> None:
    node, transactions = make_node(FakeChain(3 * PEAQ), data_dir)
    transactions.paid = 777
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, node, 3.5)
        for _ in range(3):
            await trio.sleep(HOUR / 2)
            transactions.paid += 10
            await trio.sleep(HOUR / 2)
    spending = read_spending(data_dir)
    assert (spending.epochs, spending.paid) == (3, 30), "what was there at the start does not count"


async def test_an_outage_is_waited_out(
    autojump_clock: Any, data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chain = FakeChain(0)
    chain.fails = True
    node, _ = make_node(chain, data_dir)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, node, 1.5)
        await trio.sleep(HOUR / 2)
        assert caplog.messages == []
        chain.fails = False
    assert "about 0 epochs" in caplog.text


def test_a_warning_comes_when_what_is_left_has_halved() -> None:
    reminder = Reminder()
    assert not reminder.is_due(ENOUGH_EPOCHS, 0)
    told = [left for left in range(ENOUGH_EPOCHS - 1, -1, -1) if reminder.is_due(left, 0)]
    assert told == [71, 35, 17, 8, 3, 1, 0]
    assert reminder.has_warned
    assert not reminder.is_due(ENOUGH_EPOCHS, 0)
    assert reminder.is_due(ENOUGH_EPOCHS - 1, 0)

"""`kaisar status`: what it makes of a data directory, and of what the chain says."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest

from chain.abi import CONTRACTS
from chain.client import ChainClient
from chain.deployment import Contract, Deployment, write_deployment
from chain.records import NO_EXIT, BundleRecord, Head, SeatResult, SlotKind, SlotRecord
from p2p_node.cli import main
from p2p_node.cli.account import Account, read_account
from p2p_node.cli.status import EndpointStates, _format_slot, account_to_json, is_alive
from p2p_node.keystore import LIGHT_KDF, Keystore, open_or_create_node_key
from p2p_node.run_file import RUN_FILE, RunFile
from protocols.bans import Standing
from protocols.epochs import Phase
from protocols.params import MINIMAL, TOKEN
from protocols.types import Digest, Epoch, NodeKey, Seat, Shard, Wallet

WALLET = Wallet(b"\xab" * 20)
GENESIS = 1_000_000
DEPLOYMENT = Deployment(
    chain_id=31337,
    genesis=GENESIS,
    block=1,
    contracts={
        name: Contract(Wallet(bytes([number]) * 20), Digest(bytes([number]) * 32))
        for number, name in enumerate(CONTRACTS, start=1)
    },
    preset=MINIMAL,
)
SLOT = SlotRecord(
    index=258,
    wallet=WALLET,
    node_key=NodeKey(bytes(32)),
    binding=bytes(64),
    created_epoch=Epoch(0),
    joined_epoch=Epoch(3),
    exit_epoch=Epoch(NO_EXIT),
    stake_units=100,
    stake=100 * TOKEN,
    since_epoch=Epoch(3),
    scored_stake=100 * TOKEN,
)


@dataclass
class FakeChain:
    """Answers like ChainClient, for one block; epochs from `first_unsettled` on have nothing."""

    epoch: int
    slots: dict[SlotKind, SlotRecord] = field(default_factory=dict)
    first_unsettled: int = 1 << 32
    claimed_before: int = 0
    wrong: Standing = field(default_factory=Standing)
    offset: int = 0
    deployment: Deployment = DEPLOYMENT

    async def head(self) -> Head:
        timestamp = GENESIS + self.epoch * MINIMAL.epoch_seconds + self.offset
        return Head(number=42, hash=bytes(32), timestamp=timestamp, base_fee=1)

    async def slot_index(self, kind: SlotKind, wallet: Wallet, block: int) -> int | None:
        assert (wallet, block) == (WALLET, 42)
        return self.slots[kind].index if kind in self.slots else None

    async def slot(self, kind: SlotKind, index: int, block: int) -> SlotRecord:
        assert (self.slots[kind].index, block) == (index, 42)
        return self.slots[kind]

    async def providers(self, block: int) -> list[SlotRecord]:
        return [SLOT] * 300

    async def token_balance(self, wallet: Wallet, block: int) -> int:
        return 7 * TOKEN

    async def gas_balance(self, wallet: Wallet, block: int) -> int:
        return 5

    async def scores(self, epoch: Epoch, shard: Shard, block: int) -> tuple[int, ...] | None:
        if epoch >= self.first_unsettled:
            return None
        return tuple(lane * 10 + epoch for lane in range(256)) if shard == 1 else (0,) * 256

    async def bundle(self, epoch: Epoch, shard: Shard, block: int) -> BundleRecord | None:
        if epoch >= self.first_unsettled or shard == 0:
            return None
        reports = (SeatResult(0, 9, 40, 1), SeatResult(2, SLOT.index, 3, 1))
        return BundleRecord(epoch, shard, lanes=44, online=0, fraud=0, reports=reports)

    async def standing(self, checker: int, block: int) -> Standing:
        assert checker == SLOT.index
        return self.wrong

    async def provider_reward(self, index: int, epoch: Epoch, block: int) -> int:
        return 1000 + epoch

    async def provider_claimed(self, index: int, epoch: Epoch, block: int) -> bool:
        return epoch < self.claimed_before

    async def checker_reward(
        self, index: int, epoch: Epoch, shard: Shard, seat: Seat, block: int
    ) -> int:
        assert (index, shard, seat) == (SLOT.index, 1, 2)
        return 500

    async def checker_claimed(self, checker: int, epoch: Epoch, shard: Shard, block: int) -> bool:
        return epoch < self.claimed_before


async def read(chain: FakeChain, epochs: int = 3) -> Account:
    return await read_account(cast("ChainClient", chain), WALLET, epochs)


async def test_provider() -> None:
    chain = FakeChain(8, {SlotKind.PROVIDER: SLOT}, first_unsettled=8, claimed_before=7)
    account = await read(chain)
    assert (account.epoch, account.phase) == (8, Phase.DRAW)
    assert (account.tokens, account.gas) == (7 * TOKEN, 5)
    (slot,) = account.slots
    assert [result.epoch for result in slot.results] == [6, 7, 8]
    # Index 258 is lane 2 of shard 1.
    assert [result.score for result in slot.results] == [26, 27, None]
    assert [result.claimed for result in slot.results] == [True, False, False]
    assert [result.settled for result in slot.results] == [True, True, False]
    assert slot.pending == 1007


async def test_checker() -> None:
    chain = FakeChain(8, {SlotKind.CHECKER: SLOT}, first_unsettled=8, claimed_before=7, offset=21)
    account = await read(chain)
    assert account.phase == Phase.BUNDLE
    (slot,) = account.slots
    assert [(result.epoch, result.shard, result.seat) for result in slot.results] == [
        (6, 1, 2),
        (7, 1, 2),
    ]
    assert {(result.deviations, result.lanes) for result in slot.results} == {(3, 44)}
    assert slot.pending == 500


async def test_epochs_before_joining_and_after_leaving_are_not_asked_for() -> None:
    early = await read(FakeChain(4, {SlotKind.PROVIDER: SLOT}), epochs=10)
    assert [result.epoch for result in early.slots[0].results] == [3, 4]
    leaving = replace(SLOT, exit_epoch=Epoch(5))
    late = await read(FakeChain(9, {SlotKind.PROVIDER: leaving}), epochs=10)
    assert [result.epoch for result in late.slots[0].results] == [3, 4]
    assert late.slots[0].has_left
    newcomer = await read(FakeChain(2, {SlotKind.PROVIDER: SLOT}), epochs=10)
    assert newcomer.slots[0].results == ()


async def test_banned_checker_has_not_left() -> None:
    """It shows what it did before its ban, and when it will be back."""
    banned = replace(SLOT, exit_epoch=Epoch(7), joined_epoch=Epoch(67))
    wrong = Standing(2, (Epoch(6), Epoch(5)))
    account = await read(FakeChain(8, {SlotKind.CHECKER: banned}, wrong=wrong), epochs=2)
    (slot,) = account.slots
    assert not slot.has_left
    assert (slot.banned_until, slot.wrong_reports) == (67, 2)
    assert [result.epoch for result in slot.results] == [5, 6]
    (shown,) = account_to_json(account)["slots"]
    assert (shown["exit_epoch"], shown["banned_until"], shown["wrong_reports"]) == (None, 67, 2)
    lines = _format_slot(slot, account)
    assert "banned         from epoch 7, until epoch 67" in lines
    assert "wrong reports  2" in lines
    returned = await read(FakeChain(68, {SlotKind.CHECKER: banned}, wrong=wrong), epochs=2)
    assert [result.epoch for result in returned.slots[0].results] == [67, 68]
    assert not any(line.startswith("banned") for line in _format_slot(returned.slots[0], returned))


async def test_stranger() -> None:
    account = await read(FakeChain(8))
    assert account.slots == ()


async def test_before_the_genesis() -> None:
    account = await read(FakeChain(0, {SlotKind.PROVIDER: SLOT}, offset=-1))
    assert (account.epoch, account.phase) == (None, None)
    assert account.slots[0].results == ()
    assert account_to_json(account)["phase"] is None


@pytest.fixture
def node_dir(data_dir: Path) -> Path:
    Keystore.create(data_dir, "secret", kdf=LIGHT_KDF)
    return data_dir


@pytest.fixture
def show(node_dir: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run `kaisar status` on the data directory and return what it prints."""

    def run(*words: str) -> str:
        assert main(["status", "--data-dir", str(node_dir), *words]) == 0
        return capsys.readouterr().out

    return run


def test_node_that_never_ran(show: Callable[..., str], node_dir: Path) -> None:
    text = show()
    assert "not running" in text
    assert str(node_dir) in text
    assert "With --deployment" in text
    found = json.loads(show("--json"))
    keystore = Keystore.open(node_dir, "secret")
    assert found == {
        "node": {
            "data_dir": str(node_dir),
            "node_key": keystore.node_key.hex(),
            "running": False,
        },
        "wallet": keystore.wallet.checksum_address,
        "network_id": None,
        "endpoints": [],
        "chain": None,
        "gas_epochs": {},
    }


def test_running_node(show: Callable[..., str], node_dir: Path) -> None:
    addresses = ["/ip4/127.0.0.1/tcp/1/p2p/12D3"]
    with RunFile(node_dir) as run_file:
        run_file.write(role="checker", peer_id="12D3", wallet=WALLET, addresses=addresses)
        text = show()
        node = json.loads(show("--json"))["node"]
    assert f"running, process {os.getpid()}" in text
    assert "checker" in text
    assert (node["running"], node["role"], node["addresses"]) == (True, "checker", addresses)


def test_a_service_is_shown_where_it_is_reached(show: Callable[..., str], node_dir: Path) -> None:
    with RunFile(node_dir) as run_file:
        run_file.write(role="zeronode", peer_id="12D3", wallet=WALLET, addresses=[])
        assert "http" not in show()
        run_file.note_url("http://127.0.0.1:8750")
        assert "http://127.0.0.1:8750" in show()
        node = json.loads(show("--json"))["node"]
    assert (node["role"], node["url"]) == ("zeronode", "http://127.0.0.1:8750")


def test_killed_node(show: Callable[..., str], node_dir: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    content = {"pid": process.pid, "role": "provider", "peer_id": "12D3", "addresses": []}
    (node_dir / RUN_FILE).write_text(json.dumps(content))
    assert not is_alive(process.pid)
    assert "not running" in show()


def test_run_file_of_another_form(show: Callable[..., str], node_dir: Path) -> None:
    (node_dir / RUN_FILE).write_text('{"pid": 1}')
    assert "not running" in show()


def test_bootstrap_node_has_no_wallet(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_or_create_node_key(data_dir)
    write_deployment(data_dir / "d.json", DEPLOYMENT)
    words = ["--data-dir", str(data_dir), "--deployment", str(data_dir / "d.json")]
    assert main(["status", *words]) == 0
    assert "none" in capsys.readouterr().out
    assert main(["status", "--json", *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["wallet"], found["chain"]) == (None, None)
    assert found["network_id"] == "0x" + DEPLOYMENT.network_id.hex()


@pytest.mark.parametrize("kind", list(SlotKind))
def test_chain_is_shown(
    show: Callable[..., str],
    node_dir: Path,
    kind: SlotKind,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    endpoint = {"name": "rpc 1 (http://rpc.example/…)", "state": "good", "block": 42, "detail": ""}

    async def read_fake(
        urls: Sequence[str], deployment: Deployment, wallet: Wallet, epochs: int
    ) -> tuple[Account, EndpointStates]:
        assert (urls, deployment, epochs) == (("http://rpc.example/key",), DEPLOYMENT, 4)
        chain = FakeChain(8, {kind: SLOT}, first_unsettled=8, claimed_before=7)
        return await read(chain, epochs), (endpoint,)

    monkeypatch.setattr("p2p_node.cli.status._read", read_fake)
    write_deployment(node_dir / "d.json", DEPLOYMENT)
    words = ["--deployment", str(node_dir / "d.json"), "--rpc", "http://rpc.example/key"]
    text = show(*words, "--epochs", "4")
    assert "31337, block 42" in text
    assert re.search(r"rpc 1 \(http://rpc.example/…\) +good, block 42\n", text)
    assert "8, draw" in text
    assert "active since epoch 3" in text
    assert "100 KAI" in text
    found = json.loads(show(*words, "--epochs", "4", "--json"))
    assert found["endpoints"] == [endpoint]
    assert list(found["gas_epochs"]) == [kind.name.lower()]
    assert re.search(r"for gas +[0-9.]+, for about [0-9,]+ epochs", text)
    found = found["chain"]
    (slot,) = found["slots"]
    if kind is SlotKind.PROVIDER:
        assert "provider 258 (shard 1, lane 2)" in text
        assert "no bundle" in text
        assert slot["epochs"][-2] == {
            "epoch": 7, "shard": 1, "settled": True, "score": 27, "seat": None,
            "deviations": None, "lanes": None, "reward": "1007", "claimed": False,
        }  # fmt: skip
    else:
        assert "checker 258" in text
        assert "3 of 44" in text
        assert slot["pending"] == "500"
    assert (slot["stake"], slot["exit_epoch"]) == (str(100 * TOKEN), None)


@pytest.mark.parametrize("count", ["0", "225"])
def test_too_many_epochs(node_dir: Path, capsys: pytest.CaptureFixture[str], count: str) -> None:
    assert main(["status", "--data-dir", str(node_dir), "--epochs", count]) == 2
    assert f"epochs: found {count}, expected 1 … 224" in capsys.readouterr().err


def test_chain_that_does_not_answer(
    node_dir: Path, capsys: pytest.CaptureFixture[str], unused_tcp_port: int
) -> None:
    write_deployment(node_dir / "d.json", DEPLOYMENT)
    words = ["--deployment", str(node_dir / "d.json")]
    words += ["--rpc", f"http://127.0.0.1:{unused_tcp_port}", "--data-dir", str(node_dir)]
    for command in (["status"], ["wallet", "balance"]):
        assert main([*command, *words]) == 1
        assert "rpc unreachable" in capsys.readouterr().err

"""`kaisar deploy`: what it shows, what it refuses, and what is on the chain afterwards."""

import io
import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from chain.abi import CONTRACTS, get_interface
from chain.deploy_plan import DeploymentOptions, DeploymentPlan, plan_deployment
from chain.deploy_progress import make_progress, write_progress
from chain.deployment import read_deployment, verify_deployment
from chain.devchain.config import DevchainConfig
from chain.devchain.execution import CallRequest
from chain.devchain.service import RunningDevchain, serving
from chain.journal import MemoryJournal
from chain.networks import AGUNG, LOCAL
from chain.records import Call
from chain.rpc import Rpc
from chain.transactions import TransactionManager
from p2p_node.cli import main
from p2p_node.keystore import (
    LIGHT_KDF,
    PASSWORD_VARIABLE,
    Keystore,
    WalletKey,
    checksum_address,
)
from protocols.params import MINIMAL, TOKEN
from protocols.types import Wallet

PRIVATE_KEY = bytes(31) + b"\x09"
WALLET = WalletKey(PRIVATE_KEY)
ETHER = 10**18


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A password, and nobody to ask."""
    monkeypatch.setenv(PASSWORD_VARIABLE, "secret")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))


@pytest.fixture
def deployer(data_dir: Path) -> Path:
    """A data directory with a wallet."""
    Keystore.create(data_dir, "secret", kdf=LIGHT_KDF, private_key=PRIVATE_KEY)
    return data_dir


@contextmanager
def chain_with(chain_id: int, balance: int = 1_000 * ETHER) -> Iterator[RunningDevchain]:
    """A chain that makes a block as soon as there is something to put into it."""
    config = DevchainConfig(
        chain_id=chain_id, port=0, block_seconds=0, funded=((WALLET.address, balance),)
    )
    with serving(config) as running:
        stop = threading.Event()

        def mine() -> None:
            while not stop.wait(0.02):
                running.chain.mine()

        clock = threading.Thread(target=mine)
        clock.start()
        try:
            yield running
        finally:
            stop.set()
            clock.join()


@pytest.fixture
def local() -> Iterator[RunningDevchain]:
    with chain_with(LOCAL.chain_id) as running:
        yield running


def nonce_of(running: RunningDevchain) -> int:
    return running.chain.nonce(running.chain.head(), WALLET.address)


def deploy(
    running: RunningDevchain, data_dir: Path, out: Path, *words: str, network: str = "local"
) -> int:
    return main(
        [
            *("deploy", "--network", network, "--rpc", running.url, "--out", str(out)),
            *("--data-dir", str(data_dir), *words),
        ]
    )


def read_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    parsed = json.loads(capsys.readouterr().out)
    assert isinstance(parsed, dict)
    return parsed


def test_a_dry_run_shows_everything_and_sends_nothing(
    local: RunningDevchain,
    deployer: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Nothing is signed either: no password is needed.
    monkeypatch.delenv(PASSWORD_VARIABLE)
    out = tmp_path / "new.json"
    assert deploy(local, deployer, out, "--dry-run", "--reward-fund", "1000") == 0
    shown = capsys.readouterr().out
    for name in CONTRACTS:
        assert f"deployment of {name}" in shown
    assert "payment into the reward fund" in shown
    assert ": enough" in shown
    assert "dry run: nothing was sent" in shown
    assert nonce_of(local) == 0
    assert not out.exists()
    assert not out.with_name("new.json.part").exists()


def test_what_a_dry_run_says_comes_true(
    local: RunningDevchain, deployer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new.json"
    flags = ("--json", "--reward-fund", "1000", "--genesis", str(local.chain.head().timestamp + 50))
    assert deploy(local, deployer, out, *flags, "--dry-run") == 0
    promised = read_json(capsys)
    before = local.chain.balance(local.chain.head(), WALLET.address)
    assert deploy(local, deployer, out, *flags) == 0
    result = read_json(capsys)
    assert result["sent"] is True
    assert result["addresses"] == promised["addresses"]
    deployment = read_deployment(out)
    assert {name: "0x" + each.address.hex() for name, each in deployment.contracts.items()} == (
        promised["addresses"]
    )
    assert deployment.preset == MINIMAL
    assert deployment.genesis == promised["genesis"]
    trio.run(verify, local.url, out)
    assert nonce_of(local) == len(promised["transactions"])
    spent = before - local.chain.balance(local.chain.head(), WALLET.address)
    # The base fee sinks in a chain of almost empty blocks.
    assert 0 < spent <= int(promised["expected"]) <= int(promised["most"])
    assert not out.with_name("new.json.part").exists()
    # And never over it.
    assert deploy(local, deployer, out, *flags) == 2
    assert "exists already" in capsys.readouterr().err


async def verify(url: str, file: Path) -> None:
    rpc = Rpc(url)
    await verify_deployment(rpc, read_deployment(file))
    rpc.close()


def test_the_price_on_agung_counts_proof_and_floor(
    deployer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with chain_with(AGUNG.chain_id) as running:
        out = tmp_path / "new.json"
        assert deploy(running, deployer, out, "--dry-run", "--json", network="agung") == 0
        found = read_json(capsys)
        assert deploy(running, deployer, out, "--dry-run", network="agung") == 0
        shown = capsys.readouterr().out
    assert found["preset"] == "testnet"
    assert int(found["price"]) == int(found["base_fee"]) + int(found["tip"])
    assert "the least that is known of agung is 100 gwei" in shown
    for step in found["transactions"]:
        assert step["gas"] == max(step["evm_gas"], 4 * step["proof_bytes"], step["stored_bytes"])
        assert step["gas"] * 130 // 100 == step["gas_limit"]
        assert int(step["expected"]) == step["gas"] * int(found["price"])
    assert int(found["expected"]) == sum(int(step["expected"]) for step in found["transactions"])
    assert (found["enough"], found["sent"]) == (True, False)
    assert " AGUNG" in shown
    assert "nowhere dearer than the EVM's own gas" in shown


def test_another_chain_is_refused(
    local: RunningDevchain, deployer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new.json"
    assert deploy(local, deployer, out, "--dry-run", network="agung") == 1
    assert "chain id: found 31337, expected 9990" in capsys.readouterr().err


def test_a_poor_wallet_sends_nothing(
    deployer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with chain_with(LOCAL.chain_id, balance=10**15) as running:
        out = tmp_path / "new.json"
        assert deploy(running, deployer, out, "--dry-run") == 1
        assert "NOT ENOUGH" in capsys.readouterr().out
        assert deploy(running, deployer, out, "--json") == 1
        found = read_json(capsys)
        assert (found["enough"], found["sent"]) == (False, False)
        assert nonce_of(running) == 0
        assert not out.with_name("new.json.part").exists()


def test_a_public_chain_wants_consent(
    deployer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with chain_with(AGUNG.chain_id) as running:
        out = tmp_path / "new.json"
        assert deploy(running, deployer, out, network="agung") == 2
        assert "sending needs --yes" in capsys.readouterr().err
        assert nonce_of(running) == 0


def test_consent_is_the_networks_name(
    deployer: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    with chain_with(AGUNG.chain_id) as running:
        out = tmp_path / "new.json"
        monkeypatch.setattr(sys, "stdin", Terminal("yes\n"))
        assert deploy(running, deployer, out, network="agung") == 1
        assert "nothing was sent" in capsys.readouterr().err
        assert nonce_of(running) == 0
        monkeypatch.setattr(sys, "stdin", Terminal("agung\n"))
        assert deploy(running, deployer, out, network="agung") == 0
        assert read_deployment(out).chain_id == AGUNG.chain_id


def cut_off_plan(running: RunningDevchain) -> DeploymentPlan:
    options = DeploymentOptions(MINIMAL, reward_fund=1_000 * TOKEN)
    return plan_deployment(
        WALLET.address, nonce_of(running), running.chain.head().timestamp, options
    )


async def send_first(running: RunningDevchain, plan: DeploymentPlan, count: int) -> None:
    """Send the first steps of a plan as a program does that ends after them."""
    rpc = Rpc(running.url)
    manager = TransactionManager(
        rpc, WALLET, MemoryJournal(), chain_id=LOCAL.chain_id, poll_seconds=0.01
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(manager.run)
        for step in plan.steps[:count]:
            deadline = trio.current_time() + 30
            await manager.execute(step.call, label=step.label, deadline=deadline, confirmations=1)
        nursery.cancel_scope.cancel()
    rpc.close()


@pytest.mark.parametrize("count", [0, 3, 7])
def test_a_deployment_that_was_cut_off_goes_on(
    local: RunningDevchain,
    deployer: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    count: int,
) -> None:
    plan = cut_off_plan(local)
    count = min(count, len(plan.steps))
    out = tmp_path / "new.json"
    write_progress(out.with_name("new.json.part"), make_progress(plan, LOCAL.chain_id, 1))
    trio.run(send_first, local, plan, count)
    assert deploy(local, deployer, out, "--reward-fund", "1000") == 0
    captured = capsys.readouterr()
    if count:
        assert f"{count} of {len(plan.steps)} are on the chain already" in captured.out
    assert f"{len(plan.steps)} of {len(plan.steps)}: " in captured.err or count == len(plan.steps)
    deployment = read_deployment(out)
    assert {name: each.address for name, each in deployment.contracts.items()} == plan.addresses
    assert (deployment.genesis, deployment.block) == (plan.genesis, 1)
    assert nonce_of(local) == len(plan.steps)
    assert not out.with_name("new.json.part").exists()


def test_other_options_do_not_continue_but_restart(
    local: RunningDevchain, deployer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = cut_off_plan(local)
    out = tmp_path / "new.json"
    part = out.with_name("new.json.part")
    write_progress(part, make_progress(plan, LOCAL.chain_id, 1))
    trio.run(send_first, local, plan, 2)
    assert deploy(local, deployer, out, "--reward-fund", "2000") == 1
    assert "--restart to leave its contracts" in capsys.readouterr().err
    assert deploy(local, deployer, out, "--reward-fund", "2000", "--restart", "--dry-run") == 0
    assert part.exists()
    assert deploy(local, deployer, out, "--reward-fund", "2000", "--restart") == 0
    addresses = {each.address for each in read_deployment(out).contracts.values()}
    assert plan.addresses["Registry"] not in addresses
    assert read_deployment(out).address("Token") != plan.addresses["Token"]
    assert not part.exists()


def test_a_wallet_that_sent_something_else_cannot_go_on(
    local: RunningDevchain, deployer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = cut_off_plan(local)
    out = tmp_path / "new.json"
    write_progress(out.with_name("new.json.part"), make_progress(plan, LOCAL.chain_id, 1))
    stranger = Call(Wallet(b"\x99" * 20), value=1, gas_limit=21_000)
    other = DeploymentPlan(plan.deployer, 0, 0, plan.options, {}, (plan.steps[0],))
    trio.run(send_first, local, other, 1)
    trio.run(send_call, local, stranger)
    assert deploy(local, deployer, out, "--reward-fund", "1000") == 1
    error = capsys.readouterr().err
    assert "deployment of Registry: found no code at 0x" in error
    assert "something else in its place" in error


async def send_call(running: RunningDevchain, call: Call) -> None:
    rpc = Rpc(running.url)
    manager = TransactionManager(
        rpc, WALLET, MemoryJournal(), chain_id=LOCAL.chain_id, poll_seconds=0.01
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(manager.run)
        deadline = trio.current_time() + 30
        await manager.execute(call, label="other", deadline=deadline, confirmations=1)
        nursery.cancel_scope.cancel()
    rpc.close()


def test_an_existing_token_is_used(
    local: RunningDevchain, deployer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = tmp_path / "first.json"
    assert deploy(local, deployer, first) == 0
    token = "0x" + read_deployment(first).address("Token").hex()
    second = tmp_path / "second.json"
    assert deploy(local, deployer, second, "--token", token, "--reward-fund", "5") == 0
    deployments = read_deployment(first), read_deployment(second)
    assert deployments[0].address("Token") == deployments[1].address("Token")
    assert deployments[0].address("Registry") != deployments[1].address("Registry")
    capsys.readouterr()
    nobody = "0x" + "77" * 20
    assert deploy(local, deployer, tmp_path / "third.json", "--token", nobody) == 1
    assert "token: found no contract" in capsys.readouterr().err


def test_an_existing_collection_is_used(
    local: RunningDevchain, deployer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = tmp_path / "first.json"
    assert deploy(local, deployer, first) == 0
    addresses = read_deployment(first)
    nft = "0x" + addresses.address("Nft").hex()
    second = tmp_path / "second.json"
    capsys.readouterr()
    assert deploy(local, deployer, second, "--nft", nft) == 0
    assert re.search(r"collection +0x\w+ \(existing\)", capsys.readouterr().out)
    again = read_deployment(second)
    assert again.address("Nft") == addresses.address("Nft")
    assert again.address("ZeroNodeAnchor") != addresses.address("ZeroNodeAnchor")
    # A token is no collection, and a wallet is no contract.
    for other in ("0x" + addresses.address("Token").hex(), "0x" + "77" * 20):
        assert deploy(local, deployer, tmp_path / "third.json", "--nft", other) == 1
        assert f"nft: found no ERC-721 collection at {other} on local" in capsys.readouterr().err


def test_owner_and_guardian_go_into_the_steward(
    local: RunningDevchain, deployer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    owner, guardian = "0x" + "a1" * 20, "0x" + "b2" * 20
    out = tmp_path / "new.json"
    assert deploy(local, deployer, out, "--owner", owner, "--guardian", guardian) == 0
    shown = capsys.readouterr().out
    assert f"owner {checksum_address(Wallet(bytes.fromhex(owner[2:])))}, guardian 0x" in shown
    steward = read_deployment(out).address("Steward")
    head = local.chain.head()
    for name, expected in (("owner", owner), ("guardian", guardian)):
        data = get_interface("Steward").functions[name].encode(())
        result = local.chain.call(head, CallRequest(WALLET.address, steward, 0, data))
        assert "0x" + result.output[-20:].hex() == expected
    for contract, name in (("ZeroNodeAnchor", "owner"), ("Nft", "minter")):
        data = get_interface(contract).functions[name].encode(())
        at = read_deployment(out).address(contract)
        result = local.chain.call(head, CallRequest(WALLET.address, at, 0, data))
        assert "0x" + result.output[-20:].hex() == owner


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--token", "0x12"), "token: found '0x12', expected 0x and 40 digits"),
        (("--nft", "0x" + "0" * 40), "nft: found the zero address"),
        (("--owner", "0x" + "0" * 40), "owner: found the zero address"),
        # The last letter's case is wrong.
        (
            ("--guardian", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD"),
            "whose capitals say that a digit is wrong",
        ),
        (("--reward-fund", "1.5"), "reward-fund: found '1.5', expected a number of whole tokens"),
        (("--rpc", "http://127.0.0.1:1", "http://127.0.0.1:2"), "rpc: found 3 endpoints"),
        (("--supply", "9", "--token", "0x" + "1" * 40), "supply: has no meaning together"),
    ],
)
def test_values_that_cannot_be_meant(
    local: RunningDevchain,
    deployer: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    text: str,
) -> None:
    assert deploy(local, deployer, tmp_path / "new.json", "--dry-run", *words) == 2
    assert text in capsys.readouterr().err


def test_a_genesis_in_milliseconds_is_a_mistake(
    local: RunningDevchain, deployer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    genesis = str(local.chain.head().timestamp * 1000)
    assert deploy(local, deployer, tmp_path / "new.json", "--dry-run", "--genesis", genesis) == 1
    assert "expected Unix seconds near" in capsys.readouterr().err

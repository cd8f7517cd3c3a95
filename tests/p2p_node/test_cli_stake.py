"""`kaisar stake` on a chain: what it says, sends and refuses."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from chain.deployment import write_deployment
from chain.records import SlotKind
from p2p_node.cli import main
from p2p_node.display import parse_amount
from p2p_node.keystore import LIGHT_KDF, PASSWORD_VARIABLE, Keystore
from p2p_node.storage import Store
from protocols.params import TOKEN
from tests.chain.network import PRESET, Network, Person, network

STAKE = PRESET.min_checker_stake


@asynccontextmanager
async def wallet_at_work(directory: Path) -> AsyncIterator[tuple[Network, Person, list[str]]]:
    """A chain on which blocks are made all the time, a checker on it, and the flags to be it."""
    async with network(1, 1) as net, trio.open_nursery() as nursery:
        person = net.checkers[0]
        data_dir = directory / "data"
        await trio.to_thread.run_sync(
            lambda: Keystore.create(
                data_dir, "secret", private_key=person.private_key, kdf=LIGHT_KDF
            )
        )
        write_deployment(directory / "deployment.json", net.deployment)

        async def make_blocks() -> None:
            while True:
                net.running.chain.mine(net.running.chain.head().timestamp + 1)
                await trio.sleep(0.05)

        nursery.start_soon(make_blocks)
        flags = ["--data-dir", str(data_dir), "--rpc", net.running.url]
        yield net, person, [*flags, "--deployment", str(directory / "deployment.json")]
        nursery.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "secret")


async def kaisar(*words: str) -> int:
    return await trio.to_thread.run_sync(main, list(words))


async def test_a_stake_from_top_up_to_its_return(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with wallet_at_work(tmp_path) as (net, person, flags):
        assert await kaisar("stake", "add", "12.5", *flags) == 1
        assert "expected at most 0 KAI, which the wallet holds" in capsys.readouterr().err

        amount = 25 * TOKEN // 2
        gift = net.calls.transfer(person.signer.address, amount)
        await net.execute(net.funder, gift, "a gift")
        assert await kaisar("stake", "add", "12.5", *flags) == 0
        assert "the stake is 1,012.5 KAI now" in capsys.readouterr().out
        assert await net.client.stake_of(SlotKind.CHECKER, person.index) == STAKE + amount

        assert await kaisar("stake", "withdraw", *flags) == 1
        assert "has not left" in capsys.readouterr().err
        assert await kaisar("stake", "status", "--json", *flags) == 0
        (stake,) = json.loads(capsys.readouterr().out)["stakes"]
        assert stake["stake"] == str(STAKE + amount)
        assert stake["exit_epoch"] is None
        assert (stake["wrong_reports"], stake["banned_until"]) == (0, None)

        assert await kaisar("stake", "leave", "--json", *flags) == 0
        left = json.loads(capsys.readouterr().out)
        assert left["exit_epoch"] == 1
        assert await kaisar("stake", "leave", *flags) == 1
        assert "has left with epoch 1" in capsys.readouterr().err
        assert await kaisar("stake", "add", "1", *flags) == 1
        assert "has left: nothing can be added" in capsys.readouterr().err
        assert await kaisar("stake", "withdraw", *flags) == 1
        assert "the unstake delay lasts another" in capsys.readouterr().err

        net.enter(1, PRESET.unstake_delay_seconds)
        assert await kaisar("stake", "status", *flags) == 0
        assert "withdrawable   now" in capsys.readouterr().out
        assert await kaisar("stake", "withdraw", *flags) == 0
        assert "1,012.5 KAI came back" in capsys.readouterr().out
        assert await net.client.token_balance(person.signer.address) == STAKE + amount
        assert await kaisar("stake", "status", *flags) == 0
        assert "not registered" in capsys.readouterr().out


async def test_nothing_is_sent_beside_a_running_node(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with wallet_at_work(tmp_path) as (net, _, flags):
        with Store.open(tmp_path / "data", net.deployment.network_id):
            assert await kaisar("stake", "leave", *flags) == 1
        assert "in use by process" in capsys.readouterr().err
        assert await kaisar("stake", "leave", "--as", "provider", *flags) == 1
        assert "not registered as a provider" in capsys.readouterr().err


def test_without_a_deployment_there_is_no_stake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stake", "status"]) == 2
    assert "expected a deployment file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1", TOKEN),
        ("12.5", 25 * TOKEN // 2),
        ("1,000.25", 1000 * TOKEN + TOKEN // 4),
        ("0.000000000000000001", 1),
    ],
)
def test_amounts_as_people_write_them(text: str, amount: int) -> None:
    assert parse_amount(text) == amount


@pytest.mark.parametrize(
    "text",
    ["", ".", "1.", ".5", "0", "0.0", "-1", "1e3", "0x1", "1.0000000000000000001", "1.2.3", "٣"],
)
def test_what_is_no_amount(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stake", "add", "--", text]) == 2
    assert "AMOUNT" in capsys.readouterr().err

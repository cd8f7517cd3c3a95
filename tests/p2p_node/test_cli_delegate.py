"""`kaisar delegate` on a chain: from a deposit to its return, and what it refuses."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from chain.deployment import write_deployment
from p2p_node.cli import main
from p2p_node.keystore import LIGHT_KDF, PASSWORD_VARIABLE, Keystore
from protocols.params import TOKEN
from tests.chain.network import PRESET, Network, Person, network

WARM_UP = PRESET.ring_epochs + 1


@asynccontextmanager
async def delegator(directory: Path) -> AsyncIterator[tuple[Network, list[str], list[str]]]:
    """A chain on which blocks are made all the time, and the flags of a delegator that has 100 KAI
    and of the checker."""
    async with network(1, 1) as net, trio.open_nursery() as nursery:

        async def make_blocks() -> None:
            while True:
                net.running.chain.mine(net.running.chain.head().timestamp + 1)
                await trio.sleep(0.05)

        nursery.start_soon(make_blocks)
        owner, checker = net.providers[0], net.checkers[0]
        gift = net.calls.transfer(owner.signer.address, 100 * TOKEN)
        await net.execute(net.funder, gift, "a gift")
        write_deployment(directory / "deployment.json", net.deployment)
        flags = [await make_flags(net, person, directory) for person in (owner, checker)]
        yield net, flags[0], flags[1]
        nursery.cancel_scope.cancel()


async def make_flags(net: Network, person: Person, directory: Path) -> list[str]:
    data_dir = directory / person.signer.address.hex()
    await trio.to_thread.run_sync(
        lambda: Keystore.create(data_dir, "secret", private_key=person.private_key, kdf=LIGHT_KDF)
    )
    deployment = str(directory / "deployment.json")
    return [
        *("--data-dir", str(data_dir), "--rpc", net.running.url, "--deployment", deployment),
    ]


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "secret")


async def kaisar(*words: str) -> int:
    return await trio.to_thread.run_sync(main, ["delegate", *words])


async def test_a_delegation_from_deposit_to_return(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with delegator(tmp_path) as (net, flags, _):
        owner = net.providers[0].signer.address
        assert await kaisar("deposit", "0", "101", *flags) == 1
        assert "expected at most 100 KAI" in capsys.readouterr().err
        assert await kaisar("activate", "0", *flags) == 1
        assert "nothing of this wallet's waits to be activated there" in capsys.readouterr().err

        assert await kaisar("deposit", "0", "60", "--json", *flags) == 0
        assert json.loads(capsys.readouterr().out)["ready_epoch"] == WARM_UP
        assert await kaisar("take-back", "0", *flags) == 0
        assert "60 KAI came back" in capsys.readouterr().out
        assert await net.client.token_balance(owner) == 100 * TOKEN

        assert await kaisar("deposit", "0", "100", *flags) == 0
        assert await kaisar("activate", "0", *flags) == 1
        assert f"the warm-up lasts until epoch {WARM_UP}" in capsys.readouterr().err
        net.enter(WARM_UP)
        assert await kaisar("activate", "0", *flags) == 0
        assert "100 KAI count from now on" in capsys.readouterr().out
        assert await kaisar("status", "0", "--json", *flags) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["stake"], found["waiting"], found["since"]) == (str(100 * TOKEN), "0", 1)
        slot = (await net.client.checkers())[0]
        assert slot.stake_units == (PRESET.min_checker_stake + 100 * TOKEN) // TOKEN

        assert await kaisar("undelegate", "0", "100.1", *flags) == 1
        assert "expected at most 100 KAI, which is active" in capsys.readouterr().err
        assert await kaisar("undelegate", "0", "40", *flags) == 0
        assert "40 KAI are on their way out" in capsys.readouterr().out
        assert await kaisar("undelegate", "0", "all", *flags) == 0
        assert "100 KAI are on their way out" in capsys.readouterr().out
        assert await kaisar("withdraw", "0", *flags) == 1
        assert "it stays locked for another" in capsys.readouterr().err
        net.enter(WARM_UP + 1, PRESET.unstake_delay_seconds)
        assert await kaisar("status", "0", *flags) == 0
        assert "on its way out  100 KAI" in capsys.readouterr().out
        assert await kaisar("withdraw", "0", *flags) == 0
        assert "100 KAI came back" in capsys.readouterr().out
        assert await net.client.token_balance(owner) == 100 * TOKEN
        assert await kaisar("collect", "0", *flags) == 1
        assert "nothing of this wallet's is to be collected" in capsys.readouterr().err
        assert await kaisar("status", "7", *flags) == 1
        assert "checker 7: there is none" in capsys.readouterr().err


async def test_a_checker_says_what_its_delegators_get(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with delegator(tmp_path) as (net, owner, checker):
        assert await kaisar("commission", "12.5", *owner) == 1
        assert "not registered as a checker" in capsys.readouterr().err
        assert await kaisar("commission", "12.5", *checker) == 0
        assert "delegators get 12.5 % of the rewards" in capsys.readouterr().out
        net.enter(WARM_UP + 1)
        assert await kaisar("status", "0", *owner) == 0
        assert "commission" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "101", "100.01", "-1", "1.234", "x", "1."])
def test_what_is_no_percentage(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["delegate", "commission", "--", text]) == 2
    assert "PERCENT" in capsys.readouterr().err

"""`kaisar lease` on a chain: what an operator sees of its machine's leases, and ending one."""

import json
from pathlib import Path

import pytest
import trio

from chain.rental_calls import RentalCalls
from p2p_node.cli import main
from p2p_node.keystore import LIGHT_KDF, PASSWORD_VARIABLE, Keystore
from protocols.leases import LeaseState
from tests.p2p_node.test_cli_rent import Market, open_market


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "secret")


async def kaisar(*words: str) -> int:
    return await trio.to_thread.run_sync(main, list(words))


async def become_provider(market: Market, directory: Path) -> list[str]:
    """Make a data directory for the provider; returns the flags to be it."""
    data_dir = directory / "provider"
    await trio.to_thread.run_sync(
        lambda: Keystore.create(
            data_dir, "secret", private_key=market.net.providers[0].private_key, kdf=LIGHT_KDF
        )
    )
    return ["--data-dir", str(data_dir), *market.flags[2:]]


async def test_leases_are_listed_and_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_market(tmp_path, capsys) as market:
        flags = await become_provider(market, tmp_path)
        assert await kaisar("lease", "list", *flags) == 0
        assert "Nobody has leased this machine yet" in capsys.readouterr().out
        await market.open("0", "--seconds", "3600", lease=1)
        reserved = RentalCalls(market.net.deployment).open(0, 600, 277777777777777, bytes([9]) * 32)
        for call in reserved:
            await market.net.execute(market.renter.manager, call, "a second lease")
        assert await kaisar("lease", "list", "--json", *flags) == 0
        second, first = json.loads(capsys.readouterr().out)["leases"]
        assert (first["lease"], first["state"], first["seconds"]) == (1, "active", 3600)
        assert (second["lease"], second["state"], second["started_at"]) == (2, "reserved", 0)
        assert await kaisar("lease", "list", "--count", "1", *flags) == 0
        said = capsys.readouterr().out
        assert "reserved" in said
        assert "active" not in said

        for number, problem in (("2", "is not active: reserved"), ("3", "none of this machine's")):
            assert await kaisar("lease", "end", number, *flags) == 1
            assert problem in capsys.readouterr().err
        assert await kaisar("lease", "end", "1", *market.flags) == 1
        assert "none of this machine's" in capsys.readouterr().err
        assert await kaisar("lease", "end", "1", "--json", *flags) == 0
        ended = json.loads(capsys.readouterr().out)
        assert "goes to the renter" in ended["said"]
        lease = await market.rental.lease(1)
        assert lease is not None
        assert (lease.state, lease.ended_by_provider) == (LeaseState.ENDED, True)
        assert ended["bond"] == str(lease.terms.bond)


async def test_a_wallet_that_offers_nothing_has_no_leases(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_market(tmp_path, capsys) as market:
        data_dir = tmp_path / "stranger"
        await trio.to_thread.run_sync(lambda: Keystore.create(data_dir, "secret", kdf=LIGHT_KDF))
        flags = ["--data-dir", str(data_dir), *market.flags[2:]]
        assert await kaisar("lease", "list", *flags) == 1
        assert "not registered as a provider" in capsys.readouterr().err


def test_what_cannot_be_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lease", "list", "--count", "0"]) == 2
    assert "expected a number from 1" in capsys.readouterr().err
    assert main(["lease", "list"]) == 2
    assert "expected a deployment file" in capsys.readouterr().err

"""`kaisar zeronode services` on a chain: what it shows, sends and refuses."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from chain.deployment import write_deployment
from chain.zeronode_client import ZeroNodeClient
from p2p_node.cli import main
from p2p_node.keystore import LIGHT_KDF, PASSWORD_VARIABLE, Keystore, checksum_address
from protocols.types import NodeKey, Wallet
from tests.chain.backends import FUNDER
from tests.chain.network import Network, network

KEY, OTHER_KEY = NodeKey(b"\x71" * 32), NodeKey(b"\x72" * 32)
NOBODY = "0x" + "77" * 20


class Scene:
    """A chain on which blocks are made all the time, and two people's data directories."""

    def __init__(self, net: Network, directory: Path) -> None:
        self.client = ZeroNodeClient(net.rpc, net.deployment)
        self.service = net.providers[0].signer.address
        self.owner = FUNDER.address
        self._directory = directory
        self._chain = ["--rpc", net.running.url, "--deployment", str(directory / "network.json")]

    async def run(self, *words: str, data: str = "owner") -> int:
        flags = ["--data-dir", str(self._directory / data)] if words[0] != "show" else []
        return await self.kaisar("services", *words, *flags)

    async def mint(self, *words: str, data: str = "owner") -> int:
        return await self.kaisar("mint", *words, "--data-dir", str(self._directory / data))

    async def kaisar(self, *words: str) -> int:
        return await trio.to_thread.run_sync(main, ["zeronode", *words, *self._chain])


@asynccontextmanager
async def scene_at(directory: Path) -> AsyncIterator[Scene]:
    async with network(0, 1) as net, trio.open_nursery() as nursery:
        write_deployment(directory / "network.json", net.deployment)
        for name, key in (("owner", b"\x11" * 32), ("service", net.providers[0].private_key)):
            await trio.to_thread.run_sync(
                lambda name=name, key=key: Keystore.create(  # type: ignore[misc]
                    directory / name, "secret", private_key=key, kdf=LIGHT_KDF
                )
            )

        async def make_blocks() -> None:
            while True:
                net.running.chain.mine(net.running.chain.head().timestamp + 1)
                await trio.sleep(0.05)

        nursery.start_soon(make_blocks)
        yield Scene(net, directory)
        nursery.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "secret")


@pytest.mark.integration
async def test_services_are_listed_and_retired(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with scene_at(tmp_path) as scene:
        wallet = checksum_address(scene.service)
        assert await scene.run("show") == 0
        shown = capsys.readouterr().out
        assert checksum_address(scene.owner) in shown
        assert "no services are listed" in shown
        # Only the owner may, and is told so before anything is sent.
        assert await scene.run("add", wallet, KEY.hex(), data="service") == 1
        assert "the owner of ZeroNodeAnchor" in capsys.readouterr().err
        assert await scene.run("add", wallet, "0x" + KEY.hex()) == 0
        assert "service 0 is listed" in capsys.readouterr().out
        assert await scene.client.service_of(scene.service, "finalized") == 0
        assert await scene.run("add", wallet, OTHER_KEY.hex()) == 1
        assert "service 0 is listed with this wallet" in capsys.readouterr().err
        assert await scene.run("add", NOBODY, KEY.hex()) == 1
        assert "service 0 is listed with this node key" in capsys.readouterr().err

        assert await scene.run("show", "--json") == 0
        (listed,) = json.loads(capsys.readouterr().out)["services"]
        assert (listed["index"], listed["wallet"], listed["retired_at"]) == (0, wallet, None)
        assert listed["node_key"] == KEY.hex()

        assert await scene.run("retire", "1") == 1
        assert "index: found 1, expected one of 1 services" in capsys.readouterr().err
        assert await scene.run("retire", "0", data="service") == 1
        assert await scene.run("retire", "0", "--json") == 0
        assert json.loads(capsys.readouterr().out)["index"] == 0
        assert await scene.run("retire", "0") == 1
        assert "service 0 is retired" in capsys.readouterr().err
        assert await scene.run("show") == 0
        assert KEY.hex() in capsys.readouterr().out
        assert await scene.client.service_of(scene.service) is None


@pytest.mark.integration
async def test_ownership_is_handed_over_in_two_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with scene_at(tmp_path) as scene:
        wallet = checksum_address(scene.service)
        assert await scene.run("accept", data="service") == 1
        assert "this wallet was not offered" in capsys.readouterr().err
        assert await scene.run("offer", wallet, data="service") == 1
        assert await scene.client.heir() is None
        assert await scene.run("offer", wallet) == 0
        assert (await scene.client.heir(), await scene.client.owner()) == (
            scene.service,
            scene.owner,
        )
        assert await scene.run("accept", data="service") == 0
        assert (await scene.client.heir(), await scene.client.owner()) == (None, scene.service)
        assert await scene.run("add", NOBODY, KEY.hex(), data="service") == 0
        assert await scene.client.service_of(Wallet(b"\x77" * 20)) == 0


@pytest.mark.integration
async def test_the_minter_makes_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with scene_at(tmp_path) as scene:
        wallet = checksum_address(scene.service)
        assert await scene.mint(wallet) == 0
        assert f"{wallet} has token 1" in capsys.readouterr().out
        assert await scene.mint(NOBODY, "--json") == 0
        assert json.loads(capsys.readouterr().out)["token"] == "2"
        assert await scene.client.owner_of(1) == scene.service
        assert await scene.client.owner_of(2) == b"\x77" * 20
        assert await scene.mint(wallet, data="service") == 1
        assert "no token was made: nft: caller is not the minter" in capsys.readouterr().err
        assert await scene.mint("0x12") == 2
        assert "wallet: found '0x12'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("add", "0x12", KEY.hex()), "wallet: found '0x12', expected 0x and 40 digits"),
        (("add", NOBODY, "12"), "node_key: found '12', expected 64 hexadecimal digits"),
        (("add", NOBODY, "0" * 64), "expected 64 hexadecimal digits, not all 0"),
        (("offer", "0x" + "0" * 40), "heir: found the zero address"),
        (("show",), "deployment: found nothing, expected a deployment file"),
        (("add", NOBODY, KEY.hex()), "deployment: found nothing"),
    ],
)
def test_what_cannot_be_meant(
    words: tuple[str, ...], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [] if words == ("show",) else ["--data-dir", str(tmp_path)]
    assert main(["zeronode", "services", *words, *flags]) == 2
    assert text in capsys.readouterr().err

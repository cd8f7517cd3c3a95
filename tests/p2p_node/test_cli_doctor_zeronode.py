"""`kaisar doctor` on a ZeroNode service: its port, its address, its books, its files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from chain.errors import UnavailableError
from chain.zeronode_client import Service
from p2p_node.cli import doctor_zeronode
from p2p_node.cli.doctor_zeronode import check_database, check_listing, check_zeronode
from p2p_node.keystore import LIGHT_KDF, Keystore
from p2p_node.setting_list import SETTINGS
from p2p_node.workloads.self_check import Finding, Mark
from p2p_node.zeronode.database import Database
from protocols.types import NodeKey, Wallet
from tests.databases import database_url, postgres
from tests.p2p_node.test_cli_status import DEPLOYMENT

__all__ = ["database_url", "postgres"]


def look(directory: Path, **changes: Any) -> dict[str, Finding]:
    values = {name: setting.default for name, setting in SETTINGS.items()}
    values |= {"data_dir": directory, "zeronode_listen": "127.0.0.1:0"}
    values |= {f"zeronode_{name}": value for name, value in changes.items()}
    return {finding.check: finding for finding in check_zeronode(values, {}, None)}


def test_a_new_service(tmp_path: Path) -> None:
    found = look(tmp_path)
    assert found["port"].mark is Mark.OK
    assert found["public url"].mark is Mark.WARN
    assert (found["ledger"].mark, found["ledger"].reason) == (
        Mark.ABSENT,
        "made at the first start",
    )
    assert found["missions"].mark is Mark.OK
    for name in ("locations", "campaigns", "draws"):
        assert found[name].mark is Mark.ABSENT
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_that_is_there_is_not_changed(tmp_path: Path) -> None:
    Database.open(f"sqlite:///{tmp_path}/zeronode.sqlite3").close()
    found = look(tmp_path)["ledger"]
    assert (found.mark, found.found.endswith("zeronode.sqlite3, 0 entries")) == (Mark.OK, True)


def test_a_database_of_a_server(database_url: str) -> None:
    found = {name: setting.default for name, setting in SETTINGS.items()}
    found |= {"data_dir": Path("/nowhere"), "zeronode_database": database_url}
    if database_url.startswith("sqlite"):
        assert check_database(found, {}).mark is Mark.ABSENT
        return
    assert check_database(found, {}).found.endswith(", empty")
    Database.open(database_url).close()
    assert check_database(found, {}).found.endswith(", 0 entries")


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    found = look(tmp_path, database="postgresql://me@127.0.0.1:1/zn")["ledger"]
    assert found.mark is Mark.FAIL
    assert "me@127.0.0.1:1/zn" in found.found


def test_a_password_file_that_others_can_read(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("s3cr3t")
    file.chmod(0o644)
    found = look(tmp_path, database_password_file=file)["ledger"]
    assert (found.mark, "s3cr3t" in str(found)) == (Mark.FAIL, False)


@pytest.mark.parametrize(
    ("url", "mark"),
    [
        ("https://zeronode.example", Mark.OK),
        ("http://127.0.0.1:8750", Mark.OK),
        ("http://zeronode.example", Mark.WARN),
    ],
)
def test_browsers_want_https(tmp_path: Path, url: str, mark: Mark) -> None:
    assert look(tmp_path, public_url=url)["public url"].mark is mark


@pytest.mark.parametrize("name", ["missions", "campaigns", "draws"])
def test_a_file_with_a_mistake_is_named(tmp_path: Path, name: str) -> None:
    file = tmp_path / f"{name}.toml"
    file.write_text("[broken\n")
    found = look(tmp_path, **{name: file})[name]
    assert (found.mark, file.name in found.found) == (Mark.FAIL, True)


def test_a_location_database_that_is_none(tmp_path: Path) -> None:
    file = tmp_path / "city.mmdb"
    file.write_bytes(b"x")
    assert look(tmp_path, city_database=file)["locations"].mark is Mark.FAIL


class FakeClient:
    """The chain's list."""

    services_there: Sequence[Service] = ()
    error: Exception | None = None

    def __init__(self, *_: object) -> None:
        pass

    async def services(self) -> Sequence[Service]:
        if self.error is not None:
            raise self.error
        return self.services_there


async def test_what_the_chain_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_zeronode, "ZeroNodeClient", FakeClient)
    keystore = Keystore.create(tmp_path / "node", "x", kdf=LIGHT_KDF)
    wallet, key = keystore.wallet_address, keystore.node_key
    other = Service(0, Wallet(bytes(20)), key, 1, 0)

    async def listed(*services: Service) -> Finding:
        monkeypatch.setattr(FakeClient, "services_there", services)
        (found,) = await check_listing(["http://127.0.0.1:1"], DEPLOYMENT, tmp_path / "node")
        return found

    assert (await listed(other)).mark is Mark.WARN
    assert (await listed(other, Service(1, wallet, key, 1, 9))).mark is Mark.WARN
    assert (await listed(other, Service(1, wallet, key, 1, 0))).found == "service 1"
    wrong = await listed(Service(1, wallet, NodeKey(bytes(32)), 1, 0))
    assert (wrong.mark, key.hex() in wrong.fix) == (Mark.FAIL, True)
    monkeypatch.setattr(FakeClient, "error", UnavailableError("no answer"))
    assert (await listed()).mark is Mark.FAIL

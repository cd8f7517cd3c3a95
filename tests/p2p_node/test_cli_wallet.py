"""`kaisar wallet`: keys come and go through files, never through arguments."""

import io
import json
import sys
from pathlib import Path

import pytest

from p2p_node.cli import main
from p2p_node.keystore import (
    LIGHT_KDF,
    PASSWORD_VARIABLE,
    Keystore,
    WalletKey,
    checksum_address,
)
from p2p_node.secret_files import create_secret_file

PRIVATE_KEY = bytes(31) + b"\x07"
ADDRESS = WalletKey(PRIVATE_KEY).checksum_address


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> str:
    """Put a password into the environment, and leave nobody to ask."""
    monkeypatch.setenv(PASSWORD_VARIABLE, "secret")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    return "secret"


def kaisar(data_dir: Path, *words: str) -> int:
    return main([*words, "--data-dir", str(data_dir)])


def test_create_then_show(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert kaisar(data_dir, "wallet", "create", "--json") == 0
    created = json.loads(capsys.readouterr().out)
    opened = Keystore.open(data_dir, "secret")
    assert created == {
        "address": opened.wallet.checksum_address,
        "node_key": opened.node_key.hex(),
        "wallet_file": str(data_dir / "wallet.json"),
        "node_key_file": str(data_dir / "node.key"),
    }
    assert kaisar(data_dir, "wallet", "show") == 0
    shown = capsys.readouterr().out
    assert all(value in shown for value in created.values())
    assert kaisar(data_dir, "wallet", "address") == 0
    assert capsys.readouterr().out == created["address"] + "\n"
    assert kaisar(data_dir, "--json", "wallet", "address") == 0
    assert json.loads(capsys.readouterr().out) == {"address": created["address"]}
    assert kaisar(data_dir, "wallet", "create") == 1
    assert "not overwritten" in capsys.readouterr().err


@pytest.mark.parametrize("prefix", ["", "0x"])
def test_import_of_a_private_key(
    data_dir: Path, capsys: pytest.CaptureFixture[str], prefix: str
) -> None:
    create_secret_file(data_dir / "source", f"{prefix}{PRIVATE_KEY.hex()}\n".encode())
    assert kaisar(data_dir, "wallet", "import", str(data_dir / "source")) == 0
    captured = capsys.readouterr()
    assert ADDRESS in captured.out
    assert PRIVATE_KEY.hex() not in captured.out + captured.err
    assert Keystore.open(data_dir, "secret").wallet.checksum_address == ADDRESS


def test_import_from_standard_input(
    data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(PRIVATE_KEY.hex().encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert kaisar(data_dir, "wallet", "import", "-") == 0
    assert ADDRESS in capsys.readouterr().out


def test_import_of_an_encrypted_wallet(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    create_secret_file(data_dir / "source", WalletKey(PRIVATE_KEY).encrypt("theirs", LIGHT_KDF))
    assert kaisar(data_dir, "wallet", "import", str(data_dir / "source")) == 1
    assert "the password is wrong" in capsys.readouterr().err
    create_secret_file(data_dir / "password", b"theirs\n")
    assert (
        kaisar(
            data_dir, "wallet", "import", str(data_dir / "source"),
            "--source-password-file", str(data_dir / "password"),
        )
        == 0
    )  # fmt: skip
    assert Keystore.open(data_dir, "secret").wallet.checksum_address == ADDRESS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected 32 bytes"),
        (b"12" * 31, "expected 32 bytes"),
        (b"\xff\xfe", "found neither 64 hexadecimal digits nor an encrypted wallet"),
        (b"abandon abandon about", "found neither"),
        (b"{}", "no encrypted wallet of version 3"),
        (b"{", "found no JSON"),
    ],
)
def test_import_of_something_else(
    data_dir: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    create_secret_file(data_dir / "source", content)
    assert kaisar(data_dir, "wallet", "import", str(data_dir / "source")) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    # A mistyped key is still nearly the key.
    assert "1212" not in captured.err
    assert "abandon" not in captured.err
    assert not (data_dir / "wallet.json").exists()


def test_import_of_a_file_that_others_can_read(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create_secret_file(data_dir / "source", PRIVATE_KEY.hex().encode())
    (data_dir / "source").chmod(0o644)
    assert kaisar(data_dir, "wallet", "import", str(data_dir / "source")) == 1
    assert "chmod 600" in capsys.readouterr().err


def test_nobody_to_ask(
    data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PASSWORD_VARIABLE)
    assert kaisar(data_dir, "wallet", "create") == 1
    assert "wallet password: found none" in capsys.readouterr().err


def test_password_is_asked_for_twice(
    data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    answers = iter(["first", "second", "same", "same"])
    monkeypatch.delenv(PASSWORD_VARIABLE)
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", lambda _: next(answers))
    assert kaisar(data_dir, "wallet", "create") == 1
    assert "the two are not the same" in capsys.readouterr().err
    assert kaisar(data_dir, "wallet", "create") == 0
    assert Keystore.open(data_dir, "same")


def test_show_without_a_wallet(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert kaisar(data_dir, "wallet", "show") == 1
    assert "there is no such file" in capsys.readouterr().err


def test_balance_needs_a_deployment(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Keystore.create(data_dir, "secret", kdf=LIGHT_KDF)
    assert kaisar(data_dir, "wallet", "balance") == 2
    assert "deployment: found nothing" in capsys.readouterr().err
    missing = str(data_dir / "deployment.json")
    assert kaisar(data_dir, "wallet", "balance", "--deployment", missing) == 2
    assert "deployment.json: No such file" in capsys.readouterr().err


def test_address_has_its_checksum(data_dir: Path) -> None:
    wallet = WalletKey(PRIVATE_KEY).address
    assert checksum_address(wallet) == ADDRESS
    assert ADDRESS.lower() == "0x" + wallet.hex()

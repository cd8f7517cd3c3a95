"""The settings of a service: which are taken, which are refused, and where the password is."""

import argparse
from pathlib import Path

import pytest

from p2p_node.config import ConfigError, NodeConfig, add_flags, load_settings
from p2p_node.secret_files import create_secret_file
from p2p_node.setting_list import SETTINGS
from p2p_node.zeronode.settings import ZeroNodeSettings, choose_database

NEEDED = ["--role", "bootstrap", "--deployment", "network.json"]


def load(*words: str, **environment: str) -> ZeroNodeSettings:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_flags(parser)
    config = NodeConfig.load(parser.parse_args([*NEEDED, *words]), environment)
    return config.zeronode(environment)


def test_without_a_word_it_listens_on_loopback_and_keeps_a_file(tmp_path: Path) -> None:
    found = load("--data-dir", str(tmp_path))
    assert found.database == f"sqlite:///{tmp_path}/zeronode.sqlite3"
    assert found.address == ("127.0.0.1", 8750)
    assert found.public_url == ""
    assert found.missions is None


def test_a_table_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(
        "[zeronode]\n"
        'listen = "[::1]:0"\n'
        'public_url = "https://zeronode.example/"\n'
        'database = "sqlite:////srv/zeronode.db"\n'
        'missions = "missions.toml"\n'
        'trusted_proxies = ["10.0.0.0/8", "2001:db8::1"]\n'
        'origins = ["chrome-extension://abcdefghijklmnopabcdefghijklmnop"]\n'
    )
    found = load("--config", str(path))
    assert found.address == ("::1", 0)
    assert found.public_url == "https://zeronode.example"
    assert found.database == "sqlite:////srv/zeronode.db"
    assert found.missions == tmp_path / "missions.toml"
    assert found.trusted_proxies == ("10.0.0.0/8", "2001:db8::1/128")
    assert found.origins == ("chrome-extension://abcdefghijklmnopabcdefghijklmnop",)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("listen", "8750"),
        ("listen", "127.0.0.1:65536"),
        ("listen", "::1:80"),
        ("listen", "[::g]:80"),
        ("listen", ":80"),
        ("listen", "a b:80"),
        ("public_url", "zeronode.example"),
        ("public_url", "https://zeronode.example/path"),
        ("public_url", "https://zeronode.example/?x=1"),
        ("public_url", "https://me@zeronode.example"),
        ("database", "zeronode.db"),
        ("database", "sqlite:///zeronode.db"),
        ("database", "mysql://host/name"),
        ("database", "postgresql://host"),
        ("trusted_proxies", "10.0.0.1/8"),
        ("trusted_proxies", "proxy.example"),
        ("origins", "chrome-extension"),
        ("origins", "https://a.example/path"),
        ("drand", "ftp://a.example"),
    ],
)
def test_what_cannot_be_meant_is_named(name: str, text: str) -> None:
    setting = SETTINGS[f"zeronode_{name}"]
    with pytest.raises(ConfigError) as caught:
        load(setting.flag, text)
    message = str(caught.value)
    assert message.startswith(f"zeronode_{name}: found ")
    assert message.endswith(f"in {setting.flag}, expected {setting.expected}")


@pytest.mark.parametrize(
    "url", ["postgresql://me:s3cr3t@db.example/zn", "postgresql://me@db.example/zn?password=s3cr3t"]
)
def test_a_password_in_the_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match="without a password") as caught:
        load("--zeronode-database", url)
    assert "s3cr3t" not in str(caught.value)


def test_the_password_comes_from_a_file_or_the_environment(tmp_path: Path) -> None:
    named = ("--zeronode-database", "postgresql://me@db.example:5433/zn")
    assert load(*named).database == "postgresql://me@db.example:5433/zn"
    found = load(*named, KAISAR_ZERONODE_DATABASE_PASSWORD="p/w@rd")
    assert found.database == "postgresql://me:p%2Fw%40rd@db.example:5433/zn"
    assert "p%2Fw" not in repr(found)
    path = tmp_path / "password"
    create_secret_file(path, b"s3cr3t\n")
    found = load(
        *named,
        "--zeronode-database-password-file",
        str(path),
        KAISAR_ZERONODE_DATABASE_PASSWORD="other",
    )
    assert found.database == "postgresql://me:s3cr3t@db.example:5433/zn"
    path.chmod(0o600)
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"zeronode_database_password_file .*: not UTF-8"):
        load(*named, "--zeronode-database-password-file", str(path))


def test_a_file_wants_no_password() -> None:
    assert choose_database("sqlite:////x", "s3cr3t", Path("/d")) == "sqlite:////x"


def test_the_password_is_no_setting_and_no_unknown_variable() -> None:
    from p2p_node.config import find_unknown_variables

    assert not find_unknown_variables({"KAISAR_ZERONODE_DATABASE_PASSWORD": "x"})
    assert "zeronode_database_password" not in load_settings(argparse.Namespace(), {})

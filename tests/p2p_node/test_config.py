"""Settings: where they come from, which one wins, and what is said about a bad one."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chain.identity import TIERS, IdentityKind
from p2p_node.config import (
    ConfigError,
    NodeConfig,
    add_flags,
    find_unknown_variables,
    load_settings,
    redact_url,
)
from p2p_node.setting_list import (
    ADVERSARIES,
    MACHINE_IDENTITIES,
    MACHINE_TIERS,
    MAX_CORES,
    ROLES,
    SETTINGS,
)
from p2p_node.workloads.devices import parse_devices
from protocols.chains import MAX_CHAINS

PEER = "12D3KooWPSkUVSevSFc9cKhFjHnZvnjpCaBoqsuGAhneRTbQmqwX"
ADDRESS = "/ip4/192.0.2.1/tcp/4001"
NEEDED = ["--role", "provider", "--deployment", "network.json"]


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_flags(parser)
    return parser.parse_args(words)


def load(*words: str, **environment: str) -> NodeConfig:
    return NodeConfig.load(parse(*words), environment)


def write(directory: Path, text: str) -> Path:
    path = directory / "node.toml"
    path.write_text(text)
    return path


def test_defaults() -> None:
    assert load(*NEEDED) == NodeConfig(
        role="provider",
        data_dir=Path("~/.kaisar").expanduser(),
        rpc=("http://127.0.0.1:8545",),
        deployment=Path("network.json"),
        bootstrap=(),
        listen=("/ip4/0.0.0.0/tcp/0",),
        announce=(),
        network_key_file=None,
        wallet_password_file=None,
        devices="auto",
        cpu_threads=1,
        cpu_memory=2048,
        cores=None,
        machine_identity="none",
        machine_tier="entry",
        machine_bond=0,
        rental_price=0,
        rental_minimum=3600,
        rental_maximum=7 * 86_400,
        rental_runner="auto",
        rental_cores=None,
        rental_memory=None,
        rental_disk=20_000,
        rental_processes=1024,
        rental_network=False,
        rental_templates=None,
        zeronode_listen="127.0.0.1:8750",
        zeronode_public_url=None,
        zeronode_database=None,
        zeronode_database_password_file=None,
        zeronode_city_database=None,
        zeronode_asn_database=None,
        zeronode_missions=None,
        zeronode_campaigns=None,
        zeronode_draws=None,
        zeronode_trusted_proxies=(),
        zeronode_origins=(),
        zeronode_drand=("https://api.drand.sh", "https://drand.cloudflare.com"),
        log_level="info",
        log_format="text",
    )


def test_numbers_may_stand_in_a_file_as_such(tmp_path: Path) -> None:
    path = write(tmp_path, 'cores = 3\ncpu_threads = "2"\n')
    found = load(*NEEDED, "--config", str(path))
    assert (found.cores, found.cpu_threads) == (3, 2)
    assert load(*NEEDED, "--cores", "auto").cores is None
    assert load(*NEEDED, "--devices", "gpu:0,3").devices == "gpu:0,3"


@given(st.from_regex(r"(auto|cpu|gpu):?[0-9,]{0,45}", fullmatch=True))
@example("gpu:" + ",".join(map(str, range(16))))
@example("gpu:" + ",".join(map(str, range(17))))
@example("gpu:12345")
def test_devices_are_read_as_the_provider_reads_them(text: str) -> None:
    def is_read(parse: Callable[[str], object]) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    assert is_read(SETTINGS["devices"].parse) == is_read(parse_devices)


def test_as_many_cores_as_chains() -> None:
    assert MAX_CORES == MAX_CHAINS


def test_each_source_is_stronger_than_the_one_before(tmp_path: Path) -> None:
    path = write(tmp_path, 'log_level = "debug"\nlog_format = "json"\nrole = "checker"\n')
    found = load(
        "--config", str(path), "--role", "bootstrap", "--deployment", "d",
        KAISAR_ROLE="provider",
        KAISAR_LOG_FORMAT="text",
    )  # fmt: skip
    assert (found.role, found.log_format, found.log_level) == ("bootstrap", "text", "debug")


def test_file_can_be_named_by_the_environment(tmp_path: Path) -> None:
    path = write(tmp_path, 'role = "checker"')
    assert load("--deployment", "d", KAISAR_CONFIG=str(path)).role == "checker"


def test_lists(tmp_path: Path) -> None:
    peers = (f"{ADDRESS}/p2p/{PEER}", f"/dns4/boot.example/tcp/1/p2p/{PEER}")
    path = write(tmp_path, f'bootstrap = ["{peers[0]}", "{peers[1]}"]')
    assert load(*NEEDED, "--config", str(path)).bootstrap == peers
    assert load(*NEEDED, KAISAR_BOOTSTRAP=f"{peers[0]}, {peers[1]}").bootstrap == peers
    assert load(*NEEDED, "--bootstrap", *peers).bootstrap == peers
    assert load(*NEEDED, "--bootstrap", peers[0], "--bootstrap", peers[1]).bootstrap == peers
    path = write(tmp_path, f'bootstrap = "{peers[0]}"')
    assert load(*NEEDED, "--config", str(path)).bootstrap == peers[:1]


def test_one_endpoint_or_several(tmp_path: Path) -> None:
    one, two = "http://one.example", "https://two.example/key"
    for text in (f'rpc = "{one}"', f'rpc = ["{one}"]'):
        assert load(*NEEDED, "--config", str(write(tmp_path, text))).rpc == (one,)
    path = write(tmp_path, f'rpc = ["{one}", "{two}"]')
    assert load(*NEEDED, "--config", str(path)).rpc == (one, two)
    assert load(*NEEDED, KAISAR_RPC=f"{one},{two}").rpc == (one, two)
    assert load(*NEEDED, "--rpc", one, "--rpc", two).rpc == (one, two)
    assert load(*NEEDED, "--rpc", two, KAISAR_RPC=one).rpc == (two,)


def test_list_of_a_stronger_source_replaces_the_weaker_one() -> None:
    found = load(*NEEDED, "--listen", "/ip4/127.0.0.1/tcp/1", KAISAR_LISTEN="/ip6/::1/tcp/2")
    assert found.listen == ("/ip4/127.0.0.1/tcp/1",)


def test_empty_variable_is_none() -> None:
    assert load(*NEEDED, KAISAR_ROLE="", KAISAR_BOOTSTRAP="").role == "provider"


def test_paths_in_a_file_start_at_the_file(tmp_path: Path) -> None:
    path = write(
        tmp_path, 'deployment = "net/d.json"\ndata_dir = "/srv/node"\nnetwork_key_file = "~/key"'
    )
    found = load("--role", "checker", "--config", str(path))
    assert found.deployment == tmp_path / "net/d.json"
    assert found.data_dir == Path("/srv/node")
    assert found.network_key_file == Path("~/key").expanduser()


@pytest.mark.parametrize("role", ROLES + ADVERSARIES)
def test_roles(role: str) -> None:
    assert load("--role", role, "--deployment", "d").role == role


def test_roles_are_those_of_the_program() -> None:
    from p2p_node.app import ROLES as PROGRAMS

    assert set(PROGRAMS) == {*ROLES, *ADVERSARIES}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("role", "validator"),
        ("role", "lying_checker"),
        ("data_dir", "a\0b"),
        ("deployment", ""),
        ("data_dir", "~nobody-of-this-name/x"),
        ("rpc", "127.0.0.1:8545"),
        ("rpc", "ws://127.0.0.1"),
        ("rpc", "http://"),
        ("rpc", "http://host:99999"),
        ("rpc", "http://host:0"),
        ("bootstrap", ADDRESS),
        ("bootstrap", f"{ADDRESS}/p2p/0OIl"),
        ("bootstrap", f"/ip4/192.0.2.1/udp/4001/p2p/{PEER}"),
        ("bootstrap", f"{ADDRESS}/ws/{PEER}"),
        ("listen", f"{ADDRESS}/p2p/{PEER}"),
        ("listen", "192.0.2.1:4001"),
        ("listen", "/ip4/192.0.2.256/tcp/1"),
        ("listen", "/ip6/fe80::g/tcp/1"),
        ("listen", "/ip4/192.0.2.1/tcp/65536"),
        ("listen", "/ip4/192.0.2.1/tcp/-1"),
        ("listen", "/ip4/192.0.2.1/tcp/²"),
        ("listen", "/dns/-a..b/tcp/1"),
        ("listen", "/onion/x/tcp/1"),
        ("announce", ""),
        ("devices", "tpu"),
        ("devices", "gpu:"),
        ("devices", "gpu:0,"),
        ("devices", "gpu:1,01"),
        ("cpu_threads", "0"),
        ("cpu_threads", "²"),
        ("cpu_memory", "-1"),
        ("cores", "513"),
        ("cores", "all"),
        ("machine_identity", "nft"),
        ("machine_tier", "3"),
        ("machine_bond", "1.5"),
        ("log_level", "loud"),
        ("log_format", "xml"),
    ],
)
def test_bad_value_is_named_with_what_is_expected(name: str, text: str, tmp_path: Path) -> None:
    setting = SETTINGS[name]
    path = write(tmp_path, f"{name} = {_toml(text)}")
    sources: list[tuple[str, list[str], dict[str, str]]] = [
        (setting.flag, [setting.flag, text], {}),
        (str(path), ["--config", str(path)], {}),
    ]
    if text:
        sources.append((setting.variable, [], {setting.variable: text}))
    for where, words, environment in sources:
        with pytest.raises(ConfigError) as caught:
            load_settings(parse(*words), environment)
        message = str(caught.value)
        assert message.startswith(f"{name}: found ")
        assert message.endswith(f" in {where}, expected {setting.expected}")
        if name != "rpc":
            assert repr(text)[1:-1] in message


def _toml(text: str) -> str:
    return '"' + text.replace("\0", "\\u0000") + '"'


def test_addresses_that_are_meant() -> None:
    addresses = [
        "/ip4/0.0.0.0/tcp/0",
        "/ip6/::/tcp/65535",
        "/dns/a/tcp/1",
        "/dns4/node-1.example.org/tcp/443",
        "/dns6/x_y.example./tcp/8",
    ]
    assert load(*NEEDED, "--announce", *addresses).announce == tuple(addresses)


@pytest.mark.parametrize("name", ["role", "deployment"])
def test_missing_setting_says_how_to_give_it(name: str) -> None:
    words = {"role": ["--deployment", "d"], "deployment": ["--role", "checker"]}[name]
    with pytest.raises(ConfigError, match=f"^{name}: found nothing.*--{name}.*KAISAR_"):
        load(*words)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('rolle = "provider"', "rolle: an unknown setting in .*did you mean role?"),
        ("[net]\nx = 1", "net: an unknown setting"),
        ('zzz = "a"', "expected role, data_dir"),
        ("role = 5", "role: found 5 in .*as a text"),
        ('role = ["checker"]', r"role: found \['checker'\] in .*as a text"),
        ("listen = [4001]", r"listen: found \[4001\] in .*as a list of texts"),
        ("listen = true", "listen: found True in"),
        ("role = ", "not TOML"),
        ("x" * 70_000, "longer than"),
    ],
)
def test_bad_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load("--config", str(write(tmp_path, text)))


def test_missing_file() -> None:
    with pytest.raises(ConfigError, match=r"config nowhere\.toml: No such file"):
        load("--config", "nowhere.toml")


def test_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not TOML"):
        load("--config", str(tmp_path / "node.toml"))


def test_access_key_in_a_url_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        load(*NEEDED, "--rpc", "wss://rpc.example/v2/s3cr3t")
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
        ("https://rpc.example/", "https://rpc.example"),
        ("https://rpc.example/v2/s3cr3t", "https://rpc.example/…"),
        ("https://me:s3cr3t@rpc.example:444?key=s3cr3t", "https://rpc.example:444/…"),
    ],
)
def test_shown_url_has_no_secrets(url: str, shown: str) -> None:
    assert redact_url(url) == shown


def test_variables_that_are_no_settings_are_found() -> None:
    environment: dict[str, Any] = dict.fromkeys(
        ["KAISAR_ROLE", "KAISAR_ROLL", "KAISAR_WALLET_PASSWORD", "KAISAR_PORT", "PATH"], "x"
    )
    assert find_unknown_variables(environment) == ["KAISAR_PORT", "KAISAR_ROLL"]


def test_help_names_every_setting_and_no_adversary() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    text = parser.format_help()
    for setting in SETTINGS.values():
        assert setting.flag in text
    for role in ADVERSARIES:
        assert role not in text


def test_machine_identities_are_those_of_the_adapter() -> None:
    assert tuple(IdentityKind) == MACHINE_IDENTITIES
    assert tuple(TIERS) == MACHINE_TIERS

"""Every setting of a node: its name, how its text is read, and what to say when that fails."""

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from p2p_node.rental.settings import (
    DEFAULT_DISK,
    DEFAULT_MAXIMUM,
    DEFAULT_MINIMUM,
    DEFAULT_PROCESSES,
    MAX_DURATION,
    MAX_PRICE,
    MAX_PROCESSES,
    MAX_RENTED_CORES,
    MEGABYTE,
    RUNNERS,
    format_duration,
    parse_duration,
    parse_price,
)
from p2p_node.setting import Setting, one_of, parse_number, parse_path, parse_switch, parse_url
from p2p_node.zeronode.setting_list import ZERONODE_SETTINGS

ROLES: Final = ("provider", "checker", "bootstrap", "zeronode")
ADVERSARIES: Final = (
    "cheating-provider",
    "absent-provider",
    "lying-checker",
    "copying-checker",
    "equivocating-checker",
)
"""Roles that break the rules, for test networks; no help text offers them."""

MACHINE_IDENTITIES: Final = ("none", "did", "machine")
MACHINE_TIERS: Final = ("entry", "basic", "pro")
"""As `chain.identity` names them, which would import web3."""

MAX_BOND: Final = 10**9
"""Whole PEAQ; more than there are in circulation for anybody to mean."""

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("text", "json")

MAX_CORES: Final = 512
"""`chains.MAX_CHAINS`; importing it would cost every command NumPy's start."""

MAX_MEGABYTES: Final = 64 << 20
"""64 TiB."""

_DEVICES: Final = re.compile(r"auto|cpu|gpu(:[0-9]{1,4}(,[0-9]{1,4}){0,15})?")
"""As `workloads.devices.parse_devices` reads it, which would import NumPy as well."""

_DURATION_FORM: Final = f"a duration such as 90s, 30m, 2h or 7d, at most {MAX_DURATION // 86_400}d"

_HOST_KINDS: Final = ("ip4", "ip6", "dns", "dns4", "dns6")
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_PEER_ID: Final = re.compile(r"[1-9A-HJ-NP-Za-km-z]{40,64}")


def _parse_role(text: str) -> str:
    return one_of(text, ROLES + ADVERSARIES)


def _parse_address(text: str) -> str:
    """Check /ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT with or without /p2p/PEER-ID.

    The network parses it for good; here it is about naming the setting early.
    """
    parts = text.split("/")
    if len(parts) not in (5, 7) or parts[0] or parts[1] not in _HOST_KINDS or parts[3] != "tcp":
        raise ValueError
    if parts[1] == "ip4":
        ipaddress.IPv4Address(parts[2])
    elif parts[1] == "ip6":
        ipaddress.IPv6Address(parts[2])
    elif not _HOST_NAME.fullmatch(parts[2]):
        raise ValueError
    if not parts[4].isascii() or not parts[4].isdigit() or int(parts[4]) > 65_535:
        raise ValueError
    if len(parts) == 7 and (parts[5] != "p2p" or not _PEER_ID.fullmatch(parts[6])):
        raise ValueError
    return text


def _parse_devices(text: str) -> str:
    numbers = re.findall("[0-9]+", text)
    if not _DEVICES.fullmatch(text) or len(set(map(int, numbers))) < len(numbers):
        raise ValueError
    return text


def _parse_cores(text: str) -> int | None:
    return None if text == "auto" else parse_number(text, 0, MAX_CORES)


def _parse_or_auto(text: str, most: int) -> int | None:
    return None if text == "auto" else parse_number(text, 1, most)


def _parse_own_address(text: str) -> str:
    if "/p2p/" in text:
        raise ValueError
    return _parse_address(text)


def _parse_peer_address(text: str) -> str:
    if "/p2p/" not in text:
        raise ValueError
    return _parse_address(text)


_ADDRESS_FORM: Final = "/ip4|ip6|dns/HOST/tcp/PORT"

SETTINGS: Final[Mapping[str, Setting]] = {
    setting.name: setting
    for setting in (
        Setting(
            "role",
            _parse_role,
            f"one of {', '.join(ROLES)}",
            f"what this node is for: {', '.join(ROLES)}",
            metavar="ROLE",
        ),
        Setting(
            "data_dir",
            parse_path,
            "a directory",
            "keys and everything that outlasts a restart; one per node",
            default=Path("~/.kaisar").expanduser(),
            metavar="DIR",
        ),
        Setting(
            "rpc",
            parse_url,
            "a URL with http or https",
            "JSON-RPC endpoints of the chain, the preferred one first",
            default=("http://127.0.0.1:8545",),
            many=True,
            metavar="URL",
        ),
        Setting(
            "deployment",
            parse_path,
            "a deployment file",
            "what the network is: its contracts and numbers",
            metavar="FILE",
        ),
        Setting(
            "bootstrap",
            _parse_peer_address,
            f"a multiaddr {_ADDRESS_FORM}/p2p/PEER-ID",
            "nodes to meet first",
            default=(),
            many=True,
            metavar="MULTIADDR",
        ),
        Setting(
            "listen",
            _parse_own_address,
            f"a multiaddr {_ADDRESS_FORM} without /p2p/",
            "where to take connections",
            default=("/ip4/0.0.0.0/tcp/0",),
            many=True,
            metavar="MULTIADDR",
        ),
        Setting(
            "announce",
            _parse_own_address,
            f"a multiaddr {_ADDRESS_FORM} without /p2p/",
            "what to tell others instead of the addresses listened on",
            default=(),
            many=True,
            metavar="MULTIADDR",
        ),
        Setting(
            "network_key_file",
            parse_path,
            "a file",
            "pre-shared key of a private network",
            metavar="FILE",
        ),
        Setting(
            "wallet_password_file",
            parse_path,
            "a file",
            "the wallet's password; else KAISAR_WALLET_PASSWORD, else it is asked for",
            metavar="FILE",
        ),
        Setting(
            "devices",
            _parse_devices,
            "auto, cpu, gpu, or gpu:0,1,… by index",
            "what a provider computes with: every GPU, or the CPU where there is none",
            default="auto",
            metavar="DEVICES",
        ),
        Setting(
            "cpu_threads",
            lambda text: parse_number(text, 1, MAX_CORES),
            f"a number from 1 to {MAX_CORES}",
            "cores that the CPU as a device takes for a job",
            default=1,
            metavar="COUNT",
            number=True,
        ),
        Setting(
            "cpu_memory",
            lambda text: parse_number(text, 1, MAX_MEGABYTES),
            f"megabytes, from 1 to {MAX_MEGABYTES}",
            "memory that the CPU as a device takes for jobs, in megabytes",
            default=2048,
            metavar="MB",
            number=True,
        ),
        Setting(
            "cores",
            _parse_cores,
            f"auto, or a number from 0 to {MAX_CORES}",
            "cores that a provider shows with chains; auto takes all that it may use",
            metavar="COUNT",
            number=True,
        ),
        Setting(
            "machine_identity",
            lambda text: one_of(text, MACHINE_IDENTITIES),
            f"one of {', '.join(MACHINE_IDENTITIES)}",
            "what a provider registers its machine as with peaq, beside our own registry: a "
            "document of the DID precompile, a machine's NFT, or nothing",
            default="none",
            metavar="KIND",
        ),
        Setting(
            "machine_tier",
            lambda text: one_of(text, MACHINE_TIERS),
            f"one of {', '.join(MACHINE_TIERS)}",
            "subscription tier of a machine's NFT",
            default="entry",
            metavar="TIER",
        ),
        Setting(
            "machine_bond",
            lambda text: parse_number(text, 0, MAX_BOND),
            f"a number from 0 to {MAX_BOND}",
            "whole PEAQ to pay at most as a machine's bond, which is never given back",
            default=0,
            metavar="PEAQ",
            number=True,
        ),
        Setting(
            "rental_price",
            parse_price,
            f"KAI per hour, such as 0.36, from 0 (not rented out) to {MAX_PRICE}",
            "what a provider asks for its machine, in KAI per hour; without it there is no renting",
            default=0,
            metavar="KAI",
            number=True,
        ),
        Setting(
            "rental_minimum",
            parse_duration,
            _DURATION_FORM,
            "shortest lease; whoever ends one earlier pays for this long",
            default=DEFAULT_MINIMUM,
            shown=format_duration(DEFAULT_MINIMUM),
            metavar="TIME",
            number=True,
        ),
        Setting(
            "rental_maximum",
            parse_duration,
            _DURATION_FORM,
            "longest lease, extensions included",
            default=DEFAULT_MAXIMUM,
            shown=format_duration(DEFAULT_MAXIMUM),
            metavar="TIME",
            number=True,
        ),
        Setting(
            "rental_runner",
            lambda text: one_of(text, RUNNERS),
            f"one of {', '.join(RUNNERS)}",
            "what keeps a renter apart from this host; auto takes Docker where it can use the "
            "devices, bubblewrap otherwise",
            default="auto",
            metavar="RUNNER",
        ),
        Setting(
            "rental_cores",
            lambda text: _parse_or_auto(text, MAX_RENTED_CORES),
            f"auto, or a number from 1 to {MAX_RENTED_CORES}",
            "cores that a renter gets; auto gives all that the node may use",
            metavar="COUNT",
            number=True,
        ),
        Setting(
            "rental_memory",
            lambda text: _parse_or_auto(text, MAX_MEGABYTES),
            f"auto, or megabytes, from 1 to {MAX_MEGABYTES}",
            "memory that a renter gets, in megabytes; auto gives three quarters of the host's",
            metavar="MB",
            number=True,
        ),
        Setting(
            "rental_disk",
            lambda text: parse_number(text, 1, MAX_MEGABYTES),
            f"megabytes, from 1 to {MAX_MEGABYTES}",
            "disk that a renter gets, in megabytes",
            default=DEFAULT_DISK // MEGABYTE,
            metavar="MB",
            number=True,
        ),
        Setting(
            "rental_processes",
            lambda text: parse_number(text, 1, MAX_PROCESSES),
            f"a number from 1 to {MAX_PROCESSES}",
            "processes and threads that a renter may have at once",
            default=DEFAULT_PROCESSES,
            metavar="COUNT",
            number=True,
        ),
        Setting(
            "rental_network",
            parse_switch,
            "yes or no",
            "whether a renter reaches the internet from this machine, with its address",
            default=False,
            shown="no",
            metavar="YES|NO",
        ),
        Setting(
            "rental_templates",
            parse_path,
            "a TOML file",
            "what renters can deploy, instead of templates.toml in the data directory",
            metavar="FILE",
        ),
        *ZERONODE_SETTINGS,
        Setting(
            "log_level",
            lambda text: one_of(text.lower(), LOG_LEVELS),
            f"one of {', '.join(LOG_LEVELS)}",
            f"{', '.join(LOG_LEVELS)}",
            default="info",
            metavar="LEVEL",
        ),
        Setting(
            "log_format",
            lambda text: one_of(text, LOG_FORMATS),
            f"one of {', '.join(LOG_FORMATS)}",
            "lines for people, or JSON objects for programs",
            default="text",
            metavar="FORMAT",
        ),
    )
}
"""Every setting by name, in the order in which help lists them."""

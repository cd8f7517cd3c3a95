"""The settings of a ZeroNode service, as they stand in [zeronode], the environment and flags."""

import ipaddress
import re
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from p2p_node.setting import Setting, parse_path, parse_url
from p2p_node.zeronode.settings import DATABASE_FILE, DEFAULT_DRAND, DEFAULT_LISTEN

_HOST: Final = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")
_USUAL_PORTS: Final = {"http": ":80", "https": ":443"}
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]{1,30}://[A-Za-z0-9.:\[\]-]{1,253}")


def _parse_listen(text: str) -> str:
    """Check HOST:PORT, an IPv6 host in brackets; ValueError."""
    host, colon, port = text.rpartition(":")
    if not (colon and port.isascii() and port.isdigit() and int(port) <= 65_535):
        raise ValueError
    if host.startswith("[") and host.endswith("]"):
        ipaddress.IPv6Address(host[1:-1])
    elif not _HOST.fullmatch(host):
        raise ValueError
    return text


def _parse_public_url(text: str) -> str:
    """Read a URL of a host alone; ValueError. Paths are the service's own.

    The result is the origin as browsers write it, because they compare it letter by letter.
    """
    parts = urlsplit(parse_url(text))
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise ValueError
    host = parts.netloc.lower().removesuffix(_USUAL_PORTS[parts.scheme])
    return f"{parts.scheme}://{host}"


def parse_database(text: str) -> str:
    """Check a database's URL; ValueError, also for one with a password: it would be seen by
    whoever lists processes."""
    parts = urlsplit(text)
    if parts.password is not None or "password" in parts.query.lower():
        raise ValueError
    if parts.scheme == "sqlite":
        if parts.netloc or not Path(parts.path[1:]).is_absolute():
            raise ValueError
    elif parts.scheme != "postgresql" or not parts.path.strip("/"):
        raise ValueError
    return text


def _parse_network(text: str) -> str:
    return str(ipaddress.ip_network(text))


def _parse_origin(text: str) -> str:
    if not _ORIGIN.fullmatch(text):
        raise ValueError
    return text


def _file(name: str, expected: str, text: str) -> Setting:
    return Setting(f"zeronode_{name}", parse_path, expected, text, metavar="FILE")


ZERONODE_SETTINGS: Final = (
    Setting(
        "zeronode_listen",
        _parse_listen,
        "HOST:PORT",
        "where a ZeroNode service takes HTTP and WebSockets",
        default=DEFAULT_LISTEN,
        metavar="HOST:PORT",
    ),
    Setting(
        "zeronode_public_url",
        _parse_public_url,
        "a URL with http or https and no path",
        "where extensions reach the service, such as https://zeronode.example; without it, http:// "
        "and the address listened on",
        metavar="URL",
    ),
    Setting(
        "zeronode_database",
        parse_database,
        "sqlite:////absolute/path or postgresql://USER@HOST/NAME, without a password",
        f"the ledger's database (default: {DATABASE_FILE} in the data directory)",
        metavar="URL",
    ),
    _file(
        "database_password_file",
        "a file",
        "the database's password; else KAISAR_ZERONODE_DATABASE_PASSWORD",
    ),
    _file("city_database", "an .mmdb file", "where addresses are, for country and region"),
    _file("asn_database", "an .mmdb file", "whose networks addresses are of"),
    _file("missions", "a TOML file", "missions, instead of those that come with the node"),
    _file("campaigns", "a TOML file", "campaigns; none without it"),
    _file("draws", "a TOML file", "draws and their prizes; none without it"),
    Setting(
        "zeronode_trusted_proxies",
        _parse_network,
        "an address or a network such as 10.0.0.0/8",
        "proxies whose X-Forwarded-For is believed",
        default=(),
        many=True,
        metavar="NETWORK",
    ),
    Setting(
        "zeronode_origins",
        _parse_origin,
        "an origin such as chrome-extension://ID",
        "origins of extensions that may use the service, beside the official one",
        default=(),
        many=True,
        metavar="ORIGIN",
    ),
    Setting(
        "zeronode_drand",
        parse_url,
        "a URL with http or https",
        "relays of drand, whose randomness decides draws",
        default=DEFAULT_DRAND,
        many=True,
        metavar="URL",
    ),
)
"""In the order in which help lists them."""

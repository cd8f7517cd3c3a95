"""What an operator says about a service of ZeroNode."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

DEFAULT_LISTEN: Final = "127.0.0.1:8750"
"""Loopback: browsers need HTTPS for anything else, which a proxy in front of it brings."""

DATABASE_FILE: Final = "zeronode.sqlite3"

PASSWORD_VARIABLE: Final = "KAISAR_ZERONODE_DATABASE_PASSWORD"  # noqa: S105 (the variable's name)

DEFAULT_DRAND: Final = ("https://api.drand.sh", "https://drand.cloudflare.com")
"""The League of Entropy's own relays. What they answer is verified, so it does not matter which
of them answers."""


@dataclass(frozen=True, slots=True)
class ZeroNodeSettings:
    """The settings of a service; `database` carries the password, so it is not shown.

    `listen` is HOST:PORT, port 0 for any that is free. `public_url` is where extensions reach the
    service, without a slash at its end; empty for http:// and what is listened on. Files that are
    None are those that come with the node, or nothing where there is none. `trusted_proxies` are
    networks whose X-Forwarded-For is believed; `origins` are allowed beside the extension's own.
    """

    database: str = field(repr=False)
    listen: str = DEFAULT_LISTEN
    public_url: str = ""
    city_database: Path | None = None
    asn_database: Path | None = None
    missions: Path | None = None
    campaigns: Path | None = None
    draws: Path | None = None
    trusted_proxies: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    drand: tuple[str, ...] = DEFAULT_DRAND

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


def choose_database(url: str | None, password: str | None, data_dir: Path) -> str:
    """Return the URL that the database is opened with: the file in the data directory where none
    was named, and with the password where the server wants one."""
    if url is None:
        return f"sqlite:///{(data_dir / DATABASE_FILE).absolute()}"
    if password is None or not url.startswith("postgresql:"):
        return url
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}"))

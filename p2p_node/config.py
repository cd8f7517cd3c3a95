"""A node's settings: from a TOML file, the environment and flags, the later ones stronger.

A setting `data_dir` is `data_dir = "…"` in the file, `KAISAR_DATA_DIR` in the environment (several
values separated by commas) and `--data-dir …` on the command line. A value that cannot be meant
is a ConfigError that names the setting, what was found, where, and what is expected.

What all nodes of a network must agree on is no setting: it is in the deployment file.
"""

import argparse
import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from p2p_node.rental.settings import MEGABYTE, RentalSettings
from p2p_node.secret_files import read_secret_file
from p2p_node.setting import NO_YES, PREFIX, Setting, parse_path, parse_switch, parse_url
from p2p_node.setting_list import SETTINGS
from p2p_node.zeronode.setting_list import parse_database
from p2p_node.zeronode.settings import PASSWORD_VARIABLE, ZeroNodeSettings, choose_database
from protocols.errors import LocalError

CONFIG_VARIABLE: Final = "KAISAR_CONFIG"

OTHER_VARIABLES: Final = frozenset(
    {
        CONFIG_VARIABLE,
        "KAISAR_WALLET_PASSWORD",
        PASSWORD_VARIABLE,
        "KAISAR_REQUIRE",
        "KAISAR_FULL",
    }
)
"""Variables of ours that are no settings."""

MAX_CONFIG_BYTES: Final = 64 * 1024

TABLES: Final = ("rental", "zeronode")
"""Settings that may stand in a file as a table of their own: `price` in [rental] is
`rental_price`."""


class ConfigError(LocalError):
    """A setting is missing, unknown, or has a value that cannot be meant."""


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """All settings of one node. Nothing in it is secret: secrets are named by their files."""

    role: str
    data_dir: Path
    rpc: tuple[str, ...]
    deployment: Path
    bootstrap: tuple[str, ...]
    listen: tuple[str, ...]
    announce: tuple[str, ...]
    network_key_file: Path | None
    wallet_password_file: Path | None
    devices: str
    cpu_threads: int
    cpu_memory: int
    cores: int | None
    machine_identity: str
    machine_tier: str
    machine_bond: int
    rental_price: int
    rental_minimum: int
    rental_maximum: int
    rental_runner: str
    rental_cores: int | None
    rental_memory: int | None
    rental_disk: int
    rental_processes: int
    rental_network: bool
    rental_templates: Path | None
    zeronode_listen: str
    zeronode_public_url: str | None
    zeronode_database: str | None
    zeronode_database_password_file: Path | None
    zeronode_city_database: Path | None
    zeronode_asn_database: Path | None
    zeronode_missions: Path | None
    zeronode_campaigns: Path | None
    zeronode_draws: Path | None
    zeronode_trusted_proxies: tuple[str, ...]
    zeronode_origins: tuple[str, ...]
    zeronode_drand: tuple[str, ...]
    log_level: str
    log_format: str

    @classmethod
    def load(cls, arguments: argparse.Namespace, environment: Mapping[str, str]) -> Self:
        """Put the settings together from parsed flags, the environment and the file they name."""
        values = load_settings(arguments, environment)
        for name in ("role", "deployment"):
            if values[name] is None:
                setting = SETTINGS[name]
                raise ConfigError(
                    f"{name}: found nothing, expected {setting.expected} "
                    f"({setting.flag}, {setting.variable}, or {name} in the file of --config)"
                )
        return cls(**{field.name: values[field.name] for field in fields(cls)})

    @property
    def rental(self) -> RentalSettings:
        """The settings of renting, in one."""
        return RentalSettings(
            price=self.rental_price,
            minimum_seconds=self.rental_minimum,
            maximum_seconds=self.rental_maximum,
            runner=self.rental_runner,
            cores=self.rental_cores,
            memory_bytes=None if self.rental_memory is None else self.rental_memory * MEGABYTE,
            disk_bytes=self.rental_disk * MEGABYTE,
            processes=self.rental_processes,
            network=self.rental_network,
            templates=self.rental_templates,
        )

    def zeronode(self, environment: Mapping[str, str]) -> ZeroNodeSettings:
        """The settings of a ZeroNode service, in one, with the database's password from its file or
        the environment. SecretFileError for a file that cannot be used."""
        return ZeroNodeSettings(
            listen=self.zeronode_listen,
            public_url=self.zeronode_public_url or "",
            database=choose_database(
                self.zeronode_database,
                read_database_password(self.zeronode_database_password_file, environment),
                self.data_dir,
            ),
            city_database=self.zeronode_city_database,
            asn_database=self.zeronode_asn_database,
            missions=self.zeronode_missions,
            campaigns=self.zeronode_campaigns,
            draws=self.zeronode_draws,
            trusted_proxies=self.zeronode_trusted_proxies,
            origins=self.zeronode_origins,
            drand=self.zeronode_drand,
        )


def read_database_password(file: Path | None, environment: Mapping[str, str]) -> str | None:
    """Return the password of the database: the file's, else the environment's, else None."""
    if file is None:
        return environment.get(PASSWORD_VARIABLE) or None
    try:
        return read_secret_file(file, "database password file").decode("utf-8").strip()
    except UnicodeDecodeError:
        # Without the cause: its text could carry the password.
        raise ConfigError(f"zeronode_database_password_file {file}: not UTF-8") from None


def load_settings(arguments: argparse.Namespace, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return every setting's value: the strongest one found, else its default."""
    values = {name: setting.default for name, setting in SETTINGS.items()}
    file = getattr(arguments, "config", None) or environment.get(CONFIG_VARIABLE)
    if file:
        values.update(_read_file(Path(file)))
    values.update(_read_environment(environment))
    values.update(_read_flags(arguments))
    return values


def add_flags(parser: argparse.ArgumentParser, names: tuple[str, ...] | None = None) -> None:
    """Give a command the flags of some settings (all by default) and `--config`."""
    group = parser.add_argument_group(
        "settings", f"each can also stand in the file of --config, or in {PREFIX}NAME"
    )
    group.add_argument("--config", metavar="FILE", help="TOML file with settings")
    for name in names or tuple(SETTINGS):
        setting = SETTINGS[name]
        text = setting.help
        if setting.default or setting.shown:
            default = setting.shown or setting.default
            shown = " ".join(default) if isinstance(default, tuple) else default
            text += f" (default: {shown})"
        kind: dict[str, Any] = {"action": "extend", "nargs": "+"} if setting.many else {}
        group.add_argument(
            setting.flag, dest=name, metavar=setting.metavar or "TEXT", help=text, **kind
        )


def find_unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """List variables that look like settings of ours and are none: worth a warning.

    No more than that, because container systems make such variables by themselves from the name
    of a service (KAISAR_PORT=tcp://…).
    """
    known = OTHER_VARIABLES | {setting.variable for setting in SETTINGS.values()}
    return sorted(name for name in environment if name.startswith(PREFIX) and name not in known)


def redact_url(url: str) -> str:
    """Shorten a URL to scheme and host: RPC providers put access keys into the rest."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    hidden = parts.path.strip("/") or parts.query or parts.username
    return f"{parts.scheme}://{parts.hostname}{port}{'/…' if hidden else ''}"


def _read_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
        if len(data) > MAX_CONFIG_BYTES:
            raise ConfigError(f"config {path}: longer than {MAX_CONFIG_BYTES} bytes")
        parsed = tomllib.loads(data.decode("utf-8"))
    except OSError as error:
        raise ConfigError(f"config {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"config {path}: not TOML: {error}") from error
    values = {}
    for name, value in _flatten(parsed).items():
        setting = SETTINGS.get(name)
        if setting is None:
            close = difflib.get_close_matches(name, SETTINGS, 1)
            hint = f"did you mean {close[0]}?" if close else f"expected {', '.join(SETTINGS)}"
            raise ConfigError(f"{name}: an unknown setting in {path}; {hint}")
        texts = value if isinstance(value, list) and setting.many else [value]
        if setting.number:
            texts = [str(text) if type(text) in (int, float) else text for text in texts]
        if setting.parse is parse_switch:
            texts = [NO_YES[text] if type(text) is bool else text for text in texts]
        for text in texts:
            if not isinstance(text, str):
                raise ConfigError(
                    f"{name}: found {value!r} in {path}, expected {setting.expected}, "
                    f"as {'a list of texts' if setting.many else 'a text'}"
                )
        if setting.parse is parse_path:
            # Whoever writes a file thinks of other files as seen from there.
            texts = [
                str(path.parent / text) if text and not text.startswith("~") else text
                for text in texts
            ]
        values[name] = _parse(setting, texts, f"in {path}")
    return values


def _flatten(parsed: dict[str, Any]) -> dict[str, Any]:
    """Give what stands in a table of ours its full name."""
    values = {}
    for name, value in parsed.items():
        if name in TABLES and isinstance(value, dict):
            values.update({f"{name}_{key}": each for key, each in value.items()})
        else:
            values[name] = value
    return values


def _read_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values = {}
    for setting in SETTINGS.values():
        text = environment.get(setting.variable)
        # A variable that is set to nothing is how shells and service files leave one out.
        if text:
            texts = [part.strip() for part in text.split(",")] if setting.many else [text]
            values[setting.name] = _parse(setting, texts, f"in {setting.variable}")
    return values


def _read_flags(arguments: argparse.Namespace) -> dict[str, Any]:
    values = {}
    for setting in SETTINGS.values():
        found = getattr(arguments, setting.name, None)
        if found is not None:
            texts = found if setting.many else [found]
            values[setting.name] = _parse(setting, texts, f"in {setting.flag}")
    return values


def _parse(setting: Setting, texts: list[str], where: str) -> Any:
    values = []
    for text in texts:
        try:
            values.append(setting.parse(text))
        except ValueError:
            # An RPC's URL may carry an access key, and errors end up in logs.
            # So does a database's.
            is_secret = setting.parse in (parse_url, parse_database)
            found = "a text" if is_secret else repr(text[:200])
            raise ConfigError(
                f"{setting.name}: found {found} {where}, expected {setting.expected}"
            ) from None
    return tuple(values) if setting.many else values[0]

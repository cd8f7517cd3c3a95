"""Templates: what a lease begins with, from a file that the operator may replace."""

import re
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from p2p_node.rental.runner import Template
from protocols.errors import LocalError

TEMPLATES_FILE: Final = "templates.toml"
MAX_FILE_BYTES: Final = 64 << 10
MAX_TEMPLATES: Final = 32
MAX_PORTS: Final = 8
MAX_SUMMARY_BYTES: Final = 200
MAX_ARGUMENTS: Final = 64

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
_IMAGE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}")
_PROGRAM: Final = re.compile(r"[A-Za-z0-9._+-]{1,64}|")
_KEYS: Final = ("image", "host_program", "command", "ports", "summary")


class TemplatesError(LocalError):
    """The file cannot be meant; says where, what was found and what is expected."""


def read_templates(data_dir: Path, path: Path | None = None) -> dict[str, Template]:
    """Read the file at `path`, or in the data directory, or else the one that comes with the node.

    A file that was named and is not there is an error; TemplatesError for any that cannot be meant.
    """
    named = path is not None
    path = data_dir / TEMPLATES_FILE if path is None else path
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        if named:
            raise TemplatesError(f"{path}: found nothing, expected a file of templates") from None
        content = (files("p2p_node.rental") / TEMPLATES_FILE).read_bytes()
    except OSError as error:
        raise TemplatesError(f"{path} cannot be read: {error}") from error
    if len(content) > MAX_FILE_BYTES:
        raise TemplatesError(f"{path}: more than {MAX_FILE_BYTES} bytes")
    return parse_templates(content, str(path))


def parse_templates(content: bytes, where: str) -> dict[str, Template]:
    """Read templates by name, in the file's order; TemplatesError names `where`."""
    try:
        tables = tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TemplatesError(f"{where}: {error}") from error
    if not 0 < len(tables) <= MAX_TEMPLATES:
        raise TemplatesError(f"{where}: {len(tables)} templates, expected 1 to {MAX_TEMPLATES}")
    return {name: _parse_template(name, table, where) for name, table in tables.items()}


def _parse_template(name: str, table: object, where: str) -> Template:
    if not _NAME.fullmatch(name):
        raise TemplatesError(
            f"{where}: found a template {name!r}, expected letters, digits, - or _"
        )
    place = f"{where}: [{name}]"
    if not isinstance(table, dict):
        raise TemplatesError(f"{place}: found {table!r}, expected a table")
    for key in table:
        if key not in _KEYS:
            raise TemplatesError(f"{place}: found {key!r}, expected some of {', '.join(_KEYS)}")
    image = _take_text(table, "image", _IMAGE, "the name of a container image", place)
    program = _take_text(table, "host_program", _PROGRAM, "the name of a program", place)
    summary = table.get("summary", "")
    if (
        not isinstance(summary, str)
        or not summary.isprintable()
        or len(summary.encode()) > MAX_SUMMARY_BYTES
    ):
        raise TemplatesError(
            f"{place} summary: found {summary!r}, expected a line of at most "
            f"{MAX_SUMMARY_BYTES} bytes"
        )
    command = _take_list(table, "command", str, MAX_ARGUMENTS, place)
    ports = _take_list(table, "ports", int, MAX_PORTS, place)
    for port in ports:
        if isinstance(port, bool) or not 0 < port < 1 << 16:
            raise TemplatesError(f"{place} ports: found {port}, expected 1 to 65535")
    return Template(name, image, command, ports, summary, program)


def _take_text(
    table: Mapping[str, Any], key: str, form: re.Pattern[str], expected: str, place: str
) -> str:
    value = table.get(key, "")
    if not isinstance(value, str) or not form.fullmatch(value):
        raise TemplatesError(f"{place} {key}: found {value!r}, expected {expected}")
    return value


def _take_list(
    table: Mapping[str, Any], key: str, kind: type, most: int, place: str
) -> tuple[Any, ...]:
    value = table.get(key, [])
    if (
        not isinstance(value, list)
        or len(value) > most
        or any(not isinstance(each, kind) or each == "" for each in value)
    ):
        noun = "numbers" if kind is int else "texts"
        raise TemplatesError(f"{place} {key}: found {value!r}, expected at most {most} {noun}")
    return tuple(value)

"""What a setting is, and how texts that several settings share are read."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

PREFIX: Final = "KAISAR_"

NO_YES: Final = ("no", "yes")
"""A switch, by its truth."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: how to read a text into its value, and what to say when that fails.

    `parse` raises ValueError; `many` settings are lists of such values.
    """

    name: str
    parse: Callable[[str], Any]
    expected: str
    help: str
    default: Any = None
    many: bool = False
    metavar: str | None = None
    number: bool = False
    """Whether it may stand in a file as a number."""
    shown: str = ""
    """The default as people write it, where that is not the value itself."""

    @property
    def flag(self) -> str:
        """The name on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The name in the environment."""
        return PREFIX + self.name.upper()


def parse_path(text: str) -> Path:
    """Read a path, with ~ for a home; ValueError."""
    if not text or "\0" in text:
        raise ValueError
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        # ~name of a user that does not exist
        raise ValueError from error


def parse_url(text: str) -> str:
    """Check that a text is a URL with http or https; ValueError."""
    parts = urlsplit(text)
    # Reading `port` raises ValueError for one out of range.
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError
    return text


def one_of(text: str, allowed: tuple[str, ...]) -> str:
    """Check that a text is one of these; ValueError."""
    if text not in allowed:
        raise ValueError
    return text


def parse_switch(text: str) -> bool:
    """Read yes or no; ValueError."""
    return one_of(text.lower(), NO_YES) == "yes"


def parse_number(text: str, least: int, most: int) -> int:
    """Read a whole number in decimal; ValueError unless it lies between `least` and `most`."""
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise ValueError
    return int(text)

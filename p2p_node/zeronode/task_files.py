"""What the files of missions and of campaigns have in common: strict tables of tasks.

Errors name the file, the table and the key, what was found and what is expected.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from protocols.errors import LocalError
from protocols.zeronode_missions import IDENTIFIER, Condition, Measure, Task
from protocols.zeronode_rules import UNITS_PER_POINT

MAX_FILE_BYTES: Final = 256 << 10
MAX_TITLE: Final = 80
MAX_SUMMARY: Final = 240
MAX_POINTS: Final = 100_000
MAX_TICKETS: Final = 1_000
MAX_COUNT: Final = 1_000_000
SECONDS_PER_HOUR: Final = 3_600

TASK_KEYS: Final = ("title", "summary", "points", "tickets")
CONDITION_KEYS: Final = {
    "uptime_today_hours": (Measure.UPTIME_TODAY, SECONDS_PER_HOUR),
    "uptime_week_hours": (Measure.UPTIME_WEEK, SECONDS_PER_HOUR),
    "uptime_total_hours": (Measure.UPTIME_TOTAL, SECONDS_PER_HOUR),
    "run_hours": (Measure.RUN, SECONDS_PER_HOUR),
    # For networks on one machine, whose days last a minute.
    "uptime_today_seconds": (Measure.UPTIME_TODAY, 1),
    "uptime_week_seconds": (Measure.UPTIME_WEEK, 1),
    "uptime_total_seconds": (Measure.UPTIME_TOTAL, 1),
    "run_seconds": (Measure.RUN, 1),
    "streak_days": (Measure.STREAK, 1),
    "referrals": (Measure.REFERRALS, 1),
    "nft": (Measure.NFT, 1),
    "code_sha256": (Measure.CODE, 1),
}
"""What a condition is called in a file, what it looks at, and how many of those one of it is."""

_HASH: Final = re.compile(r"[0-9a-f]{64}")


class TaskFileError(LocalError):
    """The file cannot be meant; says where, what was found and what is expected."""


def read_file(path: Path, what: str) -> bytes | None:
    """Return a file's content, capped; None if there is none, TaskFileError if it is unreadable."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TaskFileError(f"{path}: {error.strerror}, expected a file of {what}") from error
    if len(content) > MAX_FILE_BYTES:
        raise TaskFileError(f"{path}: found more than {MAX_FILE_BYTES} bytes, expected fewer")
    return content


def parse_tables(content: bytes, where: str, most: int) -> dict[str, dict[str, Any]]:
    """Return the tables of a file by their names, in its order, `most` at most."""
    try:
        tables = tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TaskFileError(f"{where}: {error}") from error
    if len(tables) > most:
        raise TaskFileError(f"{where}: found {len(tables)} tables, expected at most {most}")
    for name, table in tables.items():
        require_name(name, where)
        if not isinstance(table, dict):
            raise TaskFileError(f"{where}: {name}: found {table!r}, expected a table [{name}]")
    return tables


def parse_task(name: str, table: Mapping[str, Any], place: str, points: bool = True) -> Task:
    """Return the task of a table that has no other keys; without `points` it pays only tickets."""
    paid = {"points": MAX_POINTS, "tickets": MAX_TICKETS} if points else {"tickets": MAX_TICKETS}
    require_keys(table, (*TASK_KEYS, *CONDITION_KEYS), place)
    if not points and "points" in table:
        raise TaskFileError(f"{place} points: found {table['points']!r}, expected only tickets")
    amounts = {key: take_number(table, key, 0, most, place, 0) for key, most in paid.items()}
    if not any(amounts.values()):
        raise TaskFileError(f"{place}: pays nothing, expected {' or '.join(paid)} above 0")
    return Task(
        name,
        take_line(table, "title", MAX_TITLE, place),
        take_line(table, "summary", MAX_SUMMARY, place, default=""),
        _take_condition(table, place),
        amounts.get("points", 0) * UNITS_PER_POINT,
        amounts["tickets"],
    )


def require_name(name: str, where: str) -> None:
    """Raise TaskFileError unless `name` may name a mission, a campaign or a task."""
    if not IDENTIFIER.fullmatch(name):
        raise TaskFileError(
            f"{where}: found the name {name[:64]!r}, expected 1 to 32 lower-case letters, digits "
            "and -"
        )


def require_keys(table: Mapping[str, Any], known: Iterable[str], place: str) -> None:
    """Raise TaskFileError for a key that is not known."""
    known = tuple(known)
    for key in table:
        if key not in known:
            raise TaskFileError(f"{place}: found {key!r}, expected some of {', '.join(known)}")


def take_line(
    table: Mapping[str, Any], key: str, most: int, place: str, default: str | None = None
) -> str:
    """Return a text of one line and at most `most` characters."""
    value = table.get(key, default)
    if default is not None and value == default:
        return default
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= most:
        raise TaskFileError(
            f"{place} {key}: found {_show(value)}, expected a line of at most {most} characters"
        )
    return value


def take_number(
    table: Mapping[str, Any],
    key: str,
    least: int,
    most: int,
    place: str,
    default: int | None = None,
) -> int:
    """Return a whole number from `least` to `most`."""
    value = table.get(key, default)
    if type(value) is not int or not least <= value <= most:
        raise TaskFileError(
            f"{place} {key}: found {_show(value)}, expected a whole number from {least} to {most}"
        )
    return value


def _take_condition(table: Mapping[str, Any], place: str) -> Condition:
    found = [key for key in CONDITION_KEYS if key in table]
    if len(found) != 1:
        raise TaskFileError(
            f"{place}: found {' and '.join(found) or 'no condition'}, expected exactly one of "
            f"{', '.join(CONDITION_KEYS)}"
        )
    key = found[0]
    measure, factor = CONDITION_KEYS[key]
    match measure:
        case Measure.NFT:
            if table[key] is not True:
                raise TaskFileError(f"{place} nft: found {_show(table[key])}, expected true")
            return Condition(measure)
        case Measure.CODE:
            value = table[key]
            if not isinstance(value, str) or not _HASH.fullmatch(value):
                raise TaskFileError(
                    f"{place} {key}: found {_show(value)}, expected 64 lower-case hex digits"
                )
            return Condition(measure, code_hash=bytes.fromhex(value))
        case _:
            return Condition(measure, take_number(table, key, 1, MAX_COUNT, place) * factor)


def _show(value: object) -> str:
    return "nothing" if value is None else repr(value)[:80]

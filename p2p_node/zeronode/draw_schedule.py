"""Which draws there are: a file of recurring draws, each with its prize table.

A draw called `weekly` recurs: number n opens at `first_opens` + n · `every_seconds`, stays open for
`open_seconds`, and is called `weekly-n`. What the file says of it is taken when it opens and stays
with it, so an edited file changes only draws that open later.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from protocols.errors import LocalError
from protocols.lucky_draw import MAX_MISSED_BONUS, Prize, SourceKind, find_table_fault
from protocols.types import TimeMs
from protocols.zeronode_rules import UNITS_PER_POINT

SHIPPED_FILE: Final = "draws.toml"
MAX_FILE_BYTES: Final = 64 << 10
MAX_SCHEDULES: Final = 16
MAX_SECONDS: Final = 400 * 86_400
MIN_SECONDS: Final = 5
MAX_SUMMARY_BYTES: Final = 200

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,23}")
_SOURCES: Final = {"drand": SourceKind.DRAND, "beacon": SourceKind.BEACON}
_KEYS: Final = frozenset(
    {
        "summary",
        "first_opens",
        "every_seconds",
        "open_seconds",
        "lead_seconds",
        "reveal_seconds",
        "missed_bonus",
        "source",
        "prizes",
    }
)
_PRIZE_KEYS: Final = frozenset({"name", "ppm", "points", "tickets"})


class DrawsError(LocalError):
    """The file cannot be meant; says where, what was found and what is expected."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is fixed of a draw when it opens.

    `lead_ms` lies between freezing and the moment from which the randomness can be known, for the
    commitment to get on the chain; `reveal_ms` between that moment and the last one for the reveal.
    """

    summary: str
    prizes: tuple[Prize, ...]
    source: SourceKind
    lead_ms: int
    reveal_ms: int
    missed_bonus: int

    def to_text(self) -> str:
        """Write it for the database."""
        return json.dumps({**asdict(self), "source": int(self.source)})

    @classmethod
    def from_text(cls, text: str) -> "Plan":
        """Read what `to_text` wrote."""
        fields = json.loads(text)
        prizes = tuple(Prize(**prize) for prize in fields.pop("prizes"))
        return cls(**{**fields, "prizes": prizes, "source": SourceKind(fields["source"])})


@dataclass(frozen=True, slots=True)
class Occasion:
    """One draw of a schedule: `id` names it, and it takes entries in [opens_ms, closes_ms)."""

    id: str
    opens_ms: TimeMs
    closes_ms: TimeMs
    plan: Plan


@dataclass(frozen=True, slots=True)
class Schedule:
    """A recurring draw."""

    name: str
    first_ms: TimeMs
    every_ms: int
    open_ms: int
    plan: Plan

    def find_occasion(self, now: TimeMs) -> Occasion | None:
        """Return the draw that takes entries at `now`, if one does."""
        number, passed = divmod(now - self.first_ms, self.every_ms)
        if number < 0 or passed >= self.open_ms:
            return None
        opens = self.first_ms + number * self.every_ms
        return Occasion(
            f"{self.name}-{number}", TimeMs(opens), TimeMs(opens + self.open_ms), self.plan
        )


def read_draws(path: Path) -> tuple[Schedule, ...]:
    """Read the operator's file. DrawsError for one that cannot be read or meant."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise DrawsError(f"{path}: {error.strerror}, expected a file of draws") from error
    return parse_draws(content, str(path))


def read_shipped_draws(name: str = SHIPPED_FILE) -> tuple[Schedule, ...]:
    """Read a file that comes with the node, to begin an own one with."""
    return parse_draws((files("p2p_node.zeronode") / name).read_bytes(), name)


def parse_draws(content: bytes, where: str) -> tuple[Schedule, ...]:
    """Read schedules, in the file's order; DrawsError names `where`."""
    if len(content) > MAX_FILE_BYTES:
        raise DrawsError(f"{where}: more than {MAX_FILE_BYTES} bytes")
    try:
        tables = tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise DrawsError(f"{where}: {error}") from error
    if len(tables) > MAX_SCHEDULES:
        raise DrawsError(f"{where}: {len(tables)} draws, expected at most {MAX_SCHEDULES}")
    return tuple(_parse_schedule(name, table, where) for name, table in tables.items())


def _parse_schedule(name: str, table: object, where: str) -> Schedule:
    if not _NAME.fullmatch(name):
        raise DrawsError(f"{where}: found a draw {name[:40]!r}, expected up to 24 of a-z, 0-9, -")
    place = f"{where}: [{name}]"
    fields = _require_table(table, _KEYS, place)
    every_ms = _take_seconds(fields, "every_seconds", place)
    open_ms = _take_seconds(fields, "open_seconds", place)
    if open_ms > every_ms:
        raise DrawsError(f"{place}: open_seconds: expected at most every_seconds")
    source = fields.get("source", "drand")
    if source not in _SOURCES:
        raise DrawsError(f"{place}: source: found {source!r}, expected drand or beacon")
    summary = fields.get("summary", "")
    if not isinstance(summary, str) or len(summary.encode()) > MAX_SUMMARY_BYTES:
        raise DrawsError(f"{place}: summary: expected up to {MAX_SUMMARY_BYTES} bytes of text")
    bonus = fields.get("missed_bonus", 1)
    if type(bonus) is not int or not 0 <= bonus <= MAX_MISSED_BONUS:
        raise DrawsError(
            f"{place}: missed_bonus: found {bonus!r}, expected 0 to {MAX_MISSED_BONUS}"
        )
    prizes = fields.get("prizes")
    if not isinstance(prizes, list):
        raise DrawsError(f"{place}: prizes: expected [[{name}.prizes]] tables")
    plan = Plan(
        summary,
        tuple(_parse_prize(prize, place) for prize in prizes),
        _SOURCES[source],
        _take_seconds(fields, "lead_seconds", place),
        _take_seconds(fields, "reveal_seconds", place),
        bonus,
    )
    if fault := find_table_fault(plan.prizes):
        raise DrawsError(f"{place}: prizes: {fault}")
    return Schedule(name, _take_moment(fields, place), every_ms, open_ms, plan)


def _parse_prize(prize: object, place: str) -> Prize:
    place = f"{place}: prizes"
    fields = _require_table(prize, _PRIZE_KEYS, place)
    name = fields.get("name")
    if not isinstance(name, str):
        raise DrawsError(f"{place}: name: found {name!r}, expected text")
    numbers = {key: fields.get(key, 0) for key in ("ppm", "points", "tickets")}
    for key, number in numbers.items():
        if type(number) is not int or number < 0:
            raise DrawsError(f"{place}: {name}: {key}: found {number!r}, expected a whole number")
    return Prize(name, numbers["ppm"], numbers["points"] * UNITS_PER_POINT, numbers["tickets"])


def _take_seconds(fields: Mapping[str, Any], key: str, place: str) -> int:
    seconds = fields.get(key)
    if type(seconds) is not int or not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise DrawsError(
            f"{place}: {key}: found {seconds!r}, expected {MIN_SECONDS} to {MAX_SECONDS}"
        )
    return seconds * 1000


def _take_moment(fields: Mapping[str, Any], place: str) -> TimeMs:
    moment = fields.get("first_opens")
    if not isinstance(moment, datetime) or moment.tzinfo is None or moment.year < 1970:
        raise DrawsError(
            f"{place}: first_opens: found {moment!s}, expected such as 2026-01-05T00:00:00Z"
        )
    return TimeMs(int(moment.astimezone(UTC).timestamp()) * 1000)


def _require_table(table: object, keys: frozenset[str], place: str) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise DrawsError(f"{place}: found {str(table)[:40]!r}, expected a table")
    for key in table:
        if key not in keys:
            raise DrawsError(f"{place}: found {key!r}, expected some of {', '.join(sorted(keys))}")
    return table

"""Missions: read from a file, claimed by accounts, paid at most once in each window."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, insert, select

from p2p_node.zeronode.account_tables import mission_claims
from p2p_node.zeronode.accounts import require_account, wallet_text
from p2p_node.zeronode.ledger import Line, Transfer, Unit, post, user_account
from p2p_node.zeronode.progress import read_progress
from p2p_node.zeronode.refusals import NotFound, NotYet
from p2p_node.zeronode.task_files import TaskFileError, parse_tables, parse_task, read_file
from protocols.account_facts import MAX_CLAIMS
from protocols.types import TimeMs, Wallet
from protocols.zeronode_missions import (
    Measure,
    Mission,
    Period,
    Progress,
    Task,
    days_left,
    is_met,
    reached,
    window_of,
)
from protocols.zeronode_rules import ZeroNodeRules

MISSIONS_FILE: Final = "missions.toml"
MAX_MISSIONS: Final = MAX_CLAIMS
"""So that the newest claim of each one can travel with an account."""
ISSUE: Final = "issue:mission"

Missions = Mapping[str, Mission]


@dataclass(frozen=True)
class Claim:
    """What a claim paid, when, and in which window; the same when it is asked for again."""

    name: str
    window: int
    claimed_ms: int
    units: int
    tickets: int


@dataclass(frozen=True)
class MissionState:
    """A mission as one account sees it.

    `reached` counts towards the condition's number; `claimed` is about this window, and
    `next_window_ms` says when the next one begins (None for one-off missions).
    """

    mission: Mission
    reached: int
    is_met: bool
    claimed: bool
    next_window_ms: int | None


def read_missions(data_dir: Path, path: Path | None = None) -> Missions:
    """Read the file at `path`, or in the data directory, or else the one that comes with the node.

    A file that was named and is not there is an error; TaskFileError for any that cannot be meant.
    """
    named = path is not None
    path = data_dir / MISSIONS_FILE if path is None else path
    content = read_file(path, "missions")
    if content is None:
        if named:
            raise TaskFileError(f"{path}: found nothing, expected a file of missions")
        content = (files("p2p_node.zeronode") / MISSIONS_FILE).read_bytes()
    return parse_missions(content, str(path))


def parse_missions(content: bytes, where: str) -> Missions:
    """Read missions by name, in the file's order; TaskFileError names `where`."""
    missions = {}
    for name, table in parse_tables(content, where, MAX_MISSIONS).items():
        place = f"{where}: [{name}]"
        period = table.pop("period", None)
        if period not in list(Period):
            found = "nothing" if period is None else repr(period)[:80]
            raise TaskFileError(
                f"{place} period: found {found}, expected one of {', '.join(Period)}"
            )
        missions[name] = Mission(parse_task(name, table, place), Period(period))
    return missions


def claim_mission(
    connection: Connection,
    missions: Missions,
    wallet: Wallet,
    name: str,
    code: str | None,
    rules: ZeroNodeRules,
    now_ms: int,
) -> Claim:
    """Pay a mission to an account whose condition holds; again in its window returns the same.

    NotFound for an unknown mission, NotYet if the condition does not hold.
    """
    require_account(connection, wallet)
    mission = missions.get(name)
    if mission is None:
        raise NotFound("no such mission")
    window = window_of(mission.period, rules.day_of(TimeMs(now_ms)))
    present = _find_claim(connection, wallet, name, window)
    if present is not None:
        return present
    task = mission.task
    require_met(task, read_progress(connection, wallet, rules, now_ms), code)
    claim = Claim(name, window, now_ms, task.units, task.tickets)
    account = user_account(wallet)
    lines = tuple(
        Line(holder, unit, sign * amount)
        for unit, amount in ((Unit.POINTS, task.units), (Unit.TICKETS, task.tickets))
        if amount
        for holder, sign in ((ISSUE, -1), (account, 1))
    )
    key = f"mission:{name}:{wallet_text(wallet)}:{window}"
    post(connection, Transfer(key, "mission", lines, name), now_ms)
    connection.execute(
        insert(mission_claims).values(
            wallet=wallet_text(wallet),
            mission=name,
            window_number=window,
            claimed_ms=now_ms,
            units=task.units,
            tickets=task.tickets,
        )
    )
    return claim


def list_missions(
    connection: Connection,
    missions: Missions,
    wallet: Wallet,
    rules: ZeroNodeRules,
    now_ms: int,
) -> tuple[MissionState, ...]:
    """Return all missions as an account sees them, in the file's order."""
    progress, today = read_progress(connection, wallet, rules, now_ms), rules.day_of(TimeMs(now_ms))
    table = mission_claims.c
    claimed = {
        (row.mission, row.window_number)
        for row in connection.execute(
            select(table.mission, table.window_number).where(table.wallet == wallet_text(wallet))
        )
    }
    states = []
    for name, mission in missions.items():
        following = days_left(mission.period, today)
        states.append(
            MissionState(
                mission,
                reached(mission.task.condition, progress),
                is_met(mission.task.condition, progress),
                (name, window_of(mission.period, today)) in claimed,
                None if following is None else rules.day_start(today + following),
            )
        )
    return tuple(states)


def require_met(task: Task, progress: Progress, code: str | None) -> None:
    """Raise NotYet unless the condition of a task holds."""
    condition = task.condition
    if is_met(condition, progress, code):
        return
    if condition.measure is Measure.CODE:
        raise NotYet("not the word of this mission")
    raise NotYet(
        "the condition does not hold yet",
        f"{condition.measure}: {reached(condition, progress)} of {condition.least}",
    )


def _find_claim(connection: Connection, wallet: Wallet, name: str, window: int) -> Claim | None:
    table = mission_claims.c
    row = connection.execute(
        select(mission_claims)
        .where(table.wallet == wallet_text(wallet))
        .where(table.mission == name, table.window_number == window)
    ).one_or_none()
    return None if row is None else Claim(name, window, row.claimed_ms, row.units, row.tickets)

"""Campaigns: tasks that give tickets, within a window of time and a number of tickets.

The number cannot be overspent: it is taken from a row whose constraint the database itself keeps,
in the transaction that pays.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, insert, select, update

from p2p_node.zeronode.account_tables import campaign_budgets, campaign_claims
from p2p_node.zeronode.accounts import require_account, wallet_text
from p2p_node.zeronode.ledger import Line, Transfer, Unit, post, user_account
from p2p_node.zeronode.missions import require_met
from p2p_node.zeronode.progress import read_progress
from p2p_node.zeronode.refusals import Conflict, NotFound, NotYet
from p2p_node.zeronode.task_files import (
    MAX_SUMMARY,
    MAX_TITLE,
    TaskFileError,
    parse_tables,
    parse_task,
    read_file,
    require_keys,
    require_name,
    take_line,
    take_number,
)
from protocols.types import Wallet
from protocols.zeronode_missions import Task
from protocols.zeronode_rules import ZeroNodeRules

CAMPAIGNS_FILE: Final = "campaigns.toml"
MAX_CAMPAIGNS: Final = 50
MAX_TASKS: Final = 20
MAX_BUDGET: Final = 100_000_000
ISSUE: Final = "issue:campaign"

_KEYS: Final = ("title", "summary", "opens", "closes", "tickets", "tasks")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Campaign:
    """Tasks by name, open from `opens_ms` to just before `closes_ms`; `budget` in tickets."""

    name: str
    title: str
    summary: str
    opens_ms: int
    closes_ms: int
    budget: int
    tasks: Mapping[str, Task]


Campaigns = Mapping[str, Campaign]


@dataclass(frozen=True)
class CampaignState:
    """A campaign, the tickets that it has given, and which of its tasks an account has claimed."""

    campaign: Campaign
    spent: int
    claimed: frozenset[str]


@dataclass(frozen=True)
class TaskClaim:
    """What a claim paid and when; the same when it is asked for again."""

    campaign: str
    task: str
    claimed_ms: int
    tickets: int


def read_campaigns(data_dir: Path, path: Path | None = None) -> Campaigns:
    """Read the file at `path`, or the one in the data directory; without one there are none.

    A file that was named and is not there is an error; TaskFileError for any that cannot be meant.
    """
    named = path is not None
    path = data_dir / CAMPAIGNS_FILE if path is None else path
    content = read_file(path, "campaigns")
    if content is None:
        if named:
            raise TaskFileError(f"{path}: found nothing, expected a file of campaigns")
        return {}
    return parse_campaigns(content, str(path))


def parse_campaigns(content: bytes, where: str) -> Campaigns:
    """Read campaigns by name, in the file's order; TaskFileError names `where`."""
    return {
        name: _parse_campaign(name, table, f"{where}: [{name}]")
        for name, table in parse_tables(content, where, MAX_CAMPAIGNS).items()
    }


def store_budgets(connection: Connection, campaigns: Campaigns) -> None:
    """Write down what each campaign may give; call it once when a service starts.

    TaskFileError for a campaign that has given more already than it may give now.
    """
    for name, campaign in campaigns.items():
        spent = _read_spent(connection, name)
        if spent is None:
            connection.execute(
                insert(campaign_budgets).values(campaign=name, budget=campaign.budget, spent=0)
            )
        elif spent > campaign.budget:
            raise TaskFileError(
                f"campaign {name} tickets: found {campaign.budget}, expected at least the {spent} "
                "that it has given"
            )
        else:
            connection.execute(
                update(campaign_budgets)
                .where(campaign_budgets.c.campaign == name)
                .values(budget=campaign.budget)
            )


def claim_task(
    connection: Connection,
    campaigns: Campaigns,
    wallet: Wallet,
    campaign: str,
    task: str,
    code: str | None,
    rules: ZeroNodeRules,
    now_ms: int,
) -> TaskClaim:
    """Pay a campaign's task to an account whose condition holds; again returns the same.

    NotFound for an unknown campaign or task; NotYet before it opens, and while the condition does
    not hold; Conflict after it closed, and when its tickets are gone.
    """
    require_account(connection, wallet)
    running = campaigns.get(campaign)
    wanted = running.tasks.get(task) if running is not None else None
    if running is None or wanted is None:
        raise NotFound("no such task of a campaign")
    present = _find_claim(connection, wallet, campaign, task)
    if present is not None:
        return present
    if now_ms < running.opens_ms:
        raise NotYet("the campaign is not open yet")
    if now_ms >= running.closes_ms:
        raise Conflict("the campaign is over")
    require_met(wanted, read_progress(connection, wallet, rules, now_ms), code)
    _spend(connection, campaign, wanted.tickets)
    lines = (
        Line(ISSUE, Unit.TICKETS, -wanted.tickets),
        Line(user_account(wallet), Unit.TICKETS, wanted.tickets),
    )
    key = f"campaign:{campaign}:{task}:{wallet_text(wallet)}"
    post(connection, Transfer(key, "campaign", lines, f"{campaign}: {task}"), now_ms)
    connection.execute(
        insert(campaign_claims).values(
            wallet=wallet_text(wallet),
            campaign=campaign,
            task=task,
            claimed_ms=now_ms,
            tickets=wanted.tickets,
        )
    )
    return TaskClaim(campaign, task, now_ms, wanted.tickets)


def list_campaigns(
    connection: Connection, campaigns: Campaigns, wallet: Wallet | None = None
) -> tuple[CampaignState, ...]:
    """Return all campaigns in the file's order, with what `wallet` has claimed of them."""
    claimed: dict[str, set[str]] = {}
    if wallet is not None:
        table = campaign_claims.c
        for row in connection.execute(
            select(table.campaign, table.task).where(table.wallet == wallet_text(wallet))
        ):
            claimed.setdefault(row.campaign, set()).add(row.task)
    return tuple(
        CampaignState(
            campaign, _read_spent(connection, name) or 0, frozenset(claimed.get(name, ()))
        )
        for name, campaign in campaigns.items()
    )


def _spend(connection: Connection, campaign: str, tickets: int) -> None:
    table = campaign_budgets.c
    changed = connection.execute(
        update(campaign_budgets)
        .where(table.campaign == campaign, table.spent + tickets <= table.budget)
        .values(spent=table.spent + tickets)
    )
    if not changed.rowcount:
        raise Conflict("the campaign has given all its tickets")


def _read_spent(connection: Connection, campaign: str) -> int | None:
    query = select(campaign_budgets.c.spent).where(campaign_budgets.c.campaign == campaign)
    return connection.execute(query).scalar_one_or_none()


def _find_claim(
    connection: Connection, wallet: Wallet, campaign: str, task: str
) -> TaskClaim | None:
    table = campaign_claims.c
    row = connection.execute(
        select(campaign_claims)
        .where(table.wallet == wallet_text(wallet))
        .where(table.campaign == campaign, table.task == task)
    ).one_or_none()
    return None if row is None else TaskClaim(campaign, task, row.claimed_ms, row.tickets)


def _parse_campaign(name: str, table: dict[str, Any], place: str) -> Campaign:
    require_keys(table, _KEYS, place)
    opens, closes = _take_time(table, "opens", place), _take_time(table, "closes", place)
    if opens >= closes:
        raise TaskFileError(f"{place} closes: found a time before or at that of opens")
    tasks = table.get("tasks")
    if not isinstance(tasks, dict) or not 0 < len(tasks) <= MAX_TASKS:
        raise TaskFileError(
            f"{place} tasks: found {_count(tasks)}, expected 1 to {MAX_TASKS} tables "
            f"[{name}.tasks.NAME]"
        )
    parsed = {}
    for task, content in tasks.items():
        require_name(task, f"{place} tasks")
        here = f"{place} tasks.{task}"
        if not isinstance(content, dict):
            raise TaskFileError(f"{here}: found {content!r}, expected a table")
        parsed[task] = parse_task(task, content, here, points=False)
    return Campaign(
        name,
        take_line(table, "title", MAX_TITLE, place),
        take_line(table, "summary", MAX_SUMMARY, place, default=""),
        opens,
        closes,
        take_number(table, "tickets", 1, MAX_BUDGET, place),
        parsed,
    )


def _take_time(table: Mapping[str, Any], key: str, place: str) -> int:
    value = table.get(key)
    if not isinstance(value, datetime) or value.tzinfo is None or value < _EPOCH:
        found = "nothing" if value is None else str(value)[:40]
        raise TaskFileError(
            f"{place} {key}: found {found}, expected a time with its zone, as 2027-01-31T12:00:00Z"
        )
    return (value - _EPOCH) // timedelta(milliseconds=1)


def _count(tasks: object) -> str:
    if tasks is None:
        return "none"
    return str(len(tasks)) if isinstance(tasks, dict) else repr(tasks)[:80]

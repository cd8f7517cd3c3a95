"""`kaisar zeronode ledger`: recompute a service's books, look at them, prove what is in them.

Exit status of `check` and `verify`: 0 only when everything holds, 1 when something does not, 2 for
a command line that cannot be meant, and for books or a chain that cannot be read: then nothing was
found out.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio

from p2p_node.cli.event_loop import run_async
from p2p_node.cli.main import FAILURE, SUCCESS, USAGE, Subparsers, add_json_flag
from p2p_node.config import ConfigError, add_flags, load_settings, read_database_password
from p2p_node.display import format_fields, show_json, show_lines
from p2p_node.zeronode.settings import choose_database
from protocols.errors import MalformedError, RemoteError

if TYPE_CHECKING:
    from p2p_node.zeronode.database import Database
    from p2p_node.zeronode.ledger_check import Report
    from protocols.ledger_records import BalanceProof, Entry, EntryProof
    from protocols.types import Digest

DATABASE_FLAGS: Final = ("data_dir", "zeronode_database", "zeronode_database_password_file")
CHAIN_FLAGS: Final = ("rpc", "deployment")

UNITS: Final = ("points", "tickets")
MAX_PROOF_BYTES: Final = 256 << 10
MAX_SHOWN: Final = 1_000

AT_ONCE: Final = 8
"""Roots that are asked for at the same time."""


class _NothingFoundError(Exception):
    """It cannot be told whether the books hold."""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Add the action and what it can do."""
    parser = subparsers.add_parser(
        "ledger",
        help="recompute the books of a service, look at them, prove what is in them",
        description=(
            "Read the books of a ZeroNode service from its database, also while it runs. "
            "Nothing is changed."
        ),
    )
    parts = parser.add_subparsers(metavar="WHAT", required=True, dest="part")
    check = parts.add_parser(
        "check",
        help="recompute everything from the first entry on",
        description=(
            "Recompute hashes, sums, balances and the root of every closed day from the first "
            "entry on, and with --deployment and --rpc compare the roots with those on the chain. "
            "Exit status 0 only if all of it holds, 1 if not, 2 if it could not be found out."
        ),
    )
    show = parts.add_parser("show", help="show where the books stand, or one account's entries")
    show.add_argument("account", nargs="?", metavar="ACCOUNT", help="0x… or a name such as draw:1")
    show.add_argument(
        "--after", type=_parse_number, default=0, metavar="NUMBER", help="entries above this one"
    )
    show.add_argument(
        "--limit", type=_parse_number, default=50, metavar="COUNT", help=f"at most {MAX_SHOWN}"
    )
    prove = parts.add_parser(
        "prove",
        help="make a proof of an entry or a balance",
        description="Print a proof that anybody can check who has the root of the day.",
    )
    prove.add_argument("account", nargs="?", metavar="ACCOUNT", help="whose balance")
    prove.add_argument("--entry", type=_parse_number, metavar="NUMBER", help="prove this entry")
    prove.add_argument("--unit", choices=UNITS, default="points", help="of the balance")
    prove.add_argument(
        "--day", type=_parse_number, metavar="DAY", help="closed day of the balance (the last one)"
    )
    verify = parts.add_parser(
        "verify",
        help="check a proof, with --deployment against the chain",
        description=(
            "Check a proof that `prove` or a service made. Without --deployment it is only shown "
            "which root it leads to."
        ),
    )
    verify.add_argument("proof", type=Path, metavar="FILE", help="the proof; - for standard input")
    for part, flags in (
        (check, DATABASE_FLAGS + CHAIN_FLAGS),
        (show, DATABASE_FLAGS),
        (prove, DATABASE_FLAGS),
        (verify, CHAIN_FLAGS),
    ):
        add_flags(part, flags)
        add_json_flag(part)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Do one part."""
    from chain.errors import ChainError
    from p2p_node.zeronode.errors import DatabaseError

    settings = load_settings(arguments, os.environ)
    part = {"check": _check, "show": _show, "prove": _prove, "verify": _verify}[arguments.part]
    try:
        return part(arguments, settings)
    except (ChainError, DatabaseError, _NothingFoundError) as error:
        print(f"kaisar zeronode ledger: {error}", file=sys.stderr)
        if arguments.json:
            show_json({"error": str(error)})
        return USAGE


def _check(arguments: argparse.Namespace, settings: Mapping[str, Any]) -> int:
    from p2p_node.zeronode.day_roots import days_after
    from p2p_node.zeronode.ledger_check import check_books

    with closing(_open(settings)) as database:
        anchors = None
        if settings["deployment"] is not None:
            # Before the books, so that every day among these is among those that are checked.
            with database.reading() as connection:
                days: list[int] = []
                while page := days_after(connection, days[-1] if days else -1):
                    days += [each.summary.day for each in page]
                ledger = _read_ledger(connection)
            anchors = _read_anchors(settings, ledger, days)
        with database.reading() as connection:
            report = check_books(connection, None if anchors is None else anchors.get)
    if arguments.json:
        show_json(_report_to_json(report, anchors is not None))
    else:
        show_lines(_format_report(report, anchors is not None))
    return SUCCESS if report.holds else FAILURE


def _show(arguments: argparse.Namespace, settings: Mapping[str, Any]) -> int:
    from p2p_node.zeronode.day_roots import last_day
    from p2p_node.zeronode.ledger import balances_of, entries_of, entry_by_number, read_head
    from protocols.ledger_json import show_entry

    with closing(_open(settings)) as database, database.reading() as connection:
        if arguments.account is None:
            head = read_head(connection)
            day = last_day(connection)
            newest = entry_by_number(connection, head.number)
            found: dict[str, Any] = {
                "ledger": head.ledger.hex(),
                "entries": head.number,
                "head": head.hash.hex(),
                "newest_ms": None if newest is None else newest.at_ms,
                "day": None if day is None else day.summary.day,
                "root": None if day is None else day.root.hex(),
            }
            if arguments.json:
                show_json(found)
            else:
                show_lines(format_fields({**found, "newest_ms": found["newest_ms"] or "none"}))
            return SUCCESS
        account = _parse_account(arguments.account)
        limit = min(arguments.limit, MAX_SHOWN)
        entries = entries_of(connection, account, arguments.after, limit)
        balances = balances_of(connection, account)
    if arguments.json:
        shown = {unit.name.lower(): balance for unit, balance in balances.items()}
        show_json({"account": account, **shown, "entries": [show_entry(each) for each in entries]})
        return SUCCESS
    lines = [account]
    lines += [f"  {_format_amount(unit, balance)}" for unit, balance in balances.items()]
    show_lines([*lines, *(_format_entry(entry, account) for entry in entries)])
    return SUCCESS


def _prove(arguments: argparse.Namespace, settings: Mapping[str, Any]) -> int:
    from p2p_node.zeronode.day_roots import Prover, last_day
    from protocols.ledger_json import show_proof
    from protocols.ledger_records import Unit

    if (arguments.entry is None) == (arguments.account is None):
        raise ConfigError("prove: expected an account, or --entry NUMBER")
    proof: EntryProof | BalanceProof | None
    with closing(_open(settings)) as database, database.reading() as connection:
        if arguments.entry is not None:
            proof = Prover().prove_entry(connection, arguments.entry)
            missing = f"entry {arguments.entry} is under no root yet"
        else:
            day = arguments.day
            if day is None:
                last = last_day(connection)
                day = -1 if last is None else last.summary.day
            account = _parse_account(arguments.account)
            unit = Unit[arguments.unit.upper()]
            proof = Prover().prove_balance(connection, account, unit, day)
            missing = f"{account} has no {arguments.unit} under the root of a day"
    if proof is None:
        raise _NothingFoundError(missing)
    # The proof is the result, so that it is printed as a document in any case.
    show_json(show_proof(proof))
    return SUCCESS


def _verify(arguments: argparse.Namespace, settings: Mapping[str, Any]) -> int:
    from protocols.ledger_json import parse_proof
    from protocols.ledger_records import (
        EntryProof,
        compute_day_root,
        verify_balance_proof,
        verify_entry_proof,
    )

    problem = ""
    root = None
    try:
        proof = parse_proof(_read_document(arguments.proof))
        root = compute_day_root(proof.summary)
        if isinstance(proof, EntryProof):
            verify_entry_proof(proof, root)
        else:
            verify_balance_proof(proof, root)
    except RemoteError as error:
        problem = str(error)
    anchored = False
    if not problem and settings["deployment"] is not None:
        summary = proof.summary
        anchor = _read_anchors(settings, summary.ledger, [summary.day])[summary.day]
        anchored = anchor == root
        if anchor is None:
            problem = f"the chain has no root for day {summary.day} of these books"
        elif not anchored:
            problem = f"the chain has another root for day {summary.day}: {anchor.hex()}"
    shown = None if root is None else root.hex()
    if arguments.json:
        show_json({"holds": not problem, "root": shown, "anchored": anchored, "problem": problem})
    elif problem:
        show_lines([f"does NOT hold: {problem}"])
    else:
        of_chain = "which is on the chain" if anchored else "which was not looked for on the chain"
        show_lines([_format_proof(proof), f"holds under root {shown}, {of_chain}"])
    return FAILURE if problem else SUCCESS


def _open(settings: Mapping[str, Any]) -> "Database":
    from p2p_node.zeronode.database import Database

    password = read_database_password(settings["zeronode_database_password_file"], os.environ)
    url = choose_database(settings["zeronode_database"], password, settings["data_dir"])
    return Database.open_to_read(url)


def _read_ledger(connection: Any) -> "Digest":
    from p2p_node.zeronode.ledger import read_head

    return read_head(connection).ledger


def _read_anchors(
    settings: Mapping[str, Any], ledger: "Digest", days: Sequence[int]
) -> dict[int, "Digest | None"]:
    """The finalized chain's root for each of these days of a ledger."""
    from chain.deployment import read_deployment, verify_deployment
    from chain.zeronode_client import ZeroNodeClient
    from p2p_node.chain_access import open_endpoints
    from protocols.ledger_records import compute_ledger_id

    deployment = read_deployment(settings["deployment"])
    roots: dict[int, Digest | None] = {}

    async def read() -> None:
        with closing(open_endpoints(settings["rpc"], deployment.chain_id)) as rpc:
            await verify_deployment(rpc, deployment)
            client = ZeroNodeClient(rpc, deployment)
            # One that was retired and listed again has anchored under each of its indices.
            places = [
                each.index
                for each in await client.services("finalized")
                if compute_ledger_id(deployment.network_id, each.node_key) == ledger
            ]
            if not places:
                raise _NothingFoundError("these books are of no service that the chain lists")
            limiter = trio.CapacityLimiter(AT_ONCE)

            async def read_one(day: int) -> None:
                roots[day] = None
                async with limiter:
                    for place in places:
                        if roots[day] is None:
                            roots[day] = await client.root_of(place, day, "finalized")

            async with trio.open_nursery() as nursery:
                for day in days:
                    nursery.start_soon(read_one, day)

    try:
        run_async(read)
    except BaseExceptionGroup as group:
        from p2p_node.cli.main import list_leaves

        raise list_leaves(group)[0] from group
    return roots


def _read_document(path: Path) -> object:
    try:
        if str(path) == "-":
            body = sys.stdin.buffer.read(MAX_PROOF_BYTES + 1)
        else:
            with path.open("rb") as file:
                body = file.read(MAX_PROOF_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    if len(body) > MAX_PROOF_BYTES:
        raise MalformedError("bad ledger proof", f"more than {MAX_PROOF_BYTES} bytes")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedError("bad ledger proof", "not JSON") from error


def _parse_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise argparse.ArgumentTypeError(f"found {text[:40]!r}, expected a number")
    return int(text)


def _parse_account(text: str) -> str:
    """Name of an account; a wallet alone stands for its user."""
    account = f"user:{text.lower()}" if text[:2] in ("0x", "0X") else text
    if not account.isascii() or len(account) > 80:
        raise ConfigError(f"account: found {text[:80]!r}, expected 0x… or a name such as draw:1")
    return account


def _report_to_json(report: "Report", is_compared: bool) -> dict[str, Any]:
    return {
        "holds": report.holds,
        "ledger": report.ledger.hex(),
        "entries": report.entries,
        "balances": report.accounts,
        "days": report.days,
        "anchored_days": report.anchored if is_compared else None,
        "users": {unit.name.lower(): total for unit, total in report.totals.items()},
        "head": report.head.hex(),
        "problem_count": report.problem_count,
        "problems": list(report.problems),
    }


def _format_report(report: "Report", is_compared: bool) -> list[str]:
    roots = (
        f"{report.anchored} of {report.days} roots are on the chain"
        if is_compared
        else "not compared with the chain (--deployment, --rpc)"
    )
    fields = {
        "ledger": report.ledger.hex(),
        "entries": report.entries,
        "balances": report.accounts,
        "closed days": f"{report.days}; {roots}",
        "users have": ", ".join(_format_amount(unit, sum_) for unit, sum_ in report.totals.items()),
        "head": report.head.hex(),
    }
    if report.holds:
        return [*format_fields(fields), "everything holds"]
    lines = [f"  {problem}" for problem in report.problems]
    if report.problem_count > len(report.problems):
        lines.append(f"  … and {report.problem_count - len(report.problems)} more")
    return [*format_fields(fields), f"{report.problem_count} things do NOT hold:", *lines]


def _format_amount(unit: Any, amount: int) -> str:
    from protocols.ledger_records import Unit
    from protocols.zeronode_rules import UNITS_PER_POINT

    if unit == Unit.TICKETS:
        return f"{amount} tickets"
    whole, rest = divmod(abs(amount), UNITS_PER_POINT)
    sign = "-" if amount < 0 else ""
    return f"{sign}{whole}{f' {rest}/{UNITS_PER_POINT}' if rest else ''} points"


def _format_entry(entry: "Entry", account: str) -> str:
    from datetime import UTC, datetime

    moment = datetime.fromtimestamp(entry.at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    moved = [
        _format_amount(line.unit, line.amount)
        for line in entry.transfer.lines
        if line.account == account
    ]
    return f"{entry.number:>8}  {moment}  {', '.join(moved)}  {entry.transfer.key}"


def _format_proof(proof: "EntryProof | BalanceProof") -> str:
    from protocols.ledger_records import EntryProof

    if isinstance(proof, EntryProof):
        return f"entry {proof.entry.number} of day {proof.summary.day}: {proof.entry.transfer.key}"
    amount = _format_amount(proof.unit, proof.balance)
    return f"{proof.account} had {amount} when day {proof.summary.day} was closed"

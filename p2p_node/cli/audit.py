"""`kaisar audit`: whether an epoch on the chain is what the chain's own data make it.

Exit status 0 only when everything was equal, 1 for a difference, 2 for a command line that cannot
be meant and for an endpoint that cannot be read: then nothing was found out.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from chain.audit.auditing import OpenEpochError, audit_epochs
from chain.audit.judging import Verdict
from chain.client import ChainClient
from chain.deployment import Deployment, read_deployment, verify_deployment
from chain.errors import ChainError
from p2p_node.chain_access import open_endpoints
from p2p_node.cli.event_loop import run_async
from p2p_node.cli.main import FAILURE, SUCCESS, USAGE, Subparsers, add_json_flag
from p2p_node.config import ConfigError, add_flags, load_settings
from p2p_node.display import show_json, show_lines
from protocols.types import Epoch

MAX_EPOCHS = 10_000


def add_parser(subparsers: Subparsers) -> None:
    """Add the command's flags."""
    parser = subparsers.add_parser(
        "audit",
        help="recompute an epoch from the chain and compare",
        description=(
            "Recompute an epoch from transactions and events: seed, committees, medians, scores, "
            "pools, every reward, every penalty. Say that everything is equal, or name the first "
            "difference. Needs no key and no data directory, only --deployment and --rpc. "
            "Exit status 0 only if equal, 1 for a difference, 2 if it could not be found out."
        ),
    )
    add_json_flag(parser)
    parser.add_argument(
        "epochs",
        nargs="+",
        metavar="EPOCH",
        help="a closed epoch, or several: 7, or 7-12",
    )
    add_flags(parser, ("rpc", "deployment"))


def run(arguments: argparse.Namespace) -> int:
    """Audit, and show what came of it."""
    settings = load_settings(arguments, os.environ)
    epochs = [epoch for text in arguments.epochs for epoch in parse_epochs(text)]
    if settings["deployment"] is None:
        raise ConfigError("deployment: found nothing, expected the network's file (--deployment)")
    deployment = read_deployment(settings["deployment"])
    with _Progress() as progress:
        try:
            verdicts = run_async(_audit, settings["rpc"], deployment, epochs, progress)
        except OpenEpochError as error:
            raise ConfigError(str(error)) from error
        except ChainError as error:
            progress.end()
            print(f"kaisar audit: {error}", file=sys.stderr)
            if arguments.json:
                show_json({"error": str(error)})
            return USAGE
    if arguments.json:
        show_json({"epochs": [verdict_to_json(each) for each in verdicts]})
    else:
        show_lines([line for each in verdicts for line in format_verdict(each)])
    return SUCCESS if all(each.is_equal for each in verdicts) else FAILURE


def parse_epochs(text: str) -> list[Epoch]:
    """Read 7 or 7-12; ConfigError for anything else."""
    first, dash, last = text.partition("-")
    numbers = (first, last if dash else first)
    if not all(each.isascii() and each.isdigit() and len(each) < 10 for each in numbers):
        raise ConfigError(f"epoch: found {text[:40]!r}, expected a number, or two as in 7-12")
    low, high = map(int, numbers)
    if not 0 <= high - low < MAX_EPOCHS:
        raise ConfigError(
            f"epoch: found {text[:40]!r}, expected 1 … {MAX_EPOCHS} epochs in rising order"
        )
    return [Epoch(epoch) for epoch in range(low, high + 1)]


def verdict_to_json(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as JSON."""
    found = verdict.difference
    return {
        "epoch": verdict.epoch,
        "equal": verdict.is_equal,
        "expired": verdict.is_expired,
        "closed": verdict.is_closed,
        "compared": dict(sorted(verdict.counts.items())),
        "difference": found
        and {
            "contract": found.contract,
            "field": found.field,
            "epoch": found.place.epoch,
            "shard": found.place.shard,
            "lane": found.place.lane,
            "seat": found.place.seat,
            "index": found.place.index,
            "found": found.found,
            "expected": found.expected,
        },
    }


def format_verdict(verdict: Verdict) -> list[str]:
    """Write a verdict for people."""
    compared = sum(verdict.counts.values())
    lines = []
    if verdict.difference is None:
        lines.append(f"epoch {verdict.epoch}: equal, {compared} values compared")
        by_contract: dict[str, list[str]] = {}
        for name, count in sorted(verdict.counts.items()):
            contract, _, field = name.partition(".")
            by_contract.setdefault(contract, []).append(f"{count} {field}")
        lines += [f"  {contract}: {', '.join(fields)}" for contract, fields in by_contract.items()]
    else:
        lines.append(f"epoch {verdict.epoch}: DIFFERENT, after {compared} equal values")
        lines.append(f"  {verdict.difference}")
    if verdict.is_expired:
        lines.append(
            "  expired: judged from events and calldata, as the contracts keep it no longer"
        )
    if not verdict.is_closed:
        lines.append("  nobody has closed it yet: its pools and rewards are not fixed")
    return lines


async def _audit(
    urls: Sequence[str], deployment: Deployment, epochs: list[Epoch], progress: "_Progress"
) -> list[Verdict]:
    with closing(open_endpoints(urls, deployment.chain_id)) as rpc:
        await verify_deployment(rpc, deployment)
        return await audit_epochs(ChainClient(rpc, deployment), epochs, progress.show)


class _Progress:
    """One line on a terminal's standard error that says how far the reading got."""

    def __init__(self) -> None:
        self._is_shown = False

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def show(self, what: str, done: int, total: int) -> None:
        """Write the line anew."""
        if sys.stderr.isatty():
            print(f"\r\x1b[Kreading {what}: {done} of {total}", end="", file=sys.stderr, flush=True)
            self._is_shown = True

    def end(self) -> None:
        """Clear the line."""
        if self._is_shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._is_shown = False

"""`kaisar zeronode`: look at a ZeroNode service, its ledger and its draws, from outside.

Each module `p2p_node.cli.zeronode_*` brings one action: `add_parser(subparsers)` adds the action's
parser and returns it, `run(arguments)` does it. The service itself is a role of `kaisar node`.
"""

import argparse
import importlib
import pkgutil
from collections.abc import Iterator
from typing import Protocol, cast

import p2p_node.cli
from p2p_node.cli.main import Subparsers, add_json_flag

PREFIX = "zeronode_"


class Action(Protocol):
    """What a module of one action offers. It imports what takes long when it runs, not before."""

    def add_parser(self, subparsers: Subparsers) -> argparse.ArgumentParser:
        """Add the action's own parser, and return it."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it, and return the exit status. `arguments.json` asks for JSON."""


def add_parser(subparsers: Subparsers) -> None:
    """Add every action."""
    parser = subparsers.add_parser(
        "zeronode",
        help="check a ZeroNode service: its ledger, its draws",
        description=(
            "Look at a ZeroNode service, its ledger and its draws, and recompute what it says. "
            "The service is run by `kaisar node --role zeronode`."
        ),
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    for action in _load_actions():
        own = action.add_parser(actions)
        own.set_defaults(run_action=action.run)
        add_json_flag(own)


def run(arguments: argparse.Namespace) -> int:
    """Do one action, and return the exit status."""
    status: int = arguments.run_action(arguments)
    return status


def _load_actions() -> Iterator[Action]:
    for module in pkgutil.iter_modules(p2p_node.cli.__path__):
        if module.name.startswith(PREFIX):
            yield cast("Action", importlib.import_module(f"p2p_node.cli.{module.name}"))

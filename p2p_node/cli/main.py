"""Which command is meant, and what its end means to the shell.

Exit status: 0 only for success, 1 for a failure, 2 for a command line or settings that cannot be
meant, 130 after Ctrl-C. Errors go to standard error in words; with `--json` standard output holds
one JSON document in any case.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias, cast

from chain.errors import DeploymentFileError
from p2p_node.config import ConfigError
from p2p_node.display import show_json
from protocols.errors import KaisarError

SUCCESS: Final = 0
FAILURE: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130

COMMANDS: Final = {
    "node": "run a provider, a checker, a bootstrap or a ZeroNode service",
    "testnet": "run a whole network on this machine",
    "bench": "measure what this machine would score as a provider",
    "status": "show a node: registration, stake, scores, rewards, balances",
    "audit": "recompute an epoch from the chain and compare",
    "doctor": "check this machine: GPUs, software, data directory, chain",
    "deploy": "put the contracts on a chain",
    "stake": "add to a stake, leave, get it back",
    "rent": "lease a machine, use it, end the lease, get receipts",
    "lease": "show and end the leases of a provider's machine",
    "delegate": "entrust stake to a checker, take it back, collect",
    "wallet": "create, import and show a node's wallet",
    "zeronode": "check a ZeroNode service: its ledger, its draws",
    "devchain": "run a chain for development on this machine",
}
"""Name and help of every command; module p2p_node.cli.NAME has the rest. Modules are imported
when their command is used, because libp2p and web3 take seconds to load."""

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class Command(Protocol):
    """What a module in this package offers."""

    def add_parser(self, subparsers: Subparsers) -> object:
        """Add the command's own parser, under its name."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it, and return the exit status. `arguments.json` asks for JSON."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    try:
        return _main(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output is gone (`kaisar … | head`). The interpreter flushes once more
        # at its end, and must find somewhere to write to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE


def _main(words: list[str]) -> int:
    name = next((word for word in words if not word.startswith("-")), None)
    command = _load(name) if name in COMMANDS else None
    parser = _make_parser(name, command)
    try:
        arguments = parser.parse_args(words)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else USAGE
    if command is None:
        parser.print_help(sys.stderr)
        return USAGE
    return _run(command, arguments, f"kaisar {name}")


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    """Let `--json` stand behind the command as well as before it."""
    # Without a default of its own, or it would undo the one before the command.
    parser.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON document"
    )


def _load(name: str | None) -> Command:
    return cast("Command", importlib.import_module(f"p2p_node.cli.{name}"))


def _make_parser(name: str | None, command: Command | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kaisar",
        description="A node of the Kaisar decentralised GPU network.",
        epilog="`kaisar COMMAND --help` tells more about a command.",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document instead of text"
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    subparsers = parser.add_subparsers(metavar="COMMAND", title="commands", required=False)
    for each, text in COMMANDS.items():
        if each == name and command is not None:
            command.add_parser(subparsers)
        else:
            subparsers.add_parser(each, help=text, add_help=False)
    return parser


class _Version(argparse.Action):
    """Prints the version; looked up only when asked for, since that takes a while."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib import metadata

        try:
            version = metadata.version("kaisar-node")
        except metadata.PackageNotFoundError:
            version = "(not installed)"
        print(f"kaisar {version}")
        parser.exit(SUCCESS)


def _run(command: Command, arguments: argparse.Namespace, name: str) -> int:
    try:
        return command.run(arguments)
    except (KaisarError, OSError) as error:
        if isinstance(error, OSError) and error.filename is None:
            raise
        return _report([error], arguments, name)
    except BaseExceptionGroup as group:
        # What Trio's nurseries make of one error or several; anything unexpected is a bug, and
        # its traceback is wanted.
        expected, bugs = group.split((KaisarError, KeyboardInterrupt))
        if bugs is not None or expected is None:
            raise
        leaves = list_leaves(expected)
        if any(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
            return INTERRUPTED
        return _report(leaves, arguments, name)


def list_leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """List the errors in a group and in the groups within it, in order."""
    found: list[BaseException] = []
    for each in group.exceptions:
        found += list_leaves(each) if isinstance(each, BaseExceptionGroup) else [each]
    return found


def _report(errors: Sequence[BaseException], arguments: argparse.Namespace, name: str) -> int:
    """Print each error once, and return the exit status."""
    texts = list(dict.fromkeys(_describe(error) for error in errors))
    for text in texts:
        print(f"{name}: {text}", file=sys.stderr)
    if arguments.json:
        show_json({"error": "; ".join(texts)})
    is_usage = all(isinstance(error, ConfigError | DeploymentFileError) for error in errors)
    return USAGE if is_usage else FAILURE


def _describe(error: BaseException) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}"
    return str(error)

"""`kaisar rent`: find a machine, lease it, use it, and see what became of the money."""

import argparse
import importlib
from typing import Final

from p2p_node.cli.main import Subparsers, add_json_flag
from p2p_node.cli.rent_arguments import (
    environment_entry,
    fetch_target,
    forward_ports,
    hours,
    lease_name,
    percent,
    rate,
    seconds,
    size,
)
from p2p_node.config import add_flags
from p2p_node.display import parse_amount

ACTIONS: Final = {
    "search": "list machines that can be leased now, the best value first",
    "open": "lease a machine: quote, payment, deployment of a template",
    "status": "show this wallet's leases: state, time left, cost",
    "run": "run a command there; its output and exit status come back",
    "shell": "open a terminal there",
    "forward": "make a TCP port of the lease reachable here",
    "upload": "copy a file or folder there",
    "fetch": "copy a file or folder back",
    "logs": "show what the lease's programs wrote",
    "extend": "buy more time at the lease's price",
    "end": "end a lease; what was not used comes back",
    "reclaim": "get everything back of a lease that was not accepted",
    "judge": "have the epochs looked up in which the provider was away",
    "receipts": "show what was used, paid and refunded, with transactions",
    "withdraw": "have what this wallet is owed paid out",
}
"""Every action with its help."""

MODULES: Final = {
    "search": "rent_search",
    "open": "rent_open",
    "status": "rent_status",
    "receipts": "rent_receipts",
    "run": "rent_run",
    "shell": "rent_shell",
    "forward": "rent_forward",
    "upload": "rent_files",
    "fetch": "rent_files",
    "logs": "rent_logs",
    "extend": "rent_money",
    "end": "rent_money",
    "reclaim": "rent_money",
    "judge": "rent_money",
    "withdraw": "rent_money",
}
"""Module of each action, imported when it is used: the network takes a second to load."""

CHAIN_FLAGS: Final = ("data_dir", "rpc", "deployment")
WALLET_FLAGS: Final = (*CHAIN_FLAGS, "wallet_password_file")
NETWORK_FLAGS: Final = (*CHAIN_FLAGS, "bootstrap", "network_key_file")
ALL_FLAGS: Final = (*NETWORK_FLAGS, "wallet_password_file")

SEARCH_HELP: Final = """\
What is listed is what the chain proves. SCORE is the low median of the settled scores of the last
--epochs epochs, which a committee of checkers agreed on in each. RATE is what the GPUs can do at
least: all of a score that is more than every other term together can give must be theirs. SEEN is
in how many of those epochs the checkers saw the machine. VALUE, by which the list is sorted, is the
mean score, 0 for an epoch away, per KAI and hour. Epochs in which the machine was leased count for
SEEN only.

What a provider says of itself (GPUs, VRAM, cores, templates) is marked `reported`. It is bound to
the offer on the chain by its digest, but nobody measured it. The line is marked `proven` where the
provider shows receipts of a majority of its committee. Machines that are leased, away, or have left
are not listed.
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command's flags."""
    parser = subparsers.add_parser(
        "rent",
        help="lease a machine, use it, end the lease, get receipts",
        description=(
            "Lease a provider's machine and use it. LEASE may be left out where there is exactly "
            "one that the action makes sense for. Lease keys are in DATA_DIR/leases."
        ),
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    made = {}
    for name, text in ACTIONS.items():
        made[name] = actions.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=SEARCH_HELP if name == "search" else None,
            formatter_class=(
                argparse.RawDescriptionHelpFormatter if name == "search" else argparse.HelpFormatter
            ),
        )
    _add_search(made["search"])
    _add_open(made["open"])
    _add_uses(made)
    _add_money(made)
    flags = {
        "search": NETWORK_FLAGS,
        "open": ALL_FLAGS,
        "receipts": CHAIN_FLAGS,
        **dict.fromkeys(("extend", "end", "reclaim", "judge", "withdraw"), WALLET_FLAGS),
    }
    for name, action in made.items():
        add_flags(action, flags.get(name, NETWORK_FLAGS))
        add_json_flag(action)


def run(arguments: argparse.Namespace) -> int:
    """Do one action, and return the exit status."""
    module = importlib.import_module(f"p2p_node.cli.{MODULES[arguments.action]}")
    status: int = module.run(arguments)
    return status


def _add_search(parser: argparse.ArgumentParser) -> None:
    _add_wishes(parser)
    _add_length(parser, required=False)


def _add_wishes(parser: argparse.ArgumentParser) -> None:
    wishes = parser.add_argument_group("wishes")
    wishes.add_argument("--min-score", type=int, metavar="SCORE", help="settled score at least")
    wishes.add_argument(
        "--min-rate", type=rate, metavar="TOPS", help="proven 10^12 operations per second at least"
    )
    wishes.add_argument(
        "--reliability", type=percent, metavar="PERCENT", help="seen in so many of the epochs"
    )
    wishes.add_argument(
        "--max-price", type=parse_amount, metavar="KAI", help="per hour, without the fee"
    )
    wishes.add_argument("--vram", type=size, metavar="SIZE", help="of one GPU, reported: 24GB")
    wishes.add_argument(
        "--bandwidth", type=rate, metavar="MBIT", help="proven Mbit/s in both directions"
    )
    wishes.add_argument("--template", metavar="NAME", help="a template that it offers")
    wishes.add_argument(
        "--epochs", type=int, default=24, metavar="N", help="settled epochs to look at (24)"
    )
    wishes.add_argument(
        "--offline", action="store_true", help="ask the chain only, and no provider"
    )


def _add_length(parser: argparse.ArgumentParser, *, required: bool) -> None:
    length = parser.add_mutually_exclusive_group(required=required)
    length.add_argument("--hours", dest="seconds", type=hours, metavar="HOURS", help="such as 1.5")
    length.add_argument(
        "--seconds", dest="seconds", type=seconds, metavar="SECONDS", help="exactly"
    )


def _add_open(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "provider", nargs="?", type=int, metavar="PROVIDER", help="its number in the list"
    )
    parser.add_argument("--best", action="store_true", help="take the best value instead")
    parser.add_argument(
        "--resume", action="store_true", help="go on with an opening that was interrupted"
    )
    _add_length(parser, required=False)
    parser.add_argument("--yes", action="store_true", help="do not ask before paying")
    parser.add_argument(
        "--no-deploy", action="store_true", help="stop once the provider has accepted"
    )
    _add_wishes(parser)


def _add_uses(made: dict[str, argparse.ArgumentParser]) -> None:
    for name in ("status", "shell", "logs"):
        _add_lease(made[name])
    run = made["run"]
    run.add_argument(
        "--lease", type=lease_name, metavar="LEASE", help="its number, if there are several"
    )
    run.add_argument(
        "--upload", action="append", default=[], metavar="PATH", help="copy this there first"
    )
    run.add_argument(
        "--fetch",
        action="append",
        default=[],
        type=fetch_target,
        metavar="PATH[:LOCAL]",
        help="copy this back afterwards",
    )
    _add_program(run)
    run.add_argument(
        "--detach", action="store_true", help="leave it running; `kaisar rent logs` has its output"
    )
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    shell = made["shell"]
    _add_program(shell)
    shell.add_argument("--command", default="/bin/sh", metavar="PATH", help="instead of /bin/sh")
    forward = made["forward"]
    forward.add_argument(
        "ports", type=forward_ports, metavar="LOCAL:REMOTE", help="such as 8888:8888"
    )
    _add_lease(forward)
    forward.add_argument(
        "--address",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="where to listen; anybody who reaches it can use the port (127.0.0.1)",
    )
    upload = made["upload"]
    upload.add_argument("path", metavar="PATH", help="file or folder here")
    upload.add_argument("target", nargs="?", default="", metavar="TARGET", help="folder there")
    _add_lease_flag(upload)
    fetch = made["fetch"]
    fetch.add_argument("path", metavar="PATH", help="file or folder there")
    fetch.add_argument(
        "target", nargs="?", metavar="LOCAL", help="folder here; without one, under its own name"
    )
    _add_lease_flag(fetch)
    made["logs"].add_argument("-f", "--follow", action="store_true", help="go on with what comes")
    made["logs"].add_argument(
        "--tail", type=size, default=65_536, metavar="SIZE", help="from the end (64 KiB)"
    )


def _add_money(made: dict[str, argparse.ArgumentParser]) -> None:
    for name in ("extend", "end", "reclaim", "judge"):
        _add_lease(made[name])
    _add_length(made["extend"], required=True)
    made["extend"].add_argument("--yes", action="store_true", help="do not ask before paying")
    word = made["end"].add_mutually_exclusive_group()
    word.add_argument(
        "--confirm",
        action="store_true",
        help="say that the machine was there until now, so that all is settled at once",
    )
    word.add_argument(
        "--contest",
        action="store_true",
        help=(
            "do not: what is in epochs that are not judged yet waits for the checkers. Without "
            "either, the end is confirmed unless they saw the provider away in the last closed "
            "epoch, or it does not answer now"
        ),
    )
    made["receipts"].add_argument("--csv", metavar="FILE", help="write them there as CSV; - here")
    _add_lease(made["receipts"])


def _add_lease(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "lease",
        nargs="?",
        type=lease_name,
        metavar="LEASE",
        help="its number, if there are several",
    )


def _add_lease_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--lease", type=lease_name, metavar="LEASE", help="its number, if there are several"
    )


def _add_program(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        type=environment_entry,
        metavar="NAME=VALUE",
        help="set a variable there",
    )
    parser.add_argument("--workdir", default="", metavar="PATH", help="folder there to begin in")

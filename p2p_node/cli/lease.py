"""`kaisar lease`: the leases of a provider's machine, for its operator."""

import argparse
import os
from contextlib import closing
from typing import Any, Final

from chain.client import ChainClient
from chain.deployment import Deployment
from chain.records import SlotKind
from chain.rental_calls import RentalCalls
from chain.rental_client import MAX_LEASES, RentalClient
from p2p_node.chain_access import open_endpoints
from p2p_node.cli.event_loop import run_async
from p2p_node.cli.main import Subparsers, add_json_flag
from p2p_node.cli.wallet_work import FLAGS, describe, require_deployment, run_work
from p2p_node.config import add_flags, load_settings
from p2p_node.display import format_amount, format_table, show_json, show_lines
from p2p_node.keystore import checksum_address, read_wallet_address
from p2p_node.rental.settings import format_duration
from p2p_node.wallet_session import WalletSession
from protocols.errors import LocalError
from protocols.leases import Lease, LeaseState
from protocols.types import Wallet

DEFAULT_COUNT: Final = 10
MAX_COUNT: Final = 1000

MAX_PAGES: Final = 512
"""Pages of leases that are looked through, from the newest one back."""


class LeaseError(LocalError):
    """There is no such lease of this machine, or nothing can be done about it."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command's flags."""
    parser = subparsers.add_parser(
        "lease",
        help="show and end the leases of a provider's machine",
        description=(
            "Show the leases of the machine that this wallet offers, or end one. A node accepts, "
            "serves, ends and settles leases by itself; it must not run while one is ended here, "
            "because both would send from one wallet."
        ),
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    listing = actions.add_parser("list", help="show the newest leases of this machine")
    listing.add_argument(
        "--count",
        type=_parse_count,
        default=DEFAULT_COUNT,
        metavar="COUNT",
        help=f"how many at most, 1 to {MAX_COUNT} (default: {DEFAULT_COUNT})",
    )
    add_flags(listing, ("data_dir", "rpc", "deployment"))
    end = actions.add_parser(
        "end", help="end a lease before its time, which costs its bond; never undone"
    )
    end.add_argument("lease", type=int, metavar="LEASE", help="its number, as in the list")
    add_flags(end, FLAGS)
    for action in (listing, end):
        add_json_flag(action)


def run(arguments: argparse.Namespace) -> int:
    """Do one action."""
    settings = load_settings(arguments, os.environ)
    deployment = require_deployment(settings)
    if arguments.action == "end":

        async def end(session: WalletSession, arguments: argparse.Namespace) -> dict[str, Any]:
            with closing(open_endpoints(settings["rpc"], deployment.chain_id)) as rpc:
                return await _end(session, RentalClient(rpc, deployment), arguments.lease)

        run_work(settings, arguments, end)
        return 0
    wallet = read_wallet_address(settings["data_dir"])
    leases = run_async(_read, settings["rpc"], deployment, wallet, arguments.count)
    if arguments.json:
        show_json({"leases": [_to_json(each) for each in leases]})
    else:
        show_lines(_format(leases))
    return 0


async def _end(session: WalletSession, rental: RentalClient, number: int) -> dict[str, Any]:
    lease = await rental.lease(number) if number > 0 else None
    if lease is None or lease.provider_wallet != session.wallet:
        raise LeaseError(f"lease {number} is none of this machine's; `kaisar lease list`")
    now = (await session.chain.head()).timestamp
    if not lease.is_usable(now):
        raise LeaseError(f"lease {number} is not active: {_describe_state(lease, now)}")
    call = RentalCalls(rental.deployment).end(number, confirmed=False)
    sent = await session.send(f"end of lease {number}", call)
    lost = format_amount(lease.terms.bond)
    said = f"lease {number} is ended; its bond of {lost} goes to the renter when it is settled"
    return describe(sent, said, bond=str(lease.terms.bond))


async def _read(
    urls: tuple[str, ...], deployment: Deployment, wallet: Wallet, most: int
) -> list[tuple[Lease, str]]:
    """Read the newest leases of a wallet's machine, newest first, each with its state in words."""
    with closing(open_endpoints(urls, deployment.chain_id)) as rpc:
        chain, rental = ChainClient(rpc, deployment), RentalClient(rpc, deployment)
        provider = await chain.slot_index(SlotKind.PROVIDER, wallet)
        if provider is None:
            raise LeaseError("this wallet is not registered as a provider")
        now = (await chain.head()).timestamp
        last = await rental.lease_count()
        found: list[tuple[Lease, str]] = []
        for _ in range(MAX_PAGES):
            if last < 1 or len(found) >= most:
                break
            first = max(1, last - MAX_LEASES + 1)
            page = await rental.leases(first, last - first + 1)
            found += [
                (lease, _describe_state(lease, now))
                for lease in reversed(page)
                if (lease.provider, lease.provider_wallet) == (provider, wallet)
            ]
            last = first - 1
        return found[:most]


def _describe_state(lease: Lease, now: int) -> str:
    if lease.state is LeaseState.ACTIVE and not lease.is_usable(now):
        return "over"
    return lease.state.name.lower()


def _to_json(each: tuple[Lease, str]) -> dict[str, Any]:
    lease, state = each
    return {
        "lease": lease.id,
        "state": state,
        "renter": checksum_address(lease.renter),
        "price": str(lease.terms.price),
        "seconds": lease.seconds,
        "started_at": lease.started_at,
        "ends_at": lease.ends_at,
        "away_seconds": lease.away_seconds,
        "bond": str(lease.terms.bond),
        "ended_by_provider": lease.ended_by_provider,
    }


def _format(leases: list[tuple[Lease, str]]) -> list[str]:
    if not leases:
        return ["Nobody has leased this machine yet."]
    header = ("lease", "state", "length", "away", "worth", "bond", "renter")
    rows = [
        (
            str(lease.id),
            state,
            format_duration(lease.seconds),
            format_duration(lease.away_seconds),
            format_amount(lease.seconds * lease.terms.price),
            format_amount(lease.terms.bond),
            checksum_address(lease.renter),
        )
        for lease, state in leases
    ]
    return format_table(header, rows)


def _parse_count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= MAX_COUNT):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number from 1 to {MAX_COUNT}")
    return int(text)

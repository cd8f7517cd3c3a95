"""`kaisar zeronode services`: which services there are, and for their owner, listing and retiring.

The owner is that of the contract ZeroNodeAnchor; ownership is handed over in two steps.
"""

import argparse
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from p2p_node.addresses import parse_address
from p2p_node.cli.event_loop import run_async
from p2p_node.cli.main import SUCCESS, Subparsers, add_json_flag
from p2p_node.config import ConfigError, add_flags, load_settings
from p2p_node.display import format_fields, format_table, show_json, show_lines
from p2p_node.keystore import checksum_address
from protocols.errors import LocalError
from protocols.types import NodeKey, Wallet

if TYPE_CHECKING:
    from chain.zeronode_client import Service, ZeroNodeClient
    from p2p_node.wallet_session import WalletSession

READ_FLAGS: Final = ("rpc", "deployment")
SEND_FLAGS: Final = ("data_dir", *READ_FLAGS, "wallet_password_file")


class ServicesError(LocalError):
    """What was asked for makes no sense for what the contract says now."""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Add the action and what it can do."""
    parser = subparsers.add_parser(
        "services",
        help="show the services of a network; list and retire them, as their owner",
        description=(
            "Show which ZeroNode services a network has by the contract ZeroNodeAnchor. Its owner "
            "lists and retires them with the wallet of --data-dir; nobody can change what a "
            "service has anchored."
        ),
    )
    parts = parser.add_subparsers(metavar="WHAT", required=True, dest="part")
    show = parts.add_parser("show", help="show owner and services")
    add = parts.add_parser("add", help="list a service; `kaisar status` prints both of its names")
    add.add_argument("wallet", metavar="WALLET", help="who sends its roots, 0x…")
    add.add_argument("node_key", metavar="NODE_KEY", help="64 hexadecimal digits")
    retire = parts.add_parser(
        "retire", help="let a service send nothing more; what it sent stays for ever"
    )
    retire.add_argument("index", type=int, metavar="INDEX", help="as `show` says")
    offer = parts.add_parser("offer", help="offer ownership to another wallet, in place of others")
    offer.add_argument("heir", metavar="WALLET", help="who may accept it, 0x…")
    accept = parts.add_parser("accept", help="take over ownership that this wallet was offered")
    add_flags(show, READ_FLAGS)
    for part in (add, retire, offer, accept):
        add_flags(part, SEND_FLAGS)
    for part in (show, add, retire, offer, accept):
        add_json_flag(part)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Do one part."""
    # Imported here, because web3 takes seconds that a mistyped flag should not cost.
    from p2p_node.cli.wallet_work import run_work

    settings = load_settings(arguments, os.environ)
    if arguments.part == "show":
        return _show(arguments, settings)
    # Read before the wallet is opened.
    if arguments.part == "add":
        _read_service(arguments)
    elif arguments.part == "offer":
        parse_address("heir", arguments.heir)
    run_work(settings, arguments, _STEPS[arguments.part])
    return SUCCESS


def _show(arguments: argparse.Namespace, settings: Mapping[str, Any]) -> int:
    from chain.deployment import Deployment, verify_deployment
    from chain.zeronode_client import ZeroNodeClient
    from p2p_node.chain_access import open_endpoints
    from p2p_node.cli.wallet_work import require_deployment

    async def read(deployment: Deployment) -> tuple[Wallet, tuple["Service", ...]]:
        rpc = open_endpoints(settings["rpc"], deployment.chain_id)
        try:
            await verify_deployment(rpc, deployment)
            client = ZeroNodeClient(rpc, deployment)
            return await client.owner(), await client.services()
        finally:
            rpc.close()

    owner, services = run_async(read, require_deployment(settings))
    if arguments.json:
        show_json(
            {
                "owner": checksum_address(owner),
                "services": [
                    {
                        "index": each.index,
                        "wallet": checksum_address(each.wallet),
                        "node_key": each.node_key.hex(),
                        "added_at": each.added_at,
                        "retired_at": each.retired_at or None,
                    }
                    for each in services
                ],
            }
        )
        return SUCCESS
    rows = [
        (
            each.index,
            checksum_address(each.wallet),
            each.node_key.hex(),
            _format_time(each.added_at),
            "" if each.is_active else _format_time(each.retired_at),
        )
        for each in services
    ]
    headers = ("#", "wallet", "node key", "listed", "retired")
    show_lines([*format_fields({"owner": checksum_address(owner)}), ""])
    show_lines(format_table(headers, rows) if rows else ["no services are listed"])
    return SUCCESS


def _format_time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _read_service(arguments: argparse.Namespace) -> tuple[Wallet, NodeKey]:
    wallet = parse_address("wallet", arguments.wallet)
    digits = arguments.node_key.removeprefix("0x")
    if not re.fullmatch("[0-9a-fA-F]{64}", digits) or set(digits) == {"0"}:
        raise ConfigError(
            f"node_key: found {arguments.node_key[:80]!r}, expected 64 hexadecimal digits, not "
            "all 0"
        )
    return wallet, NodeKey(bytes.fromhex(digits))


async def _client(session: "WalletSession", *, as_owner: bool = True) -> "ZeroNodeClient":
    from chain.zeronode_client import ZeroNodeClient

    client = ZeroNodeClient(session.rpc, session.chain.deployment)
    if as_owner:
        owner = await client.owner()
        if owner != session.wallet:
            raise ServicesError(
                f"wallet: found {checksum_address(session.wallet)}, expected "
                f"{checksum_address(owner)}, the owner of ZeroNodeAnchor"
            )
    return client


async def _add(session: "WalletSession", arguments: argparse.Namespace) -> dict[str, Any]:
    from chain.zeronode_calls import ZeroNodeCalls
    from p2p_node.cli.wallet_work import describe

    wallet, node_key = _read_service(arguments)
    client = await _client(session)
    for each in await client.services():
        if each.is_active and (each.wallet == wallet or each.node_key == node_key):
            raise ServicesError(
                f"service {each.index} is listed with "
                + ("this wallet" if each.wallet == wallet else "this node key")
            )
    calls = ZeroNodeCalls(session.chain.deployment)
    sent = await session.send("listing of a service", calls.add_service(wallet, node_key))
    index = await client.service_of(wallet)
    return describe(sent, f"service {index} is listed", index=index)


async def _retire(session: "WalletSession", arguments: argparse.Namespace) -> dict[str, Any]:
    from chain.zeronode_calls import ZeroNodeCalls
    from p2p_node.cli.wallet_work import describe

    client = await _client(session)
    index: int = arguments.index
    services = await client.services()
    if not 0 <= index < len(services):
        raise ServicesError(f"index: found {index}, expected one of {len(services)} services")
    if not services[index].is_active:
        raise ServicesError(f"service {index} is retired")
    calls = ZeroNodeCalls(session.chain.deployment)
    sent = await session.send("retirement of a service", calls.retire_service(index))
    return describe(sent, f"service {index} sends nothing more", index=index)


async def _offer(session: "WalletSession", arguments: argparse.Namespace) -> dict[str, Any]:
    from chain.zeronode_calls import ZeroNodeCalls
    from p2p_node.cli.wallet_work import describe

    heir = parse_address("heir", arguments.heir)
    await _client(session)
    calls = ZeroNodeCalls(session.chain.deployment)
    sent = await session.send("offer of ownership", calls.offer_ownership(heir))
    said = f"{checksum_address(heir)} becomes the owner when it accepts"
    return describe(sent, said, heir=checksum_address(heir))


async def _accept(session: "WalletSession", _: argparse.Namespace) -> dict[str, Any]:
    from chain.zeronode_calls import ZeroNodeCalls
    from p2p_node.cli.wallet_work import describe

    client = await _client(session, as_owner=False)
    if await client.heir() != session.wallet:
        raise ServicesError("this wallet was not offered the ownership of ZeroNodeAnchor")
    calls = ZeroNodeCalls(session.chain.deployment)
    sent = await session.send("acceptance of ownership", calls.accept_ownership())
    return describe(sent, "this wallet owns ZeroNodeAnchor now")


_STEPS: Final = {"add": _add, "retire": _retire, "offer": _offer, "accept": _accept}

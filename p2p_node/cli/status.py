"""`kaisar status`: how a node is doing, from its data directory and from the chain."""

import argparse
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

from chain.client import ChainClient
from chain.deployment import Deployment, read_deployment
from chain.endpoints import Endpoint
from chain.hexes import to_hex
from chain.records import SlotKind
from p2p_node.chain_access import open_endpoints
from p2p_node.cli.account import Account, EpochResult, SlotAccount, read_account
from p2p_node.cli.event_loop import run_async
from p2p_node.cli.main import Subparsers, add_json_flag
from p2p_node.config import ConfigError, add_flags, load_settings
from p2p_node.display import format_amount, format_fields, format_table, show_json, show_lines
from p2p_node.funds import ENOUGH_EPOCHS, Outlook, Spending, compute_outlook, read_spending
from p2p_node.keystore import WALLET_FILE, checksum_address, open_node_key, read_wallet_address
from p2p_node.run_file import read_run_file
from protocols.params import LANES
from protocols.types import Wallet

DEFAULT_EPOCHS = 5
MAX_EPOCHS = 224
"""The longest ring of any deployment."""

EndpointStates: TypeAlias = tuple[Mapping[str, Any], ...]
"""What `--json` shows of each endpoint."""

_RUN_FIELDS = frozenset({"pid", "role", "peer_id", "addresses"})


def add_parser(subparsers: Subparsers) -> None:
    """Add the command's flags."""
    parser = subparsers.add_parser(
        "status",
        help="show a node: registration, stake, scores, rewards, balances",
        description=(
            "Show what a data directory says about its node and, where --deployment is given, "
            "what the chain says about its wallet. Rewards stand still once an epoch is closed."
        ),
    )
    add_json_flag(parser)
    parser.add_argument(
        "--epochs",
        type=int,
        default=DEFAULT_EPOCHS,
        metavar="N",
        help=f"how many epochs to look back ({DEFAULT_EPOCHS})",
    )
    add_flags(parser, ("data_dir", "rpc", "deployment"))


def run(arguments: argparse.Namespace) -> int:
    """Show it."""
    settings = load_settings(arguments, os.environ)
    if not 1 <= arguments.epochs <= MAX_EPOCHS:
        raise ConfigError(f"epochs: found {arguments.epochs}, expected 1 … {MAX_EPOCHS}")
    data_dir: Path = settings["data_dir"]
    node = read_node(data_dir)
    wallet = read_wallet_address(data_dir) if (data_dir / WALLET_FILE).exists() else None
    account = deployment = None
    endpoints: EndpointStates = ()
    outlooks: dict[SlotKind, Outlook] = {}
    if settings["deployment"] is not None:
        deployment = read_deployment(settings["deployment"])
        if wallet is not None:
            account, endpoints = run_async(
                _read, settings["rpc"], deployment, wallet, arguments.epochs
            )
            outlooks = find_outlooks(account, deployment, read_spending(data_dir))
    if arguments.json:
        show_json(
            {
                "node": node,
                "wallet": wallet and checksum_address(wallet),
                "network_id": deployment and to_hex(deployment.network_id),
                "endpoints": list(endpoints),
                "chain": account and account_to_json(account),
                "gas_epochs": {k.name.lower(): each.epochs_left for k, each in outlooks.items()},
            }
        )
        return 0
    show_lines(format_fields(_node_fields(node, wallet)))
    if account is not None and deployment is not None:
        show_lines(["", *_format_account(account, deployment, endpoints, outlooks)])
    elif wallet is not None:
        show_lines(["", "With --deployment (and --rpc) this shows what the chain says, too."])
    return 0


def read_node(data_dir: Path) -> dict[str, Any]:
    """Return what the data directory says: key, and role and addresses of a running node."""
    node: dict[str, Any] = {
        "data_dir": str(data_dir),
        "node_key": bytes(open_node_key(data_dir).verify_key).hex(),
        "running": False,
    }
    left_behind = read_run_file(data_dir) or {}
    if set(left_behind) >= _RUN_FIELDS:
        # A node that was killed leaves the file behind.
        node["running"] = is_alive(int(left_behind["pid"]))
        node.update({name: left_behind[name] for name in sorted(_RUN_FIELDS)})
        if "url" in left_behind:
            node["url"] = left_behind["url"]
    return node


def is_alive(pid: int) -> bool:
    """Tell whether there is a process with this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def account_to_json(account: Account) -> dict[str, Any]:
    """Return the account as JSON; amounts are decimal texts in the smallest unit."""
    return {
        "block": account.head.number,
        "time": account.head.timestamp,
        "epoch": account.epoch,
        "phase": account.phase and account.phase.value,
        "tokens": str(account.tokens),
        "gas": str(account.gas),
        "slots": [_slot_to_json(slot) for slot in account.slots],
    }


def _slot_to_json(account: SlotAccount) -> dict[str, Any]:
    slot = account.slot
    return {
        "kind": account.kind.name.lower(),
        "index": slot.index,
        "stake": str(slot.stake),
        "joined_epoch": slot.joined_epoch,
        "exit_epoch": slot.exit_epoch if account.has_left else None,
        "banned_until": account.banned_until,
        "wrong_reports": account.wrong_reports,
        "pending": str(account.pending),
        "epochs": [
            {
                "epoch": result.epoch,
                "shard": result.shard,
                "settled": result.settled,
                "score": result.score,
                "seat": result.seat,
                "deviations": result.deviations,
                "lanes": result.lanes,
                "reward": str(result.reward),
                "claimed": result.claimed,
            }
            for result in account.results
        ],
    }


async def _read(
    urls: Sequence[str], deployment: Deployment, wallet: Wallet, epochs: int
) -> tuple[Account, EndpointStates]:
    with closing(open_endpoints(urls, deployment.chain_id)) as rpc:
        await rpc.look_at_all()
        account = await read_account(ChainClient(rpc, deployment), wallet, epochs)
        return account, tuple(map(_describe_endpoint, rpc.endpoints))


def _describe_endpoint(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "name": endpoint.name,
        "state": endpoint.state.value,
        "detail": endpoint.detail,
        "block": endpoint.head and endpoint.head.number,
    }


def _node_fields(node: Mapping[str, Any], wallet: Wallet | None) -> dict[str, object]:
    state = f"running, process {node['pid']}" if node["running"] else "not running"
    return {
        "data": node["data_dir"],
        "state": state,
        **({"role": node["role"]} if "role" in node else {}),
        **({"peer id": node["peer_id"]} if "peer_id" in node else {}),
        **({"reached at": " ".join(node["addresses"])} if node["running"] else {}),
        **({"serves": node["url"]} if node["running"] and "url" in node else {}),
        "node key": node["node_key"],
        "wallet": checksum_address(wallet) if wallet is not None else "none",
    }


def _format_account(
    account: Account,
    deployment: Deployment,
    endpoints: EndpointStates,
    outlooks: Mapping[SlotKind, Outlook],
) -> list[str]:
    moment = "before the genesis"
    if account.phase is not None:
        moment = f"{account.epoch}, {account.phase.value}"
    fields = {
        "chain": f"{deployment.chain_id}, block {account.head.number}",
        **{each["name"]: _format_endpoint(each) for each in endpoints},
        "network": deployment.network_id.hex()[:16],
        "epoch": moment,
        "holds": format_amount(account.tokens),
        "for gas": format_amount(account.gas, "") + _format_outlooks(outlooks),
    }
    lines = format_fields(fields)
    if not account.slots:
        lines += ["", "This wallet is not registered as a provider or a checker."]
    for slot in account.slots:
        lines += ["", *_format_slot(slot, account)]
    return lines


def find_outlooks(
    account: Account, deployment: Deployment, spending: Spending
) -> dict[SlotKind, Outlook]:
    """Work out for each slot of the wallet how long it can pay for gas."""
    base_fee, preset = account.head.base_fee, deployment.preset
    return {
        slot.kind: compute_outlook(account.gas, base_fee, slot.kind, preset, spending)
        for slot in account.slots
        if not slot.has_left
    }


def _format_outlooks(outlooks: Mapping[SlotKind, Outlook]) -> str:
    if not outlooks:
        return ""
    left = min(outlook.epochs_left for outlook in outlooks.values())
    return f", for about {left:,} epochs" + (", too few" if left < ENOUGH_EPOCHS else "")


def _format_endpoint(endpoint: Mapping[str, Any]) -> str:
    block = "" if endpoint["block"] is None else f", block {endpoint['block']}"
    detail = f" ({endpoint['detail']})" if endpoint["detail"] else ""
    return f"{endpoint['state']}{block}{detail}"


def _format_slot(account: SlotAccount, whole: Account) -> list[str]:
    slot = account.slot
    place = f"{account.kind.name.lower()} {slot.index}"
    if account.kind is SlotKind.PROVIDER:
        place += f" (shard {slot.index // LANES}, lane {slot.index % LANES})"
    since = f"active since epoch {slot.since_epoch}"
    if whole.epoch is None or slot.since_epoch > whole.epoch:
        since = f"active from epoch {slot.since_epoch}"
    if account.has_left:
        since += f", leaves with epoch {slot.exit_epoch}"
    fields: dict[str, object] = {
        "registered as": place,
        "since": since,
        "stake": format_amount(slot.stake),
        "to be claimed": format_amount(account.pending),
    }
    if account.wrong_reports:
        fields["wrong reports"] = account.wrong_reports
    if account.banned_until is not None and (whole.epoch or 0) < account.banned_until:
        fields["banned"] = f"from epoch {slot.exit_epoch}, until epoch {account.banned_until}"
    lines = format_fields(fields)
    if not account.results:
        return [*lines, "", "No results in the epochs looked at."]
    is_provider = account.kind is SlotKind.PROVIDER
    headers = ["epoch", "score"] if is_provider else ["epoch", "shard", "seat", "deviating lanes"]
    rows = [
        [*_format_result(result, is_provider), *_format_reward(result)]
        for result in account.results
    ]
    return [*lines, "", *format_table([*headers, "reward", ""], rows)]


def _format_result(result: EpochResult, is_provider: bool) -> list[object]:
    if is_provider:
        return [result.epoch, "no bundle" if result.score is None else result.score]
    return [result.epoch, result.shard, result.seat, f"{result.deviations} of {result.lanes}"]


def _format_reward(result: EpochResult) -> list[object]:
    if not result.reward:
        return ["-", ""]
    return [format_amount(result.reward), "claimed" if result.claimed else "to be claimed"]

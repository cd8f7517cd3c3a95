"""`kaisar stake`: what a wallet has at stake as a provider or a checker, and changing it."""

import argparse
import os
from typing import Any, Final

from chain.client import ChainClient
from chain.deployment import Deployment
from chain.records import NO_EXIT, SlotKind, SlotRecord
from p2p_node.chain_access import open_endpoints
from p2p_node.cli.event_loop import run_async
from p2p_node.cli.main import Subparsers, add_json_flag
from p2p_node.cli.wallet_work import FLAGS, Work, describe, require_deployment, run_work
from p2p_node.config import add_flags, load_settings
from p2p_node.display import format_amount, format_fields, parse_amount, show_json, show_lines
from p2p_node.keystore import read_wallet_address
from p2p_node.wallet_session import WalletSession
from protocols.errors import LocalError
from protocols.types import Wallet

KINDS: Final = {"provider": SlotKind.PROVIDER, "checker": SlotKind.CHECKER}


class StakeError(LocalError):
    """What was asked for makes no sense for what this wallet has at stake."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command's flags."""
    parser = subparsers.add_parser(
        "stake",
        help="add to a stake, leave, get it back",
        description=(
            "Show and change what this wallet has at stake. The node must not run at the same "
            "time, because both would send from one wallet."
        ),
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    status = actions.add_parser("status", help="show stake, standing and when it can be had back")
    add = actions.add_parser("add", help="add to the stake; it counts from the next epoch on")
    add.add_argument("amount", type=parse_amount, metavar="AMOUNT", help="in KAI, such as 12.5")
    leave = actions.add_parser("leave", help="take no part any more from the next epoch on")
    withdraw = actions.add_parser("withdraw", help="get the stake back after the unstake delay")
    for action in (add, leave, withdraw):
        action.add_argument(
            "--as",
            dest="kind",
            choices=sorted(KINDS),
            help="which stake, where the wallet has two",
        )
        add_flags(action, FLAGS)
    add_flags(status, ("data_dir", "rpc", "deployment"))
    for action in (status, add, leave, withdraw):
        add_json_flag(action)


def run(arguments: argparse.Namespace) -> int:
    """Do one action."""
    settings = load_settings(arguments, os.environ)
    if arguments.action != "status":
        run_work(settings, arguments, _ACTIONS[arguments.action])
        return 0
    deployment = require_deployment(settings)
    wallet = read_wallet_address(settings["data_dir"])
    stakes = run_async(_read_stakes, settings["rpc"], deployment, wallet)
    if arguments.json:
        show_json({"stakes": [_to_json(each) for each in stakes]})
    else:
        show_lines(_format(stakes))
    return 0


async def _add(session: WalletSession, arguments: argparse.Namespace) -> dict[str, Any]:
    kind, slot = await _find_slot(session.chain, session.wallet, arguments.kind)
    amount: int = arguments.amount
    if slot.exit_epoch != NO_EXIT and not slot.is_suspended:
        raise StakeError(f"{kind.name.lower()} {slot.index} has left: nothing can be added")
    held = await session.chain.token_balance(session.wallet)
    if held < amount:
        raise StakeError(
            f"amount: found {format_amount(amount)}, expected at most {format_amount(held)}, "
            "which the wallet holds"
        )
    registry = session.chain.deployment.address("Registry")
    calls = session.calls.top_up(kind, slot.index, amount)
    sent = await session.approve_and_send("stake", calls, registry, amount)
    stake = await session.chain.stake_of(kind, slot.index)
    return describe(sent, f"the stake is {format_amount(stake)} now", stake=str(stake))


async def _leave(session: WalletSession, arguments: argparse.Namespace) -> dict[str, Any]:
    kind, slot = await _find_slot(session.chain, session.wallet, arguments.kind)
    if slot.exit_epoch != NO_EXIT and not slot.is_suspended:
        raise StakeError(f"{kind.name.lower()} {slot.index} has left with epoch {slot.exit_epoch}")
    sent = await session.send("leaving", session.calls.leave(kind))
    left = await session.chain.slot(kind, slot.index)
    delay = session.chain.deployment.preset.unstake_delay_seconds
    said = (
        f"{kind.name.lower()} {slot.index} leaves with epoch {left.exit_epoch}; the stake can be "
        f"withdrawn {delay:,} s after that"
    )
    return describe(sent, said, exit_epoch=left.exit_epoch)


async def _withdraw(session: WalletSession, arguments: argparse.Namespace) -> dict[str, Any]:
    kind, slot = await _find_slot(session.chain, session.wallet, arguments.kind)
    if slot.exit_epoch == NO_EXIT or slot.is_suspended:
        raise StakeError(f"{kind.name.lower()} {slot.index} has not left: `kaisar stake leave`")
    left = await _seconds_left(session.chain, slot)
    if left > 0:
        raise StakeError(f"the unstake delay lasts another {left:,} s")
    sent = await session.send("withdrawal", session.calls.withdraw(kind, slot.index))
    said = f"{format_amount(slot.stake)} came back to the wallet"
    return describe(sent, said, amount=str(slot.stake))


_ACTIONS: Final[dict[str, Work]] = {"add": _add, "leave": _leave, "withdraw": _withdraw}


async def _find_slot(
    chain: ChainClient, wallet: Wallet, name: str | None
) -> tuple[SlotKind, SlotRecord]:
    wanted = [KINDS[name]] if name else list(SlotKind)
    found = []
    for kind in wanted:
        index = await chain.slot_index(kind, wallet)
        if index is not None:
            found.append((kind, await chain.slot(kind, index)))
    if not found:
        raise StakeError(f"this wallet is not registered as a {name or 'provider or a checker'}")
    if len(found) > 1:
        raise StakeError("this wallet has two stakes: say --as provider or --as checker")
    return found[0]


async def _seconds_left(chain: ChainClient, slot: SlotRecord) -> int:
    """Time until the stake of a slot that was left can be withdrawn; 0 when it can."""
    deployment = chain.deployment
    preset = deployment.preset
    exit_time = deployment.genesis + slot.exit_epoch * preset.epoch_seconds
    head = await chain.head()
    return max(0, exit_time + preset.unstake_delay_seconds - head.timestamp)


async def _read_stakes(
    urls: tuple[str, ...], deployment: Deployment, wallet: Wallet
) -> list[dict[str, Any]]:
    rpc = open_endpoints(urls, deployment.chain_id)
    try:
        chain = ChainClient(rpc, deployment)
        stakes = []
        for kind in SlotKind:
            index = await chain.slot_index(kind, wallet)
            if index is not None:
                slot = await chain.slot(kind, index)
                stakes.append(await _read_stake(chain, kind, slot))
        return stakes
    finally:
        rpc.close()


async def _read_stake(chain: ChainClient, kind: SlotKind, slot: SlotRecord) -> dict[str, Any]:
    has_left = slot.exit_epoch != NO_EXIT and not slot.is_suspended
    return {
        "kind": kind.name.lower(),
        "index": slot.index,
        "stake": slot.stake,
        "scored_stake": slot.scored_stake,
        "units": slot.stake_units,
        "minimum": await chain.minimum_stake(kind),
        "exit_epoch": slot.exit_epoch if has_left else None,
        "withdrawable_in": await _seconds_left(chain, slot) if has_left else None,
        "banned_until": (
            slot.joined_epoch
            if slot.is_suspended and await chain.epoch() < slot.joined_epoch
            else None
        ),
        "wrong_reports": (
            (await chain.standing(slot.index)).total if kind is SlotKind.CHECKER else None
        ),
    }


def _to_json(stake: dict[str, Any]) -> dict[str, Any]:
    amounts = ("stake", "scored_stake", "minimum")
    return {name: str(value) if name in amounts else value for name, value in stake.items()}


def _format(stakes: list[dict[str, Any]]) -> list[str]:
    if not stakes:
        return ["This wallet is not registered as a provider or a checker."]
    lines: list[str] = []
    for each in stakes:
        fields = {
            each["kind"]: each["index"],
            "stake": format_amount(each["stake"]),
            "in scores": format_amount(each["scored_stake"]),
            "minimum": format_amount(each["minimum"]),
        }
        if each["wrong_reports"] is not None:
            fields["wrong reports"] = each["wrong_reports"]
        if each["banned_until"] is not None:
            fields["banned until"] = f"epoch {each['banned_until']}"
        if each["exit_epoch"] is not None:
            fields["leaves with"] = f"epoch {each['exit_epoch']}"
            fields["withdrawable"] = (
                f"in {each['withdrawable_in']:,} s" if each["withdrawable_in"] else "now"
            )
        lines += ["", *format_fields(fields)] if lines else format_fields(fields)
    return lines

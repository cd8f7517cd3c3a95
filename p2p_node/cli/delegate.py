"""`kaisar delegate`: stake entrusted to checkers, and what it earned."""

import argparse
import os
from typing import Any, Final

from chain.calls import BPS
from chain.client import ChainClient
from chain.deployment import Deployment
from chain.records import Holding, SlotKind
from p2p_node.chain_access import open_endpoints
from p2p_node.cli.event_loop import run_async
from p2p_node.cli.main import Subparsers, add_json_flag
from p2p_node.cli.wallet_work import FLAGS, Work, describe, require_deployment, run_work
from p2p_node.config import add_flags, load_settings
from p2p_node.display import format_amount, format_fields, parse_amount, show_json, show_lines
from p2p_node.keystore import checksum_address, read_wallet_address
from p2p_node.wallet_session import WalletSession
from protocols.errors import LocalError
from protocols.types import Epoch, Wallet

ACTIONS: Final = {
    "status": "show what this wallet has entrusted to a checker",
    "deposit": "leave stake for a checker, to be activated after the warm-up",
    "take-back": "take back what is not activated",
    "activate": "make what was deposited count, after the warm-up",
    "undelegate": "take stake out again; it stays locked for the unstake delay",
    "withdraw": "get back what was undelegated, after the delay",
    "collect": "have this wallet's part of the checker's rewards paid out",
    "commission": "say what part of this checker's rewards goes to its delegators",
}


class DelegationError(LocalError):
    """What was asked for makes no sense for what this wallet has entrusted."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command's flags."""
    parser = subparsers.add_parser(
        "delegate",
        help="entrust stake to a checker, take it back, collect",
        description=(
            "Entrust stake to a checker. It counts in the checker's weight, takes part of its "
            "rewards, and answers for its offences like its own stake."
        ),
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    for name, text in ACTIONS.items():
        action = actions.add_parser(name, help=text)
        if name == "commission":
            action.add_argument(
                "percent", type=_percent, metavar="PERCENT", help="0 … 100, such as 12.5"
            )
        else:
            action.add_argument("checker", type=_index, metavar="CHECKER", help="its slot's index")
            action.add_argument(
                "--since",
                type=_index,
                metavar="EPOCH",
                help="first epoch of the tenant that is meant, if the slot has another one now",
            )
        if name in ("deposit", "undelegate"):
            action.add_argument(
                "amount",
                type=parse_amount if name == "deposit" else _amount_or_all,
                metavar="AMOUNT",
                help="in KAI, such as 12.5" + (", or all" if name == "undelegate" else ""),
            )
        add_flags(action, ("data_dir", "rpc", "deployment") if name == "status" else FLAGS)
        add_json_flag(action)


def run(arguments: argparse.Namespace) -> int:
    """Do one action."""
    settings = load_settings(arguments, os.environ)
    if arguments.action != "status":
        run_work(settings, arguments, _WORKS[arguments.action])
        return 0
    deployment = require_deployment(settings)
    wallet = read_wallet_address(settings["data_dir"])
    found = run_async(_read, settings["rpc"], deployment, wallet, arguments)
    if arguments.json:
        amounts = ("waiting", "stake", "leaving", "rewards")
        show_json({name: str(v) if name in amounts else v for name, v in found.items()})
    else:
        show_lines(_format(found))
    return 0


async def _deposit(session: WalletSession, arguments: argparse.Namespace) -> dict[str, Any]:
    amount: int = arguments.amount
    held = await session.chain.token_balance(session.wallet)
    if held < amount:
        raise DelegationError(
            f"amount: found {format_amount(amount)}, expected at most {format_amount(held)}, "
            "which the wallet holds"
        )
    since = await _find_since(session.chain, arguments)
    spender = session.chain.deployment.address("Delegation")
    calls = session.calls.delegate(arguments.checker, since, amount)
    sent = await session.approve_and_send("delegation", calls, spender, amount)
    holding = await session.chain.holding(session.wallet, arguments.checker, since)
    said = (
        f"{format_amount(holding.waiting)} wait for checker {arguments.checker}, and can be "
        f"activated from epoch {holding.ready_epoch} on"
    )
    return describe(sent, said, since=since, ready_epoch=holding.ready_epoch)


async def _take_back(session: WalletSession, arguments: argparse.Namespace) -> dict[str, Any]:
    since, holding = await _find_holding(session, arguments)
    _require(holding.waiting, "waits to be activated")
    sent = await session.send("taking back", session.calls.take_back(arguments.checker, since))
    return describe(sent, f"{format_amount(holding.waiting)} came back to the wallet")


async def _activate(session: WalletSession, arguments: argparse.Namespace) -> dict[str, Any]:
    since, holding = await _find_holding(session, arguments)
    _require(holding.waiting, "waits to be activated")
    now = await session.chain.epoch()
    if now < holding.ready_epoch:
        raise DelegationError(
            f"the warm-up lasts until epoch {holding.ready_epoch}, and this is epoch {now}"
        )
    call = session.calls.activate(session.wallet, arguments.checker, since)
    sent = await session.send("activation", call)
    return describe(sent, f"{format_amount(holding.waiting)} count from now on")


async def _undelegate(session: WalletSession, arguments: argparse.Namespace) -> dict[str, Any]:
    since, holding = await _find_holding(session, arguments)
    _require(holding.shares, "is active")
    shares = holding.shares
    if arguments.amount is not None:
        if arguments.amount > holding.stake:
            raise DelegationError(
                f"amount: found {format_amount(arguments.amount)}, expected at most "
                f"{format_amount(holding.stake)}, which is active"
            )
        # Rounded up: what is asked for comes out, and never a unit less.
        shares = min(shares, -(-arguments.amount * holding.shares // holding.stake))
    call = session.calls.undelegate(arguments.checker, since, shares)
    sent = await session.send("undelegation", call)
    left = await session.chain.holding(session.wallet, arguments.checker, since)
    delay = session.chain.deployment.preset.unstake_delay_seconds
    said = f"{format_amount(left.leaving)} are on their way out, locked for {delay:,} s"
    return describe(sent, said, unlocks_at=left.unlocks_at)


async def _withdraw(session: WalletSession, arguments: argparse.Namespace) -> dict[str, Any]:
    since, holding = await _find_holding(session, arguments)
    _require(holding.leaving, "is on its way out")
    head = await session.chain.head()
    if head.timestamp < holding.unlocks_at:
        raise DelegationError(
            f"it stays locked for another {holding.unlocks_at - head.timestamp:,} s"
        )
    call = session.calls.withdraw_delegation(session.wallet, arguments.checker, since)
    sent = await session.send("withdrawal", call)
    return describe(sent, f"{format_amount(holding.leaving)} came back to the wallet")


async def _collect(session: WalletSession, arguments: argparse.Namespace) -> dict[str, Any]:
    since, holding = await _find_holding(session, arguments)
    _require(holding.rewards, "is to be collected")
    call = session.calls.collect(session.wallet, arguments.checker, since)
    sent = await session.send("collection", call)
    return describe(sent, f"{format_amount(holding.rewards)} were paid to the wallet")


async def _set_commission(session: WalletSession, arguments: argparse.Namespace) -> dict[str, Any]:
    index = await session.chain.slot_index(SlotKind.CHECKER, session.wallet)
    if index is None:
        raise DelegationError("this wallet is not registered as a checker")
    sent = await session.send("commission", session.calls.set_commission(index, arguments.percent))
    warm_up = session.chain.deployment.preset.ring_epochs + 1
    first = await session.chain.epoch() + warm_up
    share = f"{arguments.percent / 100:g} %"
    return describe(sent, f"delegators get {share} of the rewards, from about epoch {first} on")


_WORKS: Final[dict[str, Work]] = {
    "deposit": _deposit,
    "take-back": _take_back,
    "activate": _activate,
    "undelegate": _undelegate,
    "withdraw": _withdraw,
    "collect": _collect,
    "commission": _set_commission,
}


async def _find_since(chain: ChainClient, arguments: argparse.Namespace) -> Epoch:
    if arguments.since is not None:
        return Epoch(arguments.since)
    tenant = await chain.tenant(arguments.checker)
    if tenant is None:
        raise DelegationError(f"checker {arguments.checker}: there is none")
    return tenant[1]


async def _find_holding(
    session: WalletSession, arguments: argparse.Namespace
) -> tuple[Epoch, Holding]:
    since = await _find_since(session.chain, arguments)
    return since, await session.chain.holding(session.wallet, arguments.checker, since)


def _require(amount: int, what: str) -> None:
    if not amount:
        raise DelegationError(f"nothing of this wallet's {what} there")


async def _read(
    urls: tuple[str, ...], deployment: Deployment, wallet: Wallet, arguments: argparse.Namespace
) -> dict[str, Any]:
    rpc = open_endpoints(urls, deployment.chain_id)
    try:
        chain = ChainClient(rpc, deployment)
        since = await _find_since(chain, arguments)
        tenant = await chain.tenant(arguments.checker)
        holding = await chain.holding(wallet, arguments.checker, since)
        return {
            "checker": arguments.checker,
            "wallet": checksum_address(tenant[0]) if tenant and tenant[1] == since else None,
            "since": since,
            "commission_bps": await chain.commission(arguments.checker),
            "waiting": holding.waiting,
            "ready_epoch": holding.ready_epoch,
            "stake": holding.stake,
            "leaving": holding.leaving,
            "unlocks_at": holding.unlocks_at,
            "rewards": holding.rewards,
        }
    finally:
        rpc.close()


def _format(found: dict[str, Any]) -> list[str]:
    fields = {
        "checker": f"{found['checker']}, since epoch {found['since']}",
        "commission": f"{found['commission_bps'] * 100 / BPS:g} % to delegators",
        "active": format_amount(found["stake"]),
        "to collect": format_amount(found["rewards"]),
    }
    if found["waiting"]:
        ready = f"from epoch {found['ready_epoch']} on"
        fields["to activate"] = f"{format_amount(found['waiting'])}, {ready}"
    if found["leaving"]:
        unlocks = f"locked until {found['unlocks_at']} (Unix seconds)"
        fields["on its way out"] = f"{format_amount(found['leaving'])}, {unlocks}"
    return format_fields(fields)


def _index(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number")
    return int(text)


def _amount_or_all(text: str) -> int | None:
    return None if text == "all" else parse_amount(text)


def _percent(text: str) -> int:
    """Read a percentage into ten-thousandths."""
    whole, dot, part = text.partition(".")
    digits = whole + part
    is_number = digits.isascii() and digits.isdecimal() and bool(whole) and bool(part) == bool(dot)
    bps = int(whole) * 100 + int(part.ljust(2, "0")) if is_number and len(part) <= 2 else BPS + 1
    if len(whole) > 3 or bps > BPS:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected 0 … 100 with two decimals at most"
        )
    return bps

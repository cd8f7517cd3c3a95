"""`kaisar deploy`: put the contracts on a chain, after showing what that sends and costs."""

import argparse
import getpass
import os
import sys
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p_node.addresses import parse_address
from p2p_node.cli.event_loop import run_async
from p2p_node.cli.main import FAILURE, SUCCESS, Subparsers, add_json_flag
from p2p_node.config import ConfigError, add_flags, load_settings
from p2p_node.display import show_json, show_lines
from p2p_node.keystore import open_wallet, read_password, read_wallet_address
from protocols.errors import LocalError
from protocols.params import PRESETS, TOKEN, get_preset
from protocols.types import Wallet

if TYPE_CHECKING:
    from chain.deploy_plan import DeploymentOptions
    from chain.rpc import Rpc

NETWORK_NAMES = ("agung", "peaq", "local")
"""`chain.networks.NETWORKS`; importing it would cost the help text web3's start."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command's flags."""
    parser = subparsers.add_parser(
        "deploy",
        help="put the contracts on a chain",
        description=(
            "Deploy all contracts with the wallet of --data-dir, and write the deployment file "
            "that nodes are started with. First every transaction is run on a chain in memory, "
            "and shown with what it costs; with --dry-run nothing is sent. A deployment that was "
            "cut off is continued by the same command. Exit status 0 only if everything is on "
            "the chain and final, or, with --dry-run, could be."
        ),
    )
    add_json_flag(parser)
    parser.add_argument("--network", required=True, choices=NETWORK_NAMES, help="which chain it is")
    parser.add_argument("--dry-run", action="store_true", help="send nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask before sending")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="deployment file to write (deployment-NETWORK.json)",
    )
    parser.add_argument(
        "--preset", choices=sorted(PRESETS), help="numbers to deploy with (the network's own)"
    )
    parser.add_argument("--token", metavar="ADDRESS", help="existing ERC-20 instead of a new one")
    parser.add_argument(
        "--nft", metavar="ADDRESS", help="existing ERC-721 collection instead of a new one"
    )
    parser.add_argument("--supply", metavar="TOKENS", help="of a new token (1000000000)")
    parser.add_argument(
        "--reward-fund", metavar="TOKENS", default="0", help="to pay rewards from (0)"
    )
    parser.add_argument(
        "--genesis", type=int, metavar="SECONDS", help="start of epoch 0 (the newest block)"
    )
    parser.add_argument(
        "--owner",
        metavar="ADDRESS",
        help="who may propose parameters and list services (the deployer)",
    )
    parser.add_argument(
        "--guardian", metavar="ADDRESS", help="who may pause new bundles (the deployer)"
    )
    parser.add_argument(
        "--restart", action="store_true", help="begin anew after a deployment that was cut off"
    )
    add_flags(parser, ("data_dir", "rpc", "wallet_password_file"))


def run(arguments: argparse.Namespace) -> int:
    """Look, show, and unless it is a dry run, send."""
    settings = load_settings(arguments, os.environ)
    out: Path = arguments.out or Path(f"deployment-{arguments.network}.json")
    progress_file = out.with_name(out.name + ".part")
    if out.exists():
        raise ConfigError(f"out: {out} exists already; another network's file is not overwritten")
    # Imported here, because web3 and the EVM take seconds that a mistyped flag should not cost.
    from chain.rpc import Rpc

    # A deployment goes through one endpoint: the order of its transactions is what it is about.
    if len(settings["rpc"]) > 1:
        raise ConfigError(
            f"rpc: found {len(settings['rpc'])} endpoints, expected one: what is there already "
            "must not be judged by whichever answers"
        )
    rpc = Rpc(settings["rpc"][0])
    with closing(rpc):
        return _deploy(arguments, settings, rpc, out, progress_file)


def _deploy(
    arguments: argparse.Namespace,
    settings: Mapping[str, Any],
    rpc: "Rpc",
    out: Path,
    progress_file: Path,
) -> int:
    from chain.deploy_progress import read_progress
    from chain.hexes import to_hex
    from chain.networks import get_network
    from p2p_node.deploying.report import describe, to_json
    from p2p_node.deploying.sending import send
    from p2p_node.deploying.survey import look

    chain = get_network(arguments.network)
    data_dir: Path = settings["data_dir"]
    deployer = read_wallet_address(data_dir)
    # What --restart leaves behind is overwritten when the first transaction is about to go out.
    progress = None if arguments.restart else read_progress(progress_file)
    options = _read_options(arguments, chain.preset)
    survey = run_async(look, rpc, chain, deployer, options, progress)
    result = to_json(survey, settings["rpc"][0])
    if not arguments.json:
        show_lines(describe(survey, settings["rpc"][0]))
    can_be_done = survey.quote.is_enough and survey.quote.fits
    if arguments.dry_run or not can_be_done:
        if arguments.json:
            show_json(result | {"sent": False})
        else:
            show_lines(["", _verdict(arguments.dry_run, survey.quote.fits, can_be_done)])
        return SUCCESS if can_be_done else FAILURE
    _require_consent(arguments)
    prompt = _ask_password if sys.stdin.isatty() else None
    password = read_password(settings["wallet_password_file"], os.environ, prompt)
    signer = open_wallet(data_dir, password)
    if signer.address != deployer:
        raise LocalError("wallet: its key does not belong to the address that its file names")
    deployment = run_async(
        partial(
            send,
            rpc,
            signer,
            survey,
            progress_file=progress_file,
            deployment_file=out,
            say=lambda text: print(text, file=sys.stderr, flush=True),
        )
    )
    if arguments.json:
        network_id = to_hex(deployment.network_id)
        show_json(result | {"sent": True, "deployment": str(out), "network_id": network_id})
    else:
        show_lines(["", f"deployed; nodes take part with --deployment {out}"])
    return SUCCESS


def _verdict(is_dry: bool, fits: bool, can_be_done: bool) -> str:
    if can_be_done:
        return "dry run: nothing was sent"
    problem = "the wallet cannot pay for it" if fits else "a transaction exceeds the chain's bounds"
    return f"{'dry run' if is_dry else 'nothing was sent'}: {problem}"


def _read_options(arguments: argparse.Namespace, own_preset: str) -> "DeploymentOptions":
    from chain.deploy_plan import DEFAULT_SUPPLY, DeploymentOptions

    if arguments.token is not None and arguments.supply is not None:
        raise ConfigError("supply: has no meaning together with --token")
    supply = arguments.supply
    return DeploymentOptions(
        preset=get_preset(arguments.preset or own_preset),
        reward_fund=_parse_tokens("reward-fund", arguments.reward_fund),
        token=_parse_address("token", arguments.token),
        nft=_parse_address("nft", arguments.nft),
        supply=DEFAULT_SUPPLY if supply is None else _parse_tokens("supply", supply),
        genesis=arguments.genesis,
        owner=_parse_address("owner", arguments.owner),
        guardian=_parse_address("guardian", arguments.guardian),
    )


def _parse_tokens(name: str, text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 30:
        raise ConfigError(f"{name}: found {text[:60]!r}, expected a number of whole tokens")
    return int(text) * TOKEN


def _parse_address(name: str, text: str | None) -> Wallet | None:
    return None if text is None else parse_address(name, text)


def _require_consent(arguments: argparse.Namespace) -> None:
    """Money is spent on a public chain only when somebody says so."""
    if arguments.yes or arguments.network == "local":
        return
    if arguments.json or not sys.stdin.isatty():
        raise ConfigError("yes: not given; without a terminal to ask on, sending needs --yes")
    if input(f"\nsend these transactions to {arguments.network}? Type its name: ").strip() != (
        arguments.network
    ):
        raise LocalError("nothing was sent")


def _ask_password() -> str:
    return getpass.getpass("wallet password: ")

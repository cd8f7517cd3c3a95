"""What commands share that send transactions with a node's wallet."""

import argparse
import getpass
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from chain.deployment import Deployment, read_deployment
from p2p_node.cli.event_loop import run_async
from p2p_node.config import ConfigError
from p2p_node.display import show_json, show_lines
from p2p_node.keystore import Keystore, read_password
from p2p_node.wallet_session import WalletSession, open_session

Work = Callable[[WalletSession, argparse.Namespace], Awaitable[dict[str, Any]]]
"""Does one action; the result is what `--json` shows, and `said` in it what people are told."""

FLAGS = ("data_dir", "rpc", "deployment", "wallet_password_file")
"""Settings of an action that sends something."""


def require_deployment(settings: Mapping[str, Any]) -> Deployment:
    """Read the deployment that the settings name; ConfigError when they name none."""
    if settings["deployment"] is None:
        raise ConfigError("deployment: found nothing, expected a deployment file")
    return read_deployment(settings["deployment"])


def run_work(settings: Mapping[str, Any], arguments: argparse.Namespace, work: Work) -> None:
    """Open the wallet, do the work, and show its result; progress goes to standard error."""
    result = do_work(settings, arguments, work)
    if arguments.json:
        show_json(result)
    else:
        show_lines([str(result["said"])])


def do_work(
    settings: Mapping[str, Any], arguments: argparse.Namespace, work: Work
) -> dict[str, Any]:
    """Open the wallet, do the work, and return its result."""
    deployment = require_deployment(settings)
    prompt = _ask_password if sys.stdin.isatty() else None
    password = read_password(settings["wallet_password_file"], os.environ, prompt)
    signer = Keystore.open(settings["data_dir"], password).transaction_signer
    result: dict[str, Any] = {}

    async def do() -> None:
        async with open_session(
            settings["data_dir"], settings["rpc"], deployment, signer, tell
        ) as session:
            result.update(await work(session, arguments))

    run_async(do)
    return result


def describe(transaction: bytes, said: str, **values: object) -> dict[str, Any]:
    """Make up the result of an action: the transaction, what people are told, and values."""
    return {"tx": f"0x{transaction.hex()}", "said": said, **values}


def tell(text: str) -> None:
    """Print a line of progress."""
    print(text, file=sys.stderr, flush=True)


def _ask_password() -> str:
    return getpass.getpass("wallet password: ")

"""`kaisar devchain`: a chain for development, until it is told to stop."""

import argparse
import os
import signal
import threading
import time
from pathlib import Path

from chain.devchain.config import DEFAULT_CHAIN_ID, DEFAULT_PORT, DevchainConfig
from chain.hexes import parse_hex_bytes
from p2p_node.cli.main import Subparsers, add_json_flag
from p2p_node.config import ConfigError
from p2p_node.display import show_json
from p2p_node.logs import configure_logging
from protocols.errors import LocalError
from protocols.types import Wallet

PARENT_POLL_SECONDS = 1.0


def add_parser(subparsers: Subparsers) -> None:
    """Add the command's flags."""
    parser = subparsers.add_parser(
        "devchain",
        help="run a chain for development on this machine",
        description=(
            "Run an EVM chain with peaq's rules on 127.0.0.1, for development and tests. It keeps "
            "everything in memory, and whoever reaches its port can use it."
        ),
    )
    add_json_flag(parser)
    parser.add_argument(
        "--port",
        type=int,
        default=DEFAULT_PORT,
        help=f"TCP port; 0 lets the system choose ({DEFAULT_PORT})",
    )
    parser.add_argument(
        "--block-seconds", type=int, default=1, help="time between two blocks (1)", metavar="N"
    )
    parser.add_argument(
        "--chain-id", type=int, default=DEFAULT_CHAIN_ID, help=f"({DEFAULT_CHAIN_ID})", metavar="N"
    )
    parser.add_argument(
        "--fund",
        action="append",
        default=[],
        metavar="ADDRESS=WEI",
        help="a balance that exists from the first block on; may be repeated",
    )
    parser.add_argument(
        "--ready-file",
        type=Path,
        metavar="FILE",
        help="write the URL to this file once requests are answered",
    )
    parser.add_argument("--exit-with-parent", action="store_true", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Run the chain; 0 when it was asked to stop."""
    try:
        config = DevchainConfig(
            chain_id=arguments.chain_id,
            port=arguments.port,
            block_seconds=arguments.block_seconds,
            funded=tuple(parse_funding(text) for text in arguments.fund),
        )
    except LocalError as error:
        raise ConfigError(str(error)) from None
    configure_logging("info", "text")
    # Imported here, because the EVM takes a second that a mistyped flag should not cost.
    from chain.devchain.service import RunningDevchain, run_devchain

    def announce(running: RunningDevchain) -> None:
        if arguments.ready_file is not None:
            _write_whole(arguments.ready_file, running.url + "\n")
        if arguments.json:
            show_json({"url": running.url, "chain_id": config.chain_id})
        else:
            print(f"chain {config.chain_id} at {running.url}", flush=True)

    if arguments.exit_with_parent:
        threading.Thread(target=_stop_with, args=(os.getppid(),), daemon=True).start()
    run_devchain(config, announce)
    return 0


def parse_funding(text: str) -> tuple[Wallet, int]:
    """Read ADDRESS=WEI; ConfigError if it is not that."""
    address, _, amount = text.partition("=")
    try:
        wallet = Wallet(parse_hex_bytes(address, 20))
    except ValueError:
        wallet = Wallet(b"")
    if not wallet or not amount.isascii() or not amount.isdecimal():
        raise ConfigError(f"fund: found {text[:120]!r}, expected 0x and 40 digits, =, an integer")
    return wallet, int(amount)


def _stop_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def _write_whole(path: Path, text: str) -> None:
    """Whoever waits for the file finds it complete."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text)
    temporary.replace(path)

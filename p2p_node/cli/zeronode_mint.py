"""`kaisar zeronode mint`: make a token of a test network's own collection."""

import argparse
import os
from typing import TYPE_CHECKING, Any, Final

from p2p_node.addresses import parse_address
from p2p_node.cli.main import SUCCESS, Subparsers
from p2p_node.config import add_flags, load_settings
from p2p_node.keystore import checksum_address
from protocols.errors import LocalError

if TYPE_CHECKING:
    from p2p_node.wallet_session import WalletSession

FLAGS: Final = ("data_dir", "rpc", "deployment", "wallet_password_file")


class MintError(LocalError):
    """The collection is not one that this wallet makes tokens of."""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Add the action's flags."""
    parser = subparsers.add_parser(
        "mint",
        help="make a token of a test network's own collection",
        description=(
            "Make a token of the ERC-721 collection that `kaisar deploy` brought with it, as its "
            "minter, who is the owner that was named then. An existing collection has other ways."
        ),
    )
    parser.add_argument("to", metavar="WALLET", help="who gets it, 0x…")
    add_flags(parser, FLAGS)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Make it, and say its number."""
    # Imported here, because web3 takes seconds that a mistyped address should not cost.
    from p2p_node.cli.wallet_work import run_work

    settings = load_settings(arguments, os.environ)
    parse_address("wallet", arguments.to)
    run_work(settings, arguments, _mint)
    return SUCCESS


async def _mint(session: "WalletSession", arguments: argparse.Namespace) -> dict[str, Any]:
    from chain.errors import RevertedError
    from chain.zeronode_calls import ZeroNodeCalls
    from chain.zeronode_client import find_minted
    from p2p_node.cli.wallet_work import describe

    to = parse_address("wallet", arguments.to)
    call = ZeroNodeCalls(session.chain.deployment).mint(to)
    try:
        sent = await session.send("token", call)
    except RevertedError as error:
        raise MintError(
            f"no token was made: {error.revert_reason or 'this collection has no such call'}"
        ) from error
    receipt = await session.chain.receipt(sent)
    token = None if receipt is None else find_minted(session.chain.deployment, receipt)
    if token is None:
        raise MintError("no token was made: the collection did not report one")
    return describe(sent, f"{checksum_address(to)} has token {token}", token=str(token))

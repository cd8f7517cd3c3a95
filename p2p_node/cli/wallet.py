"""`kaisar wallet`: the account that a node stakes, earns and pays gas with."""

import argparse
import getpass
import os
import sys
from pathlib import Path

from p2p_node.cli.event_loop import run_async
from p2p_node.cli.main import Subparsers, add_json_flag
from p2p_node.config import ConfigError, add_flags, load_settings
from p2p_node.display import format_amount, format_fields, show_json, show_lines
from p2p_node.keystore import (
    NODE_KEY_FILE,
    WALLET_FILE,
    Keystore,
    KeystoreError,
    checksum_address,
    decrypt_wallet,
    open_node_key,
    read_password,
    read_wallet_address,
)
from p2p_node.secret_files import MAX_SECRET_BYTES, read_secret_file
from protocols.types import Wallet

NATIVE = "native"
"""The unit of gas, named neutrally: PEAQ on peaq, AGUNG on its testnet, nothing on a devchain."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command and its actions."""
    parser = subparsers.add_parser(
        "wallet",
        help="create, import and show a node's wallet",
        description=(
            "A node's wallet lies encrypted in its data directory, beside the node key. Its "
            "password comes from --wallet-password-file, from KAISAR_WALLET_PASSWORD, or from the "
            "terminal; neither keys nor passwords are ever arguments."
        ),
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    create = actions.add_parser("create", help="make a node key and a new wallet")
    bring = actions.add_parser("import", help="make a node key and bring an existing wallet")
    bring.add_argument(
        "source",
        metavar="FILE",
        help="file (mode 0600) with a private key in hexadecimal, or an encrypted wallet as other "
        "programs write it; - reads standard input",
    )
    bring.add_argument(
        "--source-password-file",
        type=Path,
        metavar="FILE",
        help="password of an encrypted FILE, when it is not the new one",
    )
    show = actions.add_parser("show", help="show the address, the node key and where they are")
    address = actions.add_parser("address", help="print the address and nothing else")
    balance = actions.add_parser("balance", help="ask the chain what the wallet holds")
    for action in (create, bring):
        add_flags(action, ("data_dir", "wallet_password_file"))
    for action in (show, address):
        add_flags(action, ("data_dir",))
    add_flags(balance, ("data_dir", "rpc", "deployment"))
    for action in (create, bring, show, address, balance):
        add_json_flag(action)


def run(arguments: argparse.Namespace) -> int:
    """Do one action."""
    settings = load_settings(arguments, os.environ)
    data_dir: Path = settings["data_dir"]
    if arguments.action == "create":
        password = _read_new_password(settings["wallet_password_file"])
        _show_keys(Keystore.create(data_dir, password).wallet_address, data_dir, arguments.json)
    elif arguments.action == "import":
        private_key = _read_private_key(arguments, settings["wallet_password_file"])
        password = _read_new_password(settings["wallet_password_file"])
        keystore = Keystore.create(data_dir, password, private_key=private_key)
        _show_keys(keystore.wallet_address, data_dir, arguments.json)
    elif arguments.action == "show":
        _show_keys(read_wallet_address(data_dir), data_dir, arguments.json)
    elif arguments.action == "address":
        text = checksum_address(read_wallet_address(data_dir))
        show_json({"address": text}) if arguments.json else show_lines([text])
    else:
        if settings["deployment"] is None:
            raise ConfigError("deployment: found nothing, expected a deployment file")
        _show_balance(data_dir, settings["rpc"], settings["deployment"], arguments.json)
    return 0


def _show_keys(wallet: Wallet, data_dir: Path, as_json: bool) -> None:
    fields = {
        "address": checksum_address(wallet),
        "node_key": bytes(open_node_key(data_dir).verify_key).hex(),
        "wallet_file": str(data_dir / WALLET_FILE),
        "node_key_file": str(data_dir / NODE_KEY_FILE),
    }
    if as_json:
        show_json(fields)
    else:
        show_lines(format_fields({name.replace("_", " "): text for name, text in fields.items()}))


def _show_balance(
    data_dir: Path, rpc_urls: tuple[str, ...], deployment_file: Path, as_json: bool
) -> None:
    from chain.client import ChainClient
    from chain.deployment import read_deployment
    from p2p_node.chain_access import open_endpoints

    wallet = read_wallet_address(data_dir)
    deployment = read_deployment(deployment_file)

    async def read() -> tuple[int, int]:
        rpc = open_endpoints(rpc_urls, deployment.chain_id)
        try:
            chain = ChainClient(rpc, deployment)
            return await chain.token_balance(wallet), await chain.gas_balance(wallet)
        finally:
            rpc.close()

    tokens, gas = run_async(read)
    address = checksum_address(wallet)
    if as_json:
        show_json({"address": address, "tokens": str(tokens), "gas": str(gas)})
    else:
        show_lines(
            format_fields(
                {
                    "address": address,
                    "tokens": format_amount(tokens),
                    "for gas": format_amount(gas, NATIVE),
                }
            )
        )


def _read_private_key(arguments: argparse.Namespace, password_file: Path | None) -> bytes:
    """Read the key to import, from a file or standard input."""
    if arguments.source == "-":
        content = sys.stdin.buffer.read(MAX_SECRET_BYTES)
        source = "from standard input"
    else:
        path = Path(arguments.source)
        content = read_secret_file(path, "wallet")
        source = str(path)
    if content.lstrip().startswith(b"{"):
        file = arguments.source_password_file or password_file
        prompt = _ask_for_source if sys.stdin.isatty() else None
        return decrypt_wallet(content, read_password(file, os.environ, prompt), source)
    try:
        return bytes.fromhex(content.decode("ascii").strip().removeprefix("0x"))
    except ValueError:
        raise KeystoreError(
            f"wallet {source}: found neither 64 hexadecimal digits nor an encrypted wallet"
        ) from None


def _read_new_password(file: Path | None) -> str:
    return read_password(file, os.environ, _ask_twice if sys.stdin.isatty() else None)


def _ask_twice() -> str:
    password = getpass.getpass("new wallet password: ")
    if getpass.getpass("once more: ") != password:
        raise KeystoreError("wallet password: the two are not the same")
    return password


def _ask_for_source() -> str:
    return getpass.getpass("password of the wallet to import: ")

"""`kaisar node`: run one node until it is told to stop."""

import argparse
import getpass
import logging
import os
import sys
from collections.abc import Callable

from p2p_node.cli.event_loop import run_async
from p2p_node.config import NodeConfig, add_flags, find_unknown_variables, redact_url
from p2p_node.keystore import Keystore, open_or_create_node_key, read_password
from p2p_node.logs import configure_logging
from p2p_node.network_key import read_network_key
from p2p_node.secret_files import make_private_directory

logger = logging.getLogger(__name__)


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's flags."""
    parser = subparsers.add_parser(
        "node",
        help="run a provider, a checker, a bootstrap or a ZeroNode service",
        description=(
            "Run one node. On its first start it says which address needs how much stake and "
            "gas, waits for it, and registers. The wallet is made by `kaisar wallet create`."
        ),
    )
    add_flags(parser)
    parser.add_argument("--exit-with-parent", action="store_true", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Run the node; 0 when it was asked to stop or its role came to its end."""
    config = NodeConfig.load(arguments, os.environ)
    configure_logging(config.log_level, config.log_format)
    for variable in find_unknown_variables(os.environ):
        logger.warning("%s is no setting of this program", variable)
    # Imported here, because they take a second that other commands should not pay.
    from chain.deployment import read_deployment
    from chain.identity import TIERS, IdentityKind
    from p2p_node.app import AppSettings, Keys, NoWallet, run_node
    from p2p_node.duties.identifying import MachineSettings
    from p2p_node.workloads.host_settings import HostSettings

    if config.role == "bootstrap":
        make_private_directory(config.data_dir)
        nobody = NoWallet()
        keys = Keys(open_or_create_node_key(config.data_dir), nobody, nobody.sign_digest)
    else:
        prompt = _ask_password if sys.stdin.isatty() else None
        password = read_password(config.wallet_password_file, os.environ, prompt)
        opened = Keystore.open(config.data_dir, password)
        keys = Keys(opened.node_signing_key, opened.transaction_signer, opened.sign_digest)
    network_key = config.network_key_file and read_network_key(config.network_key_file)
    settings = AppSettings(
        role=config.role,
        data_dir=config.data_dir,
        rpc_urls=config.rpc,
        deployment=read_deployment(config.deployment),
        bootstrap=config.bootstrap,
        listen=config.listen,
        announce=config.announce,
        network_key=network_key or None,
        host=HostSettings(
            devices=config.devices,
            cpu_threads=config.cpu_threads,
            cpu_memory_bytes=config.cpu_memory * 1_000_000,
            cores=config.cores,
        ),
        machine=MachineSettings(
            kind=IdentityKind(config.machine_identity),
            tier=TIERS[config.machine_tier],
            most_bond=config.machine_bond * 10**18,
        ),
        rental=config.rental,
        zeronode=config.zeronode(os.environ) if config.role == "zeronode" else None,
        exit_with=is_orphaned() if arguments.exit_with_parent else None,
    )
    endpoints = ", ".join(map(redact_url, config.rpc))
    logger.info("%s on %s, data in %s", config.role, endpoints, config.data_dir)
    run_async(run_node, settings, keys)
    return 0


def is_orphaned() -> Callable[[], bool]:
    """Return a test for whether the process that started this one has ended since now."""
    parent = os.getppid()
    return lambda: os.getppid() != parent


def _ask_password() -> str:
    return getpass.getpass("wallet password: ")

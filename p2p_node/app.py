"""The composition root: opens everything, starts the role in the one root nursery, closes all."""

import logging
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
from nacl.signing import SigningKey

from chain.calls import Calls
from chain.client import ChainClient
from chain.deployment import Deployment, verify_deployment
from chain.did import MachineCard
from chain.endpoints import Endpoints
from chain.identity import IdentityAdapter
from chain.networks import find_network
from chain.records import SlotKind
from chain.rental_calls import RentalCalls
from chain.rental_client import RentalClient
from chain.signer import Signer
from chain.transactions import TransactionManager
from chain.zeronode_client import ZeroNodeClient
from p2p_node.chain_access import open_endpoints
from p2p_node.clock import Clock
from p2p_node.duties.device_book import DeviceBook
from p2p_node.duties.identifying import MachineSettings
from p2p_node.duties.lease_confirming import LeaseConfirmer
from p2p_node.duties.wallet_watch import watch_wallet
from p2p_node.net import open_network
from p2p_node.net.settings import NetworkSettings
from p2p_node.node import Identity, Node
from p2p_node.rental.contract import RentalContract
from p2p_node.rental.settings import RentalSettings
from p2p_node.roles.absent_provider import run_absent_provider
from p2p_node.roles.bootstrap import run_bootstrap
from p2p_node.roles.cheating_provider import run_cheating_provider
from p2p_node.roles.checker import run_checker
from p2p_node.roles.copying_checker import run_copying_checker
from p2p_node.roles.equivocating_checker import run_equivocating_checker
from p2p_node.roles.lying_checker import run_lying_checker
from p2p_node.roles.provider import run_provider
from p2p_node.run_file import RunFile
from p2p_node.storage import AsyncStore, Store, StoreJournal
from p2p_node.watcher import Watcher
from p2p_node.workloads.attestation.policy import POLICY_FILE, read_policy
from p2p_node.workloads.host_settings import HostSettings
from p2p_node.zeronode.context import ZeroNodeContext
from p2p_node.zeronode.service_list import ServiceList
from p2p_node.zeronode.settings import ZeroNodeSettings
from protocols.epochs import Timeline
from protocols.errors import LocalError
from protocols.reports import compute_domain_separator
from protocols.types import Digest, TimeMs, Wallet

logger = logging.getLogger(__name__)


async def _run_zeronode(node: Node) -> None:
    # Imported here: its database and its web server are nothing that other roles should wait for.
    from p2p_node.roles.zeronode import run_zeronode

    await run_zeronode(node)


ROLES: Mapping[str, Callable[[Node], Awaitable[None]]] = {
    "provider": run_provider,
    "checker": run_checker,
    "bootstrap": run_bootstrap,
    "zeronode": _run_zeronode,
    "cheating-provider": run_cheating_provider,
    "absent-provider": run_absent_provider,
    "lying-checker": run_lying_checker,
    "copying-checker": run_copying_checker,
    "equivocating-checker": run_equivocating_checker,
}
"""Every role by the name it has on the command line; the last five are adversaries for tests."""

SLOTLESS = ("bootstrap", "zeronode")
"""Roles that take no slot in the Registry: nothing is spent for them in every epoch."""

POLLS_PER_EPOCH = 40
"""Looks at the chain per epoch while a transaction is under way, at most one a second."""


@dataclass(frozen=True, slots=True)
class AppSettings:
    """What `run_node` needs to be told; secrets are not shown."""

    role: str
    data_dir: Path
    rpc_urls: tuple[str, ...]
    deployment: Deployment
    bootstrap: tuple[str, ...]
    listen: tuple[str, ...]
    announce: tuple[str, ...] = ()
    network_key: bytes | None = field(default=None, repr=False)
    host: HostSettings = field(default_factory=HostSettings)
    machine: MachineSettings = field(default_factory=MachineSettings)
    rental: RentalSettings = field(default_factory=RentalSettings)
    zeronode: ZeroNodeSettings | None = None
    """What the role zeronode needs."""
    exit_with: Callable[[], bool] | None = None
    """Asked once a second: whether to end, because whoever started this node is gone."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The node's keys as `run_node` passes them on."""

    node_key: SigningKey = field(repr=False)
    signer: Signer = field(repr=False)
    sign_digest: Callable[[Digest], bytes] = field(repr=False)

    @property
    def wallet(self) -> Wallet:
        """Address of the wallet."""
        return self.signer.address


class NoWallet:
    """The signer of a node that has no wallet: a bootstrap node never sends a transaction."""

    @property
    def address(self) -> Wallet:
        """The zero address, which owns nothing."""
        return Wallet(bytes(20))

    def sign_transaction(self, transaction: dict[str, Any]) -> bytes:
        """Refuse."""
        raise LocalError("this node has no wallet")

    def sign_digest(self, digest: Digest) -> bytes:
        """Refuse."""
        raise LocalError("this node has no wallet")


async def run_node(settings: AppSettings, keys: Keys) -> None:
    """Run one node until its role ends or the process is told to stop (SIGINT, SIGTERM).

    Raises ChainError when every endpoint serves another chain than the deployment's, StoreError
    when the data directory cannot be used, LocalError for settings that cannot be meant.
    """
    deployment = settings.deployment
    store = Store.open(settings.data_dir, deployment.network_id)
    async with AsyncExitStack() as stack:
        durable = await stack.enter_async_context(AsyncStore(store))
        rpc = open_endpoints(settings.rpc_urls, deployment.chain_id)
        stack.callback(rpc.close)
        await verify_deployment(rpc, deployment)
        network = await stack.enter_async_context(
            open_network(
                NetworkSettings(
                    seed=bytes(keys.node_key),
                    network=deployment.network_id.hex()[:16],
                    listen=settings.listen,
                    announce=settings.announce,
                    bootstrap=settings.bootstrap,
                    network_key=settings.network_key,
                )
            )
        )
        run_file = stack.enter_context(RunFile(settings.data_dir))
        chain = ChainClient(rpc, deployment)
        clock = Clock()
        preset = deployment.preset
        transactions = TransactionManager(
            rpc,
            keys.signer,
            StoreJournal(store),
            chain_id=deployment.chain_id,
            poll_seconds=min(1.0, preset.epoch_seconds / POLLS_PER_EPOCH),
        )
        node = Node(
            identity=Identity(keys.node_key, keys.wallet, keys.sign_digest),
            preset=preset,
            clock=clock,
            watcher=Watcher(
                chain,
                clock,
                network=deployment.network_id,
                domain=compute_domain_separator(
                    deployment.chain_id, deployment.address("Consensus")
                ),
                timeline=Timeline(TimeMs(deployment.genesis * 1000), preset),
                chain_id=deployment.chain_id,
                registry=deployment.address("Registry"),
            ),
            network=network,
            chain=chain,
            calls=Calls(deployment),
            transactions=transactions,
            store=durable,
            data_dir=settings.data_dir,
            host=settings.host,
            devices=DeviceBook(read_policy(settings.data_dir / POLICY_FILE)),
            leases=LeaseConfirmer(RentalClient(rpc, deployment)),
            machine=settings.machine,
            keeper=IdentityAdapter(
                rpc,
                transactions,
                find_network(deployment.chain_id),
                MachineCard(
                    chain_id=deployment.chain_id,
                    network_id=deployment.network_id,
                    wallet=keys.wallet,
                    node_key=network.node_key,
                ),
            ),
            rental=RentalContract(
                settings.rental, RentalClient(rpc, deployment), RentalCalls(deployment)
            ),
            services=ServiceList(ZeroNodeClient(rpc, deployment), preset.epoch_seconds),
            zeronode=None
            if settings.zeronode is None
            else ZeroNodeContext(settings.zeronode, rpc, deployment, run_file.note_url),
        )
        run_file.write(
            role=settings.role,
            peer_id=network.peer_id,
            wallet=keys.wallet,
            addresses=network.addresses,
        )
        for address in network.addresses:
            logger.info("listening on %s", address)
        await _run_role(settings, node, rpc)


async def _run_role(settings: AppSettings, node: Node, endpoints: Endpoints) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_on_signal, nursery.cancel_scope)
        if settings.exit_with is not None:
            nursery.start_soon(_stop_when, settings.exit_with, nursery.cancel_scope)
        nursery.start_soon(endpoints.watch)
        nursery.start_soon(node.watcher.run)
        nursery.start_soon(node.transactions.run)
        if settings.role not in SLOTLESS:
            is_checker = settings.role.endswith("checker")
            kind = SlotKind.CHECKER if is_checker else SlotKind.PROVIDER
            nursery.start_soon(watch_wallet, node, kind)
        await ROLES[settings.role](node)
        nursery.cancel_scope.cancel()


async def _stop_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            logger.info("stopping on %s", signal.Signals(number).name)
            scope.cancel()


async def _stop_when(is_over: Callable[[], bool], scope: trio.CancelScope) -> None:
    while not is_over():
        await trio.sleep(1)
    logger.info("stopping, because whoever started this node is gone")
    scope.cancel()

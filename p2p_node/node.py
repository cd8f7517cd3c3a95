"""What every duty works with, put together by `app` and handed down."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from nacl.signing import SigningKey

from chain.calls import Calls
from chain.client import ChainClient
from chain.transactions import TransactionManager
from p2p_node.clock import Clock
from p2p_node.duties.device_book import DeviceBook
from p2p_node.duties.identifying import IdentityKeeper, MachineSettings
from p2p_node.duties.lease_confirming import LeaseConfirmer
from p2p_node.duties.offence_book import OffenceBook
from p2p_node.duties.reporting import ReportBook
from p2p_node.net.api import Network
from p2p_node.rental.contract import RentalContract
from p2p_node.storage import AsyncStore
from p2p_node.watcher import Watcher
from p2p_node.workloads.host_settings import HostSettings
from p2p_node.zeronode.context import ZeroNodeContext
from p2p_node.zeronode.service_list import ServiceList
from protocols.gossip import GossipMemory
from protocols.params import Preset
from protocols.types import Digest, Wallet


@dataclass(frozen=True, slots=True)
class Identity:
    """The node's two keys, as far as duties need them; neither is ever printed."""

    node_key: SigningKey = field(repr=False)
    wallet: Wallet
    sign_digest: Callable[[Digest], bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Node:
    """A running node, seen from a duty."""

    identity: Identity
    preset: Preset
    clock: Clock
    watcher: Watcher
    network: Network
    chain: ChainClient
    calls: Calls
    transactions: TransactionManager
    store: AsyncStore
    data_dir: Path
    host: HostSettings = field(default_factory=HostSettings)
    gossip: GossipMemory = field(default_factory=GossipMemory)
    reports: ReportBook = field(default_factory=ReportBook)
    offences: OffenceBook = field(default_factory=OffenceBook)
    devices: DeviceBook = field(default_factory=DeviceBook)
    leases: LeaseConfirmer = field(default_factory=LeaseConfirmer)
    machine: MachineSettings = field(default_factory=MachineSettings)
    keeper: IdentityKeeper | None = None
    """Where a provider's machine is registered with peaq, if `machine` says so."""
    rental: RentalContract | None = None
    """Where a provider's machine is rented out, on a network that has leases."""
    services: ServiceList | None = None
    """Which ZeroNode services the chain lists; read only while something runs it."""
    zeronode: ZeroNodeContext | None = None
    """What a service of ZeroNode has in addition; None in every other role."""

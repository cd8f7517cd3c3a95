"""What every part of a service works with, put together by `service` and handed down."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, TypeVar

from nacl.signing import SigningKey
from sqlalchemy import Connection

from chain.zeronode_client import ZeroNodeClient
from p2p_node.clock import Clock
from p2p_node.zeronode.accounts import find_account_of_key
from p2p_node.zeronode.address_hashes import AddressHash, AddressKey, record_address
from p2p_node.zeronode.beat_writer import BeatWriter
from p2p_node.zeronode.campaigns import Campaigns
from p2p_node.zeronode.database import AsyncDatabase
from p2p_node.zeronode.day_roots import Prover
from p2p_node.zeronode.draws import find_next_draw
from p2p_node.zeronode.homes import find_home, require_home
from p2p_node.zeronode.http_types import HttpRefusal
from p2p_node.zeronode.limits import Rates
from p2p_node.zeronode.location import Locator, Place, store_place
from p2p_node.zeronode.missions import Missions
from p2p_node.zeronode.sessions import SessionBook
from p2p_node.zeronode.settings import ZeroNodeSettings
from p2p_node.zeronode.standing import Live, NextDraw, read_standing
from p2p_node.zeronode.tokens import Tokens
from p2p_node.zeronode.transcript_cache import TranscriptCache
from p2p_node.zeronode.turns import Turns
from protocols.types import NetworkId, NodeKey, TimeMs, Wallet
from protocols.zeronode_rules import ZeroNodeRules

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ServiceIdentity:
    """Whose service it is, and of which network."""

    node_key: SigningKey = field(repr=False)
    network: NetworkId
    chain_id: int

    @property
    def service(self) -> NodeKey:
        """The service's public key, by which others know it."""
        return NodeKey(bytes(self.node_key.verify_key))


@dataclass(frozen=True, slots=True)
class ServiceContracts:
    """Addresses that everybody is told: where roots are anchored, whose tokens double."""

    anchor: str | None = None
    nft: str | None = None


@dataclass(frozen=True, slots=True)
class Visit:
    """Where a client came from: what may be kept of its address, and the coarse place."""

    address: AddressHash
    place: Place


@dataclass(eq=False, slots=True)
class Service:
    """A running service, seen from one of its parts.

    `random` returns so many bytes that nobody can predict. `public_url` is known once the service
    listens. `address_key` is exchanged when it is old. Without `chain` no token can be linked.
    """

    identity: ServiceIdentity
    rules: ZeroNodeRules
    settings: ZeroNodeSettings
    clock: Clock
    database: AsyncDatabase
    reading: AsyncDatabase
    """The same database by a thread of its own: what is looked up does not wait for writers."""
    archive: AsyncDatabase
    """The same database by a thread of its own, for reading what takes long."""
    prover: Prover
    """For the archive's thread."""
    transcripts: TranscriptCache
    random: Callable[[int], bytes] = field(repr=False)
    tokens: Tokens = field(repr=False)
    rates: Rates
    sessions: SessionBook
    writer: BeatWriter
    locator: Locator
    missions: Missions
    campaigns: Campaigns
    address_key: AddressKey = field(repr=False)
    contracts: ServiceContracts
    chain: ZeroNodeClient | None
    version: str
    public_url: str = ""
    origins: frozenset[str] = frozenset()
    turns: Turns = field(default_factory=Turns)
    """For what the archive is asked by accounts."""
    listed: Callable[[], frozenset[NodeKey]] = frozenset
    """The services that the chain lists now; none without a chain."""

    def now(self) -> TimeMs:
        """Return Unix milliseconds, by a clock that nobody sets."""
        return self.clock.now()

    def draw(self, least: int, most: int) -> int:
        """Return an unpredictable integer, both ends included."""
        # 64 bits, so that the remainder's bias is beyond measuring.
        return least + int.from_bytes(self.random(8), "big") % (most - least + 1)

    def visit(self, address: str) -> Visit:
        """Return what may be kept of a client's address."""
        return Visit(self.address_key.hash_address(address), self.locator.locate(address))

    def take_request(self, address: str) -> None:
        """Count a request against its address's limit. Raises TooMany."""
        exact = self.address_key.hash_address(address).exact
        self.rates.take("request", exact, self.now())

    def note_visit(self, wallet: Wallet, visit: Visit) -> None:
        """Have it written, soon, that an account was seen there."""
        now = self.now()

        def write(connection: Connection) -> None:
            record_address(connection, wallet, visit.address, now)
            store_place(connection, wallet, visit.place, now)

        self.writer.note(write)

    async def require_wallet(self, key: NodeKey) -> Wallet:
        """Return whom a key earns for. Raises HttpRefusal when it is bound to no account."""
        account = await self.reading.read(find_account_of_key, key)
        if account is None:
            raise HttpRefusal(403, "key is not bound", "sign in with your wallet first")
        return account.wallet

    async def require_home(self, wallet: Wallet) -> None:
        """Raise AwayError for an account whose home is another service."""
        await self.database.read(require_home, wallet, self.identity.service)

    async def run_at_home(
        self,
        wallet: Wallet,
        function: Callable[Concatenate[Connection, Parameters], Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Return function(connection, …), called in one transaction that also looks whether the
        account is at home here: it cannot leave in between. Raises AwayError."""

        def guarded(connection: Connection) -> Result:
            require_home(connection, wallet, self.identity.service)
            return function(connection, *args, **kwargs)

        return await self.database.run(guarded)

    async def read_standing(self, wallet: Wallet) -> Mapping[str, Any]:
        """Return all that an account's owner is shown."""
        earning, reason = self.sessions.describe(wallet)
        return await self.reading.read(self._read_standing, wallet, earning, reason, self.now())

    def _read_standing(
        self,
        connection: Connection,
        wallet: Wallet,
        earning: bool,
        reason: str,
        now: TimeMs,
    ) -> Mapping[str, Any]:
        own = self.identity.service
        home = find_home(connection, wallet)
        draw = find_next_draw(connection, now)
        live = Live(
            service=own,
            home=own if home is None else home.service,
            earning=earning,
            reason=reason,
            link_base=f"{self.public_url}/sign-in#ref=",
            next_draw=None if draw is None else NextDraw(draw.id, draw.closes_ms),
        )
        return read_standing(connection, wallet, self.rules, now, live).to_json()

"""What the actions of `kaisar rent` share: reading the chain, finding the lease that is meant,
joining the network, and keeping an eye on the time that is left."""

import argparse
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

from chain.client import ChainClient
from chain.deployment import Deployment
from chain.errors import ChainError
from chain.rental_client import RentalClient
from p2p_node.chain_access import open_endpoints
from p2p_node.cli.progress import Progress, format_duration
from p2p_node.cli.wallet_work import require_deployment
from p2p_node.config import ConfigError, load_settings
from p2p_node.display import format_amount
from p2p_node.net import DeadlineError, StreamEndedError
from p2p_node.network_key import read_network_key
from p2p_node.rental.renter_book import LeaseBook
from p2p_node.rental.renter_deploying import ask_status
from p2p_node.rental.renter_market import Market, NoLeaseError, OwnLease, choose_lease
from p2p_node.rental.renter_session import LeaseSession, NetworkNotFoundError, Reach, join_network
from protocols.errors import LocalError, RemoteError
from protocols.lease_market import find_next_warning
from protocols.leases import Lease, LeaseState

HOUR: Final = 3600

REMOTE_FAILURE: Final = 125
"""Exit status of `run` and `shell` when the command there did not come to its own end."""

LOOK_SECONDS: Final = 15.0
"""Between two looks at the chain for whether somebody extended or ended the lease."""

PARTING_SECONDS: Final = 10.0
"""For what is under way to be ended by the provider when a lease is over."""

ACTIVE: Final = frozenset({LeaseState.ACTIVE})


class RentError(LocalError):
    """What was asked for makes no sense for this lease, or did not work out."""


@dataclass(frozen=True, slots=True)
class Renter:
    """One renter's settings, and where its leases are kept."""

    settings: Mapping[str, Any]
    deployment: Deployment

    @property
    def book(self) -> LeaseBook:
        """The leases of this data directory."""
        data_dir: Path = self.settings["data_dir"]
        return LeaseBook(data_dir, self.deployment.network_id)

    @property
    def reach(self) -> Reach:
        """How to get into the network; ConfigError when nothing says how."""
        if not self.settings["bootstrap"]:
            raise ConfigError(
                "bootstrap: found nothing, expected the multiaddr of a node of the network "
                "(--bootstrap, KAISAR_BOOTSTRAP, or bootstrap in the file of --config)"
            )
        key_file = self.settings["network_key_file"]
        return Reach(
            network=self.deployment.network_id,
            bootstrap=self.settings["bootstrap"],
            network_key=read_network_key(key_file) if key_file is not None else None,
        )

    @asynccontextmanager
    async def open_market(self) -> AsyncIterator[Market]:
        """Read the chain for as long as the block lasts."""
        with closing(open_endpoints(self.settings["rpc"], self.deployment.chain_id)) as rpc:
            deployment = self.deployment
            yield Market(ChainClient(rpc, deployment), RentalClient(rpc, deployment), rpc)

    @asynccontextmanager
    async def use_lease(
        self, given: str | None, progress: Progress
    ) -> AsyncIterator[tuple[Market, LeaseSession]]:
        """Join the network to use an active lease, and warn before its time is over."""
        reach = self.reach
        async with self.open_market() as market:
            own = await find_active(market, self.book, given)
            lease = own.on_chain
            key = self.book.read_key(own.note)
            provider = await market.node_key_of(lease)
            async with join_network(reach) as network, trio.open_nursery() as nursery:
                nursery.start_soon(warn_of_end, market.rental.lease, lease, progress.say)
                yield market, LeaseSession(network, reach.network, lease, provider, key)
                nursery.cancel_scope.cancel()


def open_renter(arguments: argparse.Namespace) -> Renter:
    """Read the settings; ConfigError when they name no deployment."""
    settings = load_settings(arguments, os.environ)
    return Renter(settings, require_deployment(settings))


async def find_active(market: Market, book: LeaseBook, given: str | None) -> OwnLease:
    """Find the lease that is to be used; NoLeaseError says why it cannot."""
    own = choose_lease(await market.find_own(book), given, ACTIVE, "active")
    now = (await market.chain.head()).timestamp
    problem = describe_unusable(own.on_chain, now)
    if problem is not None:
        raise NoLeaseError(f"lease {own.name}: {problem}")
    return own


@contextmanager
def name_cuts(session: LeaseSession, what: str) -> Iterator[None]:
    """Say what it means that a connection to a provider was cut while something went on there."""
    try:
        yield
    except (StreamEndedError, DeadlineError) as error:
        raise RentError(
            f"the connection to provider {session.lease.provider} was cut ({error}): {what}. If it "
            "stays away, its offline epochs are refunded: `kaisar rent end --contest "
            f"{session.lease.id}`"
        ) from error


async def does_answer(renter: Renter, market: Market, own: OwnLease) -> bool:
    """Tell whether the provider lets this renter in just now; True where no settings say how to
    get into the network."""
    if not renter.settings["bootstrap"]:
        return True
    lease, reach = own.on_chain, renter.reach
    key = renter.book.read_key(own.note)
    try:
        provider = await market.node_key_of(lease)
        async with join_network(reach) as network:
            await ask_status(LeaseSession(network, reach.network, lease, provider, key))
    except (RemoteError, NetworkNotFoundError, NoLeaseError):
        return False
    return True


def describe_unusable(lease: Lease, now: int) -> str | None:
    """Say why a lease cannot be used at `now`, and what to do; None when it can."""
    if lease.is_usable(now):
        return None
    match lease.state:
        case LeaseState.RESERVED:
            return "the provider has not accepted it; `kaisar rent reclaim` returns the money"
        case LeaseState.ACTIVE:
            return f"its time is over since {format_duration(now - lease.ends_at)}"
        case LeaseState.RECLAIMED:
            return "it was reclaimed, and never began"
        case _:
            return f"it was ended {format_duration(max(0, now - lease.ends_at))} ago"


async def warn_of_end(
    read: Callable[[int], Awaitable[Lease | None]],
    lease: Lease,
    say: Callable[[str], None],
    now: Callable[[], float] = time.time,
) -> None:
    """Say when the time of a lease comes to its end, and raise RentError once it has.

    `read` gets the lease by its number: it is looked at again and again, because it may be extended
    or ended meanwhile.
    """
    warned: int | None = None
    while True:
        left = int(lease.ends_at - now())
        if left <= 0:
            break
        due = find_next_warning(lease.seconds, left)
        if due is not None and left - due < 1 and due != warned:
            warned = due
            say(describe_end(lease, left))
            continue
        pause = left if due is None or due == warned else left - due
        await trio.sleep(min(LOOK_SECONDS, pause))
        try:
            lease = await read(lease.id) or lease
        except ChainError:
            # What was read last still tells the time.
            continue
    # The provider has the last word, which says more.
    await trio.sleep(PARTING_SECONDS)
    raise RentError(f"lease {lease.id} is over; what was there is wiped")


def describe_end(lease: Lease, left: int) -> str:
    """Warn that a lease ends in `left` seconds."""
    return (
        f"lease {lease.id} ends in {format_duration(left)}: then everything there is wiped. "
        f"`kaisar rent extend {lease.id} --hours N` buys more time"
    )


def format_price(price: int) -> str:
    """Write a price per second as people compare it: per hour."""
    return f"{format_amount(price * HOUR)}/h"


def format_part(bps: int) -> str:
    """Write ten-thousandths as a percentage."""
    return f"{bps / 100:g} %"

"""A renter in the network: for the time of one command, under a key that nobody knows.

The lease's key signs what is asked for, and names the peer that asks. So every command is a peer of
its own, and any number of them can use a lease at once.
"""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import trio
from nacl.signing import SigningKey

from p2p_node.net import (
    DeadlineError,
    Network,
    NetworkSettings,
    PeerUnreachableError,
    ProtocolRefusedError,
    StreamEndedError,
    open_network,
)
from p2p_node.rental.channel import AccessRefused, Channel, open_channel
from protocols.errors import LocalError, RemoteError
from protocols.lease_messages import LeaseAnswerCode, LeasePurpose
from protocols.leases import Lease
from protocols.types import NetworkId, NodeKey
from protocols.wire import Message

PEERS: Final = 3
"""Peers that a command looks for: enough to find the provider by."""

MEET_SECONDS: Final = 20.0
"""For meeting the first node of the network."""

REACH_SECONDS: Final = 60.0
"""For finding and reaching the provider, and for it to see on the chain what we see."""

AGAIN_SECONDS: Final = 0.5

_NOT_YET: Final = frozenset({LeaseAnswerCode.UNKNOWN_LEASE, LeaseAnswerCode.NOT_ACTIVE})
"""Refusals by a provider whose chain does not have as final what ours has."""

_TRY_AGAIN: Final = "try again"
"""In the words of a provider that has only just started, or taken the lease up."""


class NetworkNotFoundError(LocalError):
    """None of the nodes to meet first answered."""


class ProviderUnreachableError(RemoteError):
    """The provider of a lease was not reached."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How to get into a network."""

    network: NetworkId
    bootstrap: tuple[str, ...]
    network_key: bytes | None = field(default=None, repr=False)


@asynccontextmanager
async def join_network(reach: Reach) -> AsyncIterator[Network]:
    """Take part in the network as a stranger; NetworkNotFoundError when nobody is met."""
    settings = NetworkSettings(
        seed=secrets.token_bytes(32),
        network=reach.network.hex()[:16],
        listen=(),
        bootstrap=reach.bootstrap,
        network_key=reach.network_key,
        target_peers=PEERS,
    )
    async with open_network(settings) as network:
        with trio.move_on_after(MEET_SECONDS) as meeting:
            await network.wait_for_peers(1)
        if meeting.cancelled_caught:
            raise NetworkNotFoundError(
                f"bootstrap: none of {len(reach.bootstrap)} nodes answered within "
                f"{MEET_SECONDS:g} s: {' '.join(reach.bootstrap)}"
            )
        yield network


@dataclass(frozen=True, slots=True)
class LeaseSession:
    """One lease, and a network to use it through."""

    network: Network
    network_id: NetworkId
    lease: Lease
    provider: NodeKey
    key: SigningKey = field(repr=False)

    @asynccontextmanager
    async def open(
        self, purpose: LeasePurpose, request: Message, *, within: float = REACH_SECONDS
    ) -> AsyncIterator[Channel]:
        """Ask the provider for something.

        The provider is looked for until `within` is over, because it may have to be found first,
        or have to see the lease itself. Raises AccessRefused when it refuses for good,
        ProviderUnreachableError when it is not there.
        """
        until = trio.current_time() + within
        problem: RemoteError = PeerUnreachableError("peer not reached in time")
        async with AsyncExitStack() as stack:
            while True:
                attempt = open_channel(
                    self.network,
                    self.provider,
                    self.network_id,
                    self.key,
                    self.lease.id,
                    purpose,
                    request,
                )
                with trio.move_on_at(until) as scope:
                    try:
                        channel = await stack.enter_async_context(attempt)
                    except AccessRefused as error:
                        if error.code not in _NOT_YET and _TRY_AGAIN not in error.detail:
                            raise
                        problem = error
                    except (
                        PeerUnreachableError,
                        ProtocolRefusedError,
                        StreamEndedError,
                        DeadlineError,
                    ) as error:
                        problem = error
                    else:
                        break
                    await trio.sleep(AGAIN_SECONDS)
                if scope.cancelled_caught or trio.current_time() >= until:
                    raise self._unreachable(problem)
            yield channel

    def _unreachable(self, problem: RemoteError) -> RemoteError:
        if isinstance(problem, AccessRefused):
            return problem
        return ProviderUnreachableError(
            "provider not reached",
            f"slot {self.lease.provider}: {problem}. Epochs in which it is offline are refunded: "
            f"`kaisar rent end --contest {self.lease.id}` ends the lease and has them judged",
        )

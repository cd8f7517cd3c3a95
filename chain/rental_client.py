"""Typed reads from the Rental contract of a deployment.

Who is let onto a machine, and who is paid, is read at `finalized` only: `latest` may be taken back.
"""

from collections.abc import Sequence
from typing import Any, Final

from chain.client import BlockTag, call_view
from chain.deployment import Deployment
from chain.errors import MalformedAnswerError
from chain.hexes import parse_hex_bytes
from chain.rental_words import unpack_lease
from chain.rpc import JsonRpc
from protocols.leases import Lease, Offer
from protocols.types import Digest, Epoch, Wallet

MAX_OFFERS: Final = 64
"""Offers per page, as in Rental.vy."""

MAX_LEASES: Final = 32
"""Leases per page, as in Rental.vy."""

MAX_PAGES: Final = 1 << 14
"""Pages of offers that are read at most: an endpoint that makes up more is not believed."""

_NOBODY: Final = bytes(20)


class RentalClient:
    """Reads offers and leases of one deployment through one endpoint.

    Every method raises the errors of `Rpc.request`: UnavailableError (try again), RefusedError,
    RevertedError, and MalformedAnswerError when the answer is not what the contract gives.
    """

    def __init__(self, rpc: JsonRpc, deployment: Deployment) -> None:
        self._rpc = rpc
        self.deployment = deployment

    async def offers(self, block: BlockTag = "latest") -> tuple[Offer, ...]:
        """Return all offers of providers that are active now, in order of the provider's index."""
        offers: list[Offer] = []
        for page in range(MAX_PAGES):
            first = page * MAX_OFFERS
            (found,) = await self._read(block, "offers", first, MAX_OFFERS)
            for place, values in enumerate(found):
                offer = _to_offer(values)
                if offer is None:
                    continue
                if offer.provider != first + place:
                    raise MalformedAnswerError("Rental.offers: offers out of order")
                offers.append(offer)
            if len(found) < MAX_OFFERS:
                return tuple(offers)
        raise MalformedAnswerError(f"Rental.offers: more than {MAX_PAGES} pages")

    async def offer(self, provider: int, block: BlockTag = "latest") -> Offer | None:
        """Return what an active provider asks, or None."""
        (values,) = await self._read(block, "offer_of", provider)
        return _to_offer(values)

    async def lease_count(self, block: BlockTag = "latest") -> int:
        """Return how many leases were ever opened: their ids run from 1 to it."""
        (count,) = await self._read(block, "lease_count")
        return int(count)

    async def lease(self, lease_id: int, block: BlockTag = "latest") -> Lease | None:
        """Return one lease, or None when there is none with that id."""
        (words,) = await self._read(block, "lease", lease_id)
        return self._to_lease(lease_id, words)

    async def leases(
        self, first: int, count: int = MAX_LEASES, block: BlockTag = "latest"
    ) -> tuple[Lease, ...]:
        """Return a page of leases from the id `first` on, MAX_LEASES at most; fewer at the end."""
        (found,) = await self._read(block, "leases", first, min(count, MAX_LEASES))
        leases: list[Lease] = []
        for place, words in enumerate(found):
            lease = self._to_lease(first + place, words)
            if lease is None:
                raise MalformedAnswerError("Rental.leases: a lease that there is not")
            leases.append(lease)
        return tuple(leases)

    async def current_lease(self, provider: int, block: BlockTag = "latest") -> int:
        """Return the id of the lease that has the provider's machine at that block; 0 if none."""
        (found,) = await self._read(block, "current_lease", provider)
        return int(found)

    async def owed(self, wallet: Wallet, block: BlockTag = "latest") -> int:
        """Return what a wallet can have paid out, in the token's smallest unit."""
        (amount,) = await self._read(block, "owed", wallet)
        return int(amount)

    async def fees(self, block: BlockTag = "latest") -> int:
        """Return the fees that wait to go to the fund of rewards."""
        (amount,) = await self._read(block, "fees")
        return int(amount)

    async def _read(self, block: BlockTag, function: str, *arguments: object) -> tuple[Any, ...]:
        return await call_view(self._rpc, self.deployment, block, "Rental", function, *arguments)

    def _to_lease(self, lease_id: int, words: Sequence[Any]) -> Lease | None:
        try:
            return unpack_lease(lease_id, words, self.deployment.preset)
        except ValueError as error:
            raise MalformedAnswerError(f"Rental.lease: {error}") from None


def _to_offer(values: Sequence[Any]) -> Offer | None:
    provider, wallet, since, price, minimum_seconds, maximum_seconds, capability = values
    found = _wallet(wallet)
    if found == _NOBODY:
        return None
    return Offer(
        provider=provider,
        wallet=found,
        since=Epoch(since),
        price=price,
        minimum_seconds=minimum_seconds,
        maximum_seconds=maximum_seconds,
        capability=Digest(capability),
    )


def _wallet(address: str) -> Wallet:
    return Wallet(parse_hex_bytes(address, 20))

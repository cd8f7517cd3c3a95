"""Leases as the chain has them, read twice: in the final block and in the newest one.

`now` goes by the newest block, so that a lease ends when the chain says so. Only where no blocks
come at all, this node's clock takes over, as late as it may be wrong.
"""

from dataclasses import dataclass, field
from typing import Final, Protocol

from chain.client import BlockTag
from chain.errors import RefusedError
from chain.records import Head
from p2p_node.clock import MAX_DRIFT_MS, Clock
from protocols.leases import Lease, LeaseState, Offer
from protocols.types import Wallet

MAX_CATCH_UP: Final = 4096
"""Leases that are looked through at most, from the newest one back, for those that wait."""

MAX_WAITING: Final = 16
"""Leases that wait which one look reads, the oldest: one of them is accepted next. Anybody can open
any number, and have all of it back."""

PAGE: Final = 32


class LeaseReader(Protocol):
    """What `chain.rental_client.RentalClient` offers."""

    async def offer(self, provider: int, block: BlockTag = "latest") -> Offer | None:
        """Return what an active provider asks, or None."""
        ...

    async def lease_count(self, block: BlockTag = "latest") -> int:
        """Return how many leases were ever opened."""
        ...

    async def lease(self, lease_id: int, block: BlockTag = "latest") -> Lease | None:
        """Return one lease, or None."""
        ...

    async def leases(
        self, first: int, count: int = PAGE, block: BlockTag = "latest"
    ) -> tuple[Lease, ...]:
        """Return a page of leases."""
        ...

    async def current_lease(self, provider: int, block: BlockTag = "latest") -> int:
        """Return the lease that has the provider's machine; 0 if none."""
        ...

    async def owed(self, wallet: Wallet, block: BlockTag = "latest") -> int:
        """Return what a wallet can have paid out."""
        ...


class HeadReader(Protocol):
    """What is needed of `chain.client.ChainClient`."""

    async def head(self, block: BlockTag = "latest") -> Head:
        """Return number, hash and timestamp of a block."""
        ...


@dataclass(frozen=True, slots=True)
class LeaseView:
    """One lease, in both blocks."""

    final: Lease | None
    newest: Lease | None


@dataclass(frozen=True, slots=True)
class ChainView:
    """One look at the chain. Times in Unix seconds; `count` is how many leases were ever opened,
    `leases` are those that concern us."""

    final_time: int
    now: int
    count: int
    leases: dict[int, LeaseView] = field(default_factory=dict)


class ChainLooker:
    """Looks at the leases of one provider; remembers which ones wait for it."""

    def __init__(
        self,
        heads: HeadReader,
        reader: LeaseReader,
        clock: Clock,
        *,
        provider: int,
        wallet: Wallet,
    ) -> None:
        self._heads = heads
        self._reader = reader
        self._clock = clock
        self._provider = provider
        self._wallet = wallet
        self._scanned = 0
        self._waiting: dict[int, int] = {}
        """Until when each can be accepted."""
        self._knows_finality: bool | None = None
        """None until the chain was asked."""

    async def look(self, known: set[int]) -> ChainView:
        """Read the leases in `known`, and those that wait for this provider; ChainError."""
        newest = await self._heads.head()
        final = await self._read_final(newest)
        now = max(newest.timestamp, (self._clock.now() - MAX_DRIFT_MS) // 1000)
        count = await self._reader.lease_count(final.number)
        if count > self._scanned:
            await self._scan(count, final)
        self._waiting = {one: until for one, until in self._waiting.items() if now < until}
        leases = {}
        for number in sorted(known | set(sorted(self._waiting.keys() - known)[:MAX_WAITING])):
            leases[number] = await self._read(number, final, newest)
        for number, each in leases.items():
            if not self._waits(each.final, now):
                self.forget(number)
        return ChainView(final.timestamp, now, count, leases)

    def forget(self, number: int) -> None:
        """Look no more at a lease that is not to be accepted."""
        self._waiting.pop(number, None)

    async def find(self, number: int) -> LeaseView:
        """Read one lease that is not among those that are looked at; ChainError."""
        newest = await self._heads.head()
        return await self._read(number, await self._read_final(newest), newest)

    async def _read(self, number: int, final: Head, newest: Head) -> LeaseView:
        old = await self._reader.lease(number, final.number)
        if final.number == newest.number:
            return LeaseView(old, old)
        return LeaseView(old, await self._reader.lease(number, newest.number))

    async def _read_final(self, newest: Head) -> Head:
        if self._knows_finality is not False:
            try:
                final = await self._heads.head("finalized")
            except RefusedError:
                # Not every chain knows the tag. One that does may refuse for other reasons, as that
                # it is asked too often: then the newest block is not final for all that.
                if self._knows_finality:
                    raise
                self._knows_finality = False
            else:
                self._knows_finality = True
                return final
        return newest

    async def _scan(self, count: int, final: Head) -> None:
        """Find the leases that wait for us among those that are new, the newest first.

        Deadlines grow with the numbers: behind the first that has passed all others have. It goes
        by the final block, for whatever is looked at once must not become another one.
        """
        last = count
        lowest = max(self._scanned, count - MAX_CATCH_UP)
        while last > lowest:
            first = max(lowest + 1, last - PAGE + 1)
            page = await self._reader.leases(first, last - first + 1, final.number)
            self._waiting |= {
                lease.id: lease.accept_by for lease in page if self._waits(lease, final.timestamp)
            }
            if not page or page[0].accept_by < final.timestamp:
                break
            last = first - 1
        self._scanned = count

    def _waits(self, lease: Lease | None, now: int) -> bool:
        return (
            lease is not None
            and lease.state is LeaseState.RESERVED
            and (lease.provider, lease.provider_wallet) == (self._provider, self._wallet)
            and now < lease.accept_by
        )

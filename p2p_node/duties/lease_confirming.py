"""Whether a provider that answers *busy* is leased: the chain is asked, never the provider.

Both who checks a provider and who audits that checker ask here, each its own chain.
"""

from collections import OrderedDict
from typing import Protocol

import trio

from chain.errors import TimedOutError
from protocols.epochs import Timeline
from protocols.leased_scores import LeaseUnproved, compute_leased_score, require_lease
from protocols.leases import Lease
from protocols.membership import Member
from protocols.types import Epoch, Seat

KEPT_LEASES = 4096
"""Leases remembered, of some hundred bytes each; those confirmed longest ago are forgotten. A
checker judges a few shards of 256 providers in an epoch."""

READS_AT_ONCE = 8
"""A whole shard may name its leases in the same moment; an endpoint is asked for a few at once."""


class LeaseSource(Protocol):
    """Where leases are read from; `RentalClient` is one."""

    async def lease(self, lease_id: int, /) -> Lease | None:
        """Return a lease as the newest block has it, None when there is none. ChainError."""


class LeaseConfirmer:
    """Confirms leases, and remembers what was read in an epoch.

    Without a source, as in a deployment that rents nothing, no lease is confirmed.
    """

    def __init__(self, source: LeaseSource | None = None) -> None:
        self._source = source
        self._known: OrderedDict[int, tuple[Epoch, Lease]] = OrderedDict()
        self._reads = trio.CapacityLimiter(READS_AT_ONCE)

    async def find_score(
        self,
        lease_id: int,
        provider: Member,
        *,
        epoch: Epoch,
        seat: Seat,
        timeline: Timeline,
        deadline: float,
    ) -> int:
        """Return the score that a lease excuses `provider` with in the slot of `seat`.

        `deadline` is of trio's clock. Raises LeaseUnproved when the lease does not excuse it, and
        ChainError when the chain cannot be read until then.
        """
        kept = self._known.get(lease_id)
        if kept is not None and kept[0] == epoch:
            try:
                lease = require_lease(kept[1], provider, epoch, seat, timeline)
            except LeaseUnproved:
                # It may have been extended meanwhile.
                pass
            else:
                return compute_leased_score(lease, epoch, timeline)
        found = await self._read(lease_id, deadline)
        lease = require_lease(found, provider, epoch, seat, timeline)
        self._keep(epoch, lease)
        return compute_leased_score(lease, epoch, timeline)

    async def _read(self, lease_id: int, deadline: float) -> Lease | None:
        if self._source is None:
            return None
        with trio.move_on_at(deadline):
            async with self._reads:
                return await self._source.lease(lease_id)
        raise TimedOutError(f"lease {lease_id} not read in time")

    def _keep(self, epoch: Epoch, lease: Lease) -> None:
        self._known[lease.id] = (epoch, lease)
        self._known.move_to_end(lease.id)
        if len(self._known) > KEPT_LEASES:
            self._known.popitem(last=False)

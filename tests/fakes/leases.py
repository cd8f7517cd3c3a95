"""A `LeaseSource` in memory: leases laid down by the test, reads counted."""

import trio

from chain.errors import ChainError
from protocols.leases import Lease


class FakeLeases:
    """What the chain has; `failures` are raised by the next reads, one each."""

    def __init__(self, *leases: Lease) -> None:
        self.known = {lease.id: lease for lease in leases}
        self.reads: list[int] = []
        self.most_at_once = 0
        self.failures: list[ChainError] = []
        self.hangs = False
        self._reading = 0

    async def lease(self, lease_id: int, /) -> Lease | None:
        self.reads.append(lease_id)
        self._reading += 1
        self.most_at_once = max(self.most_at_once, self._reading)
        try:
            await (trio.sleep_forever() if self.hangs else trio.lowlevel.checkpoint())
        finally:
            self._reading -= 1
        if self.failures:
            raise self.failures.pop(0)
        return self.known.get(lease_id)

"""The chain as far as bundles and policing ask and pay: answers laid down, calls taken note of.

`test_policing.py` holds the names and parameters of both to those of the real client and manager.
"""

from collections.abc import Awaitable, Callable, Sequence

import trio

from chain.client import BlockTag
from chain.errors import ChainError, ExpiredError, ObsoleteError
from chain.records import BundleRecord, Call, Receipt, SlotKind
from protocols.bans import Standing
from protocols.types import Epoch, Shard

BLOCK_SECONDS = 1.0


class FakeChain:
    """What all nodes of a test read."""

    def __init__(self) -> None:
        self.bundles: dict[tuple[Epoch, Shard], BundleRecord] = {}
        self.stakes: dict[tuple[SlotKind, int], int] = {}
        self.standings: dict[int, Standing] = {}
        self.punished: set[tuple[int, Epoch]] = set()
        self.paused = 0
        """Unix seconds until which bundles are paused."""
        self.failures: list[ChainError] = []
        """Raised by the next reads, one each."""

    async def bundle(
        self, epoch: Epoch, shard: Shard, block: BlockTag = "latest"
    ) -> BundleRecord | None:
        await self._read()
        return self.bundles.get((epoch, shard))

    async def has_bundle(self, epoch: Epoch, shard: Shard, block: BlockTag = "latest") -> bool:
        await self._read()
        return (epoch, shard) in self.bundles

    async def paused_until(self, block: BlockTag = "latest") -> int:
        await self._read()
        return self.paused

    async def stake_of(self, kind: SlotKind, index: int, block: BlockTag = "latest") -> int:
        await self._read()
        return self.stakes.get((kind, index), 0)

    async def standing(self, checker: int, block: BlockTag = "latest") -> Standing:
        await self._read()
        return self.standings.get(checker, Standing())

    async def fraud_punished(self, provider: int, epoch: Epoch, block: BlockTag = "latest") -> bool:
        await self._read()
        return (provider, epoch) in self.punished

    async def _read(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.failures:
            raise self.failures.pop(0)


class FakeTransactions:
    """One wallet's transactions: each is in a block a second later, and does `effect`."""

    def __init__(self, effect: Callable[[str], None]) -> None:
        self._effect = effect
        self.sent: list[tuple[str, Call]] = []
        self.failures: Sequence[ChainError] = ()

    async def execute(
        self,
        call: Call,
        *,
        label: str,
        deadline: float,
        confirmations: object = "finalized",
        is_obsolete: Callable[[], Awaitable[bool]] | None = None,
    ) -> Receipt:
        with trio.move_on_at(deadline):
            if is_obsolete is not None and await is_obsolete():
                raise ObsoleteError(label)
            self.sent.append((label, call))
            if self.failures:
                error, *self.failures = self.failures
                raise error
            await trio.sleep(BLOCK_SECONDS)
            self._effect(label)
            return Receipt(
                transaction_hash=bytes(32),
                block_number=1,
                block_hash=bytes(32),
                succeeded=True,
                gas_used=1,
                gas_price=1,
                contract=None,
                logs=(),
            )
        raise ExpiredError(label)

"""A chain and a source of randomness for draws, in virtual time."""

import hashlib

import trio

from chain.errors import ChainError, UnreachableError
from p2p_node.clock import Clock
from p2p_node.zeronode.drawing import Commitment
from protocols.lucky_draw import Source, SourceKind, known_from_ms
from protocols.types import Digest, TimeMs

BLOCK_MS = 2_000


class FakeAnchor:
    """A chain whose blocks come every two seconds and are final at once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.commitments: dict[Digest, Commitment] = {}
        self.sent: list[Digest] = []
        self.is_away = False
        self.listed = True
        self.loses = False
        """Whether what is sent never gets into a block."""

    async def is_listed(self) -> bool:
        await self._answer()
        return self.listed

    async def find(self, key: Digest) -> Commitment | None:
        await self._answer()
        return self.commitments.get(key)

    async def commit(self, key: Digest, commitment: Digest, until: TimeMs) -> None:
        await self._answer()
        self.sent.append(commitment)
        await trio.sleep(BLOCK_MS / 1000)
        if self.loses:
            await self._clock.sleep_until(until)
            return
        self.commitments.setdefault(key, Commitment(commitment, self._clock.now() // 1000))

    async def _answer(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.is_away:
            raise UnreachableError("no chain")


class FakeBeacon:
    """Seeds of epochs of 25 s, which are hashes of their numbers."""

    EPOCH_MS = 25_000

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.is_away = False

    def plan(self, not_before: TimeMs) -> Source:
        return Source(SourceKind.BEACON, 1 - (-not_before // self.EPOCH_MS))

    def known_from(self, source: Source) -> TimeMs:
        return known_from_ms(source, 0, self.EPOCH_MS // 1000)

    async def fetch(self, source: Source) -> bytes | None:
        await trio.lowlevel.checkpoint()
        if self.is_away or self._clock.now() < source.number * self.EPOCH_MS:
            return None
        return hashlib.sha256(b"epoch %d" % source.number).digest()


__all__ = ["ChainError", "FakeAnchor", "FakeBeacon"]

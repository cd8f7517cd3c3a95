"""Taking turns: who asks for much at once waits for themselves, and holds up nobody else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from protocols.types import Wallet


class Turns:
    """One costly request at a time for each account, in the order in which they came."""

    def __init__(self) -> None:
        self._locks: dict[Wallet, trio.Lock] = {}

    def __len__(self) -> int:
        return len(self._locks)

    @asynccontextmanager
    async def take(self, wallet: Wallet) -> AsyncIterator[None]:
        """Wait for the account's turn, and hold it for the block."""
        lock = self._locks.setdefault(wallet, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            # Only of accounts that ask for something now.
            if not lock.locked():
                self._locks.pop(wallet, None)

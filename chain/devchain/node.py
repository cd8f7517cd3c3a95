"""A devchain as one object: ledger and pool behind a lock, without any network.

Blocks come from `mine`; whoever wants them in time calls it in time (`service.py` does).
"""

import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import RLock

from eth_typing import Address

from chain.budget import Touched
from chain.devchain.config import FINALITY_DEPTH, DevchainConfig
from chain.devchain.execution import CallRequest, CallResult
from chain.devchain.ledger import Block, Ledger, LogEntry, MinedTransaction
from chain.devchain.pool import Pool, PooledTransaction, PoolError, decode_transaction
from protocols.errors import LocalError

CALL_GAS = 50_000_000
"""Gas of an `eth_call` that names none; geth's default cap as well."""

CACHED_CALLS = 1_024
"""Results of calls that are remembered: a dozen nodes ask the same views of the same block."""

MAX_LOGS = 10_000
"""Logs in one answer of `eth_getLogs`, as with the public providers."""

DEFAULT_TIP = 10**9
"""The tip in wei per gas that is suggested; anvil's too."""


class TooManyLogsError(Exception):
    """A log query whose answer would exceed MAX_LOGS."""


@dataclass(frozen=True, slots=True)
class FoundLog:
    """A log with where it is."""

    entry: LogEntry
    log_index: int
    transaction: MinedTransaction
    block: Block


class Devchain:
    """A London chain in memory. All methods may be called from any thread."""

    def __init__(self, config: DevchainConfig, genesis_timestamp: int | None = None) -> None:
        self.config = config
        self._lock = RLock()
        self._pool = Pool()
        self._calls: OrderedDict[tuple[bytes, CallRequest, int], CallResult] = OrderedDict()
        self._ledger = Ledger(
            config.chain_id,
            config.funded,
            config.block_gas_limit,
            int(time.time()) if genesis_timestamp is None else genesis_timestamp,
        )

    def head(self) -> Block:
        """Return the newest block."""
        with self._lock:
            return self._ledger.head

    def block_by_number(self, number: int) -> Block | None:
        """Return the block at this height, or None above the head."""
        with self._lock:
            return self._ledger.block(number)

    def block_by_hash(self, block_hash: bytes) -> Block | None:
        """Return the canonical block with this hash, or None."""
        with self._lock:
            return self._ledger.block_by_hash(block_hash)

    def finalized(self) -> Block:
        """Return the newest block that is never taken back."""
        with self._lock:
            return self._ledger.canonical(max(0, self._ledger.head.number - FINALITY_DEPTH))

    def next_base_fee(self) -> int:
        """Return the base fee of the block that comes next, in wei per gas."""
        with self._lock:
            return self._ledger.next_base_fee()

    def send(self, raw: bytes) -> bytes:
        """Take a signed transaction into the pool; return its hash, or raise PoolError."""
        # Decoding recovers the sender's key, the costly part: outside the lock.
        pooled = decode_transaction(raw, self.config.chain_id)
        if pooled.transaction.gas > self.config.block_gas_limit:
            raise PoolError("exceeds block gas limit")
        with self._lock:
            state = self._ledger.state(self._ledger.head)
            chain_nonce = state.get_nonce(pooled.transaction.sender)
            self._pool.add(pooled, chain_nonce, state.get_balance(pooled.transaction.sender))
        return pooled.hash

    def mine(self, timestamp: int | None = None) -> Block:
        """Make a block of what waits; `timestamp` defaults to now, and always grows."""
        with self._lock:
            now = int(time.time()) if timestamp is None else timestamp
            candidates = self._pool.candidates(self._nonce, self._ledger.next_base_fee())
            tried: list[PooledTransaction] = []
            block = self._ledger.append_block(_noting(candidates, tried), now)
            included = {mined.pooled.hash for mined in block.transactions}
            for pooled in tried:
                self._drop_if_impossible(pooled, included)
            self._pool.prune(self._nonce)
            return block

    def rewind(self, depth: int, *, keep_transactions: bool = True) -> Block:
        """Take back the newest `depth` blocks, as a reorganisation does; return the new head.

        Their transactions wait again, or are forgotten. Finalised blocks stay: LocalError.
        """
        if not 0 <= depth <= FINALITY_DEPTH:
            raise LocalError(f"depth: found {depth}, expected 0 … {FINALITY_DEPTH}")
        with self._lock:
            for pooled in self._ledger.drop_blocks(depth):
                if keep_transactions:
                    self._pool.put_back(pooled)
            return self._ledger.head

    def has_pending(self) -> bool:
        """Tell whether any transaction waits."""
        with self._lock:
            return len(self._pool) > 0

    def pending(self, transaction_hash: bytes) -> PooledTransaction | None:
        """Return the waiting transaction with this hash, or None."""
        with self._lock:
            return self._pool.get(transaction_hash)

    def mined(self, transaction_hash: bytes) -> tuple[MinedTransaction, Block] | None:
        """Return the mined transaction with this hash and its block, or None."""
        with self._lock:
            mined = self._ledger.mined(transaction_hash)
            if mined is None:
                return None
            return mined, self._ledger.canonical(mined.block_number)

    def balance(self, block: Block, address: bytes) -> int:
        """Return a balance in wei."""
        with self._lock:
            return self._ledger.state(block).get_balance(Address(address))

    def code(self, block: Block, address: bytes) -> bytes:
        """Return the code at an address."""
        with self._lock:
            return self._ledger.state(block).get_code(Address(address))

    def storage(self, block: Block, address: bytes, slot: int) -> int:
        """Return a storage word."""
        with self._lock:
            return self._ledger.state(block).get_storage(Address(address), slot)

    def nonce(self, block: Block, address: bytes) -> int:
        """Return how many transactions of this address were mined."""
        with self._lock:
            return self._ledger.state(block).get_nonce(Address(address))

    def pending_nonce(self, address: bytes) -> int:
        """Return the next free nonce, the waiting transactions counted in."""
        with self._lock:
            return self._pool.next_nonce(address, self._nonce(address))

    def call(self, block: Block, request: CallRequest, gas: int = CALL_GAS) -> CallResult:
        """Execute a call on the state after `block`."""
        key = (block.hash, request, gas)
        with self._lock:
            result = self._calls.get(key)
            if result is None:
                result = self._ledger.execute(block, request, min(gas, CALL_GAS))
                self._calls[key] = result
                if len(self._calls) > CACHED_CALLS:
                    self._calls.popitem(last=False)
            return result

    def trace(self, block: Block, request: CallRequest) -> tuple[CallResult, Touched]:
        """Execute a call on the state after `block`, and tell what it looked at."""
        with self._lock:
            return self._ledger.trace(block, request, CALL_GAS)

    def estimate_gas(self, block: Block, request: CallRequest) -> tuple[int, CallResult]:
        """Find a sufficient gas limit; it means nothing if the result has an error."""
        with self._lock:
            return self._ledger.estimate_gas(block, request, self.config.block_gas_limit)

    def logs(
        self,
        first: int,
        last: int,
        addresses: frozenset[bytes],
        topics: Sequence[frozenset[bytes]],
    ) -> list[FoundLog]:
        """Find logs in the blocks first … last.

        An empty set of addresses, or of topics at a position, matches everything.
        Raises TooManyLogsError beyond MAX_LOGS.
        """
        found: list[FoundLog] = []
        with self._lock:
            for number in self._ledger.numbers_with_logs(first, last):
                block = self._ledger.canonical(number)
                for mined in block.transactions:
                    for offset, entry in enumerate(mined.logs):
                        if _matches(entry, addresses, topics):
                            index = mined.first_log_index + offset
                            found.append(FoundLog(entry, index, mined, block))
                if len(found) > MAX_LOGS:
                    raise TooManyLogsError
        return found

    def _nonce(self, address: bytes) -> int:
        return self._ledger.state(self._ledger.head).get_nonce(Address(address))

    def _drop_if_impossible(self, pooled: PooledTransaction, included: set[bytes]) -> None:
        # Left out although there was room: the balance no longer covers it, so it would block
        # its sender's later transactions for ever.
        if pooled.hash in included:
            return
        state = self._ledger.state(self._ledger.head)
        if state.get_balance(pooled.transaction.sender) < pooled.max_cost:
            self._pool.remove(pooled.hash)


def _noting(
    candidates: Iterable[PooledTransaction], tried: list[PooledTransaction]
) -> Iterator[PooledTransaction]:
    for pooled in candidates:
        tried.append(pooled)
        yield pooled


def _matches(
    entry: LogEntry, addresses: frozenset[bytes], topics: Sequence[frozenset[bytes]]
) -> bool:
    if addresses and entry.address not in addresses:
        return False
    if len(topics) > len(entry.topics):
        return False
    return all(
        not wanted or found in wanted for wanted, found in zip(topics, entry.topics, strict=False)
    )

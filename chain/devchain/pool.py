"""Transactions that wait for a block: geth's rules, without its journal and its journeys.

One transaction per sender and nonce; a newcomer replaces it only by paying at least a tenth more.
The pool is bounded, per sender and in all.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from eth.abc import SignedTransactionAPI
from eth.exceptions import UnrecognizedTransactionType
from eth.vm.forks.london.transactions import LondonTransactionBuilder, LondonTypedTransaction
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError

from chain.rlp_codec import RlpError
from protocols.hashing import keccak256

MAX_PENDING = 4_096
"""Transactions in the pool: ten blocks' worth of small ones."""

MAX_PENDING_PER_SENDER = 64
"""Transactions of one sender, which also bounds how far ahead of the chain a nonce may be."""

REPLACEMENT_PERCENT = 10
"""By how much both fees of a replacement must exceed those of the transaction it replaces."""

MAX_TRANSACTION_BYTES = 128 * 1024
"""geth's cap on one encoded transaction."""


class PoolError(Exception):
    """A transaction the pool does not take; the text is the one geth gives."""


@dataclass(frozen=True, slots=True)
class PooledTransaction:
    """A decoded transaction with what is costly to find out about it."""

    raw: bytes
    hash: bytes
    sender: bytes
    type_id: int
    transaction: SignedTransactionAPI

    @property
    def max_fee(self) -> int:
        """Most that the sender pays per gas, in wei."""
        return self.transaction.max_fee_per_gas

    @property
    def max_tip(self) -> int:
        """Most of it that goes to the block's maker, in wei."""
        return self.transaction.max_priority_fee_per_gas

    @property
    def max_cost(self) -> int:
        """Balance that the sender must have, in wei."""
        return self.transaction.value + self.transaction.gas * self.max_fee


def decode_transaction(raw: bytes, chain_id: int) -> PooledTransaction:
    """Decode and check what can be checked without any state; PoolError with geth's words."""
    if len(raw) > MAX_TRANSACTION_BYTES:
        raise PoolError(f"oversized data: transaction size {len(raw)}")
    if not raw:
        raise PoolError("typed transaction too short")
    try:
        transaction: SignedTransactionAPI
        if raw[0] >= 0xC0:
            type_id = 0
            transaction = LondonTransactionBuilder.decode(raw)
        else:
            type_id = raw[0]
            transaction = LondonTypedTransaction.decode(raw)
        transaction.validate()
    except (RlpError, UnrecognizedTransactionType, ValidationError) as error:
        raise PoolError(f"cannot decode transaction: {error}") from error
    if transaction.chain_id != chain_id:
        raise PoolError(f"invalid chain id for signer: have {transaction.chain_id} want {chain_id}")
    try:
        sender = transaction.sender
    except (BadSignature, ValidationError) as error:
        raise PoolError("invalid sender") from error
    if transaction.max_priority_fee_per_gas > transaction.max_fee_per_gas:
        raise PoolError("max priority fee per gas higher than max fee per gas")
    if transaction.gas < transaction.intrinsic_gas:
        raise PoolError(
            f"intrinsic gas too low: gas {transaction.gas}, "
            f"minimum needed {transaction.intrinsic_gas}"
        )
    return PooledTransaction(raw, keccak256(raw), sender, type_id, transaction)


class Pool:
    """Pending transactions by sender and nonce. Not thread-safe: the node locks."""

    def __init__(self) -> None:
        self._by_sender: dict[bytes, dict[int, PooledTransaction]] = {}
        self._by_hash: dict[bytes, PooledTransaction] = {}

    def __len__(self) -> int:
        return len(self._by_hash)

    def get(self, transaction_hash: bytes) -> PooledTransaction | None:
        """Return the pending transaction with this hash, or None."""
        return self._by_hash.get(transaction_hash)

    def add(self, pooled: PooledTransaction, chain_nonce: int, balance: int) -> None:
        """Take a transaction in, or raise PoolError.

        `chain_nonce` and `balance` are the sender's in the newest block.
        """
        nonce = pooled.transaction.nonce
        if pooled.hash in self._by_hash:
            raise PoolError("already known")
        if nonce < chain_nonce:
            raise PoolError(f"nonce too low: next nonce {chain_nonce}, tx nonce {nonce}")
        if nonce >= chain_nonce + MAX_PENDING_PER_SENDER:
            raise PoolError(f"nonce too high: next nonce {chain_nonce}, tx nonce {nonce}")
        if balance < pooled.max_cost:
            raise PoolError(
                "insufficient funds for gas * price + value: "
                f"balance {balance}, tx cost {pooled.max_cost}"
            )
        mine = self._by_sender.get(pooled.sender, {})
        replaced = mine.get(nonce)
        if replaced is None:
            if len(self._by_hash) >= MAX_PENDING:
                raise PoolError("txpool is full")
        elif not _pays_enough_more(pooled, replaced):
            raise PoolError("replacement transaction underpriced")
        else:
            self._remove(replaced)
        self._by_sender.setdefault(pooled.sender, {})[nonce] = pooled
        self._by_hash[pooled.hash] = pooled

    def put_back(self, pooled: PooledTransaction) -> None:
        """Take in a transaction whose block was dropped, unless its nonce is already pending."""
        mine = self._by_sender.setdefault(pooled.sender, {})
        if pooled.transaction.nonce not in mine:
            mine[pooled.transaction.nonce] = pooled
            self._by_hash[pooled.hash] = pooled

    def next_nonce(self, sender: bytes, chain_nonce: int) -> int:
        """Return the first nonce from `chain_nonce` on that is neither mined nor pending."""
        mine = self._by_sender.get(sender, {})
        nonce = chain_nonce
        while nonce in mine:
            nonce += 1
        return nonce

    def candidates(
        self, nonce_of: Callable[[bytes], int], base_fee: int
    ) -> Iterator[PooledTransaction]:
        """Yield executable transactions: highest tip first, each sender's in order of nonce."""
        heads: list[tuple[int, bytes, int]] = []
        for sender in self._by_sender:
            self._push(heads, sender, nonce_of(sender), base_fee)
        heapify(heads)
        while heads:
            _, sender, nonce = heappop(heads)
            yield self._by_sender[sender][nonce]
            self._push(heads, sender, nonce + 1, base_fee)

    def prune(self, nonce_of: Callable[[bytes], int]) -> None:
        """Forget what can never be mined any more because its nonce is used."""
        for sender in list(self._by_sender):
            used = nonce_of(sender)
            for nonce, pooled in list(self._by_sender[sender].items()):
                if nonce < used:
                    self._remove(pooled)

    def remove(self, transaction_hash: bytes) -> None:
        """Forget one transaction, if it is pending."""
        pooled = self._by_hash.get(transaction_hash)
        if pooled is not None:
            self._remove(pooled)

    def _push(
        self, heads: list[tuple[int, bytes, int]], sender: bytes, nonce: int, base_fee: int
    ) -> None:
        pooled = self._by_sender[sender].get(nonce)
        if pooled is not None and pooled.max_fee >= base_fee:
            heappush(heads, (-min(pooled.max_tip, pooled.max_fee - base_fee), sender, nonce))

    def _remove(self, pooled: PooledTransaction) -> None:
        del self._by_hash[pooled.hash]
        mine = self._by_sender[pooled.sender]
        del mine[pooled.transaction.nonce]
        if not mine:
            del self._by_sender[pooled.sender]


def _pays_enough_more(newcomer: PooledTransaction, old: PooledTransaction) -> bool:
    factor = 100 + REPLACEMENT_PERCENT
    return (
        newcomer.max_fee * 100 >= old.max_fee * factor
        and newcomer.max_tip * 100 >= old.max_tip * factor
        # A tenth of next to nothing rounds to nothing: something more is always asked.
        and newcomer.max_fee > old.max_fee
        and newcomer.max_tip > old.max_tip
    )

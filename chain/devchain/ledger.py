"""The blocks and the state of the devchain: py-evm's London rules, driven directly.

eth-tester's normalisation layers are left out: they cost several times the execution of a small
call. Headers, receipts, gas, fees and state roots are the EVM's own; what is not kept are the
rules of proof of work (difficulty is 0, as on peaq, and there is no block reward).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Final

from eth.abc import BlockHeaderAPI, ComputationAPI, StateAPI
from eth.consensus.noproof import NoProofConsensus
from eth.constants import BLANK_ROOT_HASH, MAX_PREV_HEADER_DEPTH
from eth.db.atomic import AtomicDB
from eth.db.trie import make_trie_root_and_nodes
from eth.vm.chain_context import ChainContext
from eth.vm.forks.london import LondonVM
from eth.vm.forks.london.blocks import LondonBlockHeader
from eth.vm.forks.london.headers import calculate_expected_base_fee_per_gas
from eth_typing import Address, Hash32
from eth_utils.exceptions import ValidationError

from chain.addresses import predict_address
from chain.budget import Touched
from chain.devchain.execution import (
    NO_ADDRESS,
    CallRequest,
    CallResult,
    run_call,
)
from chain.devchain.pool import PooledTransaction
from chain.devchain.tracing import build_tracing_state
from chain.recursion import cap_recursion
from chain.rlp_codec import decode_rlp, encode_rlp
from protocols.errors import LocalError
from protocols.hashing import keccak256
from protocols.types import Wallet

cap_recursion()

COINBASE: Final = Address(b"\x00" * 19 + b"\x01")
"""Where tips go: an account of nobody's that is no contract."""

CALL_STIPEND = 2_300
"""Gas that the EVM hands on with a value transfer; part of geth's estimate as well."""


class DevchainVM(LondonVM):
    """London without proof of work."""

    consensus_class = NoProofConsensus


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One event as a contract emitted it."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class MinedTransaction:
    """A transaction in its block, with its receipt."""

    pooled: PooledTransaction
    block_number: int
    index: int
    succeeded: bool
    gas_used: int
    cumulative_gas_used: int
    effective_gas_price: int
    created: bytes | None
    bloom: int
    logs: tuple[LogEntry, ...]
    first_log_index: int


@dataclass(frozen=True, slots=True)
class Block:
    """A block of the chain; the header is kept encoded, since most blocks are never looked at."""

    number: int
    hash: bytes
    parent_hash: bytes
    timestamp: int
    base_fee: int
    header_rlp: bytes
    transactions: tuple[MinedTransaction, ...]

    @property
    def header(self) -> LondonBlockHeader:
        """The header in full."""
        return _decode_header(self.header_rlp)


@lru_cache(maxsize=64)
def _decode_header(encoded: bytes) -> LondonBlockHeader:
    header: LondonBlockHeader = decode_rlp(encoded, LondonBlockHeader)
    return header


class Ledger:
    """The canonical chain from its genesis block on. Not thread-safe: the node locks."""

    def __init__(
        self,
        chain_id: int,
        funded: Iterable[tuple[bytes, int]],
        gas_limit: int,
        timestamp: int,
    ) -> None:
        self._db = AtomicDB()
        self._context = ChainContext(chain_id)
        self._gas_limit = gas_limit
        self._blocks: list[Block] = []
        self._numbers: dict[bytes, int] = {}
        self._mined: dict[bytes, MinedTransaction] = {}
        self._states: dict[bytes, StateAPI] = {}
        self._blocks_with_logs: list[int] = []
        header = DevchainVM.create_genesis_header(
            difficulty=0, gas_limit=gas_limit, timestamp=timestamp, coinbase=COINBASE
        ).copy(state_root=BLANK_ROOT_HASH)
        state = self._build_state(header)
        for wallet, amount in funded:
            state.set_balance(Address(wallet), amount)
        state.persist()
        self._append(header.copy(state_root=state.state_root), ())

    @property
    def head(self) -> Block:
        """The newest block."""
        return self._blocks[-1]

    def block(self, number: int) -> Block | None:
        """Return the block at this height, or None above the head."""
        return self._blocks[number] if 0 <= number < len(self._blocks) else None

    def canonical(self, number: int) -> Block:
        """Return the block at this height, which must exist."""
        return self._blocks[number]

    def block_by_hash(self, block_hash: bytes) -> Block | None:
        """Return the canonical block with this hash, or None."""
        number = self._numbers.get(block_hash)
        return None if number is None else self._blocks[number]

    def mined(self, transaction_hash: bytes) -> MinedTransaction | None:
        """Return the mined transaction with this hash, or None."""
        return self._mined.get(transaction_hash)

    def numbers_with_logs(self, first: int, last: int) -> Iterator[int]:
        """Yield the heights in first … last whose blocks have logs, in order."""
        return (number for number in self._blocks_with_logs if first <= number <= last)

    def next_base_fee(self) -> int:
        """Return the base fee in wei per gas of the block that comes next."""
        return calculate_expected_base_fee_per_gas(self.head.header)

    def state(self, block: Block) -> StateAPI:
        """Return the state after `block`; whoever executes on it must undo what he did."""
        state = self._states.get(block.hash)
        if state is None:
            while len(self._states) >= 4:
                self._states.pop(next(iter(self._states)))
            state = self._states[block.hash] = self._build_state(block.header)
        return state

    def append_block(self, candidates: Iterable[PooledTransaction], timestamp: int) -> Block:
        """Mine a block of the candidates that are valid, in their order, while gas lasts.

        A candidate that is not valid here is left out; the pool decides what becomes of it.
        """
        parent = self.head.header
        header = DevchainVM.create_header_from_parent(
            parent,
            timestamp=max(timestamp, parent.timestamp + 1),
            gas_limit=self._gas_limit,
            difficulty=0,
            coinbase=COINBASE,
            state_root=parent.state_root,
        )
        state = self._build_state(header)
        mined: list[MinedTransaction] = []
        receipts = []
        log_index = 0
        for pooled in candidates:
            if header.gas_used + pooled.transaction.gas > header.gas_limit:
                continue
            state.lock_changes()
            try:
                computation = state.apply_transaction(pooled.transaction)
            except ValidationError:
                continue
            receipt = DevchainVM.make_receipt(header, pooled.transaction, computation, state)
            receipts.append(receipt)
            mined.append(
                _to_mined(pooled, header, len(mined), computation, receipt.bloom, log_index)
            )
            log_index += len(mined[-1].logs)
            header = header.copy(
                bloom=header.bloom | receipt.bloom,
                gas_used=mined[-1].cumulative_gas_used,
            )
        if mined:
            state.persist()
            transaction_root, _ = make_trie_root_and_nodes([m.pooled.transaction for m in mined])
            receipt_root, _ = make_trie_root_and_nodes(receipts)
            header = header.copy(
                state_root=state.state_root,
                transaction_root=transaction_root,
                receipt_root=receipt_root,
            )
        return self._append(header, tuple(mined))

    def drop_blocks(self, depth: int) -> list[PooledTransaction]:
        """Take the newest `depth` blocks off the chain; return their transactions in order."""
        if not 0 <= depth < len(self._blocks):
            raise LocalError(f"depth: found {depth}, expected 0 … {len(self._blocks) - 1}")
        kept = len(self._blocks) - depth
        dropped = self._blocks[kept:]
        del self._blocks[kept:]
        for block in dropped:
            del self._numbers[block.hash]
            for mined in block.transactions:
                del self._mined[mined.pooled.hash]
        self._blocks_with_logs = [n for n in self._blocks_with_logs if n < kept]
        return [mined.pooled for block in dropped for mined in block.transactions]

    def execute(self, block: Block, request: CallRequest, gas: int) -> CallResult:
        """Run a call on the state after `block`, for free, and undo it."""
        state = self.state(block)
        snapshot = state.snapshot()
        try:
            return run_call(state, request, gas)
        finally:
            state.revert(snapshot)

    def trace(self, block: Block, request: CallRequest, gas: int) -> tuple[CallResult, Touched]:
        """Like `execute`, and tell what the call looked at."""
        state = build_tracing_state(
            self._db, block.header, self._context, _Ancestors(self._blocks, block.number)
        )
        result = run_call(state, request, gas)
        return result, state.notes()

    def estimate_gas(self, block: Block, request: CallRequest, cap: int) -> tuple[int, CallResult]:
        """Find a gas limit, at most `cap`, with which the call succeeds.

        Returns the limit and the result of the run at `cap`; if that one failed, the limit means
        nothing. The limit exceeds the least possible one by little: 1/63 and a stipend, or the
        1.5 % that geth allows its search.
        """
        result = self.execute(block, request, cap)
        if result.error is not None:
            return cap, result
        # Every call keeps 1/64 of its gas back, so for shallow calls this limit is enough, and it
        # saves the search.
        guess = min(cap, (result.gas_peak + CALL_STIPEND) * 64 // 63)
        if self.execute(block, request, guess).error is None:
            return guess, result
        low, high = guess, cap
        while (high - low) * 200 > high * 3:
            middle = (low + high) // 2
            if self.execute(block, request, middle).error is None:
                high = middle
            else:
                low = middle
        return high, result

    def _build_state(self, header: BlockHeaderAPI) -> StateAPI:
        return DevchainVM.build_state(
            self._db, header, self._context, _Ancestors(self._blocks, header.block_number)
        )

    def _append(self, header: BlockHeaderAPI, transactions: tuple[MinedTransaction, ...]) -> Block:
        encoded = encode_rlp(header)
        block = Block(
            number=header.block_number,
            hash=keccak256(encoded),
            parent_hash=header.parent_hash,
            timestamp=header.timestamp,
            base_fee=_base_fee(header),
            header_rlp=encoded,
            transactions=transactions,
        )
        self._blocks.append(block)
        self._numbers[block.hash] = block.number
        for mined in transactions:
            self._mined[mined.pooled.hash] = mined
        if any(mined.logs for mined in transactions):
            self._blocks_with_logs.append(block.number)
        return block


class _Ancestors(Iterable[Hash32]):
    """The hashes below a height, newest first: what BLOCKHASH may see. Read afresh each time."""

    def __init__(self, blocks: Sequence[Block], number: int) -> None:
        self._blocks = blocks
        self._number = number

    def __iter__(self) -> Iterator[Hash32]:
        newest_first = range(self._number - 1, -1, -1)
        return (Hash32(self._blocks[n].hash) for n in islice(newest_first, MAX_PREV_HEADER_DEPTH))


def _to_mined(
    pooled: PooledTransaction,
    header: BlockHeaderAPI,
    index: int,
    computation: ComputationAPI,
    bloom: int,
    first_log_index: int,
) -> MinedTransaction:
    transaction = pooled.transaction
    gas_used = DevchainVM.finalize_gas_used(transaction, computation)
    base_fee = _base_fee(header)
    tip = min(
        transaction.max_priority_fee_per_gas,
        transaction.max_fee_per_gas - base_fee,
    )
    created = (
        predict_address(Wallet(pooled.sender), transaction.nonce)
        if transaction.to == NO_ADDRESS and not computation.is_error
        else None
    )
    return MinedTransaction(
        pooled=pooled,
        block_number=header.block_number,
        index=index,
        succeeded=not computation.is_error,
        gas_used=gas_used,
        cumulative_gas_used=header.gas_used + gas_used,
        effective_gas_price=base_fee + tip,
        created=created,
        bloom=bloom,
        logs=tuple(
            LogEntry(address, tuple(topic.to_bytes(32, "big") for topic in topics), data)
            for address, topics, data in computation.get_log_entries()
        ),
        first_log_index=first_log_index,
    )


def _base_fee(header: BlockHeaderAPI) -> int:
    if header.base_fee_per_gas is None:
        raise LocalError("a London header without a base fee")
    return header.base_fee_per_gas

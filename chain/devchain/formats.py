"""JSON-RPC answers: blocks, transactions, receipts and logs as geth writes them."""

from typing import TypeAlias

from chain.devchain.ledger import Block, MinedTransaction
from chain.devchain.node import FoundLog
from chain.devchain.pool import PooledTransaction

Json: TypeAlias = "bool | float | str | list[Json] | dict[str, Json] | None"
"""An answer; quantities and bytes are hexadecimal text, only ratios are JSON numbers."""

BLOOM_BYTES = 256


def quantity(value: int) -> str:
    """Write a number."""
    return hex(value)


def octets(value: bytes) -> str:
    """Write bytes."""
    return "0x" + value.hex()


def block_to_json(block: Block, full_transactions: bool) -> Json:
    """Write a block with its transactions, or with their hashes only."""
    header = block.header
    return {
        "number": quantity(block.number),
        "hash": octets(block.hash),
        "parentHash": octets(block.parent_hash),
        "nonce": octets(header.nonce),
        "mixHash": octets(header.mix_hash),
        "sha3Uncles": octets(header.uncles_hash),
        "logsBloom": _bloom(header.bloom),
        "transactionsRoot": octets(header.transaction_root),
        "stateRoot": octets(header.state_root),
        "receiptsRoot": octets(header.receipt_root),
        "miner": octets(header.coinbase),
        "difficulty": quantity(header.difficulty),
        "totalDifficulty": quantity(0),
        "extraData": octets(header.extra_data),
        "size": quantity(
            len(block.header_rlp) + sum(len(mined.pooled.raw) for mined in block.transactions)
        ),
        "gasLimit": quantity(header.gas_limit),
        "gasUsed": quantity(header.gas_used),
        "timestamp": quantity(block.timestamp),
        "baseFeePerGas": quantity(block.base_fee),
        "uncles": [],
        "transactions": [
            mined_to_json(mined, block) if full_transactions else octets(mined.pooled.hash)
            for mined in block.transactions
        ],
    }


def mined_to_json(mined: MinedTransaction, block: Block) -> Json:
    """Write a transaction that is in a block."""
    return _transaction(mined.pooled) | {
        "blockHash": octets(block.hash),
        "blockNumber": quantity(block.number),
        "transactionIndex": quantity(mined.index),
        "gasPrice": quantity(mined.effective_gas_price),
    }


def pending_to_json(pooled: PooledTransaction) -> Json:
    """Write a transaction that waits."""
    return _transaction(pooled) | {
        "blockHash": None,
        "blockNumber": None,
        "transactionIndex": None,
    }


def receipt_to_json(mined: MinedTransaction, block: Block) -> Json:
    """Write a receipt."""
    to = mined.pooled.transaction.to
    return {
        "transactionHash": octets(mined.pooled.hash),
        "transactionIndex": quantity(mined.index),
        "blockHash": octets(block.hash),
        "blockNumber": quantity(block.number),
        "from": octets(mined.pooled.sender),
        "to": octets(to) if to else None,
        "type": quantity(mined.pooled.type_id),
        "status": quantity(int(mined.succeeded)),
        "gasUsed": quantity(mined.gas_used),
        "cumulativeGasUsed": quantity(mined.cumulative_gas_used),
        "effectiveGasPrice": quantity(mined.effective_gas_price),
        "contractAddress": None if mined.created is None else octets(mined.created),
        "logsBloom": _bloom(mined.bloom),
        "logs": [
            log_to_json(FoundLog(entry, mined.first_log_index + offset, mined, block))
            for offset, entry in enumerate(mined.logs)
        ],
    }


def log_to_json(found: FoundLog) -> Json:
    """Write a log."""
    return {
        "address": octets(found.entry.address),
        "topics": [octets(topic) for topic in found.entry.topics],
        "data": octets(found.entry.data),
        "blockNumber": quantity(found.block.number),
        "blockHash": octets(found.block.hash),
        "transactionHash": octets(found.transaction.pooled.hash),
        "transactionIndex": quantity(found.transaction.index),
        "logIndex": quantity(found.log_index),
        "removed": False,
    }


def _transaction(pooled: PooledTransaction) -> dict[str, Json]:
    transaction = pooled.transaction
    written: dict[str, Json] = {
        "hash": octets(pooled.hash),
        "type": quantity(pooled.type_id),
        "chainId": None if transaction.chain_id is None else quantity(transaction.chain_id),
        "nonce": quantity(transaction.nonce),
        "from": octets(pooled.sender),
        "to": octets(transaction.to) if transaction.to else None,
        "value": quantity(transaction.value),
        "gas": quantity(transaction.gas),
        "gasPrice": quantity(pooled.max_fee),
        "input": octets(transaction.data),
        "r": quantity(transaction.r),
        "s": quantity(transaction.s),
        "v": quantity(transaction.y_parity if pooled.type_id else _legacy_v(pooled)),
    }
    if pooled.type_id:
        written["yParity"] = quantity(transaction.y_parity)
        written["accessList"] = [
            {
                "address": octets(address),
                "storageKeys": [octets(slot.to_bytes(32, "big")) for slot in slots],
            }
            for address, slots in transaction.access_list
        ]
    if pooled.type_id == 2:
        written["maxFeePerGas"] = quantity(pooled.max_fee)
        written["maxPriorityFeePerGas"] = quantity(pooled.max_tip)
    return written


def _legacy_v(pooled: PooledTransaction) -> int:
    # EIP-155; the pool takes no legacy transaction without a chain id.
    chain_id = pooled.transaction.chain_id
    return pooled.transaction.y_parity + (27 if chain_id is None else 35 + 2 * chain_id)


def _bloom(bloom: int) -> str:
    return octets(bloom.to_bytes(BLOOM_BYTES, "big"))

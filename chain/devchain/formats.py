"""JSON-RPC answers: blocks, transactions, receipts and logs as geth writes them."""

from typing import TypeAlias

from chain.devchain.ledger import Block, MinedTransaction
from chain.devchain.node import FoundLog
from chain.devchain.pool import PooledTransaction
from chain.hexes import to_hex

Json: TypeAlias = "bool | float | str | list[Json] | dict[str, Json] | None"
"""An answer; quantities and bytes are hexadecimal text, only ratios are JSON numbers."""

BLOOM_BYTES = 256


def block_to_json(block: Block, full_transactions: bool) -> Json:
    """Write a block with its transactions, or with their hashes only."""
    header = block.header
    return {
        "number": to_hex(block.number),
        "hash": to_hex(block.hash),
        "parentHash": to_hex(block.parent_hash),
        "nonce": to_hex(header.nonce),
        "mixHash": to_hex(header.mix_hash),
        "sha3Uncles": to_hex(header.uncles_hash),
        "logsBloom": _bloom(header.bloom),
        "transactionsRoot": to_hex(header.transaction_root),
        "stateRoot": to_hex(header.state_root),
        "receiptsRoot": to_hex(header.receipt_root),
        "miner": to_hex(header.coinbase),
        "difficulty": to_hex(header.difficulty),
        "totalDifficulty": to_hex(0),
        "extraData": to_hex(header.extra_data),
        "size": to_hex(
            len(block.header_rlp) + sum(len(mined.pooled.raw) for mined in block.transactions)
        ),
        "gasLimit": to_hex(header.gas_limit),
        "gasUsed": to_hex(header.gas_used),
        "timestamp": to_hex(block.timestamp),
        "baseFeePerGas": to_hex(block.base_fee),
        "uncles": [],
        "transactions": [
            mined_to_json(mined, block) if full_transactions else to_hex(mined.pooled.hash)
            for mined in block.transactions
        ],
    }


def mined_to_json(mined: MinedTransaction, block: Block) -> Json:
    """Write a transaction that is in a block."""
    return _transaction(mined.pooled) | {
        "blockHash": to_hex(block.hash),
        "blockNumber": to_hex(block.number),
        "transactionIndex": to_hex(mined.index),
        "gasPrice": to_hex(mined.effective_gas_price),
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
        "transactionHash": to_hex(mined.pooled.hash),
        "transactionIndex": to_hex(mined.index),
        "blockHash": to_hex(block.hash),
        "blockNumber": to_hex(block.number),
        "from": to_hex(mined.pooled.sender),
        "to": to_hex(to) if to else None,
        "type": to_hex(mined.pooled.type_id),
        "status": to_hex(int(mined.succeeded)),
        "gasUsed": to_hex(mined.gas_used),
        "cumulativeGasUsed": to_hex(mined.cumulative_gas_used),
        "effectiveGasPrice": to_hex(mined.effective_gas_price),
        "contractAddress": None if mined.created is None else to_hex(mined.created),
        "logsBloom": _bloom(mined.bloom),
        "logs": [
            log_to_json(FoundLog(entry, mined.first_log_index + offset, mined, block))
            for offset, entry in enumerate(mined.logs)
        ],
    }


def log_to_json(found: FoundLog) -> Json:
    """Write a log."""
    return {
        "address": to_hex(found.entry.address),
        "topics": [to_hex(topic) for topic in found.entry.topics],
        "data": to_hex(found.entry.data),
        "blockNumber": to_hex(found.block.number),
        "blockHash": to_hex(found.block.hash),
        "transactionHash": to_hex(found.transaction.pooled.hash),
        "transactionIndex": to_hex(found.transaction.index),
        "logIndex": to_hex(found.log_index),
        "removed": False,
    }


def _transaction(pooled: PooledTransaction) -> dict[str, Json]:
    transaction = pooled.transaction
    written: dict[str, Json] = {
        "hash": to_hex(pooled.hash),
        "type": to_hex(pooled.type_id),
        "chainId": None if transaction.chain_id is None else to_hex(transaction.chain_id),
        "nonce": to_hex(transaction.nonce),
        "from": to_hex(pooled.sender),
        "to": to_hex(transaction.to) if transaction.to else None,
        "value": to_hex(transaction.value),
        "gas": to_hex(transaction.gas),
        "gasPrice": to_hex(pooled.max_fee),
        "input": to_hex(transaction.data),
        "r": to_hex(transaction.r),
        "s": to_hex(transaction.s),
        "v": to_hex(transaction.y_parity if pooled.type_id else _legacy_v(pooled)),
    }
    if pooled.type_id:
        written["yParity"] = to_hex(transaction.y_parity)
        written["accessList"] = [
            {
                "address": to_hex(address),
                "storageKeys": [to_hex(slot.to_bytes(32, "big")) for slot in slots],
            }
            for address, slots in transaction.access_list
        ]
    if pooled.type_id == 2:
        written["maxFeePerGas"] = to_hex(pooled.max_fee)
        written["maxPriorityFeePerGas"] = to_hex(pooled.max_tip)
    return written


def _legacy_v(pooled: PooledTransaction) -> int:
    # EIP-155; the pool takes no legacy transaction without a chain id.
    chain_id = pooled.transaction.chain_id
    return pooled.transaction.y_parity + (27 if chain_id is None else 35 + 2 * chain_id)


def _bloom(bloom: int) -> str:
    return to_hex(bloom.to_bytes(BLOOM_BYTES, "big"))

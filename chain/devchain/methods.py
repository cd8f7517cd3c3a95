"""The JSON-RPC methods of the devchain: what web3 and the node need, by geth's semantics."""

import json
import logging
from collections.abc import Callable, Sequence
from typing import Final

from chain.abi import decode_revert_reason
from chain.devchain.execution import CallResult
from chain.devchain.formats import (
    Json,
    block_to_json,
    log_to_json,
    mined_to_json,
    pending_to_json,
    receipt_to_json,
)
from chain.devchain.ledger import Block
from chain.devchain.node import DEFAULT_TIP, Devchain, TooManyLogsError
from chain.devchain.parameters import (
    INVALID_PARAMS,
    SERVER_ERROR,
    RpcFault,
    find_block,
    parse_addresses,
    parse_bytes,
    parse_call,
    parse_fixed,
    parse_flag,
    parse_quantity,
    parse_topics,
    require_block,
)
from chain.devchain.pool import MAX_TRANSACTION_BYTES, PoolError
from chain.hexes import to_hex

_log = logging.getLogger(__name__)

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INTERNAL_ERROR: Final = -32603
LIMIT_EXCEEDED: Final = -32005
EXECUTION_REVERTED: Final = 3

MAX_BATCH = 100
"""Requests in one batch."""

MAX_FEE_HISTORY = 1_024
"""Blocks in one `eth_feeHistory`; geth's cap too."""

CLIENT_VERSION = "kaisar-devchain/1/py-evm/london"

MAX_PERCENTILES = 100
"""Reward percentiles in one `eth_feeHistory`."""

Parameters = Sequence[object]


class Methods:
    """Answers JSON-RPC bodies from a devchain. Thread-safe, since the devchain is."""

    def __init__(self, chain: Devchain) -> None:
        self._chain = chain
        self._table: dict[str, tuple[int, int, Callable[[Parameters], Json]]] = {
            # name: (fewest parameters, most parameters, method)
            "eth_blockNumber": (0, 0, lambda _: to_hex(chain.head().number)),
            "eth_call": (1, 2, self._call),
            "eth_chainId": (0, 0, lambda _: to_hex(chain.config.chain_id)),
            "eth_estimateGas": (1, 2, self._estimate_gas),
            "eth_feeHistory": (2, 3, self._fee_history),
            "eth_gasPrice": (0, 0, lambda _: to_hex(chain.next_base_fee() + DEFAULT_TIP)),
            "eth_getBalance": (1, 2, self._get_balance),
            "eth_getBlockByHash": (1, 2, self._get_block_by_hash),
            "eth_getBlockByNumber": (1, 2, self._get_block_by_number),
            "eth_getCode": (1, 2, self._get_code),
            "eth_getLogs": (1, 1, self._get_logs),
            "eth_getStorageAt": (2, 3, self._get_storage_at),
            "eth_getTransactionByHash": (1, 1, self._get_transaction),
            "eth_getTransactionCount": (1, 2, self._get_transaction_count),
            "eth_getTransactionReceipt": (1, 1, self._get_receipt),
            "eth_maxPriorityFeePerGas": (0, 0, lambda _: to_hex(DEFAULT_TIP)),
            "eth_sendRawTransaction": (1, 1, self._send),
            "eth_syncing": (0, 0, lambda _: False),
            "net_listening": (0, 0, lambda _: True),
            "net_version": (0, 0, lambda _: str(chain.config.chain_id)),
            "web3_clientVersion": (0, 0, lambda _: CLIENT_VERSION),
        }

    def handle(self, body: bytes) -> bytes:
        """Answer one HTTP body: a request or a batch. Empty for notifications only."""
        try:
            parsed = json.loads(body)
        except (ValueError, RecursionError):
            return _encode(_error(None, PARSE_ERROR, "parse error"))
        if not isinstance(parsed, list):
            answer = self._answer(parsed)
            return b"" if answer is None else _encode(answer)
        if not parsed:
            return _encode(_error(None, INVALID_REQUEST, "empty batch"))
        if len(parsed) > MAX_BATCH:
            return _encode(_error(None, LIMIT_EXCEEDED, f"batch larger than {MAX_BATCH}"))
        answers = [answer for item in parsed if (answer := self._answer(item)) is not None]
        return _encode(answers) if answers else b""

    def _answer(self, request: object) -> dict[str, object] | None:
        if not isinstance(request, dict) or request.get("jsonrpc") != "2.0":
            return _error(None, INVALID_REQUEST, "not a JSON-RPC 2.0 request")
        identifier = request.get("id")
        if not isinstance(identifier, str | int | float | None):
            return _error(None, INVALID_REQUEST, "the id is neither a string nor a number")
        method, parameters = request.get("method"), request.get("params", [])
        if not isinstance(method, str) or not isinstance(parameters, list):
            return _error(identifier, INVALID_REQUEST, "no method, or params that are no list")
        try:
            result = self._dispatch(method, parameters)
        except RpcFault as fault:
            answer = _error(identifier, fault.code, fault.message, fault.data)
        except Exception:  # noqa: BLE001 - a bug here must not show a client our stack
            _log.exception("devchain: %s failed", method[:64])
            answer = _error(identifier, INTERNAL_ERROR, "internal error")
        else:
            answer = {"jsonrpc": "2.0", "id": identifier, "result": result}
        return answer if "id" in request else None

    def _dispatch(self, method: str, parameters: Parameters) -> Json:
        entry = self._table.get(method)
        if entry is None:
            raise RpcFault(METHOD_NOT_FOUND, f"the method {method[:64]} does not exist")
        fewest, most, function = entry
        if not fewest <= len(parameters) <= most:
            raise RpcFault(
                INVALID_PARAMS,
                f"{method}: found {len(parameters)} params, expected {fewest} … {most}",
            )
        return function(parameters)

    def _call(self, parameters: Parameters) -> Json:
        request, gas = parse_call(parameters[0])
        block = require_block(self._chain, parameters, 1)
        result = (
            self._chain.call(block, request)
            if gas is None
            else self._chain.call(block, request, gas)
        )
        _raise_execution_error(result)
        return to_hex(result.output)

    def _estimate_gas(self, parameters: Parameters) -> Json:
        request, _ = parse_call(parameters[0])
        limit, result = self._chain.estimate_gas(require_block(self._chain, parameters, 1), request)
        _raise_execution_error(result)
        return to_hex(limit)

    def _send(self, parameters: Parameters) -> Json:
        raw = parse_bytes(parameters[0], "transaction", MAX_TRANSACTION_BYTES)
        try:
            return to_hex(self._chain.send(raw))
        except PoolError as error:
            raise RpcFault(SERVER_ERROR, str(error)) from error

    def _get_balance(self, parameters: Parameters) -> Json:
        address = parse_fixed(parameters[0], "address", 20)
        return to_hex(self._chain.balance(require_block(self._chain, parameters, 1), address))

    def _get_code(self, parameters: Parameters) -> Json:
        address = parse_fixed(parameters[0], "address", 20)
        return to_hex(self._chain.code(require_block(self._chain, parameters, 1), address))

    def _get_storage_at(self, parameters: Parameters) -> Json:
        address = parse_fixed(parameters[0], "address", 20)
        slot = parse_quantity(parameters[1], "slot")
        word = self._chain.storage(require_block(self._chain, parameters, 2), address, slot)
        return to_hex(word.to_bytes(32, "big"))

    def _get_transaction_count(self, parameters: Parameters) -> Json:
        address = parse_fixed(parameters[0], "address", 20)
        if len(parameters) > 1 and parameters[1] == "pending":
            return to_hex(self._chain.pending_nonce(address))
        return to_hex(self._chain.nonce(require_block(self._chain, parameters, 1), address))

    def _get_block_by_number(self, parameters: Parameters) -> Json:
        full = parse_flag(parameters[1], "full transactions") if len(parameters) > 1 else False
        block = find_block(self._chain, parameters[0])
        return None if block is None else block_to_json(block, full)

    def _get_block_by_hash(self, parameters: Parameters) -> Json:
        full = parse_flag(parameters[1], "full transactions") if len(parameters) > 1 else False
        block = self._chain.block_by_hash(parse_fixed(parameters[0], "block hash", 32))
        return None if block is None else block_to_json(block, full)

    def _get_transaction(self, parameters: Parameters) -> Json:
        transaction_hash = parse_fixed(parameters[0], "transaction hash", 32)
        found = self._chain.mined(transaction_hash)
        if found is not None:
            return mined_to_json(*found)
        pending = self._chain.pending(transaction_hash)
        return None if pending is None else pending_to_json(pending)

    def _get_receipt(self, parameters: Parameters) -> Json:
        found = self._chain.mined(parse_fixed(parameters[0], "transaction hash", 32))
        return None if found is None else receipt_to_json(*found)

    def _get_logs(self, parameters: Parameters) -> Json:
        criteria = parameters[0]
        if not isinstance(criteria, dict):
            raise RpcFault(INVALID_PARAMS, "the filter is not an object")
        addresses = parse_addresses(criteria.get("address"))
        topics = parse_topics(criteria.get("topics"))
        if "blockHash" in criteria:
            first = last = require_block(self._chain, [{"blockHash": criteria["blockHash"]}], 0)
        else:
            first = require_block(self._chain, [criteria.get("fromBlock", "latest")], 0)
            # An end beyond the head is no mistake: the client asks for all there is.
            named_last = find_block(self._chain, criteria.get("toBlock", "latest"))
            last = self._chain.head() if named_last is None else named_last
        try:
            found = self._chain.logs(first.number, last.number, addresses, topics)
        except TooManyLogsError:
            raise RpcFault(LIMIT_EXCEEDED, "query returned too many logs") from None
        return [log_to_json(log) for log in found]

    def _fee_history(self, parameters: Parameters) -> Json:
        count = parse_quantity(parameters[0], "block count")
        if not 1 <= count <= MAX_FEE_HISTORY:
            raise RpcFault(INVALID_PARAMS, f"block count: expected 1 … {MAX_FEE_HISTORY}")
        newest = require_block(self._chain, parameters, 1)
        percentiles = _parse_percentiles(parameters[2] if len(parameters) > 2 else [])
        numbers = range(max(0, newest.number - count + 1), newest.number + 1)
        blocks = [block for n in numbers if (block := self._chain.block_by_number(n)) is not None]
        following = self._chain.block_by_number(newest.number + 1)
        next_fee = self._chain.next_base_fee() if following is None else following.base_fee
        base_fees: list[Json] = [to_hex(block.base_fee) for block in blocks]
        ratios: list[Json] = [block.header.gas_used / block.header.gas_limit for block in blocks]
        answer: dict[str, Json] = {
            "oldestBlock": to_hex(numbers.start),
            "baseFeePerGas": [*base_fees, to_hex(next_fee)],
            "gasUsedRatio": ratios,
        }
        if percentiles:
            answer["reward"] = [
                [to_hex(tip) for tip in _tips_at(block, percentiles)] for block in blocks
            ]
        return answer


def _raise_execution_error(result: CallResult) -> None:
    if result.error is None:
        return
    if result.reverted:
        reason = decode_revert_reason(result.output)
        message = "execution reverted" if reason is None else f"execution reverted: {reason}"
        raise RpcFault(EXECUTION_REVERTED, message, to_hex(result.output))
    raise RpcFault(SERVER_ERROR, result.error)


def _parse_percentiles(value: object) -> list[float]:
    if not isinstance(value, list) or len(value) > MAX_PERCENTILES:
        raise RpcFault(INVALID_PARAMS, f"percentiles: expected at most {MAX_PERCENTILES} numbers")
    percentiles = [item for item in value if isinstance(item, int | float)]
    rising = all(0 <= p <= 100 for p in percentiles) and percentiles == sorted(percentiles)
    if len(percentiles) != len(value) or not rising:
        raise RpcFault(INVALID_PARAMS, "percentiles: expected rising numbers from 0 to 100")
    return percentiles


def _tips_at(block: Block, percentiles: list[float]) -> list[int]:
    """Tips per gas that the given percentages of the block's gas paid at most."""
    tips = sorted((m.effective_gas_price - block.base_fee, m.gas_used) for m in block.transactions)
    total = sum(gas for _, gas in tips)
    rewards = []
    for percentile in percentiles:
        seen, reward = 0, 0
        for tip, gas in tips:
            reward = tip
            seen += gas
            if seen * 100 >= total * percentile:
                break
        rewards.append(reward)
    return rewards


def _error(
    identifier: object, code: int, message: str, data: str | None = None
) -> dict[str, object]:
    error: dict[str, object] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "id": identifier, "error": error}


def _encode(answer: object) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode()

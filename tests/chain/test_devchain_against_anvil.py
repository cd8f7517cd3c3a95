"""The devchain beside anvil: the same transactions, the same answers."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from chain.abi import get_interface
from chain.refusals import Refusal, classify_refusal
from tests.chain.backends import (
    ALICE,
    BOB,
    Backend,
    running_anvil,
    running_devchain,
)
from tests.chain.managing import reverting_code
from tests.chain.test_devchain_node import GWEI, NOBODY, STORE, creation_of, signed

ADDRESS = "0x" + ALICE.address.hex()


class Both:
    """Two chains that get the same requests."""

    def __init__(self, backends: tuple[Backend, Backend]) -> None:
        self.backends = backends
        self._session = requests.Session()

    def close(self) -> None:
        self._session.close()

    def ask(self, method: str, *parameters: object) -> tuple[dict[str, Any], dict[str, Any]]:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(parameters)}
        ours, theirs = (
            self._session.post(backend.url, json=body, timeout=10).json()
            for backend in self.backends
        )
        return ours, theirs

    def results(self, method: str, *parameters: object) -> tuple[Any, Any]:
        ours, theirs = self.ask(method, *parameters)
        assert "result" in ours, ours
        assert "result" in theirs, theirs
        return ours["result"], theirs["result"]

    def same(self, method: str, *parameters: object) -> Any:
        ours, theirs = self.results(method, *parameters)
        assert ours == theirs
        return ours

    def send(self, raw: bytes) -> str:
        transaction_hash = self.same("eth_sendRawTransaction", "0x" + raw.hex())
        assert isinstance(transaction_hash, str)
        return transaction_hash

    def mine(self) -> None:
        for backend in self.backends:
            backend.mine()


@pytest.fixture
def both() -> Iterator[Both]:
    with running_anvil() as anvil, running_devchain() as devchain:
        pair = Both((devchain, anvil))
        yield pair
        pair.close()


def deploy(both: Both, code: bytes, nonce: int = 0) -> str:
    """Deploy the same code on both; the address is the same too."""
    sent = both.send(signed(ALICE, nonce, to=None, value=0, gas=3_000_000, data=code))
    both.mine()
    ours, theirs = both.results("eth_getTransactionReceipt", sent)
    assert ours["status"] == "0x1"
    assert ours["contractAddress"].lower() == theirs["contractAddress"].lower()
    return str(ours["contractAddress"])


VARIABLE = {"blockHash", "effectiveGasPrice", "gasPrice", "timestamp", "blockTimestamp", "hash"}
"""What the wall clock and the base fee of a chain's history decide."""

THEIRS_ONLY = {"blobGasPrice", "root", "blockTimestamp", "authorizationList"}
"""Fields that anvil adds and no London chain has."""


def assert_same_shape(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert set(theirs) - THEIRS_ONLY - set(ours) == set(), "fields we lack"
    for field in set(ours) & set(theirs) - VARIABLE:
        assert type(ours[field]) is type(theirs[field]), field
        if not isinstance(ours[field], list | dict):
            assert str(ours[field]).lower() == str(theirs[field]).lower(), field


def test_simple_answers(both: Both) -> None:
    both.same("eth_chainId")
    both.same("net_version")
    both.same("eth_syncing")
    both.same("eth_blockNumber")
    both.same("eth_getBalance", ADDRESS, "latest")
    both.same("eth_getCode", ADDRESS, "latest")
    both.same("eth_getTransactionCount", ADDRESS, "pending")
    both.same("eth_getBlockByNumber", "0x99", False)
    both.same("eth_getTransactionReceipt", "0x" + "11" * 32)
    both.same("eth_getStorageAt", ADDRESS, "0x0", "latest")
    ours, theirs = both.results("eth_getBlockByNumber", "finalized", False)
    assert ours["number"] == theirs["number"]


def test_a_transfer_is_the_same_on_both(both: Both) -> None:
    sent = both.send(signed(ALICE, 0, value=7))
    both.same("eth_getTransactionCount", ADDRESS, "latest")
    both.same("eth_getTransactionCount", ADDRESS, "pending")
    assert_same_shape(*both.results("eth_getTransactionByHash", sent))
    both.mine()
    assert_same_shape(*both.results("eth_getTransactionByHash", sent))
    assert_same_shape(*both.results("eth_getTransactionReceipt", sent))
    both.same("eth_getBalance", "0x" + NOBODY.hex(), "latest")
    ours, theirs = both.results("eth_getBlockByNumber", "latest", False)
    # Difficulty, the coinbase and what follows from them are each chain's own business.
    own = {"difficulty", "totalDifficulty", "miner", "stateRoot", "parentHash", "size", "nonce"}
    own |= {"baseFeePerGas", "mixHash", "extraData", "receiptsRoot"}
    for block in (ours, theirs):
        for field in own:
            block.pop(field)
    assert_same_shape(ours, theirs)


def test_a_contract_is_the_same_on_both(both: Both) -> None:
    store = deploy(both, creation_of(STORE))
    both.same("eth_getCode", store, "latest")
    word = b"\x01" * 32
    sent = both.send(signed(ALICE, 1, to=bytes.fromhex(store[2:]), value=0, gas=100_000, data=word))
    both.mine()
    ours, theirs = both.results("eth_getTransactionReceipt", sent)
    assert_same_shape(ours, theirs)
    assert_same_shape(ours["logs"][0], theirs["logs"][0])
    assert both.same("eth_getStorageAt", store, "0x0", "latest") == "0x" + word.hex()
    criteria = {"fromBlock": "earliest", "toBlock": "latest", "address": store}
    ours, theirs = both.results("eth_getLogs", criteria)
    assert len(ours) == len(theirs) == 1
    assert_same_shape(ours[0], theirs[0])


def test_our_own_token_runs_the_same_on_both(both: Both) -> None:
    token = get_interface("Token")
    address = deploy(both, token.encode_deployment(["Kaisar", "KAI", 10**24]))
    transfer = token.functions["transfer"].encode([BOB.address, 5])
    place = bytes.fromhex(address[2:])
    sent = both.send(signed(ALICE, 1, to=place, value=0, gas=200_000, data=transfer))
    both.mine()
    ours, theirs = both.results("eth_getTransactionReceipt", sent)
    assert ours["gasUsed"] == theirs["gasUsed"]
    assert ours["logs"][0]["topics"] == theirs["logs"][0]["topics"]
    balance = {
        "to": address,
        "data": "0x" + token.functions["balanceOf"].encode([BOB.address]).hex(),
    }
    both.same("eth_call", balance, "latest")
    call = {"from": ADDRESS, "to": address, "data": "0x" + transfer.hex()}
    ours, theirs = both.results("eth_estimateGas", call)
    # Ours leaves out the search: 1/63 and a stipend more.
    assert int(theirs, 16) <= int(ours, 16) <= int(theirs, 16) * 65 // 63 + 2_400
    poor = call | {"from": "0x" + NOBODY.hex()}
    ours, theirs = both.ask("eth_call", poor, "latest")
    assert ours["error"]["code"] == theirs["error"]["code"] == 3
    assert ours["error"]["data"] == theirs["error"]["data"]
    assert "balance is too small" in ours["error"]["message"]
    assert "balance is too small" in theirs["error"]["message"]


def test_a_revert_with_a_reason_reads_the_same(both: Both) -> None:
    contract = deploy(both, creation_of(reverting_code("no")))
    for method in ("eth_call", "eth_estimateGas"):
        ours, theirs = both.ask(method, {"from": ADDRESS, "to": contract})
        assert ours["error"]["code"] == theirs["error"]["code"] == 3
        assert ours["error"]["data"] == theirs["error"]["data"]
        for answer in (ours, theirs):
            assert answer["error"]["message"].startswith("execution reverted")


@pytest.mark.parametrize(
    ("raws", "refusal"),
    [
        ((signed(ALICE, 0), signed(ALICE, 0)), Refusal.KNOWN),
        (
            (signed(ALICE, 0, max_fee=20 * GWEI), signed(ALICE, 0, value=2, max_fee=20 * GWEI)),
            Refusal.UNDERPRICED,
        ),
        ((signed(ALICE, 0, value=10**30),), Refusal.UNFUNDED),
        ((signed(ALICE, 0, gas=20_000),), Refusal.OTHER),
        ((signed(ALICE, 0, gas=40_000_000),), Refusal.OTHER),
        ((signed(ALICE, 0, chain_id=1),), Refusal.OTHER),
    ],
)
def test_refusals_mean_the_same(both: Both, raws: tuple[bytes, ...], refusal: Refusal) -> None:
    for raw in raws[:-1]:
        both.send(raw)
    for answer in both.ask("eth_sendRawTransaction", "0x" + raws[-1].hex()):
        assert classify_refusal(answer["error"]["message"]) is refusal, answer


def test_a_used_nonce_is_refused_alike(both: Both) -> None:
    both.send(signed(ALICE, 0))
    both.mine()
    for answer in both.ask("eth_sendRawTransaction", "0x" + signed(ALICE, 0, value=2).hex()):
        assert classify_refusal(answer["error"]["message"]) is Refusal.NONCE_USED, answer


def test_a_replacement_is_taken_alike(both: Both) -> None:
    both.send(signed(ALICE, 0, tip=GWEI, max_fee=20 * GWEI))
    second = both.send(signed(ALICE, 0, value=2, tip=2 * GWEI, max_fee=24 * GWEI))
    both.mine()
    ours, theirs = both.results("eth_getTransactionReceipt", second)
    assert ours["status"] == theirs["status"] == "0x1"
    assert both.same("eth_getBalance", "0x" + NOBODY.hex(), "latest") == "0x2"

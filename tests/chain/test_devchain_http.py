"""The devchain's JSON-RPC server, as clients good and bad see it."""

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from web3 import HTTPProvider, Web3
from web3.exceptions import ContractLogicError, Web3RPCError

from chain.devchain.methods import MAX_BATCH, Methods
from chain.devchain.node import Devchain
from chain.devchain.server import MAX_BODY_BYTES
from tests.chain.backends import ALICE, CHAIN_ID, ETHER, DevchainBackend, funded_config
from tests.chain.test_devchain_node import NOBODY, STORE, creation_of, signed

ADDRESS = "0x" + ALICE.address.hex()


@pytest.fixture
def connection(devchain: DevchainBackend) -> Iterator[http.client.HTTPConnection]:
    client = http.client.HTTPConnection("127.0.0.1", urlsplit(devchain.url).port, timeout=10)
    yield client
    client.close()


@pytest.fixture
def web3(devchain: DevchainBackend) -> Web3:
    provider = HTTPProvider(devchain.url, exception_retry_configuration=None)
    return Web3(provider)


def post(
    connection: http.client.HTTPConnection,
    body: bytes,
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    connection.request(
        "POST", "/", body, {"Content-Type": "application/json"} if headers is None else headers
    )
    response = connection.getresponse()
    return response.status, response.read()


def ask(connection: http.client.HTTPConnection, method: str, *parameters: object) -> Any:
    body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": list(parameters)}
    status, answer = post(connection, json.dumps(body).encode())
    assert status == 200
    parsed = json.loads(answer)
    assert (parsed["jsonrpc"], parsed["id"]) == ("2.0", 7)
    return parsed


def error_of(connection: http.client.HTTPConnection, method: str, *parameters: object) -> Any:
    return ask(connection, method, *parameters)["error"]


def test_web3_reads_and_sends(devchain: DevchainBackend, web3: Web3) -> None:
    assert web3.eth.chain_id == CHAIN_ID
    assert web3.net.version == str(CHAIN_ID)
    assert web3.eth.syncing is False
    assert "devchain" in web3.client_version
    assert web3.eth.get_balance(Web3.to_checksum_address(ADDRESS)) == 1000 * ETHER
    assert web3.eth.gas_price > web3.eth.max_priority_fee > 0
    assert web3.eth.block_number == 4
    assert web3.eth.get_block("finalized")["number"] == 2
    assert web3.eth.get_block("earliest")["number"] == 0
    sender = Web3.to_checksum_address(ADDRESS)
    transaction_hash = web3.eth.send_raw_transaction(signed(ALICE, 0, value=3))
    assert web3.eth.get_transaction_count(sender) == 0
    assert web3.eth.get_transaction_count(sender, "pending") == 1
    assert "blockNumber" not in web3.eth.get_transaction(transaction_hash) or (
        web3.eth.get_transaction(transaction_hash)["blockNumber"] is None
    )
    devchain.mine()
    receipt = web3.eth.wait_for_transaction_receipt(transaction_hash, timeout=5)
    assert (receipt["status"], receipt["gasUsed"], receipt["type"]) == (1, 21_000, 2)
    block = web3.eth.get_block(receipt["blockHash"], full_transactions=True)
    assert block["transactions"][0]["hash"] == transaction_hash
    assert block["transactions"][0]["value"] == 3
    assert web3.eth.get_balance(Web3.to_checksum_address(NOBODY)) == 3


def test_web3_builds_fees_and_gas_by_itself(devchain: DevchainBackend, web3: Web3) -> None:
    from eth_account import Account

    account = Account.from_key(b"\xa1" * 32)
    unsigned: Any = {
        "from": account.address,
        "to": Web3.to_checksum_address(NOBODY),
        "value": 1,
        "nonce": 0,
        "chainId": CHAIN_ID,
    }
    unsigned["gas"] = web3.eth.estimate_gas(unsigned)
    history = web3.eth.fee_history(2, "latest", [10, 90])
    unsigned["maxFeePerGas"] = 2 * history["baseFeePerGas"][-1] + web3.eth.max_priority_fee
    unsigned["maxPriorityFeePerGas"] = web3.eth.max_priority_fee
    web3.eth.send_raw_transaction(account.sign_transaction(unsigned).raw_transaction)
    devchain.mine()
    assert web3.eth.get_transaction_count(account.address) == 1
    rewards = web3.eth.fee_history(1, "latest", [50])["reward"]
    assert rewards == [[web3.eth.max_priority_fee]]


def test_a_legacy_transaction_is_mined(devchain: DevchainBackend, web3: Web3) -> None:
    from eth_account import Account

    account = Account.from_key(b"\xa1" * 32)
    unsigned = {
        "to": Web3.to_checksum_address(NOBODY),
        "value": 1,
        "nonce": 0,
        "chainId": CHAIN_ID,
        "gas": 21_000,
        "gasPrice": 2 * 10**9,
    }
    sent = web3.eth.send_raw_transaction(account.sign_transaction(unsigned).raw_transaction)
    devchain.mine()
    found = web3.eth.get_transaction(sent)
    assert (found["type"], found["from"], found["v"]) == (0, account.address, found["v"])
    assert found["v"] in (35 + 2 * CHAIN_ID, 36 + 2 * CHAIN_ID)
    assert web3.eth.get_transaction_receipt(sent)["effectiveGasPrice"] == 2 * 10**9


def test_a_revert_reaches_web3_with_its_reason(devchain: DevchainBackend, web3: Web3) -> None:
    # Copies the ABI encoding of Error("no") behind the code into memory and reverts with it.
    text = bytes.fromhex("08c379a0") + (32).to_bytes(32, "big") + (2).to_bytes(32, "big")
    text += b"no" + bytes(30)
    code = bytes.fromhex(f"60{len(text):02x}600c60003960{len(text):02x}6000fd") + text
    devchain.chain.send(signed(ALICE, 0, to=None, value=0, gas=300_000, data=creation_of(code)))
    block = devchain.chain.mine()
    address = block.transactions[0].created
    assert address is not None
    with pytest.raises(ContractLogicError, match="execution reverted: no"):
        web3.eth.call({"to": Web3.to_checksum_address(address)})
    with pytest.raises(ContractLogicError, match="execution reverted: no"):
        web3.eth.estimate_gas({"to": Web3.to_checksum_address(address)})


def test_a_refused_transaction_reaches_web3(web3: Web3) -> None:
    with pytest.raises(Web3RPCError, match="intrinsic gas too low"):
        web3.eth.send_raw_transaction(signed(ALICE, 0, gas=5))


def test_logs_by_block_hash_and_range(
    devchain: DevchainBackend, connection: http.client.HTTPConnection
) -> None:
    devchain.chain.send(signed(ALICE, 0, to=None, value=0, gas=200_000, data=creation_of(STORE)))
    address = devchain.chain.mine().transactions[0].created
    assert address is not None
    word = b"\x01" * 32
    devchain.chain.send(signed(ALICE, 1, to=address, value=0, gas=100_000, data=word))
    block = devchain.chain.mine()
    (log,) = ask(connection, "eth_getLogs", {"blockHash": "0x" + block.hash.hex()})["result"]
    assert log["address"] == "0x" + address.hex()
    assert log["data"] == "0x" + word.hex()
    assert log["topics"] == []
    assert log["removed"] is False
    everything = {"fromBlock": "earliest", "toBlock": "0xffff", "address": [log["address"]]}
    assert ask(connection, "eth_getLogs", everything)["result"] == [log]
    assert ask(connection, "eth_getLogs", {"toBlock": "latest"})["result"] == [log]
    (in_receipt,) = ask(connection, "eth_getTransactionReceipt", log["transactionHash"])["result"][
        "logs"
    ]
    assert in_receipt == log


def test_a_contract_that_calls_itself_ends(
    devchain: DevchainBackend, connection: http.client.HTTPConnection
) -> None:
    # 0 0 0 0 0 ADDRESS GAS CALL: some 600 levels deep with the gas of an eth_call.
    code = creation_of(bytes.fromhex("600080808080305af1"))
    devchain.chain.send(signed(ALICE, 0, to=None, value=0, gas=200_000, data=code))
    address = devchain.chain.mine().transactions[0].created
    assert address is not None
    assert ask(connection, "eth_call", {"to": "0x" + address.hex()})["result"] == "0x"


def test_code_and_storage(
    devchain: DevchainBackend, connection: http.client.HTTPConnection
) -> None:
    devchain.chain.send(signed(ALICE, 0, to=None, value=0, gas=200_000, data=creation_of(STORE)))
    address = devchain.chain.mine().transactions[0].created
    assert address is not None
    at = "0x" + address.hex()
    assert ask(connection, "eth_getCode", at, "latest")["result"] == "0x" + STORE.hex()
    assert ask(connection, "eth_getCode", at, "0x0")["result"] == "0x"
    assert ask(connection, "eth_getStorageAt", at, "0x0", "latest")["result"] == "0x" + "00" * 32


def test_what_does_not_exist_is_null(connection: http.client.HTTPConnection) -> None:
    nothing = "0x" + "ab" * 32
    assert ask(connection, "eth_getBlockByNumber", "0x99", False)["result"] is None
    assert ask(connection, "eth_getBlockByHash", nothing, False)["result"] is None
    assert ask(connection, "eth_getTransactionByHash", nothing)["result"] is None
    assert ask(connection, "eth_getTransactionReceipt", nothing)["result"] is None
    assert error_of(connection, "eth_call", {}, "0x99")["message"] == "header not found"
    by_hash = {"blockHash": nothing}
    assert error_of(connection, "eth_getBalance", ADDRESS, by_hash)["code"] == -32000


@pytest.mark.parametrize(
    ("method", "parameters", "code"),
    [
        ("eth_mine", [], -32601),
        ("anvil_setBalance", [ADDRESS, "0x1"], -32601),
        ("eth_chainId", [1], -32602),
        ("eth_getBalance", [], -32602),
        ("eth_getBalance", ["0x12"], -32602),
        ("eth_getBalance", [ADDRESS[2:]], -32602),
        ("eth_getBalance", [ADDRESS, "newest"], -32602),
        ("eth_getBalance", [ADDRESS, 5], -32602),
        ("eth_getBalance", [ADDRESS, {}], -32602),
        ("eth_getBlockByNumber", ["0x1", "yes"], -32602),
        ("eth_getBlockByNumber", ["0x" + "f" * 65, False], -32602),
        ("eth_getBlockByNumber", ["0x1_0", False], -32602),
        ("eth_getBlockByNumber", ["0x-1", False], -32602),
        ("eth_call", ["0x"], -32602),
        ("eth_call", [{"to": "0x1"}], -32602),
        ("eth_call", [{"data": "0x0"}], -32602),
        ("eth_call", [{"data": "0x" + "00" * (512 * 1024 + 1)}], -32602),
        ("eth_sendRawTransaction", ["02"], -32602),
        ("eth_sendRawTransaction", ["0x02"], -32000),
        ("eth_getLogs", [[]], -32602),
        ("eth_getLogs", [{"topics": ["0x1"]}], -32602),
        ("eth_getLogs", [{"topics": [None] * 5}], -32602),
        ("eth_getLogs", [{"topics": [["0x" + "00" * 32] * 65]}], -32602),
        ("eth_getLogs", [{"address": [ADDRESS] * 65}], -32602),
        ("eth_feeHistory", ["0x0", "latest"], -32602),
        ("eth_feeHistory", ["0x1", "latest", [90, 10]], -32602),
        ("eth_feeHistory", ["0x1", "latest", ["a"]], -32602),
        ("eth_feeHistory", ["0x1", "latest", [0] * 101], -32602),
    ],
)
def test_bad_parameters_are_told_what_is_wrong(
    connection: http.client.HTTPConnection, method: str, parameters: list[object], code: int
) -> None:
    error = error_of(connection, method, *parameters)
    assert error["code"] == code
    assert error["message"]
    assert ask(connection, "eth_blockNumber")["result"] == "0x4"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b"\xff\xfe", -32700),
        (b"[" * 100_000, -32700),
        (b'{"id": ' + b"9" * 5_000 + b"}", -32700),
        (b"[]", -32600),
        (b"1", -32600),
        (b'"eth_chainId"', -32600),
        (b'{"method": "eth_chainId"}', -32600),
        (b'{"jsonrpc": "2.0", "id": {}, "method": "eth_chainId"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": 5}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": {}}', -32600),
    ],
)
def test_what_is_no_request_gets_an_error_object(
    connection: http.client.HTTPConnection, body: bytes, code: int
) -> None:
    status, answer = post(connection, body)
    assert status == 200
    assert json.loads(answer)["error"]["code"] == code


def test_a_batch_is_answered_in_order(connection: http.client.HTTPConnection) -> None:
    batch: list[object] = [
        {"jsonrpc": "2.0", "id": "a", "method": "eth_chainId"},
        {"jsonrpc": "2.0", "method": "eth_chainId"},
        {"jsonrpc": "2.0", "id": 2, "method": "eth_none"},
        5,
    ]
    _, answer = post(connection, json.dumps(batch).encode())
    first, second, third = json.loads(answer)
    assert (first["id"], first["result"]) == ("a", hex(CHAIN_ID))
    assert (second["id"], second["error"]["code"]) == (2, -32601)
    assert (third["id"], third["error"]["code"]) == (None, -32600)


def test_a_batch_has_a_limit(connection: http.client.HTTPConnection) -> None:
    request = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}
    _, answer = post(connection, json.dumps([request] * MAX_BATCH).encode())
    assert len(json.loads(answer)) == MAX_BATCH
    _, answer = post(connection, json.dumps([request] * (MAX_BATCH + 1)).encode())
    assert json.loads(answer)["error"]["code"] == -32005


def test_notifications_get_no_answer(connection: http.client.HTTPConnection) -> None:
    one = {"jsonrpc": "2.0", "method": "eth_chainId"}
    assert post(connection, json.dumps(one).encode()) == (200, b"")
    assert post(connection, json.dumps([one]).encode()) == (200, b"")


def test_an_oversized_body_is_refused_unread(connection: http.client.HTTPConnection) -> None:
    connection.putrequest("POST", "/")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(MAX_BODY_BYTES + 1))
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 413
    assert response.getheader("Connection") == "close"
    response.read()
    assert ask(connection, "eth_chainId")["result"] == hex(CHAIN_ID)


@pytest.mark.parametrize("length", ["", "-1", "1e3", "9" * 30])
def test_a_bad_length_is_refused(connection: http.client.HTTPConnection, length: str) -> None:
    connection.putrequest("POST", "/")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", length)
    connection.endheaders()
    response = connection.getresponse()
    assert response.status in (411, 413)
    response.read()


def test_a_web_page_cannot_post(connection: http.client.HTTPConnection) -> None:
    body = b'{"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}'
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        status, _ = post(connection, body, {"Content-Type": kind})
        assert status == 415
    connection.request("OPTIONS", "/")
    response = connection.getresponse()
    assert response.status == 501
    assert response.getheader("Access-Control-Allow-Origin") is None
    response.read()


def test_a_client_that_hangs_up_harms_nobody(devchain: DevchainBackend) -> None:
    port = urlsplit(devchain.url).port
    for _ in range(5):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        client.putrequest("POST", "/")
        client.putheader("Content-Type", "application/json")
        client.putheader("Content-Length", "100")
        client.endheaders()
        client.send(b"{")
        client.close()
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    assert ask(client, "eth_chainId")["result"] == hex(CHAIN_ID)
    client.close()


def test_a_bug_is_logged_here_and_not_shown_there(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    chain = Devchain(funded_config())

    def fail() -> None:
        raise ZeroDivisionError("a secret of ours")

    monkeypatch.setattr(chain, "head", fail)
    answer = Methods(chain).handle(b'{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber"}')
    assert json.loads(answer)["error"] == {"code": -32603, "message": "internal error"}
    assert "a secret of ours" in caplog.text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)
HEXADECIMAL = st.binary(max_size=70).map(lambda data: "0x" + data.hex())
METHODS = Methods(Devchain(funded_config(), 1_700_000_000))


@given(
    method=st.sampled_from(sorted(METHODS._table)),
    parameters=st.lists(
        JSON
        | HEXADECIMAL
        | st.dictionaries(
            st.sampled_from(
                ["from", "to", "data", "gas", "blockHash", "fromBlock", "address", "topics"]
            ),
            JSON | HEXADECIMAL | st.lists(HEXADECIMAL, max_size=3),
        ),
        max_size=3,
    ),
)
def test_no_parameters_find_a_bug(method: str, parameters: list[object]) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
    answer = json.loads(METHODS.handle(json.dumps(body).encode()))
    assert answer.get("error", {}).get("code") != -32603, answer


@given(st.binary(max_size=200))
def test_no_transaction_finds_a_bug(raw: bytes) -> None:
    for data in (raw, b"\x02" + raw):
        body = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "eth_sendRawTransaction",
            "params": ["0x" + data.hex()],
        }
        answer = json.loads(METHODS.handle(json.dumps(body).encode()))
        assert answer["error"]["code"] in (-32000, -32602)


@given(st.data())
def test_no_damaged_transaction_finds_a_bug(data: st.DataObject) -> None:
    raw = bytearray(signed(ALICE, 0))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "eth_sendRawTransaction",
        "params": ["0x" + raw.hex()],
    }
    answer = json.loads(METHODS.handle(json.dumps(body).encode()))
    assert answer.get("error", {}).get("code") != -32603, answer

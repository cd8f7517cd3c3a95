"""Costs with proof: the arithmetic, and what a trace says was touched."""

from chain.abi import get_interface
from chain.budget import (
    ACCOUNT_BYTES,
    CODE_BYTES,
    ENVELOPE_BYTES,
    Cost,
    Touched,
    compute_cost,
    compute_gas_limit,
)
from chain.devchain.execution import CallRequest
from chain.networks import PEAQ, ProofRule
from protocols.types import Wallet
from tests.chain.backends import ALICE, BOB, AnvilBackend, DevchainBackend, running_anvil
from tests.chain.test_devchain_node import creation_of

HERE = Wallet(b"\x01" * 20)
THERE = Wallet(b"\x02" * 20)
RULE = ProofRule(gas_per_proof_byte=4, gas_per_stored_byte=1, max_proof_bytes=1_000)

# sload(0); sstore(1, 7); sstore(2, 0); call(0x04, nothing)
PROBE = bytes.fromhex("60005450" + "6007600155" + "6000600255" + "600080808080600462fffffff150")


def touched(**changes: object) -> Touched:
    empty: dict[str, object] = {
        "codes": {},
        "read": frozenset(),
        "written": frozenset(),
        "filled": frozenset(),
        "created": {},
    }
    return Touched(**(empty | changes))  # type: ignore[arg-type]


def test_a_transfer_costs_its_envelope_and_two_accounts() -> None:
    cost = compute_cost(21_000, 0, touched(codes={HERE: 0}))
    assert cost == Cost(21_000, ENVELOPE_BYTES + 2 * ACCOUNT_BYTES + CODE_BYTES, 0)
    assert cost.effective_gas(PEAQ.proof_rule) == 21_000


def test_data_code_and_slots_count_once_each() -> None:
    bare = compute_cost(0, 0, touched()).proof_bytes
    slot, other = (HERE, 1), (HERE, 2)

    def extra(data: int = 0, **changes: object) -> int:
        return compute_cost(0, data, touched(**changes)).proof_bytes - bare

    assert extra(data=1_000) == 1_000
    assert extra(codes={HERE: 5_000, THERE: 0}) == 5_000 + 2 * 169
    assert extra(read={slot, other}) == 2 * 116
    assert extra(read={slot, other}, written={slot}) == 148 + 116
    assert extra(written={slot}) == 148


def test_growth_of_the_state() -> None:
    slot = (HERE, 1)
    assert compute_cost(0, 0, touched(written={slot}, filled={slot})).stored_bytes == 116
    assert compute_cost(0, 0, touched(written={slot})).stored_bytes == 0
    created = compute_cost(0, 0, touched(created={HERE: 1_000}))
    assert created.stored_bytes == 1_112


def test_the_dearest_of_three_is_paid() -> None:
    assert Cost(100, 20, 50).effective_gas(RULE) == 100
    assert Cost(100, 30, 50).effective_gas(RULE) == 120
    assert Cost(100, 20, 150).effective_gas(RULE) == 150
    assert Cost(100, 30, 150).effective_gas(None) == 100
    assert not Cost(100, 25, 0).is_led_by_proof(RULE)
    assert Cost(100, 26, 0).is_led_by_proof(RULE)


def test_limits_have_a_margin_and_a_ceiling() -> None:
    assert compute_gas_limit(1_000, 130, 10_000) == 1_300
    assert compute_gas_limit(9_000, 130, 10_000) == 10_000


def test_a_trace_notes_what_an_execution_asks_for(devchain: DevchainBackend) -> None:
    chain = devchain.chain
    create = CallRequest(ALICE.address, None, 0, creation_of(PROBE))
    result, seen = chain.trace(chain.head(), create)
    assert result.error is None
    assert list(seen.created.values()) == [len(PROBE)]
    assert not seen.codes
    probe = deploy_probe(devchain)
    result, seen = chain.trace(chain.head(), CallRequest(BOB.address, probe, 0, b""))
    assert result.error is None
    assert seen.codes == {probe: len(PROBE), Wallet(b"\0" * 19 + b"\x04"): 0}
    assert seen.read == {(probe, 0), (probe, 1), (probe, 2)}
    assert seen.written == {(probe, 1), (probe, 2)}
    assert seen.filled == {(probe, 1)}
    # Nothing of it stays.
    assert chain.storage(chain.head(), probe, 1) == 0
    again, _ = chain.trace(chain.head(), CallRequest(BOB.address, probe, 0, b""))
    assert again == result


def test_a_trace_touches_what_anvil_says(devchain: DevchainBackend) -> None:
    """eth_createAccessList of another EVM: the same slots, and the same addresses with code."""
    interface = get_interface("Token")
    data = interface.encode_deployment(["Kaisar", "KAI", 10**24])
    transfer = interface.functions["transfer"].encode([BOB.address, 5])
    with running_anvil() as anvil:
        token, listed = ask_anvil(anvil, data, transfer)
    sent = ALICE.sign_transaction(transaction(None, data))
    devchain.chain.send(sent)
    devchain.mine()
    # The same wallet's first creation: the same address on both.
    assert devchain.chain.code(devchain.chain.head(), token)
    _, seen = devchain.chain.trace(
        devchain.chain.head(), CallRequest(ALICE.address, token, 0, transfer)
    )
    assert seen.read == listed
    assert set(seen.codes) == {token}


def ask_anvil(
    anvil: AnvilBackend, data: bytes, transfer: bytes
) -> tuple[Wallet, set[tuple[Wallet, int]]]:
    raw = ALICE.sign_transaction(transaction(None, data))
    sent = anvil.request("eth_sendRawTransaction", "0x" + raw.hex())
    anvil.mine()
    receipt = anvil.request("eth_getTransactionReceipt", sent)
    assert isinstance(receipt, dict)
    token = Wallet(bytes.fromhex(receipt["contractAddress"][2:]))
    call = {
        "from": "0x" + ALICE.address.hex(),
        "to": "0x" + token.hex(),
        "data": "0x" + transfer.hex(),
    }
    answer = anvil.request("eth_createAccessList", call, "latest")
    assert isinstance(answer, dict)
    return token, {
        (Wallet(bytes.fromhex(entry["address"][2:])), int(key, 16))
        for entry in answer["accessList"]
        for key in entry["storageKeys"]
    }


def transaction(to: Wallet | None, data: bytes) -> dict[str, object]:
    fields: dict[str, object] = {
        "type": 2,
        "chainId": 31337,
        "nonce": 0,
        "maxPriorityFeePerGas": 10**9,
        "maxFeePerGas": 10**11,
        "gas": 3_000_000,
        "value": 0,
        "data": data,
    }
    return fields if to is None else fields | {"to": to}


def deploy_probe(devchain: DevchainBackend) -> Wallet:
    digest = devchain.chain.send(ALICE.sign_transaction(transaction(None, creation_of(PROBE))))
    devchain.mine()
    found = devchain.chain.mined(digest)
    assert found is not None
    assert found[0].created is not None
    return Wallet(found[0].created)

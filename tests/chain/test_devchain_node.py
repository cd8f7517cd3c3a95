"""The devchain without its server: pool, blocks, state, finality."""

import pytest

from chain.devchain.config import FINALITY_DEPTH, DevchainConfig
from chain.devchain.execution import CallRequest
from chain.devchain.node import Devchain
from chain.devchain.pool import MAX_PENDING_PER_SENDER, PoolError
from chain.signer import KeySigner
from protocols.errors import LocalError
from tests.chain.backends import ALICE, BOB, CHAIN_ID, ETHER, FUNDER, funded_config

GWEI = 10**9
NOBODY = b"\x99" * 20
GENESIS = 1_700_000_000

# Stores its call data's first word in slot 0, logs it, and reverts with no reason if it is zero.
#   PUSH1 0 CALLDATALOAD DUP1 PUSH1 8 JUMPI PUSH1 0 DUP1 REVERT … JUMPDEST
STORE = bytes.fromhex("60003580600b57600080fd5b8060005560005260206000a000")


def signed(
    signer: KeySigner,
    nonce: int,
    *,
    to: bytes | None = NOBODY,
    value: int = 1,
    gas: int = 21_000,
    tip: int = GWEI,
    max_fee: int = 10 * GWEI,
    data: bytes = b"",
    chain_id: int = CHAIN_ID,
) -> bytes:
    transaction = {
        "type": 2,
        "chainId": chain_id,
        "nonce": nonce,
        "gas": gas,
        "value": value,
        "data": data,
        "maxFeePerGas": max_fee,
        "maxPriorityFeePerGas": tip,
    }
    if to is not None:
        transaction["to"] = to
    return signer.sign_transaction(transaction)


def creation_of(code: bytes) -> bytes:
    """Code that returns `code`: PUSH1 length, PUSH1 offset, CODECOPY, RETURN."""
    return bytes.fromhex(f"60{len(code):02x}600c60003960{len(code):02x}6000f3") + code


@pytest.fixture
def chain() -> Devchain:
    return Devchain(funded_config(), GENESIS)


def deploy_store(chain: Devchain) -> bytes:
    raw = signed(ALICE, 0, to=None, value=0, gas=200_000, data=creation_of(STORE))
    transaction_hash = chain.send(raw)
    chain.mine()
    found = chain.mined(transaction_hash)
    assert found is not None
    mined, _ = found
    assert mined.succeeded
    assert mined.created is not None
    return mined.created


def test_nothing_is_mined_by_itself(chain: Devchain) -> None:
    transaction_hash = chain.send(signed(ALICE, 0))
    assert chain.head().number == 0
    assert chain.mined(transaction_hash) is None
    assert chain.pending(transaction_hash) is not None
    block = chain.mine()
    assert [mined.pooled.hash for mined in block.transactions] == [transaction_hash]
    assert chain.pending(transaction_hash) is None


def test_a_transfer_moves_value_and_pays_for_gas(chain: Devchain) -> None:
    chain.send(signed(ALICE, 0, value=5, tip=GWEI))
    block = chain.mine()
    (mined,) = block.transactions
    assert mined.gas_used == 21_000
    assert mined.effective_gas_price == block.base_fee + GWEI
    assert chain.balance(block, NOBODY) == 5
    paid = 5 + 21_000 * mined.effective_gas_price
    assert chain.balance(block, ALICE.address) == 1000 * ETHER - paid
    assert chain.nonce(block, ALICE.address) == 1


def test_nothing_but_the_base_fee_is_lost(chain: Devchain) -> None:
    chain.send(signed(ALICE, 0, value=5))
    block = chain.mine()
    everybody = [ALICE.address, BOB.address, FUNDER.address, NOBODY, block.header.coinbase]
    left = sum(chain.balance(block, address) for address in everybody)
    assert left == 3000 * ETHER - 21_000 * block.base_fee


def test_timestamps_are_given_and_always_grow(chain: Devchain) -> None:
    assert chain.mine(GENESIS + 50).timestamp == GENESIS + 50
    assert chain.mine(GENESIS + 50).timestamp == GENESIS + 51
    assert chain.mine(GENESIS - 9).timestamp == GENESIS + 52


def test_higher_tips_go_first_and_nonces_in_order(chain: Devchain) -> None:
    chain.send(signed(ALICE, 1, tip=9 * GWEI, max_fee=20 * GWEI))
    chain.send(signed(ALICE, 0, tip=GWEI))
    chain.send(signed(BOB, 0, tip=2 * GWEI))
    block = chain.mine()
    order = [(m.pooled.sender, m.pooled.transaction.nonce) for m in block.transactions]
    assert order == [(BOB.address, 0), (ALICE.address, 0), (ALICE.address, 1)]


def test_a_gap_in_nonces_waits(chain: Devchain) -> None:
    chain.send(signed(ALICE, 1))
    assert chain.mine().transactions == ()
    assert chain.pending_nonce(ALICE.address) == 0
    chain.send(signed(ALICE, 0))
    assert chain.pending_nonce(ALICE.address) == 2
    assert len(chain.mine().transactions) == 2


def test_a_price_below_the_base_fee_waits(chain: Devchain) -> None:
    transaction_hash = chain.send(signed(ALICE, 0, tip=1, max_fee=GWEI // 2))
    assert chain.mine().transactions == ()
    while chain.next_base_fee() > GWEI // 2:
        chain.mine()
    assert chain.mine().transactions[0].pooled.hash == transaction_hash


def test_a_full_block_leaves_the_rest_for_the_next() -> None:
    chain = Devchain(
        DevchainConfig(chain_id=CHAIN_ID, funded=funded_config().funded, block_gas_limit=1_000_000),
        GENESIS,
    )
    for nonce in range(3):
        chain.send(signed(ALICE, nonce, gas=400_000))
    assert len(chain.mine().transactions) == 3  # it is what they use that counts
    burn = bytes.fromhex("5b600056")  # JUMPDEST PUSH1 0 JUMP: uses all its gas
    for nonce in range(3, 6):
        chain.send(signed(ALICE, nonce, to=None, gas=400_000, data=burn, value=0))
    assert len(chain.mine().transactions) == 2
    assert len(chain.mine().transactions) == 1


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (signed(ALICE, 0, chain_id=1), "invalid chain id"),
        (signed(ALICE, 0, gas=20_999), "intrinsic gas too low"),
        (signed(ALICE, 0, gas=30_000_001), "exceeds block gas limit"),
        (signed(ALICE, 0, value=1001 * ETHER), "insufficient funds"),
        (signed(ALICE, MAX_PENDING_PER_SENDER), "nonce too high"),
        (signed(ALICE, 0, tip=11 * GWEI), "max priority fee per gas higher"),
        (b"", "too short"),
        (b"\x02", "cannot decode"),
        (b"\x05\xc0", "cannot decode"),
        (b"\xc0", "cannot decode"),
        (b"\x02" + bytes(200_000), "oversized"),
    ],
)
def test_a_bad_transaction_is_refused_in_geths_words(
    chain: Devchain, raw: bytes, words: str
) -> None:
    with pytest.raises(PoolError, match=words):
        chain.send(raw)
    assert chain.mine().transactions == ()


def test_a_transaction_is_taken_once(chain: Devchain) -> None:
    raw = signed(ALICE, 0)
    chain.send(raw)
    with pytest.raises(PoolError, match="already known"):
        chain.send(raw)
    chain.mine()
    with pytest.raises(PoolError, match="nonce too low"):
        chain.send(raw)


def test_a_replacement_must_pay_a_tenth_more(chain: Devchain) -> None:
    first = chain.send(signed(ALICE, 0, tip=10 * GWEI, max_fee=100 * GWEI))
    for tip, max_fee in ((11 * GWEI - 1, 110 * GWEI), (11 * GWEI, 110 * GWEI - 1)):
        with pytest.raises(PoolError, match="replacement transaction underpriced"):
            chain.send(signed(ALICE, 0, tip=tip, max_fee=max_fee))
    second = chain.send(signed(ALICE, 0, tip=11 * GWEI, max_fee=110 * GWEI))
    assert chain.pending(first) is None
    assert [m.pooled.hash for m in chain.mine().transactions] == [second]


def test_a_transaction_that_became_too_dear_does_not_block_its_sender(chain: Devchain) -> None:
    rich = 999 * ETHER
    chain.send(signed(ALICE, 0, value=rich))
    dear = chain.send(signed(ALICE, 1, value=rich))
    assert len(chain.mine().transactions) == 1
    assert chain.pending(dear) is None
    chain.send(signed(ALICE, 1))
    assert len(chain.mine().transactions) == 1


def test_calls_see_the_state_of_their_block_and_leave_none(chain: Devchain) -> None:
    store = deploy_store(chain)
    before = chain.head()
    word = (7).to_bytes(32, "big")
    result = chain.call(before, CallRequest(ALICE.address, store, 0, word))
    assert result.error is None
    assert chain.storage(before, store, 0) == 0
    chain.send(signed(ALICE, 1, to=store, value=0, gas=100_000, data=word))
    after = chain.mine()
    assert chain.storage(before, store, 0) == 0
    assert chain.storage(after, store, 0) == 7


def test_a_revert_is_told_from_other_failures(chain: Devchain) -> None:
    store = deploy_store(chain)
    reverted = chain.call(chain.head(), CallRequest(ALICE.address, store, 0, bytes(32)))
    assert (reverted.reverted, reverted.error is not None) == (True, True)
    word = (7).to_bytes(32, "big")
    starved = chain.call(chain.head(), CallRequest(ALICE.address, store, 0, word), 30_000)
    assert (starved.reverted, starved.error is not None) == (False, True)
    poor = chain.call(chain.head(), CallRequest(NOBODY, store, 1, word))
    assert (poor.reverted, poor.error is not None) == (False, True)


def test_an_estimate_is_enough_and_not_far_off(chain: Devchain) -> None:
    store = deploy_store(chain)
    word = (7).to_bytes(32, "big")
    request = CallRequest(ALICE.address, store, 0, word)
    limit, result = chain.estimate_gas(chain.head(), request)
    assert result.error is None
    chain.send(signed(ALICE, 1, to=store, value=0, gas=limit, data=word))
    (mined,) = chain.mine().transactions
    assert mined.succeeded
    assert mined.gas_used == result.gas_used
    assert limit <= mined.gas_used * 65 // 63 + 2_400


def test_a_plain_transfer_is_estimated_at_its_price(chain: Devchain) -> None:
    limit, _ = chain.estimate_gas(chain.head(), CallRequest(ALICE.address, NOBODY, 1, b""))
    assert 21_000 <= limit <= 24_000


def test_an_estimate_searches_when_gas_is_asked_for_and_not_used(chain: Devchain) -> None:
    # Reverts with less than 500,000 gas left: PUSH3 500000 GAS GT PUSH1 … JUMPI, else revert.
    code = creation_of(bytes.fromhex("6207a1205a11600d57600080fd5b00"))
    sent = chain.send(signed(ALICE, 0, to=None, value=0, gas=200_000, data=code))
    chain.mine()
    found = chain.mined(sent)
    assert found is not None
    address = found[0].created
    assert address is not None
    request = CallRequest(ALICE.address, address, 0, b"")
    limit, result = chain.estimate_gas(chain.head(), request)
    assert result.gas_used < 22_000
    assert chain.call(chain.head(), request, limit).error is None
    assert 520_000 < limit < 540_000


def test_the_results_of_calls_are_remembered_up_to_a_bound(
    chain: Devchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chain.devchain.node.CACHED_CALLS", 2)
    head = chain.head()
    requests = [CallRequest(ALICE.address, NOBODY, 0, bytes([n])) for n in range(3)]
    first = chain.call(head, requests[0])
    assert chain.call(head, requests[0]) is first
    for request in requests:
        chain.call(head, request)
    assert chain.call(head, requests[0]) is not first


def test_an_account_without_code_has_none_and_a_call_there_does_nothing(chain: Devchain) -> None:
    assert chain.code(chain.head(), NOBODY) == b""
    result = chain.call(chain.head(), CallRequest(ALICE.address, NOBODY, 0, b"\x01"))
    assert (result.error, result.output) == (None, b"")
    starved = chain.call(chain.head(), CallRequest(ALICE.address, NOBODY, 0, b""), 20_999)
    assert starved.error == "intrinsic gas too low"


def test_a_pool_has_a_bound(chain: Devchain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chain.devchain.pool.MAX_PENDING", 2)
    chain.send(signed(ALICE, 0))
    chain.send(signed(ALICE, 1))
    with pytest.raises(PoolError, match="txpool is full"):
        chain.send(signed(BOB, 0))
    chain.send(signed(ALICE, 1, tip=2 * GWEI, max_fee=20 * GWEI))


def test_logs_are_found_by_address_topic_and_range(chain: Devchain) -> None:
    store = deploy_store(chain)
    first = chain.head().number + 1
    for nonce in (1, 2):
        chain.send(signed(ALICE, nonce, to=store, value=0, gas=100_000, data=b"\x01" * 32))
        chain.mine()
    last = chain.head().number
    assert [log.block.number for log in chain.logs(0, last, frozenset(), [])] == [first, last]
    assert len(chain.logs(last, last, frozenset([store]), [])) == 1
    assert chain.logs(0, last, frozenset([NOBODY]), []) == []
    # LOG0 has no topics, so a filter that names one cannot match.
    assert chain.logs(0, last, frozenset([store]), [frozenset([bytes(32)])]) == []
    assert chain.logs(0, last, frozenset([store]), [frozenset()]) == []


def test_finality_is_two_blocks_behind(chain: Devchain) -> None:
    assert chain.finalized().number == 0
    for _ in range(5):
        chain.mine()
    assert chain.finalized().number == chain.head().number - FINALITY_DEPTH


def test_rewinding_brings_the_transactions_back(chain: Devchain) -> None:
    chain.mine()
    kept = chain.mine()
    transaction_hash = chain.send(signed(ALICE, 0))
    dropped = chain.mine()
    assert chain.rewind(1) == kept
    assert chain.block_by_hash(dropped.hash) is None
    assert chain.mined(transaction_hash) is None
    assert chain.pending(transaction_hash) is not None
    assert chain.nonce(chain.head(), ALICE.address) == 0
    again = chain.mine(dropped.timestamp + 1)
    assert (again.number, len(again.transactions)) == (dropped.number, 1)
    assert again.hash != dropped.hash


def test_rewinding_can_forget_the_transactions(chain: Devchain) -> None:
    chain.mine()
    transaction_hash = chain.send(signed(ALICE, 0))
    chain.mine()
    chain.rewind(1, keep_transactions=False)
    assert chain.pending(transaction_hash) is None


@pytest.mark.parametrize("depth", [-1, FINALITY_DEPTH + 1])
def test_finalised_blocks_stay(chain: Devchain, depth: int) -> None:
    with pytest.raises(LocalError, match="depth"):
        chain.rewind(depth)


def test_blockhash_sees_the_parent(chain: Devchain) -> None:
    # PUSH1 1 NUMBER SUB BLOCKHASH PUSH1 0 SSTORE
    code = creation_of(bytes.fromhex("6001430340600055"))
    created = chain.send(signed(ALICE, 0, to=None, value=0, gas=200_000, data=code))
    parent = chain.mine()
    found = chain.mined(created)
    assert found is not None
    address = found[0].created
    assert address is not None
    chain.send(signed(ALICE, 1, to=address, value=0, gas=100_000))
    block = chain.mine()
    assert chain.storage(block, address, 0) == int.from_bytes(parent.hash, "big")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"chain_id": 0}, "chain_id: found 0"),
        ({"port": 65_536}, "port: found 65536"),
        ({"block_seconds": -1}, "block_seconds: found -1"),
        ({"block_gas_limit": 1}, "block_gas_limit: found 1"),
        ({"funded": ((b"\x01", 5),)}, "20-byte address"),
        ({"funded": ((NOBODY, -5),)}, "funded amount: found -5"),
    ],
)
def test_a_bad_setting_is_named(change: dict[str, object], words: str) -> None:
    with pytest.raises(LocalError, match=words):
        DevchainConfig(**change)

"""The adapter to peaq's registries, against contracts of ours at peaq's addresses.

In titanoboa they check what the adapter encodes; on anvil everything goes through endpoint and
transaction manager, as it does on peaq.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import boa
import pytest
import trio
from eth_abi.abi import encode

from chain.did import encode_did_document
from chain.errors import RevertedError
from chain.hexes import parse_hex_bytes, to_hex
from chain.identity import (
    ACTIVATE_MACHINE,
    ADD_ATTRIBUTE,
    DID_PRECOMPILE,
    MACHINE_TYPE,
    OWNER_OF,
    READ_ATTRIBUTE,
    TIERS,
    UPDATE_ATTRIBUTE,
    IdentityAdapter,
    IdentityError,
    MachineIdentity,
    compose_document,
    compose_subject,
    compute_machine_id,
    name_attribute,
)
from chain.journal import MemoryJournal
from chain.networks import LOCAL, ChainPreset
from chain.records import Call
from chain.rpc import Rpc
from chain.signer import KeySigner
from chain.transactions import TransactionManager
from protocols.hashing import keccak256
from protocols.types import NodeKey, Wallet
from tests.chain.backends import ALICE, BOB, CHAIN_ID, AnvilBackend, DevchainBackend, running_anvil
from tests.chain.peaq import AT_PEAQ, CARD, MACHINES, PEAQ_HERE, stand_in, token_creation

PRICE = 40 * 10**18
NUMBER = compute_machine_id(MACHINE_TYPE, compose_subject(CARD))


# What is encoded


def test_selectors_are_peaqs() -> None:
    """Of `precompiles/peaq-did/did.sol`, and of the ABI in peaq-os-sdk 0.12.1."""
    document = (
        "(string,address,(string,string,address,string)[],uint256[],(string,string,string)[])"
    )
    signatures = {
        ADD_ATTRIBUTE: "addAttribute(address,bytes,bytes,uint32)",
        UPDATE_ATTRIBUTE: "updateAttribute(address,bytes,bytes,uint32)",
        READ_ATTRIBUTE: "readAttribute(address,bytes)",
        ACTIVATE_MACHINE: f"activateMachine({document},string,bytes,address,uint8)",
    }
    for function, signature in signatures.items():
        assert function.selector == keccak256(signature.encode())[:4]
    # The mocks, compiled by Vyper from their own declarations, answer to the same.
    assert stand_in("PeaqDid").selectors["addAttribute"] == ADD_ATTRIBUTE.selector
    assert stand_in("PeaqMachines").selectors["activateMachine"] == ACTIVATE_MACHINE.selector
    assert stand_in("PeaqMachineRegistry").selectors["ownerOf"] == OWNER_OF.selector


def test_a_machines_number_is_the_hash_of_its_type_and_subject() -> None:
    subject = b"\xde\xad"
    by_hand = (
        (64).to_bytes(32, "big") + (128).to_bytes(32, "big")
        + (6).to_bytes(32, "big") + b"Sensor".ljust(32, b"\0")
        + (2).to_bytes(32, "big") + subject.ljust(32, b"\0")
    )  # fmt: skip
    expected = int.from_bytes(keccak256(by_hand), "big")
    assert compute_machine_id("Sensor", subject) == expected
    others = {
        NUMBER,
        compute_machine_id("sensor", subject),
        compute_machine_id(MACHINE_TYPE, compose_subject(replace(CARD, wallet=BOB.address))),
        compute_machine_id(
            MACHINE_TYPE, compose_subject(replace(CARD, node_key=NodeKey(bytes(32))))
        ),
    }
    assert len(others) == 4


def test_the_name_of_the_attribute_fits() -> None:
    assert name_attribute(CARD) == b"kaisar/0001020304050607"
    assert len(name_attribute(CARD)) <= 64


@pytest.fixture
def _stand_ins() -> Iterator[None]:
    with boa.env.anchor():
        for name, address in AT_PEAQ.items():
            boa.env.set_code(to_hex(address), stand_in(name).code)
        yield


def call(to: Wallet, data: bytes, sender: Wallet = ALICE.address) -> bytes:
    computation = boa.env.execute_code(to_address=to_hex(to), sender=to_hex(sender), data=data)
    if computation.is_error:
        raise ValueError(repr(computation.error))
    return bytes(computation.output)


@pytest.mark.usefixtures("_stand_ins")
def test_the_precompiles_abi_in_vyper() -> None:
    name, value = name_attribute(CARD), encode_did_document(CARD)
    read = READ_ATTRIBUTE.encode((CARD.wallet, name))
    with pytest.raises(ValueError, match="Cannot find the item"):
        call(DID_PRECOMPILE, read)
    added = call(DID_PRECOMPILE, ADD_ATTRIBUTE.encode((CARD.wallet, name, value, 0)))
    assert ADD_ATTRIBUTE.decode(added) == (True,)
    ((found_name, found_value, validity, created),) = READ_ATTRIBUTE.decode(
        call(DID_PRECOMPILE, read)
    )
    assert (found_name, found_value, validity) == (name, value, 0)
    assert created == boa.env.timestamp


@pytest.mark.usefixtures("_stand_ins")
def test_the_machines_abi_in_vyper() -> None:
    subscription = stand_in("PeaqSubscription").selectors
    call(MACHINES.subscription, subscription["set_price"] + encode(["uint256"], [PRICE]))
    credit = encode(["address", "uint256"], [ALICE.address, PRICE])
    call(MACHINES.subscription, subscription["set_credit"] + credit)
    data = ACTIVATE_MACHINE.encode(
        (compose_document(CARD), MACHINE_TYPE, compose_subject(CARD), ALICE.address, 0)
    )
    assert ACTIVATE_MACHINE.decode(call(MACHINES.state_and_sync, data)) == (NUMBER,)
    (owner,) = OWNER_OF.decode(call(MACHINES.registry, OWNER_OF.encode((NUMBER,))))
    assert owner == to_hex(ALICE.address)
    compute = stand_in("PeaqMachineRegistry").selectors["computeTokenId"]
    arguments = encode(["string", "bytes"], [MACHINE_TYPE, compose_subject(CARD)])
    assert int.from_bytes(call(MACHINES.registry, compute + arguments), "big") == NUMBER
    with pytest.raises(ValueError, match="exists"):
        call(MACHINES.state_and_sync, data, BOB.address)


# Through an endpoint


@dataclass
class Peaq:
    """anvil with the stand-ins, an adapter of Alice's, and what a test does to them."""

    backend: AnvilBackend
    rpc: Rpc
    adapter: IdentityAdapter
    manager: TransactionManager
    token: Wallet

    async def did(self) -> MachineIdentity:
        return await self.adapter.ensure_did(deadline=trio.current_time() + 20)

    async def machine(self, tier: str = "entry", most_bond: int = PRICE) -> MachineIdentity:
        return await self.adapter.ensure_machine(
            tier=TIERS[tier], most_bond=most_bond, deadline=trio.current_time() + 20
        )

    def tell(self, name: str, function: str, *arguments: tuple[str, object]) -> None:
        """Call a mock from an account that anvil owns."""
        data = stand_in(name).selectors[function] + encode(
            [kind for kind, _ in arguments], [value for _, value in arguments]
        )
        (account, *_) = self._accounts()
        sent = {"from": account, "to": to_hex(AT_PEAQ[name]), "data": to_hex(data)}
        self.backend.request("eth_sendTransaction", sent)
        self.backend.mine()

    def nonce(self, wallet: Wallet = ALICE.address) -> int:
        found = self.backend.request("eth_getTransactionCount", to_hex(wallet), "latest")
        return int(str(found), 16)

    async def view(self, name: str, function: str, data: bytes = b"") -> bytes:
        sent = {
            "to": to_hex(AT_PEAQ[name]),
            "data": to_hex(stand_in(name).selectors[function] + data),
        }
        return await self.rpc.octets("eth_call", sent, "latest")

    async def balance(self, wallet: Wallet) -> int:
        data = keccak256(b"balanceOf(address)")[:4] + encode(["address"], [wallet])
        sent = {"to": to_hex(self.token), "data": to_hex(data)}
        return int.from_bytes(await self.rpc.octets("eth_call", sent, "latest"), "big")

    def _accounts(self) -> list[str]:
        found = self.backend.request("eth_accounts")
        assert isinstance(found, list)
        return found


@asynccontextmanager
async def adapter_on(
    url: str, mine: Callable[[], object], chain: ChainPreset, signer: KeySigner = ALICE
) -> AsyncIterator[tuple[IdentityAdapter, TransactionManager, Rpc]]:
    rpc = Rpc(url, timeout_seconds=5.0)
    manager = TransactionManager(rpc, signer, MemoryJournal(), chain_id=CHAIN_ID, poll_seconds=0.01)

    async def keep_mining() -> None:
        while True:
            mine()
            await trio.sleep(0.02)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(manager.run)
        nursery.start_soon(keep_mining)
        yield IdentityAdapter(rpc, manager, chain, CARD), manager, rpc
        nursery.cancel_scope.cancel()
    rpc.close()


@asynccontextmanager
async def peaq(chain: ChainPreset = PEAQ_HERE) -> AsyncIterator[Peaq]:
    with running_anvil() as backend:
        for name, address in AT_PEAQ.items():
            backend.request("anvil_setCode", to_hex(address), to_hex(stand_in(name).code))
        async with adapter_on(backend.url, backend.mine, chain) as (adapter, manager, rpc):
            deadline = trio.current_time() + 20
            receipt = await manager.execute(
                Call(None, token_creation()), label="PEAQ", deadline=deadline, confirmations=1
            )
            assert receipt.contract is not None
            here = Peaq(backend, rpc, adapter, manager, receipt.contract)
            here.tell("PeaqInfoDesk", "setPeaqToken", ("address", receipt.contract))
            here.tell("PeaqSubscription", "set_price", ("uint256", PRICE))
            yield here


async def test_a_did_is_stored_once() -> None:
    async with peaq() as here:
        before = here.nonce()
        first = await here.did()
        assert first == MachineIdentity(CARD.did, was_there=False)
        assert here.nonce() == before + 1
        data = encode(["address", "bytes"], [CARD.wallet, name_attribute(CARD)])
        output = await here.view("PeaqDid", "readAttribute", data)
        ((_, value, _, _),) = READ_ATTRIBUTE.decode(output)
        assert value == encode_did_document(CARD)
        assert await here.did() == MachineIdentity(CARD.did, was_there=True)
        assert here.nonce() == before + 1


async def test_a_did_follows_a_new_node_key() -> None:
    async with peaq() as here:
        await here.did()
        card = replace(CARD, node_key=NodeKey(b"\x11" * 32))
        renewed = IdentityAdapter(here.rpc, here.manager, PEAQ_HERE, card)
        found = await renewed.ensure_did(deadline=trio.current_time() + 20)
        assert not found.was_there
        again = await renewed.ensure_did(deadline=trio.current_time() + 20)
        assert again.was_there


async def test_a_refusing_precompile_is_an_error_with_its_words() -> None:
    async with peaq() as here:
        here.tell("PeaqDid", "set_refuses", ("bool", True))
        before = here.nonce()
        with pytest.raises(RevertedError, match="InsufficientBalance"):
            await here.did()
        assert here.nonce() == before
        here.tell("PeaqDid", "set_refuses", ("bool", False))
        assert not (await here.did()).was_there


async def test_an_attribute_that_somebody_else_added_is_left_alone() -> None:
    async with peaq() as here:
        squat = ("address", ALICE.address), ("bytes", name_attribute(CARD)), ("bytes", b"00")
        here.tell("PeaqDid", "addAttribute", *squat, ("uint32", 0))
        with pytest.raises(RevertedError, match="AttributeAuthorizationFailed"):
            await here.did()


async def test_a_machine_is_activated_once_for_its_bond() -> None:
    async with peaq() as here:
        before = await here.balance(ALICE.address)
        first = await here.machine("basic", most_bond=3 * PRICE)
        assert first == MachineIdentity(f"did:peaq:{NUMBER}", was_there=False)
        assert await here.balance(ALICE.address) == before - 2 * PRICE
        assert await here.balance(MACHINES.subscription) == 2 * PRICE
        tier = await here.view("PeaqSubscription", "tier_of", NUMBER.to_bytes(32, "big"))
        assert int.from_bytes(tier, "big") == 1
        nonce = here.nonce()
        assert (await here.machine("basic", most_bond=3 * PRICE)).was_there
        assert here.nonce() == nonce


async def test_credit_lowers_the_bond_and_no_bond_needs_no_approval() -> None:
    async with peaq() as here:
        here.tell("PeaqSubscription", "set_credit", ("address", ALICE.address), ("uint256", PRICE))
        nonce = here.nonce()
        await here.machine(most_bond=0)
        assert here.nonce() == nonce + 1
        assert await here.balance(MACHINES.subscription) == 0


async def test_a_bond_above_the_limit_is_not_paid() -> None:
    async with peaq() as here:
        nonce = here.nonce()
        with pytest.raises(IdentityError, match="bond too high") as caught:
            await here.machine(most_bond=PRICE - 1)
        assert caught.value.reason == "bond too high"
        assert here.nonce() == nonce


async def test_a_machine_of_somebody_elses_is_noticed() -> None:
    async with peaq() as here:
        # Whoever guesses type and subject may activate it first.
        credit = ("address", BOB.address), ("uint256", PRICE)
        here.tell("PeaqSubscription", "set_credit", *credit)
        async with adapter_on(here.backend.url, here.backend.mine, PEAQ_HERE, BOB) as (_, bob, _):
            data = ACTIVATE_MACHINE.encode(
                (compose_document(CARD), MACHINE_TYPE, compose_subject(CARD), BOB.address, 0)
            )
            await bob.execute(
                Call(MACHINES.state_and_sync, data),
                label="squatting",
                deadline=trio.current_time() + 20,
                confirmations=1,
            )
        with pytest.raises(IdentityError, match="machine taken"):
            await here.machine()


async def test_contracts_that_were_replaced_are_an_error() -> None:
    async with peaq() as here:
        # Answers every call with one byte.
        code = bytes.fromhex("60016000f3")
        here.backend.request("anvil_setCode", to_hex(MACHINES.subscription), to_hex(code))
        with pytest.raises(IdentityError, match="another abi"):
            await here.machine()
        here.backend.request("anvil_setCode", to_hex(MACHINES.registry), "0x")
        with pytest.raises(IdentityError, match="nobody answers"):
            await here.machine()


async def test_a_write_that_goes_nowhere_is_noticed() -> None:
    """A transaction to an address without code succeeds; the result is looked up."""
    async with peaq() as here:
        here.backend.request("anvil_setCode", to_hex(MACHINES.state_and_sync), "0x00")
        with pytest.raises(IdentityError, match="machine not activated"):
            await here.machine()


async def test_chains_without_peaqs_registries(devchain: DevchainBackend) -> None:
    async with adapter_on(devchain.url, devchain.mine, LOCAL) as (adapter, _, _):
        deadline = trio.current_time() + 20
        with pytest.raises(IdentityError, match="no machine contracts"):
            await adapter.ensure_machine(tier=0, most_bond=0, deadline=deadline)
        with pytest.raises(IdentityError, match="nobody answers"):
            await adapter.ensure_did(deadline=deadline)
    assert devchain.chain.nonce(devchain.chain.head(), ALICE.address) == 0


def test_addresses_parse() -> None:
    assert parse_hex_bytes(to_hex(DID_PRECOMPILE), 20)[-2:] == b"\x08\x00"

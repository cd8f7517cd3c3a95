"""A provider's machine in peaq's own registries: an attribute of a DID, or a machine's NFT.

Neither is needed for anything of ours: whoever calls this goes on without it when it fails.

Two ways, an older and a newer one (docs/peaq.md):

* the DID precompile at 0x800, where a wallet stores a document about itself against a deposit;
* `MachineStateAndSync.activateMachine`, which mints an NFT and takes a bond in PEAQ, priced in USD
  and never given back. Its contracts stand behind proxies and have changed before: each value is
  read, a limit set by the operator bounds the bond, and the result is looked up afterwards.

They are called from here with plain transactions. From a contract of ours they could not be
called as they are: Vyper looks for code first, and peaq's precompiles have none.
"""

import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from eth_abi.abi import encode as encode_values

from chain.abi import Function
from chain.did import ED25519, NODE_SERVICE, SERVICE_TYPE, MachineCard, encode_did_document
from chain.errors import ChainError, MalformedAnswerError, RevertedError
from chain.hexes import parse_hex_bytes, to_hex
from chain.networks import ChainPreset, MachineContracts
from chain.records import Call
from chain.rpc import JsonRpc
from chain.transactions import TransactionManager
from protocols.hashing import keccak256
from protocols.types import Wallet

_log = logging.getLogger(__name__)

DID_PRECOMPILE: Final = Wallet(bytes.fromhex("0800").rjust(20, b"\0"))

MACHINE_TYPE: Final = "KaisarProvider"

TIERS: Final = {"entry": 0, "basic": 1, "pro": 2}
"""Subscription tiers of MachineSubscription, by the names of peaq's documentation."""

_SUBJECT_TAG: Final = b"kaisar/machine/1"

_DOCUMENT: Final = (
    "(string,address,(string,string,address,string)[],uint256[],(string,string,string)[])"
)
"""DIDDocument: id, controller, verification methods, authentication, service endpoints."""


def _declare(name: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Function:
    selector = keccak256(f"{name}({','.join(inputs)})".encode())[:4]
    return Function(name, selector, inputs, outputs)


ADD_ATTRIBUTE: Final = _declare("addAttribute", ("address", "bytes", "bytes", "uint32"), ("bool",))
UPDATE_ATTRIBUTE: Final = _declare(
    "updateAttribute", ("address", "bytes", "bytes", "uint32"), ("bool",)
)
READ_ATTRIBUTE: Final = _declare(
    "readAttribute", ("address", "bytes"), ("(bytes,bytes,uint32,uint256)",)
)
ACTIVATE_MACHINE: Final = _declare(
    "activateMachine", (_DOCUMENT, "string", "bytes", "address", "uint8"), ("uint256",)
)
OWNER_OF: Final = _declare("ownerOf", ("uint256",), ("address",))
REQUIRED_AMOUNT: Final = _declare("requiredPeaqAmount", ("uint8",), ("uint256",))
PENDING_CREDIT: Final = _declare("pendingVoucherCredit", ("address",), ("uint256",))
PEAQ_TOKEN: Final = _declare("peaqToken", (), ("address",))
ALLOWANCE: Final = _declare("allowance", ("address", "address"), ("uint256",))
APPROVE: Final = _declare("approve", ("address", "uint256"), ("bool",))


class IdentityKind(StrEnum):
    """What a provider's machine is to be registered as with peaq."""

    NONE = "none"
    DID = "did"
    MACHINE = "machine"


class IdentityError(ChainError):
    """peaq's registries did not do what was asked; `reason` is a fixed phrase."""


@dataclass(frozen=True, slots=True)
class MachineIdentity:
    """What was found or made: a DID, and whether it was there before."""

    did: str
    was_there: bool


def name_attribute(card: MachineCard) -> bytes:
    """The attribute's name, of at most 64 bytes: one per network, as a wallet may be in several."""
    return b"kaisar/" + card.network_id.hex()[:16].encode("ascii")


def compose_subject(card: MachineCard) -> bytes:
    """The credential subject, which with MACHINE_TYPE makes the machine's number for ever."""
    return _SUBJECT_TAG + card.network_id + card.node_key + card.wallet


def compute_machine_id(machine_type: str, subject: bytes) -> int:
    """The number of a machine: keccak256 of both, ABI-encoded."""
    encoded = encode_values(("string", "bytes"), (machine_type, subject))
    return int.from_bytes(keccak256(encoded), "big")


def compose_document(card: MachineCard) -> tuple[object, ...]:
    """The DIDDocument of `activateMachine`. Its id is ignored there, it follows from the number."""
    method = ("#keys-1", ED25519, card.wallet, card.key_text)
    service = (NODE_SERVICE, SERVICE_TYPE, f"kaisar:{card.network_id.hex()}")
    # Nobody checks the index of an authentication on the chain.
    return "", card.wallet, [method], [0], [service]


class IdentityAdapter:
    """Registers one provider's machine with peaq, and is content with what is there already."""

    def __init__(
        self,
        rpc: JsonRpc,
        transactions: TransactionManager,
        chain: ChainPreset | None,
        card: MachineCard,
    ) -> None:
        self._rpc = rpc
        self._transactions = transactions
        self._chain = chain
        self._card = card

    async def ensure_did(self, *, deadline: float) -> MachineIdentity:
        """Have the wallet's attribute hold the document. Reserves a deposit of 0.1 PEAQ.

        `deadline` is on Trio's clock. Raises IdentityError, or the errors of
        `TransactionManager.execute`.
        """
        card = self._card
        name, value = name_attribute(card), encode_did_document(card)
        stored = await self._read_attribute(name)
        if stored == value:
            return MachineIdentity(card.did, was_there=True)
        # Anybody may add the first attribute of a name to any account. One that is not ours can
        # be changed by whoever added it, and the update is refused.
        function = ADD_ATTRIBUTE if stored is None else UPDATE_ATTRIBUTE
        call = Call(DID_PRECOMPILE, function.encode((card.wallet, name, value, 0)))
        await self._execute(call, "attribute of the DID", deadline)
        if await self._read_attribute(name) != value:
            raise IdentityError("did not stored", f"{card.did} does not have it after all")
        return MachineIdentity(card.did, was_there=False)

    async def ensure_machine(
        self, *, tier: int, most_bond: int, deadline: float
    ) -> MachineIdentity:
        """Have the machine activated, for a bond of at most `most_bond` wei of PEAQ.

        Raises IdentityError, or the errors of `TransactionManager.execute`.
        """
        if self._chain is None or self._chain.machines is None:
            raise IdentityError("no machine contracts", "none are known on this chain")
        machines, card = self._chain.machines, self._card
        subject = compose_subject(card)
        number = compute_machine_id(MACHINE_TYPE, subject)
        if await self._is_ours(machines, number):
            return MachineIdentity(f"did:peaq:{number}", was_there=True)
        await self._allow_bond(machines, tier, most_bond, deadline)
        data = ACTIVATE_MACHINE.encode(
            (compose_document(card), MACHINE_TYPE, subject, card.wallet, tier)
        )
        await self._execute(
            Call(machines.state_and_sync, data), "activation of the machine", deadline
        )
        if not await self._is_ours(machines, number):
            raise IdentityError("machine not activated", f"{number} is nobody's after all")
        return MachineIdentity(f"did:peaq:{number}", was_there=False)

    async def _allow_bond(
        self, machines: MachineContracts, tier: int, most_bond: int, deadline: float
    ) -> None:
        """Let the subscription contract take what the tier costs, and not more."""
        wallet = self._card.wallet
        gross = await self._view(machines.subscription, REQUIRED_AMOUNT, tier)
        credit = await self._view(machines.subscription, PENDING_CREDIT, wallet)
        bond = gross - min(credit, gross)
        if bond > most_bond:
            raise IdentityError("bond too high", f"found {bond}, allowed are {most_bond} wei")
        if bond == 0:
            return
        token = _to_wallet(await self._view(machines.info_desk, PEAQ_TOKEN))
        allowed = await self._view(token, ALLOWANCE, wallet, machines.subscription)
        if allowed < bond:
            call = Call(token, APPROVE.encode((machines.subscription, bond)))
            await self._execute(call, f"approval of the machine's bond {bond}", deadline)

    async def _is_ours(self, machines: MachineContracts, number: int) -> bool:
        """Whether the machine is there; IdentityError when it is somebody else's."""
        try:
            owner = _to_wallet(await self._view(machines.registry, OWNER_OF, number))
        except RevertedError:
            # An ERC-721 refuses to answer about what does not exist.
            return False
        if owner != self._card.wallet:
            raise IdentityError("machine taken", f"{number} belongs to {to_hex(owner)}")
        return True

    async def _read_attribute(self, name: bytes) -> bytes | None:
        try:
            _, value, _, _ = await self._view(
                DID_PRECOMPILE, READ_ATTRIBUTE, self._card.wallet, name
            )
        except RevertedError:
            return None
        return bytes(value)

    async def _view(self, contract: Wallet, function: Function, *arguments: object) -> Any:
        call = {"to": to_hex(contract), "data": to_hex(function.encode(arguments))}
        output = await self._rpc.octets("eth_call", call, "latest")
        if not output:
            raise IdentityError("nobody answers", f"{function.name}: no code at {call['to']}")
        try:
            (value,) = function.decode(output)
        except MalformedAnswerError as error:
            raise IdentityError(
                "another abi", f"{function.name} at {call['to']}: {error}"
            ) from None
        return value

    async def _execute(self, call: Call, label: str, deadline: float) -> None:
        receipt = await self._transactions.execute(
            call, label=label, deadline=deadline, confirmations=1
        )
        _log.info("%s: %d gas, block %d", label, receipt.gas_used, receipt.block_number)


def _to_wallet(text: object) -> Wallet:
    try:
        return Wallet(parse_hex_bytes(text, 20))
    except ValueError:
        raise IdentityError(
            "another abi", f"found {str(text)[:60]!r}, expected an address"
        ) from None

"""What a call in titanoboa costs on peaq: its gas, and the proof of what it looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import boa
import pytest
from eth.vm.forks.london.transactions import LondonTransactionBuilder

from chain.budget import Cost, Slot, Touched, compute_cost
from protocols.types import Wallet


class Notes:
    """Who asked the state for what."""

    def __init__(self) -> None:
        self.codes: dict[Wallet, int] = {}
        self.read: set[Slot] = set()
        self.written: dict[Slot, int] = {}

    def touched(self, state: Any) -> Touched:
        filled = {
            slot
            for slot, before in self.written.items()
            if before == 0 and state.get_storage(slot[0], slot[1]) != 0
        }
        return Touched(self.codes, self.read, set(self.written), filled, {})


@contextmanager
def noting(receiver: Wallet) -> Iterator[Notes]:
    """Take notes of every access to titanoboa's state in a transaction to `receiver`."""
    state = boa.env.evm.vm.state
    kind = type(state)
    notes = Notes()
    notes.codes[receiver] = len(state.get_code(receiver))
    get_storage, set_storage, get_code = kind.get_storage, kind.set_storage, kind.get_code

    def noting_get(self: Any, address: Any, slot: int, from_journal: bool = True) -> int:
        key = (Wallet(address), slot)
        notes.read.add(key)
        # To titanoboa everything since its start is one transaction: what a word was before this
        # one only the notes know.
        if not from_journal and key in notes.written:
            return notes.written[key]
        found: int = get_storage(self, address, slot, True)
        return found

    def noting_set(self: Any, address: Any, slot: int, value: int) -> None:
        key = (Wallet(address), slot)
        notes.written.setdefault(key, get_storage(self, address, slot, True))
        set_storage(self, address, slot, value)

    def noting_code(self: Any, address: Any) -> bytes:
        code: bytes = get_code(self, address)
        notes.codes[Wallet(address)] = len(code)
        return code

    # titanoboa keeps addresses and slots warm from one call to the next; in a transaction of its
    # own, only its receiver and the precompiles are.
    warm: set[object] = {number.to_bytes(20, "big") for number in range(1, 10)} | {receiver}
    patches = {
        "is_address_warm": lambda _, address: address in warm,
        "mark_address_warm": lambda _, address: warm.add(address),
        "is_storage_warm": lambda _, address, slot: (address, slot) in warm,
        "mark_storage_warm": lambda _, address, slot: warm.add((address, slot)),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, function in patches.items():
            patch.setattr(kind, name, function)
        patch.setattr(kind, "get_storage", noting_get)
        patch.setattr(kind, "set_storage", noting_set)
        patch.setattr(kind, "get_code", noting_code)
        yield notes


def measure(contract: Any, call: Callable[[], object]) -> Cost:
    """Make a call whose last transaction goes to `contract`, and return what it costs.

    Only calls that make one transaction can be measured.
    """
    with noting(Wallet(contract.address.canonical_address)) as notes:
        call()
    computation = contract._computation
    data = bytes(computation.msg.data)
    touched = notes.touched(boa.env.evm.vm.state)
    spent = computation.get_gas_used() + intrinsic_gas(data)
    refund = min(computation.get_gas_refund(), spent // 5)
    return compute_cost(spent - refund, len(data), touched)


def intrinsic_gas(data: bytes) -> int:
    unsigned = LondonTransactionBuilder.new_unsigned_dynamic_fee_transaction(
        chain_id=0,
        nonce=0,
        max_priority_fee_per_gas=0,
        max_fee_per_gas=0,
        gas=0,
        to=bytes(20),
        value=0,
        data=data,
        access_list=(),
    )
    found: int = unsigned.intrinsic_gas
    return found

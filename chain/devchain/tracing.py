"""Watches an execution: which code and which storage it touches. For measuring; no node needs it.

py-evm asks its state object for everything, so a state that takes notes sees all of it. What an
inner call has touched counts even if that call is taken back: it had to be looked at.
"""

from collections.abc import Iterable

from eth.abc import AtomicDatabaseAPI, BlockHeaderAPI, ExecutionContextAPI
from eth.vm.chain_context import ChainContext
from eth.vm.forks.london import LondonVM
from eth.vm.forks.london.state import LondonState
from eth_typing import Address, Hash32

from chain.budget import Slot, Touched
from protocols.types import Wallet


class TracingState(LondonState):
    """London's state, with notes of who asked for what since it was made."""

    def __init__(
        self, database: AtomicDatabaseAPI, context: ExecutionContextAPI, state_root: Hash32
    ) -> None:
        super().__init__(database, context, state_root)
        self._codes: dict[Wallet, int] = {}
        self._read: set[Slot] = set()
        self._written: set[Slot] = set()
        self._created: dict[Wallet, int] = {}

    def notes(self) -> Touched:
        """Return what was touched so far; `filled` is judged by what the slots hold now."""
        filled = {slot for slot in self._written if self._is_filled(*slot)}
        codes = {at: size for at, size in self._codes.items() if at not in self._created}
        return Touched(codes, set(self._read), set(self._written), filled, dict(self._created))

    def _is_filled(self, wallet: Wallet, slot: int) -> bool:
        address = Address(wallet)
        before = super().get_storage(address, slot, from_journal=False)
        return before == 0 and super().get_storage(address, slot) != 0

    def get_storage(self, address: Address, slot: int, from_journal: bool = True) -> int:
        """Read a word."""
        self._read.add((Wallet(address), slot))
        return super().get_storage(address, slot, from_journal)

    def set_storage(self, address: Address, slot: int, value: int) -> None:
        """Write a word; SSTORE comes here even if it changes nothing."""
        self._written.add((Wallet(address), slot))
        super().set_storage(address, slot, value)

    def get_code(self, address: Address) -> bytes:
        """Read code, as every call does, also one to a precompile or to nobody."""
        code = super().get_code(address)
        self._codes[Wallet(address)] = len(code)
        return code

    def set_code(self, address: Address, code: bytes) -> None:
        """Write the code of a new contract."""
        self._created[Wallet(address)] = len(code)
        super().set_code(address, code)


def build_tracing_state(
    database: AtomicDatabaseAPI,
    header: BlockHeaderAPI,
    context: ChainContext,
    ancestors: Iterable[Hash32],
) -> TracingState:
    """Return the state that `header` names, for one execution."""
    execution = LondonVM.create_execution_context(header, ancestors, context)
    return TracingState(database, execution, header.state_root)

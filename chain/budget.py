"""What a transaction costs where its proof is paid for as well: pure arithmetic.

A parachain's block is checked by validators that do not have its state. Everything a transaction
looks at is sent to them with a proof, which is scarcer than computation: peaq's EVM counts its
bytes while it runs, and a transaction pays for whichever is dearer. The sizes below are those of
the fork of frontier that peaq runs (`primitives/evm/src/lib.rs`, `frame/evm/src/runner/stack.rs`
and `meter.rs` at db24e66, read 2026-11): flat estimates per kind of access, not measured proofs,
so they can be computed anywhere. Each account and each slot counts once per transaction.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Final, TypeAlias

from chain.networks import ProofRule
from protocols.types import Wallet

Slot: TypeAlias = tuple[Wallet, int]
"""A word of storage: whose, and which."""

ENVELOPE_BYTES: Final = 265
"""What an EIP-1559 transaction adds to its data in SCALE encoding (`TransactionData`): 21 for the
address, at most 4 for a length, 32 each for nonce, gas and value, 33 for each of two prices, 11 for
the rest, and 67 for the signature and the call's indices."""

ACCOUNT_BYTES: Final = 96
"""Nonce and balance of an account. Counted twice per transaction, for sender and receiver."""

CODE_BYTES: Final = 169
"""Beside the code itself, for each address that is called: that it is there (93), and the length
and hash of its code (76)."""

READ_BYTES: Final = 116
"""A word of storage with its key."""

WRITE_BYTES: Final = 32
"""In addition, where the word is written; also once per contract that is created."""

STORED_WORD_BYTES: Final = 116
"""What the state grows by for a word that was zero before."""

STORED_CODE_BYTES: Final = 112
"""What it grows by for a contract, beside its code."""


@dataclass(frozen=True, slots=True)
class Touched:
    """What one execution looked at.

    `codes` has the size of the code at each address that was called, 0 for one without. A slot
    that is in `written` may be in `read` as well. `filled` are written slots that were zero before
    and are not now. `created` has the size of each new contract's code.
    """

    codes: Mapping[Wallet, int]
    read: Set[Slot]
    written: Set[Slot]
    filled: Set[Slot]
    created: Mapping[Wallet, int]


@dataclass(frozen=True, slots=True)
class Cost:
    """One transaction's cost: gas as the EVM counts it, and bytes."""

    evm_gas: int
    proof_bytes: int
    stored_bytes: int

    def effective_gas(self, rule: ProofRule | None) -> int:
        """Gas that is paid for."""
        if rule is None:
            return self.evm_gas
        return max(
            self.evm_gas,
            rule.gas_per_proof_byte * self.proof_bytes,
            rule.gas_per_stored_byte * self.stored_bytes,
        )

    def is_led_by_proof(self, rule: ProofRule) -> bool:
        """Whether the proof costs more than the computation."""
        return rule.gas_per_proof_byte * self.proof_bytes > self.evm_gas


def compute_cost(evm_gas: int, data_bytes: int, touched: Touched) -> Cost:
    """Compute the cost of a transaction with `data_bytes` of call data or creation code."""
    only_read = len(touched.read - touched.written)
    proof = (
        ENVELOPE_BYTES
        + data_bytes
        + 2 * ACCOUNT_BYTES
        + sum(CODE_BYTES + size for size in touched.codes.values())
        + READ_BYTES * only_read
        + (READ_BYTES + WRITE_BYTES) * len(touched.written)
        + (ACCOUNT_BYTES + WRITE_BYTES) * len(touched.created)
    )
    stored = STORED_WORD_BYTES * len(touched.filled) + sum(
        STORED_CODE_BYTES + size for size in touched.created.values()
    )
    return Cost(evm_gas, proof, stored)


def compute_gas_limit(effective_gas: int, margin_percent: int, ceiling: int) -> int:
    """Return `effective_gas` with a margin (130: three tenths more), no more than `ceiling`."""
    return min(ceiling, effective_gas * margin_percent // 100)

"""The state of a transaction manager: intents that wait, and nonces in use."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

import trio
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes

from chain.errors import ChainError
from chain.fees import Fees
from chain.hexes import to_hex
from chain.journal import JournalEntry
from chain.records import Call, Receipt
from chain.recursion import cap_recursion
from chain.rlp_codec import RlpError
from protocols.errors import LocalError
from protocols.types import Wallet

cap_recursion()

Confirmations: TypeAlias = Literal["finalized"] | int
"""When a transaction counts as done: so many blocks from its own on (1: it is in the newest
block), or in a finalised block."""

Look: TypeAlias = Callable[[], Awaitable[bool]]
"""A look at the chain whether an intent has become pointless."""

VOID_GAS: Final = 21_000
"""Gas of the empty transfer that uses up a nonce nobody wants any more."""

DYNAMIC_FEE_TYPE: Final = 2


@dataclass(slots=True, eq=False)
class Ticket:
    """One caller's intent and, once there is one, its outcome."""

    call: Call
    label: str
    confirmations: Confirmations
    is_obsolete: Look | None = None
    abandoned: bool = False
    """The caller does not wait any more: its deadline passed, or it was cancelled."""
    retries: int = 0
    receipt: Receipt | None = None
    error: ChainError | None = None
    settled: trio.Event = field(default_factory=trio.Event)

    def succeed(self, receipt: Receipt) -> None:
        """Report success."""
        self.receipt = receipt
        self.settled.set()

    def fail(self, error: ChainError) -> None:
        """Report failure."""
        self.error = error
        self.settled.set()

    def result(self) -> Receipt:
        """Return what was reported, or raise it."""
        if self.error is not None:
            raise self.error
        if self.receipt is None:
            raise LocalError(f"{self.label}: not settled yet")
        return self.receipt


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed transaction: what it does and what it offers."""

    hash: bytes
    raw: bytes
    call: Call
    fees: Fees


@dataclass(slots=True, eq=False)
class Flight:
    """One nonce in use, with the attempts that compete for it, oldest first."""

    nonce: int
    label: str
    attempts: list[Attempt]
    ticket: Ticket | None
    current: Attempt
    """The attempt that is sent, again and again: the newest one, or the one that a block held."""
    receipt: Receipt | None = None
    landed_in: int | None = None
    """Height of the block that held it when it was last looked for."""
    has_landed: bool = False
    """It was in a block once: whatever its caller wants now, a reorganisation must not lose it."""
    is_obsolete: bool = False
    revert_reason: str | None = None
    maybe_accepted: bool = False
    """False only as long as every sending was answered by a definite refusal."""
    underpriced: bool = False
    sent_at: bytes | None = None
    """Hash of the head when `current` was last sent."""
    waits_since: int | None = None
    """Height of the head when `current` was first sent by this process."""

    @property
    def newest(self) -> Attempt:
        """The attempt that offers most."""
        return self.attempts[-1]

    @property
    def is_unwanted(self) -> bool:
        """Tell whether its nonce is better used for nothing."""
        if self.is_obsolete:
            return True
        return self.ticket is not None and self.ticket.abandoned and not self.has_landed

    def add(self, attempt: Attempt) -> None:
        """Let another attempt compete, and be the one that is sent from now on."""
        self.attempts.append(attempt)
        self.current = attempt

    def land(self, receipt: Receipt) -> None:
        """Note that a block holds one of the attempts."""
        self.receipt = receipt
        self.landed_in = receipt.block_number
        self.has_landed = True
        self.current = self.attempt_with(receipt.transaction_hash)

    def take_off(self, height: int) -> None:
        """Note that no block holds it any more: the same bytes get a fresh wait."""
        self.landed_in = None
        self.sent_at = None
        self.waits_since = height

    def is_void(self, attempt: Attempt) -> bool:
        """Tell whether an attempt only uses up the nonce, instead of what was asked for."""
        return attempt.call != self.attempts[0].call

    def attempt_with(self, transaction_hash: bytes) -> Attempt:
        """Return the attempt with this hash."""
        for attempt in self.attempts:
            if attempt.hash == transaction_hash:
                return attempt
        raise LocalError(f"{self.label}: no attempt 0x{transaction_hash.hex()}")


def make_void_call(wallet: Wallet) -> Call:
    """Build the empty transfer to oneself."""
    return Call(to=wallet, gas_limit=VOID_GAS)


def describe_call(call: Call, sender: Wallet) -> dict[str, str]:
    """Write a call for `eth_call` and `eth_estimateGas`."""
    described = {"from": to_hex(sender), "data": to_hex(call.data), "value": to_hex(call.value)}
    if call.to is not None:
        described["to"] = to_hex(call.to)
    return described


def restore_flights(entries: Sequence[JournalEntry]) -> list[Flight]:
    """Rebuild the flights that a journal tells of, in order of their nonces.

    LocalError when an entry is not an EIP-1559 transaction with its nonce: the journal is
    broken, or another program's.
    """
    flights: dict[int, Flight] = {}
    for entry in entries:
        attempt = _decode_attempt(entry)
        flight = flights.get(entry.nonce)
        if flight is None:
            flights[entry.nonce] = Flight(
                entry.nonce,
                entry.label,
                [attempt],
                ticket=None,
                current=attempt,
                maybe_accepted=True,
            )
        else:
            flight.add(attempt)
    return [flights[nonce] for nonce in sorted(flights)]


def _decode_attempt(entry: JournalEntry) -> Attempt:
    try:
        fields = TypedTransaction.from_bytes(HexBytes(entry.raw)).as_dict()
    except (RlpError, ValueError, TypeError, LookupError) as error:
        raise LocalError(f"journal: entry {entry.label!r} is no transaction") from error
    if fields["type"] != DYNAMIC_FEE_TYPE or fields["nonce"] != entry.nonce:
        raise LocalError(f"journal: entry {entry.label!r} is not a transaction with its nonce")
    to = bytes(fields["to"])
    return Attempt(
        hash=entry.hash,
        raw=entry.raw,
        call=Call(
            to=Wallet(to) if to else None,
            data=bytes(fields["data"]),
            value=fields["value"],
            gas_limit=fields["gas"],
        ),
        fees=Fees(fields["maxPriorityFeePerGas"], fields["maxFeePerGas"]),
    )

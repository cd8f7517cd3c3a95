"""What checkers and providers say to one another about transfers. `docs/spec/network-proof.md` is
this file in words; what travels between request and receipt is no envelope (`transfers`).
"""

from dataclasses import dataclass
from typing import ClassVar

from protocols.types import Epoch, Seat, Shard
from protocols.wire import Message, uint

TRANSFER_PROTOCOL = "transfer"
"""Stream protocol of transfers."""


@dataclass(frozen=True, slots=True)
class TransferRequest(Message):
    """Opens the transfer of one seat with one provider, at the start of the provider's window.

    Its digest names the transfer.
    """

    KIND: ClassVar[int] = 15
    MAX_BYTES: ClassVar[int] = 128

    epoch: Epoch = uint(32)
    shard: Shard = uint(32)
    seat: Seat = uint(8)
    checker: int = uint(16)
    provider: int = uint(32)


@dataclass(frozen=True, slots=True)
class TransferReceipt(Message):
    """A checker's word on what arrived within the two stages, by its own count.

    The provider keeps it, and shows the receipts of its whole committee with its Commitment.
    """

    KIND: ClassVar[int] = 17
    MAX_BYTES: ClassVar[int] = 128

    epoch: Epoch = uint(32)
    shard: Shard = uint(32)
    seat: Seat = uint(8)
    checker: int = uint(16)
    provider: int = uint(32)
    down_bytes: int = uint(32)
    """Bytes that the provider proved to have received from the checker."""
    up_bytes: int = uint(32)
    """Bytes that the checker received from the provider and found right."""

"""What ZeroNode services tell one another: receipts of uptime, where accounts are at home, and what
an account takes along when it moves. `docs/spec/zeronode.md` is this file in words.

The rows of a batch are packed one after another, because the codec's arrays are short.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from protocols.errors import LocalError, MalformedError
from protocols.types import NodeKey, TimeMs, Wallet
from protocols.uptime import Stretch
from protocols.wire import Message, blob, fixed, text, uint

MAX_RECEIPTS: Final = 1_000
"""Rows of one batch. With the other rows at their most a batch stays below a gossip message's 64
KiB."""

MAX_OPENINGS: Final = 500
MAX_MOVES: Final = 200
MAX_URL_CHARS: Final = 128
MAX_FACTS_BYTES: Final = 16_384
"""64 keys, as many missions and more take 15,000."""


MAX_LENGTH_MS: Final = (1 << 32) - 1
MAX_TIME_MS: Final = (1 << 62) - 1
"""Above all dates, and sums of two fit the 64 signed bits of a database."""

_RECEIPT: Final = struct.Struct("!20sQI")
_OPENING: Final = struct.Struct("!20sQ")
_MOVE: Final = struct.Struct("!20s32sQ")


@dataclass(frozen=True, slots=True)
class ReceiptBatch(Message):
    """What a service has to tell since its last batch, any part of which may be empty.

    `number` grows with every batch of a service and is never above `sent_ms`; `url` is where the
    service is reached by HTTP, or empty.
    """

    KIND: ClassVar[int] = 40
    MAX_BYTES: ClassVar[int] = (
        MAX_RECEIPTS * _RECEIPT.size + MAX_OPENINGS * _OPENING.size + MAX_MOVES * _MOVE.size + 256
    )

    number: int = uint(64)
    sent_ms: TimeMs = uint(64)
    url: str = text(MAX_URL_CHARS)
    receipts: bytes = blob(MAX_RECEIPTS * _RECEIPT.size)
    """`pack_receipts`."""
    openings: bytes = blob(MAX_OPENINGS * _OPENING.size)
    """`pack_openings`."""
    moves: bytes = blob(MAX_MOVES * _MOVE.size)
    """`pack_moves`."""


@dataclass(frozen=True, slots=True)
class Departure(Message):
    """A home's word that an account has left for another one, with all that it takes along.

    `first_day` is the first day that the new home books; `facts` is a document whose form the spec
    describes. Its signer is the old home.
    """

    KIND: ClassVar[int] = 41
    MAX_BYTES: ClassVar[int] = MAX_FACTS_BYTES + 256

    wallet: Wallet = fixed(20)
    destination: NodeKey = fixed(32)
    departed_ms: TimeMs = uint(62)
    first_day: int = uint(32)
    opened_ms: TimeMs = uint(62)
    points: int = uint(48)
    """In units."""
    tickets: int = uint(32)
    facts: bytes = blob(MAX_FACTS_BYTES)


@dataclass(frozen=True, slots=True)
class Receipt:
    """A stretch of an account's uptime that the batch's signer vouches for."""

    wallet: Wallet
    stretch: Stretch


@dataclass(frozen=True, slots=True)
class Opening:
    """The batch's signer is an account's home since this moment."""

    wallet: Wallet
    opened_ms: TimeMs


@dataclass(frozen=True, slots=True)
class Move:
    """The batch's signer was an account's home until this moment; `destination` is it now."""

    wallet: Wallet
    destination: NodeKey
    moved_ms: TimeMs


def pack_receipts(receipts: Iterable[Receipt]) -> bytes:
    """Write receipts in their order, by wallet and start; LocalError for what no row can hold."""
    rows = []
    for each in sorted(receipts, key=lambda each: (each.wallet, each.stretch)):
        _require_fit(each.wallet, each.stretch.end_ms)
        if each.stretch.length_ms > MAX_LENGTH_MS:
            raise LocalError(f"receipt of {each.stretch.length_ms} ms, at most {MAX_LENGTH_MS}")
        rows.append(_RECEIPT.pack(each.wallet, each.stretch.start_ms, each.stretch.length_ms))
    return _join(rows, MAX_RECEIPTS)


def unpack_receipts(data: bytes) -> tuple[Receipt, ...]:
    """Read receipts; MalformedError for incomplete rows, empty stretches, impossible times."""
    receipts = []
    for wallet, start, length in _rows(_RECEIPT, data, MAX_RECEIPTS):
        if length == 0 or start + length > MAX_TIME_MS:
            raise MalformedError("bad receipt", f"{length} ms from {start}")
        receipts.append(Receipt(Wallet(wallet), Stretch(TimeMs(start), TimeMs(start + length))))
    return tuple(receipts)


def pack_openings(openings: Iterable[Opening]) -> bytes:
    """Write openings in their order, by wallet; LocalError for what no row can hold."""
    rows = []
    for each in sorted(openings, key=lambda each: each.wallet):
        _require_fit(each.wallet, each.opened_ms)
        rows.append(_OPENING.pack(each.wallet, each.opened_ms))
    return _join(rows, MAX_OPENINGS)


def unpack_openings(data: bytes) -> tuple[Opening, ...]:
    """Read openings; MalformedError for incomplete rows and impossible times."""
    openings = []
    for wallet, opened in _rows(_OPENING, data, MAX_OPENINGS):
        _require_possible("bad opening", opened)
        openings.append(Opening(Wallet(wallet), TimeMs(opened)))
    return tuple(openings)


def pack_moves(moves: Iterable[Move]) -> bytes:
    """Write moves in their order, by wallet; LocalError for what no row can hold."""
    rows = []
    for each in sorted(moves, key=lambda each: each.wallet):
        _require_fit(each.wallet, each.moved_ms)
        if len(each.destination) != 32:
            raise LocalError(f"destination of {len(each.destination)} bytes, expected 32")
        rows.append(_MOVE.pack(each.wallet, each.destination, each.moved_ms))
    return _join(rows, MAX_MOVES)


def unpack_moves(data: bytes) -> tuple[Move, ...]:
    """Read moves; MalformedError for incomplete rows and impossible times."""
    moves = []
    for wallet, destination, moved in _rows(_MOVE, data, MAX_MOVES):
        _require_possible("bad move", moved)
        moves.append(Move(Wallet(wallet), NodeKey(destination), TimeMs(moved)))
    return tuple(moves)


def _require_fit(wallet: Wallet, moment: int) -> None:
    # struct would cut or pad a wallet in silence.
    if len(wallet) != 20:
        raise LocalError(f"wallet of {len(wallet)} bytes, expected 20")
    if not 0 <= moment <= MAX_TIME_MS:
        raise LocalError(f"time {moment}, expected 0 … {MAX_TIME_MS}")


def _require_possible(reason: str, moment: int) -> None:
    if moment > MAX_TIME_MS:
        raise MalformedError(reason, f"time {moment}")


def _join(rows: Sequence[bytes], maximum: int) -> bytes:
    if len(rows) > maximum:
        raise LocalError(f"{len(rows)} rows, at most {maximum}")
    return b"".join(rows)


def _rows(form: struct.Struct, data: bytes, maximum: int) -> Iterable[tuple[Any, ...]]:
    if len(data) % form.size or len(data) > maximum * form.size:
        raise MalformedError("incomplete row", f"{len(data)} bytes in rows of {form.size}")
    return form.iter_unpack(data)

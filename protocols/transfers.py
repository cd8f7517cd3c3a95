"""The network proof: what is transferred, how it is shown to have arrived, what receipts are worth.

In the provider's window (`epochs.TransferWindow`) every seat of its committee transfers with it at
once, in pieces of one size:

    down    checker → a piece of random bytes        provider → the piece's digest
    up      checker → a seed of 32 bytes             provider → the piece that the seed expands to

So every answer needs the whole question, and nothing can be sent ahead of it. Some pieces are under
way at once, so that a long path is filled. The checker counts the pieces whose right answers came
back within the stage, signs that number (TransferReceipt), and the provider shows the receipts of
all seats to each of them. `sum_receipts` is then the same number for everybody.

**Why the time is the stage's and not that of each transfer.** Were each checker's bytes divided by
that checker's own time, a provider would serve its committee one after another: of k checkers
the j-th ends after j times as long, and the rates add up to 1 + 1/2 + … + 1/k of the line, three
times of it for eleven. What all receive within one stage of fixed length is at most what
the line carries in that time, in whatever order. Nothing is subtracted from the stage: not the
round trip, not the slow start.

**Why liars gain little.** Let v be the most that each of a majority of the committee's seats
certifies at least: the low median, with zero for every seat whose receipt is missing. No receipt
counts for more than 2·v. So a majority stands behind v, and each liar adds 2·v at most. The result
never falls when a figure grows or a receipt is added: to leave one out does not pay, and to attach
a false or foreign one gives nothing.
"""

import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from protocols.envelopes import Verified, open_envelope
from protocols.epochs import Timeline, TransferWindow
from protocols.errors import RemoteError
from protocols.expand import expand_each
from protocols.membership import EpochView
from protocols.params import LANES, MAX_SEATS, Preset
from protocols.transfer_messages import TransferReceipt
from protocols.types import Digest, NetworkId, Seat, Shard

PIECE_BYTES = 61_440
"""60 KiB: with all headers one record of the encrypted connection (64 KiB), and still several
pieces in a stage where eleven checkers share 75 Mbit/s. A multiple of 32, as expansion goes by."""

DIGEST_BYTES = 32

MIN_RECEIPTS = 3
"""Fewer seats than this prove no bandwidth, however small the committee."""

LIMIT_FACTOR = 2
"""A receipt counts for this many times what the majority certifies, at most. Connections that share
a line fairly differ by less; more would be the weight of a liar."""

_PIECE_TAG = b"kaisar/transfer/piece/1"
_SEED_TAG = b"kaisar/transfer/seed/1"
_INDEX = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Rates:
    """A provider's line as its committee found it, in bits per second."""

    down_bits_per_s: int
    up_bits_per_s: int


NO_RATES = Rates(0, 0)


def count_pieces(preset: Preset) -> int:
    """Pieces that one checker and one provider transfer at most, in each direction."""
    return preset.transfer_bytes // PIECE_BYTES


def derive_piece_seeds(secret: bytes, first: int, count: int) -> list[bytes]:
    """Seeds of the pieces `first` … `first + count − 1` of one direction.

    `secret` (32 bytes) is the checker's and fresh for each direction of each transfer. One seed,
    and even all bytes of one piece, say nothing about another.
    """
    return [
        hashlib.sha256(_SEED_TAG + secret + _INDEX.pack(index)).digest()
        for index in range(first, first + count)
    ]


def expand_pieces(seeds: Sequence[bytes]) -> list[bytes]:
    """Pieces of PIECE_BYTES that seeds expand to; LocalError unless each has 32 bytes."""
    rows = expand_each([(seed, 0) for seed in seeds], PIECE_BYTES)
    return [row.tobytes() for row in rows]


def compute_piece_digest(transfer: Digest, index: int, piece: bytes) -> Digest:
    """Answer to piece `index` (from 0) of the stage down of the transfer with this digest."""
    return Digest(hashlib.sha256(_PIECE_TAG + transfer + _INDEX.pack(index) + piece).digest())


def find_window(view: EpochView, timeline: Timeline, provider: int) -> TransferWindow | None:
    """When this provider transfers in the epoch of `view`; None when it is not active."""
    active = [each.index for each in view.shard_providers(Shard(provider // LANES))]
    if provider not in active:
        return None
    return timeline.transfer_window(view.epoch, active.index(provider), len(active))


def is_receipt_of(verified: Verified[TransferReceipt], view: EpochView, provider: int) -> bool:
    """Whether this is about the provider and the epoch, and signed by the holder of its seat."""
    receipt = verified.message
    if (receipt.epoch, receipt.provider) != (view.epoch, provider):
        return False
    if receipt.shard != provider // LANES:
        return False
    member = view.seated(receipt.shard, receipt.seat)
    return member is not None and (member.index, member.node_key) == (
        receipt.checker,
        verified.signer,
    )


def open_receipts(sealed: Iterable[bytes], network: NetworkId) -> list[Verified[TransferReceipt]]:
    """Open what a provider attached; what is no receipt is left out, to its own loss."""
    opened = []
    for _, data in zip(range(MAX_SEATS), sealed, strict=False):
        try:
            opened.append(open_envelope(data, TransferReceipt, network))
        except RemoteError:
            continue
    return opened


def sum_receipts(
    receipts: Iterable[Verified[TransferReceipt]],
    view: EpochView,
    timeline: Timeline,
    provider: int,
) -> Rates:
    """Find the rates that receipts prove for a provider in the epoch of `view`.

    Receipts about something else, or by somebody who does not hold the seat, count as absent. Of
    several receipts of one seat the largest figures count: a provider would show no others.
    Fewer than MIN_RECEIPTS, or none from a majority of the committee, prove nothing.
    """
    window = find_window(view, timeline, provider)
    if window is None:
        return NO_RATES
    most = timeline.preset.transfer_bytes
    down: dict[Seat, int] = {}
    up: dict[Seat, int] = {}
    for verified in receipts:
        if is_receipt_of(verified, view, provider):
            receipt = verified.message
            down[receipt.seat] = max(down.get(receipt.seat, 0), min(receipt.down_bytes, most))
            up[receipt.seat] = max(up.get(receipt.seat, 0), min(receipt.up_bytes, most))
    seats = len(view.committee(Shard(provider // LANES)))
    return Rates(
        down_bits_per_s=_sum_bytes(down.values(), seats) * 8000 // window.stage_ms,
        up_bits_per_s=_sum_bytes(up.values(), seats) * 8000 // window.stage_ms,
    )


def _sum_bytes(figures: Iterable[int], seats: int) -> int:
    ranked = sorted(figures, reverse=True)
    needed = max(MIN_RECEIPTS, seats // 2 + 1)
    if len(ranked) < needed:
        return 0
    limit = LIMIT_FACTOR * ranked[needed - 1]
    return sum(min(figure, limit) for figure in ranked)

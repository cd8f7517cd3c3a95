"""The network proof a second time, from docs/spec/network-proof.md, sharing no code with it."""

from collections.abc import Sequence

from tests.protocols.compute_reference import expand_row, sha256, u32

PIECE = 61_440


def piece(seed: bytes) -> bytes:
    """What a seed expands to."""
    return expand_row(seed, PIECE, 0)


def digest(transfer: bytes, index: int, data: bytes) -> bytes:
    """The answer to a piece of the stage down."""
    return sha256(b"kaisar/transfer/piece/1", transfer, u32(index), data)


def rate(figures: Sequence[int], seats: int, most: int, stage_ms: int) -> int:
    """Bits per second that a committee certifies; one figure of bytes per seat with a receipt."""
    figures = [min(figure, most) for figure in figures]
    majority = seats // 2 + 1
    if len(figures) < 3 or len(figures) < majority:
        return 0
    # The most that so many seats certify at least.
    v = max(each for each in figures if sum(other >= each for other in figures) >= max(3, majority))
    return sum(min(figure, 2 * v) for figure in figures) * 8 * 1000 // stage_ms

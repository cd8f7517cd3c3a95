"""Vectors of 256 small numbers in sixteen 256-bit words, the form that the contract works on.

Lane l lies in word l // 16, in its bits 16·(l % 16) … 16·(l % 16) + 15. A bitmap's bit l belongs
to lane l.
"""

from collections.abc import Iterable, Sequence

from protocols.errors import LocalError, MalformedError
from protocols.params import LANES, MAX_SCORE

LANES_PER_WORD = 16
WORDS = LANES // LANES_PER_WORD
VECTOR_BYTES = LANES * 2


def pack_words(scores: Sequence[int]) -> tuple[int, ...]:
    """Pack 256 scores (0 … 32767) into sixteen words."""
    if len(scores) != LANES:
        raise LocalError(f"{len(scores)} lanes, expected {LANES}")
    words = [0] * WORDS
    for lane, score in enumerate(scores):
        if not 0 <= score <= MAX_SCORE:
            raise LocalError(f"lane {lane}: score {score} outside 0 … {MAX_SCORE}")
        words[lane // LANES_PER_WORD] |= score << 16 * (lane % LANES_PER_WORD)
    return tuple(words)


def unpack_words(words: Sequence[int]) -> tuple[int, ...]:
    """Unpack sixteen words into 256 lanes; inverse of `pack_words`."""
    if len(words) != WORDS:
        raise LocalError(f"{len(words)} words, expected {WORDS}")
    return tuple(
        words[lane // LANES_PER_WORD] >> 16 * (lane % LANES_PER_WORD) & 0xFFFF
        for lane in range(LANES)
    )


def encode_words(words: Sequence[int]) -> bytes:
    """Write the words one after another, big-endian: the 512 bytes that a report's hash covers."""
    return b"".join(word.to_bytes(32, "big") for word in words)


def decode_scores(data: bytes) -> tuple[int, ...]:
    """Read 512 bytes of somebody else's into 256 scores.

    Raises MalformedError for another length and for a lane above 32767.
    """
    if len(data) != VECTOR_BYTES:
        raise MalformedError("bad score vector", f"{len(data)} bytes")
    words = [int.from_bytes(data[start : start + 32], "big") for start in range(0, len(data), 32)]
    scores = unpack_words(words)
    for lane, score in enumerate(scores):
        if score > MAX_SCORE:
            raise MalformedError("bad score vector", f"lane {lane} has bit 15 set")
    return scores


def bitmap_of(lanes: Iterable[int]) -> int:
    """Set the bit of each of `lanes`."""
    bitmap = 0
    for lane in lanes:
        bitmap |= 1 << lane
    return bitmap

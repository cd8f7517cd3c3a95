"""Drawing what is to be opened: distinct numbers, uniform, from randomness that came afterwards.

Several parts (devices, chains) are drawn from as one row of numbers, part after part: so the share
that is opened of each follows what it claims, and who skipped a share ε of all of it survives
with at most (1 − ε)^count, however it is spread.

Block b of the stream is SHA-256(tag ‖ randomness ‖ b), b in 8 bytes: four 64-bit words, all
little-endian. With `total` the sum of all sizes, a word of at least ⌊2^64 / total⌋ · total is
skipped, else it stands for word mod total; numbers drawn before are skipped.
"""

import hashlib
import struct
from collections.abc import Sequence

from protocols.errors import LocalError

RANDOMNESS_BYTES = 32

MAX_TOTAL = 1 << 48
"""Numbers to draw from: 16 devices of 2^14 rounds of 2^20 rows are 2^38."""

_DRAWS = struct.Struct("<4Q")


def draw_from_parts(
    tag: bytes, randomness: bytes, sizes: Sequence[int], count: int
) -> tuple[tuple[int, ...], ...]:
    """Draw `count` distinct numbers out of parts of these sizes; all there are, if not more.

    Returns for each part the numbers 0 … size − 1 drawn in it, ascending. `randomness` is 32
    secret, fresh bytes, used for this draw only. LocalError for another length, sizes below 0 or
    beyond MAX_TOTAL in sum, or a count below 1.
    """
    total = sum(sizes)
    if len(randomness) != RANDOMNESS_BYTES:
        raise LocalError(f"randomness of {len(randomness)} bytes, expected {RANDOMNESS_BYTES}")
    if count < 1 or total > MAX_TOTAL or min(sizes, default=0) < 0:
        raise LocalError(f"{count} draws out of parts of {list(sizes)}")
    drawn = range(total) if total <= count else _draw(tag + randomness, total, count)
    parts = []
    position, first = 0, 0
    for size in sizes:
        end = position
        while end < len(drawn) and drawn[end] < first + size:
            end += 1
        parts.append(tuple(number - first for number in drawn[position:end]))
        position, first = end, first + size
    return tuple(parts)


def _draw(prefix: bytes, total: int, count: int) -> list[int]:
    unbiased = (1 << 64) - (1 << 64) % total
    drawn: set[int] = set()
    block = 0
    while len(drawn) < count:
        digest = hashlib.sha256(prefix + block.to_bytes(8, "little")).digest()
        for word in _DRAWS.unpack(digest):
            if word < unbiased and len(drawn) < count:
                drawn.add(word % total)
        block += 1
    return sorted(drawn)

"""Expansion of a 32-byte seed into a matrix of int8, with random access by row.

The bytes are those of philox4x64-10 (Salmon et al., SC11; the generator that NumPy calls Philox).
A seed is four little-endian 64-bit words s0 s1 s2 s3, all of which take part:

    key     = (s0, s1)
    counter = (1 + block, 0, s2, s3)

and one block gives four 64-bit words, written little-endian: 32 bytes. Row i of a matrix with
rows of w bytes takes ⌈w/32⌉ blocks of its own from block i·⌈w/32⌉ on; surplus bytes of its last
block are dropped. Each byte is an int8 in two's complement.

So any thread can make any word from (seed, row, column) alone, and consecutive rows are one run of
blocks. The counter starts at one because NumPy increments it before the first block.

Philox passes the usual statistical batteries but is no cipher. The proof asks of it that no
product of an expanded matrix can be had for less than computing it, not that it hides its seed.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from protocols.errors import LocalError

SEED_BYTES = 32

BLOCK_BYTES = 32
"""Output of one philox4x64 call."""

_WORDS_PER_BLOCK = 4


class _Blocks:
    """One NumPy generator, moved about. Setting its state costs half of making a new one."""

    def __init__(self) -> None:
        # The seed has no effect (`read` replaces the whole state); without one, NumPy would ask
        # the operating system for entropy.
        self._philox = np.random.Philox(0)
        self._buffer = np.zeros(_WORDS_PER_BLOCK, np.uint64)

    def read(self, seed: bytes, first: int, count: int) -> NDArray[np.int8]:
        words = np.frombuffer(seed, "<u8").astype(np.uint64)
        counter = np.array([first, 0, words[2], words[3]], np.uint64)
        self._philox.state = {
            "bit_generator": "Philox",
            "state": {"counter": counter, "key": words[:2]},
            # An exhausted buffer: the next word starts the next block.
            "buffer": self._buffer,
            "buffer_pos": _WORDS_PER_BLOCK,
            "has_uint32": 0,
            "uinteger": 0,
        }
        raw = self._philox.random_raw(count * _WORDS_PER_BLOCK)
        return raw.astype("<u8", copy=False).view(np.int8)


def compute_row_blocks(row_bytes: int) -> int:
    """Blocks that one row takes. LocalError unless rows have at least one byte."""
    if row_bytes < 1:
        raise LocalError(f"rows of {row_bytes} bytes")
    return -(-row_bytes // BLOCK_BYTES)


def expand_rows(seed: bytes, row_bytes: int, first: int, count: int) -> NDArray[np.int8]:
    """Rows `first` … `first + count − 1`, of shape (count, row_bytes).

    A run of rows is made in one go, about 2 GB/s per core. Allocates count · ⌈row_bytes/32⌉ · 32
    bytes: callers choose `count` by that. Raises LocalError for a seed that is not 32 bytes and
    for negative positions.
    """
    blocks = compute_row_blocks(row_bytes)
    _require_position(seed, first, count)
    data = _Blocks().read(seed, first * blocks, count * blocks)
    return data.reshape(count, blocks * BLOCK_BYTES)[:, :row_bytes]


def expand_each(rows: Sequence[tuple[bytes, int]], row_bytes: int) -> NDArray[np.int8]:
    """One row for each (seed, row index): shape (len(rows), row_bytes). Errors as above."""
    blocks = compute_row_blocks(row_bytes)
    source = _Blocks()
    out = np.empty((len(rows), row_bytes), np.int8)
    for position, (seed, row) in enumerate(rows):
        _require_position(seed, row, 1)
        out[position] = source.read(seed, row * blocks, blocks)[:row_bytes]
    return out


def _require_position(seed: bytes, first: int, count: int) -> None:
    if len(seed) != SEED_BYTES:
        raise LocalError(f"seed of {len(seed)} bytes, expected {SEED_BYTES}")
    if first < 0 or count < 0:
        raise LocalError(f"rows {first} … {first + count}")

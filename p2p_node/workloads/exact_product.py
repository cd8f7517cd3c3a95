"""Exact products of int8 matrices through float32 BLAS.

NumPy has no fast integer product, but a float32 holds every integer up to 2^24 exactly, and the
product of two int8 is at most 2^14. So over 1,024 columns every partial sum, in whatever order and
with or without fused multiply-add, is an exact integer of at most 2^24; sums of such blocks are
added up in int32, which holds them all (`protocols.compute.MAX_K`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from protocols.expand import expand_rows

BLOCK = 1024
"""Columns of A per float32 product: 2^24 / 2^14."""

_EXPANSION_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Scratch:
    """Room for the product of up to `rows` rows at a time; one per thread, used again and again."""

    a: NDArray[np.float32]
    partial: NDArray[np.float32]
    rounded: NDArray[np.int32]

    @classmethod
    def allocate(cls, rows: int, n: int) -> "Scratch":
        """Room for `rows` rows of A (a block of columns at a time) and of C."""
        return cls(
            np.empty((rows, BLOCK), np.float32),
            np.empty((rows, n), np.float32),
            np.empty((rows, n), np.int32),
        )

    @staticmethod
    def compute_size(rows: int, n: int) -> int:
        """Bytes of one."""
        return 4 * rows * (BLOCK + 2 * n)


class Product(Protocol):
    """Multiplies rows of A by the B that it was made for."""

    def multiply(
        self,
        a: NDArray[np.int8],
        out: NDArray[np.int32],
        scratch: Scratch,
        checkpoint: Callable[[], None],
    ) -> None:
        """Put a·B into `out`, calling `checkpoint`, which may raise, now and then.

        Shapes (count, k) and (count, n), with count at most the rows of `scratch`. With fewer
        columns, only so many rows of B take part. Used by several threads at once, each with a
        scratch of its own.
        """


class ExactProduct:
    """B as float32, 4·k·n bytes."""

    def __init__(self, b_seed: bytes, k: int, n: int) -> None:
        self._b = np.empty((k, n), np.float32)
        step = max(1, _EXPANSION_BYTES // n)
        for first in range(0, k, step):
            rows = self._b[first : first + step]
            np.copyto(rows, expand_rows(b_seed, n, first, len(rows)))

    def multiply(
        self,
        a: NDArray[np.int8],
        out: NDArray[np.int32],
        scratch: Scratch,
        checkpoint: Callable[[], None],
    ) -> None:
        """Put a·B into `out`; see `Product`."""
        count, k = a.shape
        partial, rounded = scratch.partial[:count], scratch.rounded[:count]
        for first in range(0, k, BLOCK):
            checkpoint()
            width = min(BLOCK, k - first)
            block = scratch.a[:count, :width]
            np.copyto(block, a[:, first : first + width])
            np.matmul(block, self._b[first : first + width], out=partial)
            if first == 0:
                np.copyto(out, partial, casting="unsafe")
            else:
                np.copyto(rounded, partial, casting="unsafe")
                np.add(out, rounded, out=out)

"""float32 BLAS gives the integers, to the last bit and in the worst case."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_node.workloads import exact_product
from p2p_node.workloads.exact_product import BLOCK, ExactProduct, Scratch
from protocols.compute import Shape
from protocols.expand import expand_rows

SEED = bytes(range(32))


def never() -> None:
    """A checkpoint at which nothing happens."""


def multiply(product: ExactProduct, a: np.ndarray, n: int) -> np.ndarray:
    out = np.empty((len(a), n), np.int32)
    product.multiply(a, out, Scratch.allocate(len(a), n), never)
    return out


@given(st.integers(1, 9), st.integers(1, 200), st.integers(1, 8))
def test_product_is_that_of_integers(rows: int, k16: int, n16: int) -> None:
    shape = Shape(rows, 16 * k16, 16 * n16)
    a = expand_rows(bytes(32), shape.k, 0, rows)
    b = expand_rows(SEED, shape.n, 0, shape.k)
    expected = a.astype(np.int64) @ b.astype(np.int64)
    assert np.array_equal(multiply(ExactProduct(SEED, shape.k, shape.n), a, shape.n), expected)


@pytest.mark.parametrize("k", [BLOCK - 16, BLOCK, BLOCK + 16, 4 * BLOCK])
@pytest.mark.parametrize(("x", "y"), [(-128, -128), (-128, 127), (127, 127)])
def test_largest_sums_are_exact(monkeypatch: pytest.MonkeyPatch, k: int, x: int, y: int) -> None:
    """Every product at its largest, so that a block ends at 2^24 exactly."""
    monkeypatch.setattr(
        exact_product,
        "expand_rows",
        lambda seed, width, first, count: np.full((count, width), y, np.int8),
    )
    shape = Shape(3, k, 32)
    found = multiply(ExactProduct(SEED, shape.k, shape.n), np.full((3, k), x, np.int8), 32)
    assert (found == k * x * y).all()


def test_one_column_more_would_not_be_exact() -> None:
    """Why a block has 1,024 columns: beyond 2^24 a float32 has even numbers only."""
    assert int(np.float32(BLOCK * 2**14)) == BLOCK * 2**14
    assert int(np.float32(BLOCK * 2**14 + 1)) != BLOCK * 2**14 + 1


def test_checkpoints_come_before_every_block() -> None:
    shape = Shape(2, 2 * BLOCK + 16, 16)
    a = expand_rows(bytes(32), shape.k, 0, 2)
    visits: list[int] = []
    ExactProduct(SEED, shape.k, shape.n).multiply(
        a, np.empty((2, 16), np.int32), Scratch.allocate(2, 16), lambda: visits.append(1)
    )
    assert len(visits) == 3


def test_scratch_knows_its_size() -> None:
    scratch = Scratch.allocate(5, 48)
    arrays = (scratch.a, scratch.partial, scratch.rounded)
    assert sum(array.nbytes for array in arrays) == Scratch.compute_size(5, 48)

"""The expansion: published vectors, the plain reference, random access."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalError
from protocols.expand import compute_row_blocks, expand_each, expand_rows
from tests.protocols import compute_reference as ref
from tests.protocols.compute_vectors import Case, load

SEEDS = st.binary(min_size=32, max_size=32)


def by_name(case: Case) -> str:
    return str(case["name"])


@pytest.mark.parametrize("case", load("expand/philox.json"), ids=by_name)
def test_reference_philox_is_random123s(case: Case) -> None:
    counter, key, output = (
        tuple(int(word, 16) for word in case[name]) for name in ("counter", "key", "output")
    )
    assert ref.philox4x64_10(counter, key) == output


@pytest.mark.parametrize("case", load("expand/philox.json"), ids=by_name)
def test_numpy_philox_is_random123s(case: Case) -> None:
    counter = [int(word, 16) for word in case["counter"]]
    number = sum(word << 64 * place for place, word in enumerate(counter))
    before = (number - 1) % 2**256
    words = [before >> 64 * place & ref.MASK for place in range(4)]
    key = [int(word, 16) for word in case["key"]]
    philox = np.random.Philox(
        counter=np.array(words, np.uint64),
        key=np.array(key, np.uint64),
    )
    assert [f"{word:016x}" for word in philox.random_raw(4).tolist()] == case["output"]


@pytest.mark.parametrize("case", load("expand/rows.json"), ids=by_name)
def test_row_vectors(case: Case) -> None:
    seed, first, width = bytes.fromhex(case["seed"]), case["first"], case["row_bytes"]
    rows = expand_rows(seed, width, first, len(case["rows"]))
    assert rows.dtype == np.int8
    assert [row.tobytes().hex() for row in rows] == case["rows"]


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 100), st.integers(0, 2**40), st.integers(0, 5))
def test_any_rows_are_those_of_the_reference(
    seed: bytes, width: int, first: int, count: int
) -> None:
    rows = expand_rows(seed, width, first, count)
    assert rows.shape == (count, width)
    expected = [ref.expand_row(seed, width, first + number) for number in range(count)]
    assert [row.tobytes() for row in rows] == expected


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(SEEDS, st.integers(0, 2**32)), max_size=5), st.integers(1, 100))
def test_scattered_rows_are_those_of_the_matrix(rows: list[tuple[bytes, int]], width: int) -> None:
    found = expand_each(rows, width)
    assert found.shape == (len(rows), width)
    for values, (seed, row) in zip(found, rows, strict=True):
        assert values.tobytes() == expand_rows(seed, width, row, 1).tobytes()


def test_every_bit_of_the_seed_counts() -> None:
    seed = bytes(32)
    plain = expand_rows(seed, 32, 0, 1).tobytes()
    others = {
        expand_rows((1 << bit).to_bytes(32, "little"), 32, 0, 1).tobytes() for bit in range(256)
    }
    assert len(others | {plain}) == 257


def test_bytes_are_spread_evenly() -> None:
    counts = np.bincount(expand_rows(bytes(32), 1 << 16, 0, 16).view(np.uint8).ravel())
    expected = (1 << 20) / 256
    # 255 degrees of freedom: chi-squared above 400 has probability 1e-8.
    assert float(((counts - expected) ** 2 / expected).sum()) < 400


def test_wrong_arguments_are_our_bug() -> None:
    for call in (
        lambda: compute_row_blocks(0),
        lambda: expand_rows(bytes(31), 32, 0, 1),
        lambda: expand_rows(bytes(32), 32, -1, 1),
        lambda: expand_rows(bytes(32), 32, 0, -1),
        lambda: expand_each([(bytes(33), 0)], 32),
        lambda: expand_each([(bytes(32), -1)], 32),
        lambda: expand_each([], 0),
    ):
        with pytest.raises(LocalError):
            call()

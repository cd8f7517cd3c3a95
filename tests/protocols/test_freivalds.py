"""The secret row check: exact, complete, and sound where it is hardest."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols import freivalds
from protocols.compute import MAX_K, Shape
from protocols.errors import LocalError
from protocols.expand import expand_rows
from protocols.freivalds import find_wrong_rows, prepare_check

B_SEED = bytes(range(32))
SECRET = bytes(range(32, 64))


def multiply(a: np.ndarray, shape: Shape) -> np.ndarray:
    b = expand_rows(B_SEED, shape.n, 0, shape.k)
    return (a.astype(np.int64) @ b.astype(np.int64)).astype(np.int32)


def random_a(rows: int, k: int) -> np.ndarray:
    return expand_rows(bytes(32), k, 0, rows)


@pytest.mark.parametrize("sizes", [(16, 16), (48, 1040), (1040, 48), (208, 5008)])
def test_u_is_b_times_r_in_plain_integers(sizes: tuple[int, int]) -> None:
    shape = Shape(1, *sizes)
    check = prepare_check(B_SEED, shape, SECRET)
    b = expand_rows(B_SEED, shape.n, 0, shape.k).tolist()
    for vector, found in zip(check.r.tolist(), check.u.tolist(), strict=True):
        for row, word in list(zip(b, found, strict=True))[:: max(1, shape.k // 5)]:
            assert (sum(x * y for x, y in zip(row, vector, strict=True)) - word) % 2**64 == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(1, 8), st.integers(1, 8))
def test_true_rows_pass_at_any_size(rows: int, k16: int, n16: int) -> None:
    shape = Shape(rows, 16 * k16, 16 * n16)
    check = prepare_check(B_SEED, shape, SECRET)
    a = random_a(rows, shape.k)
    assert find_wrong_rows(check, a, multiply(a, shape)) == []


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 7), st.integers(0, 31), st.integers(0, 31)),
        min_size=1,
        max_size=6,
        unique_by=lambda place: place[:2],
    )
)
def test_any_wrong_bit_is_found(flips: list[tuple[int, int, int]]) -> None:
    """Also a flip of the highest bit alone: the 2-adically smallest difference there is."""
    shape = Shape(8, 48, 32)
    check = prepare_check(B_SEED, shape, SECRET)
    a = random_a(8, shape.k)
    c = multiply(a, shape)
    for row, column, bit in flips:
        c.view(np.uint32)[row, column] ^= np.uint32(1 << bit)
    assert find_wrong_rows(check, a, c) == sorted({row for row, _, _ in flips})


def test_what_one_vector_misses_the_other_finds() -> None:
    """The hardest difference: 2^31 in some places. One vector misses it once in 2^33 times, so
    places can be found (knowing r_0) at which it does; r_1 is independent and sees it."""
    shape = Shape(1, 16, 48)
    check = prepare_check(B_SEED, shape, SECRET)
    a = random_a(1, shape.k)
    c = multiply(a, shape)
    # Away from zero would overflow, so each entry has one direction to go.
    signs = np.where(c[0] < 0, 1, -1)
    words = [
        int(sign) * word % 2**33 for sign, word in zip(signs, check.r[0].tolist(), strict=True)
    ]
    places = find_zero_sum(words, 2**33)
    c[0, places] += (signs[places] * 2**31).astype(np.int32)
    assert find_wrong_rows(check, a, c) == [0]
    one_vector = replace(check, r=check.r[:1], u=check.u[:1])
    assert find_wrong_rows(one_vector, a, c) == []


def find_zero_sum(words: list[int], modulus: int) -> list[int]:
    """Places whose words add up to zero, by meeting in the middle."""
    half = len(words) // 2

    def sums(first: int) -> Iterator[tuple[int, tuple[int, ...]]]:
        for count in range(1, 7):
            for places in combinations(range(first, first + half), count):
                yield sum(words[place] for place in places) % modulus, places

    left = dict(sums(0))
    for total, places in sums(half):
        if (modulus - total) % modulus in left:
            return [*left[(modulus - total) % modulus], *places]
    raise AssertionError("no such places; take more of them")


def test_largest_sums_are_exact() -> None:
    """k as large as allowed, every factor −128: the sum is 2^31 − 2^18, and no bit is lost."""
    shape = Shape(1, MAX_K, 16)
    check = prepare_check(B_SEED, shape, SECRET)
    a = np.full((1, MAX_K), -128, np.int8)
    c = multiply(a, shape)
    assert find_wrong_rows(check, a, c) == []
    assert find_wrong_rows(check, a, c + 1) == [0]


def test_pieces_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = Shape(7, 64, 48)
    whole = prepare_check(B_SEED, shape, SECRET)
    a = random_a(7, shape.k)
    monkeypatch.setattr(freivalds, "_EXPANSION_BYTES", 1000)
    monkeypatch.setattr(freivalds, "_PIECE_WORDS", 100)
    pieces = prepare_check(B_SEED, shape, SECRET)
    assert np.array_equal(whole.u, pieces.u)
    assert find_wrong_rows(pieces, a, multiply(a, shape)) == []


def test_secrets_and_epochs_give_other_vectors() -> None:
    shape = Shape(1, 16, 16)
    checks = [
        prepare_check(B_SEED, shape, SECRET),
        prepare_check(B_SEED, shape, bytes(32)),
        prepare_check(bytes(32), shape, SECRET),
    ]
    assert len({check.r.tobytes() for check in checks}) == 3
    assert checks[0].r[0].tobytes() != checks[0].r[1].tobytes()


def test_secret_vectors_are_not_shown() -> None:
    check = prepare_check(B_SEED, Shape(1, 16, 16), SECRET)
    assert "r=" not in repr(check)
    assert "u=" not in repr(check)


def test_wrong_arguments_are_our_bug() -> None:
    shape = Shape(2, 32, 16)
    with pytest.raises(LocalError, match="secret of 31 bytes"):
        prepare_check(B_SEED, shape, bytes(31))
    check = prepare_check(B_SEED, shape, SECRET)
    for a, c in (((2, 16), (2, 16)), ((1, 32), (2, 16)), ((2, 32), (2, 32))):
        with pytest.raises(LocalError, match="rows of shapes"):
            find_wrong_rows(check, np.zeros(a, np.int8), np.zeros(c, np.int32))

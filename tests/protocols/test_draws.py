"""Drawing numbers out of several parts."""

import hashlib
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.draws import MAX_TOTAL, draw_from_parts
from protocols.errors import LocalError
from tests.protocols import compute_reference as ref

TAG = b"test/draw/1"


@given(
    st.binary(min_size=32, max_size=32),
    st.lists(st.integers(0, 60), max_size=6),
    st.integers(1, 100),
)
def test_parts_are_those_of_the_reference(randomness: bytes, sizes: list[int], count: int) -> None:
    parts = draw_from_parts(TAG, randomness, sizes, count)
    assert [list(part) for part in parts] == ref.draw_parts(TAG, randomness, sizes, count)
    assert sum(map(len, parts)) == min(count, sum(sizes))
    for part, size in zip(parts, sizes, strict=True):
        assert list(part) == sorted(set(part))
        assert all(0 <= number < size for number in part)


def test_where_a_number_lies_does_not_depend_on_how_all_are_cut() -> None:
    whole = draw_from_parts(TAG, bytes(32), [100], 20)[0]
    first, second = draw_from_parts(TAG, bytes(32), [37, 63], 20)
    assert whole == (*first, *(number + 37 for number in second))


def test_tag_and_randomness_both_count() -> None:
    draws = {
        draw_from_parts(tag, randomness, [10**9], 4)
        for tag in (TAG, b"other")
        for randomness in (bytes(32), bytes([1]) * 32)
    }
    assert len(draws) == 4


def test_a_biased_word_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words in the last, incomplete run of totals below 2^64 would favour low numbers."""
    total = 16_383 * 1_048_575
    limit = 2**64 // total * total
    blocks = iter([[limit, limit - 1, 2**64 - 1, 7]])

    class FakeHash:
        def digest(self) -> bytes:
            return b"".join(word.to_bytes(8, "little") for word in next(blocks))

    fake = SimpleNamespace(sha256=lambda _: FakeHash())
    monkeypatch.setattr("protocols.draws.hashlib", fake)
    assert draw_from_parts(TAG, bytes(32), [total], 2) == ((7, total - 1),)


def test_nothing_is_skipped_where_the_total_divides_all_words() -> None:
    first = hashlib.sha256(TAG + bytes(32) + bytes(8)).digest()
    word = int.from_bytes(first[:8], "little")
    assert draw_from_parts(TAG, bytes(32), [1 << 20], 1) == ((word % (1 << 20),),)


@pytest.mark.parametrize(
    ("randomness", "sizes", "count"),
    [
        (bytes(31), [1], 1),
        (bytes(32), [1], 0),
        (bytes(32), [5, -1], 1),
        (bytes(32), [MAX_TOTAL, 1], 1),
    ],
)
def test_an_impossible_draw_is_our_bug(randomness: bytes, sizes: list[int], count: int) -> None:
    with pytest.raises(LocalError):
        draw_from_parts(TAG, randomness, sizes, count)

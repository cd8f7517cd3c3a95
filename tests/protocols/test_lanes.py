"""Packing of score vectors, as bytes and as words of the contract."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import LocalError, MalformedError
from protocols.lanes import (
    bitmap_of,
    decode_scores,
    encode_words,
    pack_words,
    unpack_words,
)
from protocols.params import LANES, MAX_SCORE
from tests.protocols import wire_reference as ref
from tests.protocols.strategies import score_vectors


@given(score_vectors())
def test_round_trip(scores: tuple[int, ...]) -> None:
    words = pack_words(scores)

    assert unpack_words(words) == scores
    assert encode_words(words) == ref.score_bytes(scores)
    assert decode_scores(encode_words(words)) == scores


@pytest.mark.parametrize("lane", range(LANES))
def test_a_lane_has_its_place(lane: int) -> None:
    scores = [0] * LANES
    scores[lane] = MAX_SCORE

    words = pack_words(scores)

    assert words[lane // 16] == MAX_SCORE << 16 * (lane % 16)
    assert sum(map(bool, words)) == 1


@pytest.mark.parametrize("lane", range(LANES))
def test_bit_15_of_any_lane_is_malformed(lane: int) -> None:
    scores = [MAX_SCORE] * LANES
    scores[lane] = MAX_SCORE + 1

    with pytest.raises(MalformedError) as caught:
        decode_scores(ref.score_bytes(scores))

    assert caught.value.reason == "bad score vector"
    assert caught.value.detail == f"lane {lane} has bit 15 set"


@pytest.mark.parametrize("size", [0, 511, 513, 544])
def test_other_lengths_are_malformed(size: int) -> None:
    with pytest.raises(MalformedError) as caught:
        decode_scores(bytes(size))

    assert caught.value.reason == "bad score vector"


@given(st.binary(min_size=512, max_size=512))
def test_any_512_bytes_are_scores_or_malformed(data: bytes) -> None:
    try:
        scores = decode_scores(data)
    except MalformedError:
        return

    assert encode_words(pack_words(scores)) == data


@pytest.mark.parametrize(
    ("scores", "problem"),
    [
        ([0] * 255, "255 lanes"),
        ([0] * 257, "257 lanes"),
        ([0] * 255 + [-1], "lane 255: score -1"),
        ([MAX_SCORE + 1] + [0] * 255, "lane 0: score 32768"),
    ],
)
def test_what_does_not_fit_is_not_packed(scores: list[int], problem: str) -> None:
    with pytest.raises(LocalError, match=problem):
        pack_words(scores)


@pytest.mark.parametrize("count", [0, 15, 17])
def test_other_counts_of_words_are_not_unpacked(count: int) -> None:
    with pytest.raises(LocalError, match=f"{count} words"):
        unpack_words([0] * count)


@given(st.sets(st.integers(0, LANES - 1)))
def test_a_bitmap_has_the_bits_of_its_lanes(lanes: set[int]) -> None:
    bitmap = bitmap_of(lanes)

    assert {lane for lane in range(LANES) if bitmap >> lane & 1} == lanes
    assert bitmap < 1 << LANES

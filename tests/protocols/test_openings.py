"""Drawing rows, and the bytes that ask for them and open them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.compute import MAX_M, MAX_ROUNDS, Shape
from protocols.errors import LocalError, MalformedError
from protocols.openings import (
    MAX_OPENINGS,
    Index,
    Openings,
    compute_openings_size,
    decode_indices,
    decode_openings,
    draw_openings,
    draw_rows,
    encode_indices,
    encode_openings,
)
from tests.protocols import compute_reference as ref
from tests.protocols.compute_vectors import Case, load


def by_name(case: Case) -> str:
    return str(case["name"])


@pytest.mark.parametrize("case", load("compute/draws.json"), ids=by_name)
def test_draw_vectors(case: Case) -> None:
    works = [(rounds, m) for rounds, m in case["works"]]
    drawn = draw_rows(bytes.fromhex(case["randomness"]), works, case["count"])
    assert [[list(index) for index in part] for part in drawn] == case["indices"]


@given(
    st.binary(min_size=32, max_size=32),
    st.integers(1, MAX_ROUNDS),
    st.integers(1, MAX_M),
    st.integers(1, 100),
)
def test_draws_are_distinct_ascending_and_in_range(
    randomness: bytes, rounds: int, m: int, count: int
) -> None:
    drawn = draw_openings(randomness, rounds, m, count)
    assert len(drawn) == min(count, rounds * m)
    assert list(drawn) == sorted(set(drawn))
    assert all(0 <= index.round < rounds and 0 <= index.row < m for index in drawn)
    assert drawn == tuple(map(Index._make, ref.draw(randomness, [(rounds, m)], count)[0]))
    assert decode_indices(encode_indices(drawn), rounds, m) == drawn


def test_draws_hit_every_place_evenly() -> None:
    hits = np.zeros((4, 25), int)
    for number in range(1000):
        for index in draw_openings(ref.sha256(number.to_bytes(2, "little")), 4, 25, 10):
            hits[index] += 1
    # Each place is hit 100 ± 9.5 times; six deviations are past 1e-8 for all hundred together.
    assert hits.sum() == 10_000
    assert abs(hits - 100).max() < 57


@given(
    st.binary(min_size=32, max_size=32),
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=4),
    st.integers(1, 100),
)
def test_draws_are_over_all_devices(
    randomness: bytes, works: list[tuple[int, int]], count: int
) -> None:
    drawn = draw_rows(randomness, works, count)
    assert [list(map(tuple, part)) for part in drawn] == ref.draw(randomness, works, count)


@pytest.mark.parametrize(
    ("randomness", "rounds", "m", "count"),
    [
        (bytes(31), 1, 1, 1),
        (bytes(32), 0, 1, 1),
        (bytes(32), MAX_ROUNDS + 1, 1, 1),
        (bytes(32), 1, 0, 1),
        (bytes(32), 1, 1, 0),
        (bytes(32), 1, 1, MAX_OPENINGS + 1),
    ],
)
def test_an_impossible_draw_is_our_bug(randomness: bytes, rounds: int, m: int, count: int) -> None:
    with pytest.raises(LocalError):
        draw_openings(randomness, rounds, m, count)


@pytest.mark.parametrize("case", load("compute/requests.json"), ids=by_name)
def test_request_vectors(case: Case) -> None:
    data = bytes.fromhex(case["data"])
    if case["valid"]:
        indices = decode_indices(data, case["rounds"], case["m"])
        assert encode_indices(indices) == data
    else:
        with pytest.raises(MalformedError, match="indices"):
            decode_indices(data, case["rounds"], case["m"])


@given(st.binary(max_size=64), st.integers(1, 3), st.integers(1, 9))
def test_any_bytes_are_a_request_or_refused(data: bytes, rounds: int, m: int) -> None:
    try:
        indices = decode_indices(data, rounds, m)
    except MalformedError:
        return
    assert encode_indices(indices) == data


@st.composite
def openings(draw: st.DrawFn) -> tuple[Shape, int, tuple[Index, ...], bytes]:
    shape = Shape(draw(st.integers(1, 40)), 16, 16 * draw(st.integers(1, 3)))
    rounds = draw(st.integers(1, 4))
    indices = draw_openings(draw(st.binary(min_size=32, max_size=32)), rounds, shape.m, 5)
    size = compute_openings_size(shape, rounds, indices)
    return shape, rounds, indices, np.random.default_rng(size).bytes(size)


@given(openings())
def test_openings_survive_the_wire(case: tuple[Shape, int, tuple[Index, ...], bytes]) -> None:
    shape, rounds, indices, data = case
    opened = decode_openings(data, shape, rounds, indices)
    assert opened.rows.shape == (len(indices), shape.n)
    assert len(opened.roots) == rounds
    assert len(opened.paths) == len(indices)
    assert encode_openings(opened) == data


@given(openings(), st.integers(-70, 70).filter(bool))
def test_openings_of_another_size_are_refused(
    case: tuple[Shape, int, tuple[Index, ...], bytes], change: int
) -> None:
    shape, rounds, indices, data = case
    other = data[:change] if change < 0 else data + bytes(change)
    with pytest.raises(MalformedError, match="openings size"):
        decode_openings(other, shape, rounds, indices)


def test_openings_that_were_not_drawn_are_our_bug() -> None:
    for index in (Index(2, 0), Index(0, 5), Index(-1, 0), Index(0, -1)):
        with pytest.raises(LocalError, match="of 2 rounds of 5 rows"):
            decode_openings(b"", Shape(5, 16, 16), 2, [index])


def test_rows_are_not_copied() -> None:
    shape, indices = Shape(1, 16, 16), (Index(0, 0),)
    data = bytes(range(64)) + bytes(32)
    opened = decode_openings(data, shape, 1, indices)
    assert not opened.rows.flags.owndata
    assert opened.rows[0, 0] == 0x03020100
    assert encode_openings(Openings(opened.rows[:, ::-1][:, ::-1], opened.roots, (b"",))) == data

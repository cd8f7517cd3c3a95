"""The mix: vectors, the plain reference, and what a leaf relies on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import LocalError
from protocols.mix import MIX_LANES, MULTIPLIER, ZERO_START, hash_states, mix_rows
from tests.protocols import compute_reference as ref
from tests.protocols.compute_vectors import Case, load


def by_name(case: Case) -> str:
    return str(case["name"])


def to_states(data: bytes) -> np.ndarray:
    return np.frombuffer(data, "<u8").astype(np.uint64)


@pytest.mark.parametrize("case", load("mix/states.json"), ids=by_name)
def test_state_vectors(case: Case) -> None:
    row = np.frombuffer(bytes.fromhex(case["data"]), "<i4").reshape(1, -1)
    states = mix_rows(row, to_states(bytes.fromhex(case["start"])))
    assert states.astype("<u8").tobytes().hex() == case["states"]


@given(st.integers(0, 5), st.integers(1, 70), st.integers(0, 2**64 - 1), st.booleans())
def test_any_rows_are_those_of_the_reference(
    count: int, n16: int, first: int, own_starts: bool
) -> None:
    n = 16 * n16
    rows = np.random.default_rng(n).integers(-(2**31), 2**31, (count, n), np.int32)
    start = np.random.default_rng(first).integers(0, 2**64, (count, MIX_LANES), np.uint64)
    if not own_starts:
        start[:] = start[:1]
    found = mix_rows(rows, start if own_starts or not count else start[0])
    assert found.shape == (count, MIX_LANES)
    for row, states, begin in zip(rows, found, start, strict=True):
        assert states.astype("<u8").tobytes() == ref.mix(row.tobytes(), begin.tolist())


def test_lanes_without_words_keep_their_start() -> None:
    start = np.arange(32, dtype=np.uint64)
    states = mix_rows(np.zeros((1, 16), np.int32), start)
    assert np.array_equal(states[0, 8:], start[8:])
    assert states[0, 1] == (MULTIPLIER ^ MULTIPLIER >> 32)


def test_every_bit_of_a_row_counts() -> None:
    row = np.random.default_rng(1).integers(0, 256, 4 * 80, np.uint8)
    seen = {mix_rows(row.view("<i4").reshape(1, 80)).tobytes()}
    for bit in range(8 * len(row)):
        changed = row.copy()
        changed[bit // 8] ^= np.uint8(1 << bit % 8)
        seen.add(mix_rows(changed.view("<i4").reshape(1, 80)).tobytes())
    assert len(seen) == 1 + 8 * len(row)


def test_a_lane_is_a_bijection_of_each_word() -> None:
    """Undone step by step: so a word that is not known leaves the state as unknown as it is."""
    row = np.random.default_rng(2).integers(-(2**31), 2**31, (1, 192), np.int32)
    words = row.view("<u8")[0].tolist()
    inverse = pow(MULTIPLIER, -1, 2**64)
    for lane, state in enumerate(mix_rows(row)[0].tolist()):
        for word in reversed(words[lane::32]):
            state ^= state >> 32
            state = state * inverse % 2**64 ^ word
        assert state == 0


@pytest.mark.parametrize("combine", [np.add, np.bitwise_xor])
def test_the_mix_is_not_linear(combine: np.ufunc) -> None:
    """A linear one would be had from A·(B·r) without the rows."""
    rows = np.random.default_rng(3).integers(-(2**30), 2**30, (2, 64), np.int32)
    first, second = mix_rows(rows)
    both = mix_rows(combine(rows[:1], rows[1:]))[0]
    assert not (combine(first, second) == both).any()


def test_rows_may_lie_anyhow_in_memory() -> None:
    rows = np.arange(256, dtype=np.int32).reshape(4, 64)
    for view in (rows[:, ::-1], np.asfortranarray(rows), rows[::2], rows.astype(">i4")):
        assert np.array_equal(mix_rows(view), mix_rows(np.ascontiguousarray(view, np.int32)))


def test_states_are_hashed_under_their_names() -> None:
    states = np.arange(64, dtype=np.uint64).reshape(2, 32)
    leaves = hash_states(b"tag", states, [(1, 2), (3, 4)], 64)
    expected = [
        ref.sha256(b"tag", ref.u32(*name, 64), row.astype("<u8").tobytes())
        for name, row in zip([(1, 2), (3, 4)], states, strict=True)
    ]
    assert leaves == expected


@pytest.mark.parametrize(
    ("rows", "start"),
    [
        (np.zeros((1, 0), np.int32), ZERO_START),
        (np.zeros((1, 8), np.int32), ZERO_START),
        (np.zeros((1, 24), np.int32), ZERO_START),
        (np.zeros((2, 16), np.int32), np.zeros(31, np.uint64)),
        (np.zeros((2, 16), np.int32), np.zeros((1, 32), np.uint64)),
    ],
)
def test_other_shapes_are_our_bug(rows: np.ndarray, start: np.ndarray) -> None:
    with pytest.raises(LocalError, match="start states of shape"):
        mix_rows(rows, start)


def test_the_zero_start_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        ZERO_START[0] = 1

"""Seeds, shapes, digests and commitments of the compute proof."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.compute import (
    MAX_K,
    ComputeJob,
    Shape,
    WorkCommitment,
    compute_commitment,
    derive_b_seed,
    digest_each,
    digest_rows,
    parse_commitment,
    parse_shape,
)
from protocols.errors import LocalError, MalformedError
from tests.protocols import compute_reference as ref
from tests.protocols.compute_vectors import JOB, Case, load


def by_name(case: Case) -> str:
    return str(case["name"])


def read_job(case: Case) -> ComputeJob:
    seeds = (bytes.fromhex(case[name]) for name in ("b_seed", "nonce", "provider"))
    return ComputeJob(Shape(case["m"], case["k"], case["n"]), *seeds, case["device"])


@pytest.mark.parametrize("case", load("compute/shapes.json"), ids=by_name)
def test_shape_vectors(case: Case) -> None:
    sizes = case["m"], case["k"], case["n"]
    if case["valid"]:
        assert parse_shape(*sizes) == Shape(*sizes)
        return
    with pytest.raises(MalformedError, match="shape not allowed"):
        parse_shape(*sizes)
    with pytest.raises(LocalError):
        Shape(*sizes)


def test_largest_sum_fits_int32() -> None:
    assert MAX_K * 128 * 128 < 2**31 <= (MAX_K + 16) * 128 * 128


def test_shape_knows_its_work() -> None:
    shape = Shape(5, 32, 16)
    assert (shape.row_bytes, shape.operations) == (64, 2 * 5 * 32 * 16)


@pytest.mark.parametrize("case", load("compute/commitments.json"), ids=by_name)
def test_commitment_vectors(case: Case) -> None:
    values = case["rounds"], bytes.fromhex(case["root"])
    if case["valid"]:
        assert parse_commitment(*values) == WorkCommitment(*values)
        return
    with pytest.raises(MalformedError, match="commitment not allowed"):
        parse_commitment(*values)
    with pytest.raises(LocalError):
        WorkCommitment(*values)


@pytest.mark.parametrize("case", load("compute/b_seeds.json"), ids=by_name)
def test_b_seed_vectors(case: Case) -> None:
    seed = derive_b_seed(
        bytes.fromhex(case["epoch_seed"]), case["k"], case["n"], bytes.fromhex(case["identity"])
    )
    assert seed.hex() == case["b_seed"]


def test_b_is_shared_unless_an_identity_is_named() -> None:
    assert derive_b_seed(bytes(32), 16, 16) == derive_b_seed(bytes(32), 16, 16, bytes(32))


@pytest.mark.parametrize("case", load("compute/seeds.json"), ids=by_name)
def test_seed_vectors(case: Case) -> None:
    job = read_job(case["job"])
    assert job.seed.hex() == case["job_seed"]
    before_last = bytes.fromhex(case["root_before_last"])
    roots = [bytes([1]) * 32] * (case["round"] - 2) + [before_last]
    assert job.derive_a_seed(case["round"], roots).hex() == case["a_seed"]
    # Roots that came later make no difference.
    assert job.derive_a_seed(case["round"], [*roots, bytes([2]) * 32]).hex() == case["a_seed"]


def test_every_part_of_a_job_changes_its_seed() -> None:
    cases = load("compute/seeds.json")
    assert len({case["a_seed"] for case in cases}) == len(cases)


@pytest.mark.parametrize("case", load("compute/rows.json"), ids=by_name)
def test_row_digest_vectors(case: Case) -> None:
    row = np.frombuffer(bytes.fromhex(case["data"]), "<i4").reshape(1, -1)
    assert digest_rows(row, case["round"], case["row"]).hex() == case["leaf"]
    assert digest_each(row, [(case["round"], case["row"])])[0].hex() == case["leaf"]


@given(st.integers(0, 5), st.integers(1, 80), st.integers(0, 9), st.integers(0, 99))
def test_rows_are_digested_one_by_one(count: int, words: int, round_: int, first: int) -> None:
    n = 16 * words
    rows = np.random.default_rng(count).integers(-(2**31), 2**31, (count, n), np.int32)
    expected = [ref.leaf(row.tobytes(), round_, first + i) for i, row in enumerate(rows)]
    assert digest_rows(rows, round_, first) == b"".join(expected)


def test_digest_does_not_depend_on_the_memory_layout() -> None:
    rows = np.arange(64, dtype=np.int32).reshape(2, 32)
    assert digest_rows(rows[:, ::2], 0, 0) == digest_rows(rows[:, ::2].copy(), 0, 0)
    assert digest_rows(np.asfortranarray(rows), 0, 0) == digest_rows(rows, 0, 0)


def test_commitment_binds_job_count_and_order() -> None:
    job = read_job(vars_of(JOB))
    roots = [ref.sha256(bytes([number])) for number in range(3)]
    found = compute_commitment(job, roots)
    assert (found.rounds, found.root) == (3, ref.commit(JOB, roots))
    other = ComputeJob(job.shape, job.b_seed, job.nonce, job.provider, 1)
    assert compute_commitment(other, roots) != found
    assert compute_commitment(job, roots[::-1]) != found
    assert compute_commitment(job, roots[:2]).root != found.root


def vars_of(job: ref.Job) -> Case:
    return {
        **{name: getattr(job, name) for name in ("m", "k", "n", "device")},
        **{name: getattr(job, name).hex() for name in ("b_seed", "nonce", "provider")},
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("b_seed", bytes(31)),
        ("nonce", b""),
        ("provider", bytes(33)),
        ("device", -1),
        ("device", 1 << 32),
    ],
)
def test_a_job_of_wrong_parts_is_our_bug(name: str, value: object) -> None:
    parts = {"b_seed": bytes(32), "nonce": bytes(32), "provider": bytes(32), "device": 0}
    with pytest.raises(LocalError, match=name):
        ComputeJob(Shape(1, 16, 16), **{**parts, name: value})  # type: ignore[arg-type]


def test_seeds_of_wrong_length_are_our_bug() -> None:
    with pytest.raises(LocalError, match="epoch_seed"):
        derive_b_seed(bytes(31), 16, 16)
    with pytest.raises(LocalError, match="identity"):
        derive_b_seed(bytes(32), 16, 16, b"me")

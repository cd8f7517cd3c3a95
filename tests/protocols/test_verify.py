"""The verdict: one vector per rule, arbitrary bytes, and how surely skipped rows are found."""

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.compute import WorkCommitment, compute_commitment
from protocols.errors import LocalError
from protocols.freivalds import prepare_check
from protocols.merkle import build_tree
from protocols.openings import Index, draw_openings
from protocols.rejection import ProofRejected
from protocols.verify import ProofFault, verify_openings
from tests.protocols import compute_reference as ref
from tests.protocols.compute_vectors import INDICES, JOB, ROUNDS, SECRET, Case, encode_job, load
from tests.protocols.test_compute import read_job

CASES = load("compute/proofs.json")
HONEST = next(case for case in CASES if case["name"] == "honest")
CHECK = prepare_check(JOB.b_seed, read_job(HONEST["job"]).shape, SECRET)


def by_name(case: Case) -> str:
    return str(case["name"])


def verify(case: Case, data: bytes | None = None) -> None:
    job = read_job(case["job"])
    verify_openings(
        prepare_check(job.b_seed, job.shape, bytes.fromhex(case["secret"])),
        job,
        WorkCommitment(case["rounds"], bytes.fromhex(case["commitment"])),
        [Index(*pair) for pair in case["indices"]],
        bytes.fromhex(case["data"]) if data is None else data,
    )


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_proof_vectors(case: Case) -> None:
    if case["result"] == "ok":
        verify(case)
        return
    with pytest.raises(ProofRejected) as caught:
        verify(case)
    assert caught.value.reason == caught.value.fault == case["result"]
    assert (caught.value.index is None) == (
        caught.value.fault in (ProofFault.SIZE, ProofFault.ROOTS)
    )


def test_every_fault_has_a_vector() -> None:
    assert {case["result"] for case in CASES} == {"ok", *ProofFault}


@given(st.binary(max_size=1000))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ProofRejected):
        verify(HONEST, data)


@given(st.integers(0, len(HONEST["data"]) // 2 - 1), st.integers(1, 255))
def test_any_changed_byte_is_refused(position: int, difference: int) -> None:
    data = bytearray.fromhex(HONEST["data"])
    data[position] ^= difference
    with pytest.raises(ProofRejected):
        verify(HONEST, bytes(data))


@given(st.integers(1, 16_384), st.binary(min_size=32, max_size=32))
def test_any_other_commitment_is_refused(rounds: int, root: bytes) -> None:
    indices = [Index(0, 1)]
    with pytest.raises(ProofRejected):
        verify_openings(
            CHECK,
            read_job(HONEST["job"]),
            WorkCommitment(rounds, root),
            indices,
            bytes.fromhex(HONEST["data"]),
        )


def test_a_check_of_another_b_is_our_bug() -> None:
    other = prepare_check(bytes(32), read_job(HONEST["job"]).shape, SECRET)
    commitment = WorkCommitment(ROUNDS, bytes.fromhex(HONEST["commitment"]))
    with pytest.raises(LocalError, match="another B"):
        verify_openings(other, read_job(HONEST["job"]), commitment, [Index(0, 0)], b"")


def test_rows_that_were_never_committed_to_are_our_bug() -> None:
    commitment = WorkCommitment(ROUNDS, bytes.fromhex(HONEST["commitment"]))
    with pytest.raises(LocalError, match="round 3"):
        verify_openings(CHECK, read_job(HONEST["job"]), commitment, [Index(3, 0)], b"")


def test_the_commitment_binds_rows_even_where_the_products_would_pass() -> None:
    """A checker whose secret got out (here: is zero) sees no wrong product, but still the path."""
    known = replace(CHECK, r=np.zeros_like(CHECK.r), u=np.zeros_like(CHECK.u))
    job = read_job(HONEST["job"])
    commitment = WorkCommitment(ROUNDS, bytes.fromhex(HONEST["commitment"]))
    indices = [Index(*pair) for pair in INDICES]
    data = bytes.fromhex(HONEST["data"])
    verify_openings(known, job, commitment, indices, data)
    with pytest.raises(ProofRejected, match="openings path"):
        verify_openings(known, job, commitment, indices, bytes(64) + data[64:])


class SkippingProver:
    """Does all rows but a share, commits to noise for those, and opens whatever is asked."""

    def __init__(self, skipped_share: float) -> None:
        self.job = JOB.other(m=128, k=16, n=16, b_seed=ref.b_seed(bytes(32), 16, 16))
        self.rounds = 8
        chooser = random.Random(1337)
        places = [(t, i) for t in range(self.rounds) for i in range(self.job.m)]
        self.skipped = set(chooser.sample(places, round(skipped_share * len(places))))
        self.proof = ref.prove(self.job, self.rounds, self._skip)
        self.trees = [build_tree(b"".join(leaves)) for leaves in self.proof.leaves]

    def _skip(self, t: int, rows: list[bytes]) -> list[bytes]:
        return [
            ref.sha256(row) + ref.sha256(row[::-1]) if (t, i) in self.skipped else row
            for i, row in enumerate(rows)
        ]

    def open(self, indices: tuple[Index, ...]) -> bytes:
        rows = [self.proof.rows[t][i] for t, i in indices]
        paths = [self.trees[t].path(i) for t, i in indices]
        return b"".join(rows + self.proof.roots + paths)


def judge(prover: SkippingProver, draws: int) -> float:
    """Share of draws at which the prover is rejected: exactly those that hit a skipped row."""
    job = read_job(encode_job(prover.job))
    check = prepare_check(job.b_seed, job.shape, SECRET)
    commitment = compute_commitment(job, prover.proof.roots)
    caught = 0
    for draw in range(draws):
        randomness = ref.sha256(b"draw", draw.to_bytes(4, "little"))
        indices = draw_openings(randomness, commitment.rounds, job.shape.m)
        rejected: ProofRejected | None = None
        try:
            verify_openings(check, job, commitment, indices, prover.open(indices))
        except ProofRejected as rejection:
            rejected = rejection
        hits = [index for index in indices if index in prover.skipped]
        assert (rejected is not None) == bool(hits)
        if rejected:
            assert (rejected.fault, rejected.index) == (ProofFault.ROW, hits[0])
            caught += 1
    return caught / draws


def test_nine_tenths_of_the_rows_are_caught() -> None:
    """64 openings catch a prover that did 90 % with probability 1 − 0.9^64 = 0.9988 at least."""
    assert judge(SkippingProver(0.1), 2000) >= 0.99


def test_detection_follows_the_share_that_was_skipped() -> None:
    """At 1 % half of the proofs pass, so the test above does not rest on a verifier that says no.

    10 of 1,024 rows skipped: 1 − C(1014, 64)/C(1024, 64) = 0.476, standard deviation 0.029.
    """
    assert 0.36 < judge(SkippingProver(0.01), 300) < 0.59


def test_an_honest_prover_is_never_rejected() -> None:
    assert judge(SkippingProver(0.0), 100) == 0

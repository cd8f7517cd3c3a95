"""The verdict on a compute proof: do these openings prove the work that was committed to?

`verify_openings` returns the openings for yes and raises `ProofRejected` for no. It needs no GPU
and draws on nothing but its arguments; every size is checked before anything is allocated by it.
"""

from collections.abc import Sequence
from enum import StrEnum

from protocols.compute import ComputeJob, WorkCommitment, compute_commitment, digest_each
from protocols.errors import LocalError, MalformedError
from protocols.expand import expand_each
from protocols.freivalds import RowCheck, find_wrong_rows
from protocols.merkle import compute_root_from_path
from protocols.openings import Index, Openings, decode_openings
from protocols.rejection import ProofRejected


class ProofFault(StrEnum):
    """What is wrong with a proof; the text is the reason that is counted."""

    SIZE = "openings size"
    """Not as many bytes as the commitment and the request ask for: cut, padded, another shape."""

    ROOTS = "openings roots"
    """The round roots do not hash to the commitment: another job's, swapped, another count."""

    PATH = "openings path"
    """A row is not the one that the commitment has in this place."""

    ROW = "openings row"
    """A row was committed to, but is not the product. The work was not done."""


def verify_openings(
    check: RowCheck,
    job: ComputeJob,
    commitment: WorkCommitment,
    indices: Sequence[Index],
    data: bytes,
) -> Openings:
    """Verify that the bytes `data` open the rows `indices` of `commitment`, and that these rows
    are the job's. Returns what was opened, now known to be true.

    `check` is the checker's own for this B (`prepare_check`), `indices` what it drew after the
    commitment arrived (`draw_openings`). Raises ProofRejected; LocalError when `check` belongs to
    another B or `indices` to another commitment. Error probability: a wrong row passes with at
    most 2^−66 (`freivalds`), a row other than the committed one only with a SHA-256 collision.
    """
    shape = job.shape
    if (check.b_seed, check.k, check.n) != (job.b_seed, shape.k, shape.n):
        raise LocalError("row check of another B")
    try:
        openings = decode_openings(data, shape, commitment.rounds, indices)
    except MalformedError as error:
        raise ProofRejected(ProofFault.SIZE, error.detail) from error
    if compute_commitment(job, openings.roots) != commitment:
        raise ProofRejected(ProofFault.ROOTS, f"of {commitment.rounds} rounds")
    _verify_paths(shape.m, indices, openings)
    _verify_products(check, job, indices, openings)
    return openings


def _verify_paths(m: int, indices: Sequence[Index], openings: Openings) -> None:
    leaves = digest_each(openings.rows, indices)
    for index, leaf, path in zip(indices, leaves, openings.paths, strict=True):
        if compute_root_from_path(leaf, index.row, m, path) != openings.roots[index.round]:
            raise ProofRejected(ProofFault.PATH, _describe(index), index)


def _verify_products(
    check: RowCheck, job: ComputeJob, indices: Sequence[Index], openings: Openings
) -> None:
    seeds = {t: job.derive_a_seed(t, openings.roots) for t in {i.round for i in indices}}
    a_rows = expand_each([(seeds[index.round], index.row) for index in indices], job.shape.k)
    wrong = find_wrong_rows(check, a_rows, openings.rows)
    if wrong:
        index = indices[wrong[0]]
        raise ProofRejected(ProofFault.ROW, f"{_describe(index)}, {len(wrong)} in all", index)


def _describe(index: Index) -> str:
    return f"round {index.round}, row {index.row}"

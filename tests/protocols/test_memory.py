"""The memory proof: seeds, leaves, wire forms and the verdict, against vectors."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.compute import Shape, WorkCommitment
from protocols.errors import LocalError, MalformedError
from protocols.freivalds import prepare_check
from protocols.memory import (
    MAX_KEPT_ROWS,
    MAX_PASS_OPENINGS,
    MemoryFault,
    MemoryJob,
    PassCommitment,
    PassIndex,
    PassOpenings,
    compute_pass_commitment,
    compute_pass_openings_size,
    decode_pass_indices,
    decode_pass_openings,
    digest_pass_rows,
    draw_passes,
    encode_pass_indices,
    encode_pass_openings,
    find_kept_fault,
    parse_pass_commitment,
    verify_passes,
)
from protocols.merkle import build_tree
from protocols.openings import Index
from protocols.rejection import ProofRejected
from protocols.verify import verify_openings
from tests.protocols import compute_reference as ref
from tests.protocols import memory_reference as memory
from tests.protocols.compute_vectors import JOB, SECRET, Case, load
from tests.protocols.memory_vectors import KEPT, NONCE, ROUNDS
from tests.protocols.test_compute import read_job

PROOFS = load("memory/proofs.json")
HONEST = next(case for case in PROOFS if case["name"] == "honest")
SHAPE = Shape(5, 32, 16)
WORK = WorkCommitment(ROUNDS, bytes.fromhex(HONEST["work_commitment"]))


def by_name(case: Case) -> str:
    return str(case["name"])


def read_memory_job(case: Case) -> MemoryJob:
    job = read_job(case["job"])
    work = WorkCommitment(case["rounds"], bytes.fromhex(case["work_commitment"]))
    return MemoryJob(job.shape, work, case["kept"], bytes.fromhex(case["nonce"]))


def read_row(data: bytes) -> np.ndarray:
    return np.frombuffer(data, "<i4")


@pytest.mark.parametrize("case", load("memory/passes.json"), ids=by_name)
def test_pass_vectors(case: Case) -> None:
    job = read_memory_job(case)
    rows = read_row(bytes.fromhex(case["rows"])).reshape(job.rows, job.shape.n)
    assert job.kept_bytes == rows.nbytes
    roots: list[bytes] = []
    for number, each in enumerate(case["passes"]):
        assert job.derive_seed(number, roots).hex() == each["seed"]
        start = job.derive_start(number, roots)
        assert start.astype("<u8").tobytes().hex() == each["start"]
        leaves = digest_pass_rows(rows, start, number, 0)
        assert leaves.hex() == each["leaves"]
        assert digest_pass_rows(rows[3:], start, number, 3) == leaves[96:]
        roots.append(build_tree(leaves).root)
        assert roots[-1].hex() == each["root"]
    found = compute_pass_commitment(job, roots)
    assert (found.passes, found.root.hex()) == (len(roots), case["commitment"])


def test_a_seed_depends_on_the_pass_before_and_on_no_later_one() -> None:
    job = MemoryJob(SHAPE, WORK, KEPT, NONCE)
    one, two = bytes([1]) * 32, bytes([2]) * 32
    assert job.derive_seed(1, [one]) != job.derive_seed(1, [two])
    assert job.derive_seed(1, [one, two]) == job.derive_seed(1, [one])
    assert job.derive_seed(2, [one, two]) == job.derive_seed(2, [two, two])


def test_every_part_of_a_job_changes_its_seeds() -> None:
    jobs = [
        MemoryJob(SHAPE, WORK, KEPT, NONCE),
        MemoryJob(SHAPE, WORK, KEPT - 1, NONCE),
        MemoryJob(SHAPE, WORK, KEPT, bytes(32)),
        MemoryJob(SHAPE, WorkCommitment(ROUNDS, bytes(32)), KEPT, NONCE),
    ]
    assert len({job.derive_seed(0, []) for job in jobs}) == len(jobs)
    roots = [bytes(32)]
    assert len({compute_pass_commitment(job, roots).root for job in jobs}) == len(jobs)
    assert len({job.derive_seed(p, roots) for p in (0, 1) for job in jobs}) == 2 * len(jobs)


def test_kept_rows_are_those_of_the_last_rounds() -> None:
    job = MemoryJob(SHAPE, WORK, 3, NONCE)
    assert job.rows == 15
    assert [job.locate(row) for row in (0, 4, 5, 14)] == [(1, 0), (1, 4), (2, 0), (3, 4)]


@pytest.mark.parametrize(
    ("rounds", "m", "kept", "fault"),
    [
        (4, 5, 0, None),
        (4, 5, 4, None),
        (4, 5, 5, "5 rounds kept of 4"),
        (4, 5, -1, "-1 rounds kept"),
        (4096, 1 << 20, 4096, "4096 · 1048576 rows kept"),
        (4096, 1 << 20, 4095, None),
    ],
)
def test_how_much_may_be_kept(rounds: int, m: int, kept: int, fault: str | None) -> None:
    found = find_kept_fault(Shape(m, 16, 16), rounds, kept)
    assert (found is None) == (fault is None)
    assert fault is None or (found is not None and fault in found)
    assert 4095 << 20 <= MAX_KEPT_ROWS < 4096 << 20


@pytest.mark.parametrize(
    ("kept", "nonce", "message"),
    [
        (0, bytes(32), "nothing is kept"),
        (ROUNDS + 1, bytes(32), "rounds kept"),
        (1, bytes(31), "nonce of 31 bytes"),
    ],
)
def test_a_job_of_wrong_parts_is_our_bug(kept: int, nonce: bytes, message: str) -> None:
    with pytest.raises(LocalError, match=message):
        MemoryJob(SHAPE, WORK, kept, nonce)


@pytest.mark.parametrize("case", load("memory/commitments.json"), ids=by_name)
def test_commitment_vectors(case: Case) -> None:
    values = case["passes"], bytes.fromhex(case["root"])
    if case["valid"]:
        assert parse_pass_commitment(*values) == PassCommitment(*values)
        return
    with pytest.raises(MalformedError, match="pass commitment not allowed"):
        parse_pass_commitment(*values)
    with pytest.raises(LocalError):
        PassCommitment(*values)


@pytest.mark.parametrize("case", load("memory/draws.json"), ids=by_name)
def test_draw_vectors(case: Case) -> None:
    works = [(passes, rows) for passes, rows in case["works"]]
    drawn = draw_passes(bytes.fromhex(case["randomness"]), works, case["count"])
    assert [[list(index) for index in part] for part in drawn] == case["indices"]


@pytest.mark.parametrize("count", [0, MAX_PASS_OPENINGS + 1])
def test_an_impossible_draw_is_our_bug(count: int) -> None:
    with pytest.raises(LocalError, match="pass openings"):
        draw_passes(bytes(32), [(1, 1)], count)


@pytest.mark.parametrize("case", load("memory/requests.json"), ids=by_name)
def test_request_vectors(case: Case) -> None:
    data = bytes.fromhex(case["data"])
    if case["valid"]:
        indices = decode_pass_indices(data, case["passes"], case["rows"])
        assert encode_pass_indices(indices) == data
    else:
        with pytest.raises(MalformedError, match="pass indices"):
            decode_pass_indices(data, case["passes"], case["rows"])


@given(st.binary(max_size=64), st.integers(1, 3), st.integers(1, 9))
def test_any_bytes_are_a_request_or_refused(data: bytes, passes: int, rows: int) -> None:
    try:
        indices = decode_pass_indices(data, passes, rows)
    except MalformedError:
        return
    assert encode_pass_indices(indices) == data


@st.composite
def openings(draw: st.DrawFn) -> tuple[int, int, tuple[PassIndex, ...], bytes]:
    passes, rows = draw(st.integers(1, 4)), draw(st.integers(1, 40))
    indices = draw_passes(draw(st.binary(min_size=32, max_size=32)), [(passes, rows)], 5)[0]
    size = compute_pass_openings_size(passes, rows, indices)
    return passes, rows, indices, np.random.default_rng(size).bytes(size)


@given(openings())
def test_openings_survive_the_wire(case: tuple[int, int, tuple[PassIndex, ...], bytes]) -> None:
    passes, rows, indices, data = case
    opened = decode_pass_openings(data, passes, rows, indices)
    assert (len(opened.roots), len(opened.paths)) == (passes, len(indices))
    assert encode_pass_openings(opened) == data


@given(openings(), st.integers(-70, 70).filter(bool))
def test_openings_of_another_size_are_refused(
    case: tuple[int, int, tuple[PassIndex, ...], bytes], change: int
) -> None:
    passes, rows, indices, data = case
    other = data[:change] if change < 0 else data + bytes(change)
    with pytest.raises(MalformedError, match="pass openings size"):
        decode_pass_openings(other, passes, rows, indices)


def test_nothing_opened_takes_no_bytes() -> None:
    assert compute_pass_openings_size(3, 15, []) == 0
    assert decode_pass_openings(b"", 3, 15, []) == PassOpenings((), ())
    assert encode_pass_openings(PassOpenings((), ())) == b""


@pytest.mark.parametrize(
    "indices",
    [
        [PassIndex(3, 0)],
        [PassIndex(0, 15)],
        [PassIndex(-1, 0)],
        [PassIndex(0, -1)],
        [PassIndex(1, 0), PassIndex(0, 1)],
    ],
)
def test_pairs_that_were_not_drawn_are_our_bug(indices: list[PassIndex]) -> None:
    with pytest.raises(LocalError, match="pass"):
        compute_pass_openings_size(3, 15, indices)


def verify(case: Case, data: bytes | None = None) -> None:
    rows = {Index(t, i): read_row(bytes.fromhex(row)) for t, i, row in case["rows"]}
    verify_passes(
        read_memory_job(case),
        PassCommitment(case["passes"], bytes.fromhex(case["commitment"])),
        [PassIndex(*pair) for pair in case["indices"]],
        bytes.fromhex(case["data"]) if data is None else data,
        rows,
    )


@pytest.mark.parametrize("case", PROOFS, ids=by_name)
def test_proof_vectors(case: Case) -> None:
    if case["result"] == "ok":
        verify(case)
        return
    with pytest.raises(ProofRejected) as caught:
        verify(case)
    assert caught.value.reason == caught.value.fault == case["result"]


def test_every_fault_has_a_vector() -> None:
    assert {case["result"] for case in PROOFS} == {"ok", *MemoryFault}


def test_rows_of_the_vectors_are_true() -> None:
    """They are what `verify_openings` gives back for the compute proof."""
    proof = ref.prove(JOB, ROUNDS)
    indices = [Index(t, i) for t, i, _ in HONEST["rows"]]
    job = read_job(HONEST["job"])
    check = prepare_check(job.b_seed, job.shape, SECRET)
    opened = verify_openings(check, job, WORK, indices, proof.open(list(map(tuple, indices))))
    assert [row.tobytes().hex() for row in opened.rows] == [row for *_, row in HONEST["rows"]]


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


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": bytes(32).hex()},
        {"kept": KEPT + 1},
        {"work_commitment": bytes(32).hex()},
    ],
)
def test_passes_are_worth_nothing_to_another_job(change: Case) -> None:
    with pytest.raises(ProofRejected):
        verify({**HONEST, **change})


def test_a_row_that_was_not_opened_is_our_bug() -> None:
    with pytest.raises(LocalError, match="was not opened"):
        verify({**HONEST, "rows": HONEST["rows"][1:]})


def make_reader(missing: set[int]) -> Callable[[int, int, bytes], bytes]:
    return lambda p, q, row: bytes(len(row)) if q in missing else row


@pytest.mark.parametrize("missing", [{0}, {7}, {14}])
def test_an_opened_row_that_was_not_there_is_refused(missing: set[int]) -> None:
    """Whichever it is, in whichever pass."""
    proof = ref.prove(JOB, ROUNDS)
    done = memory.prove(proof, KEPT, NONCE, 2, make_reader(missing))
    job = MemoryJob(SHAPE, WORK, KEPT, NONCE)
    for p in range(2):
        for q in range(15):
            t, i = done.locate(q)
            rows = {Index(t, i): read_row(proof.rows[t][i])}
            call = (
                job,
                PassCommitment(2, done.commitment),
                [PassIndex(p, q)],
                done.open([(p, q)]),
                rows,
            )
            if q in missing:
                with pytest.raises(ProofRejected, match=f"pass {p}, kept row {q}"):
                    verify_passes(*call)
            else:
                verify_passes(*call)

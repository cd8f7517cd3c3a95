"""The proof of a whole host: several devices, drawn from and judged as one."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.compute import Shape, WorkCommitment
from protocols.errors import LocalError, MalformedError
from protocols.freivalds import RowCheck, prepare_check
from protocols.host_proof import (
    MAX_DEVICES,
    PASSES_BYTES,
    WORK_BYTES,
    DeviceWork,
    HostJob,
    OpeningRequest,
    compute_rows_size,
    decode_passes,
    decode_works,
    draw_request,
    encode_passes,
    encode_work,
    parse_request,
    verify_host,
)
from protocols.memory import MAX_KEPT_ROWS, MemoryFault, PassCommitment, PassIndex
from protocols.openings import Index
from protocols.rejection import ProofRejected
from protocols.verify import ProofFault
from tests.protocols import compute_reference as ref
from tests.protocols import memory_reference as memory

K, N = 32, 16
B_SEED = ref.b_seed(b"\x01" * 32, K, N)
JOB = HostJob(B_SEED, b"\x02" * 32, b"\x03" * 32, b"\x04" * 32)
RANDOMNESS = b"\x05" * 32


@dataclass(frozen=True)
class Device:
    """One device of the reference host."""

    proof: ref.Proof
    passes: memory.Passes | None
    work: DeviceWork

    @property
    def commitment(self) -> PassCommitment | None:
        done = self.passes
        return done and PassCommitment(len(done.roots), done.commitment)


def make_device(
    number: int, m: int, rounds: int, kept: int, passes: int, tamper: ref.Tamper | None = None
) -> Device:
    job = ref.Job(m, K, N, JOB.b_seed, JOB.nonce, JOB.provider, number)
    proof = ref.prove(job, rounds, tamper)
    done = memory.prove(proof, kept, JOB.pass_nonce, passes) if passes else None
    commitment = WorkCommitment(rounds, proof.commitment)
    return Device(proof, done, DeviceWork(number, Shape(m, K, N), kept, commitment))


@cache
def make_host() -> tuple[Device, ...]:
    """Three devices: the second keeps nothing, the third keeps something and made no passes."""
    return (
        make_device(0, 7, 4, 2, 3),
        make_device(2, 3, 6, 0, 0),
        make_device(3, 5, 2, 2, 0),
    )


@cache
def make_check() -> RowCheck:
    return prepare_check(B_SEED, Shape(1, K, N), b"\x06" * 32)


def answer(host: tuple[Device, ...], request: OpeningRequest) -> tuple[list[bytes], list[bytes]]:
    rows = [
        device.proof.open([*map(tuple, indices)]) if indices else b""
        for device, indices in zip(host, request.rows, strict=True)
    ]
    passes = [
        device.passes.open([*map(tuple, pairs)]) if device.passes else b""
        for device, pairs in zip(host, request.passes, strict=True)
    ]
    return rows, passes


def works(host: tuple[Device, ...]) -> list[DeviceWork]:
    return [device.work for device in host]


def commitments(host: tuple[Device, ...]) -> list[PassCommitment | None]:
    return [device.commitment for device in host]


def verify(host: tuple[Device, ...], randomness: bytes = RANDOMNESS) -> None:
    request = draw_request(randomness, works(host), commitments(host))
    rows, passes = answer(host, request)
    assert sum(map(len, rows)) == compute_rows_size(works(host), request)
    verify_host(make_check(), JOB, works(host), commitments(host), request, rows, passes)


def test_an_honest_host_is_accepted() -> None:
    verify(make_host())


def test_a_wrong_row_on_any_device_is_found() -> None:
    def spoil(t: int, rows: list[bytes]) -> list[bytes]:
        return [bytes([rows[0][0] ^ 1]) + rows[0][1:], *rows[1:]] if t == 1 else rows

    host = (*make_host()[:2], make_device(3, 5, 2, 0, 0, spoil))
    with pytest.raises(ProofRejected) as caught:
        verify(host)
    assert (caught.value.fault, caught.value.index) == (ProofFault.ROW, Index(1, 0))


def test_a_row_that_was_not_read_is_found() -> None:
    proof = make_host()[0].proof
    done = memory.prove(
        proof, 2, JOB.pass_nonce, 3, lambda p, q, row: bytes(len(row)) if p == 1 else row
    )
    host = (replace(make_host()[0], passes=done), *make_host()[1:])
    with pytest.raises(ProofRejected) as caught:
        verify(host)
    assert caught.value.fault is MemoryFault.PATH


def test_a_draw_takes_all_there_is_of_a_small_host() -> None:
    host = make_host()
    request = draw_request(RANDOMNESS, works(host), commitments(host))
    # 56 rows are fewer than 64; of the 42 pairs of the only device with passes 32 are drawn.
    assert [len(each) for each in request.rows] == [28, 18, 10]
    assert [len(each) for each in request.passes] == [32, 0, 0]


@given(randomness=st.binary(min_size=32, max_size=32))
def test_rows_of_passes_are_opened_with_them(randomness: bytes) -> None:
    large = [
        DeviceWork(0, Shape(1 << 14, K, N), 9, WorkCommitment(857, bytes(32))),
        DeviceWork(1, Shape(1 << 14, K, N), 250, WorkCommitment(300, bytes(32))),
    ]
    passes = [PassCommitment(30, bytes(32)), PassCommitment(2, bytes(32))]

    request = draw_request(randomness, large, passes)

    assert sum(map(len, request.passes)) == 32
    for work, rows, pairs in zip(large, request.rows, request.passes, strict=True):
        assert list(rows) == sorted(set(rows))
        assert {work.locate(pair.row) for pair in pairs} <= set(rows)
    assert 64 <= sum(map(len, request.rows)) <= 96
    assert parse_request(request.encode_rows(), request.encode_passes(), large, passes) == request


def test_works_survive_the_wire() -> None:
    devices = works(make_host())
    parts = [encode_work(work) for work in devices]
    assert all(len(part) == WORK_BYTES for part in parts)
    assert decode_works(parts, K, N) == tuple(devices)
    assert devices[0].operations == 2 * 7 * K * N * 4
    assert devices[0].kept_bytes == 2 * 7 * 4 * N


def part(device: int = 0, m: int = 4, rounds: int = 2, kept: int = 1) -> bytes:
    return ref.u32(device, m, rounds, kept) + bytes(32)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([], "devices not allowed"),
        ([part(i) for i in range(MAX_DEVICES + 1)], "devices not allowed"),
        ([part(1), part(0)], "devices not allowed"),
        ([part(1), part(1)], "devices not allowed"),
        ([part(m=0)], "shape not allowed"),
        ([part(m=(1 << 20) + 1)], "shape not allowed"),
        ([part(rounds=0, kept=0)], "commitment not allowed"),
        ([part(rounds=16_385)], "commitment not allowed"),
        ([part(kept=3)], "kept rounds not allowed"),
        ([part(m=1 << 20, rounds=16_384, kept=4096)], "kept rounds not allowed"),
    ],
)
def test_works_that_are_refused(parts: list[bytes], reason: str) -> None:
    with pytest.raises(MalformedError) as caught:
        decode_works(parts, K, N)
    assert caught.value.reason == reason


def test_as_many_rows_as_have_numbers_may_be_kept() -> None:
    (work,) = decode_works([part(m=1 << 20, rounds=16_384, kept=4095)], K, N)
    assert work.kept * work.shape.m <= MAX_KEPT_ROWS


def test_passes_survive_the_wire() -> None:
    host = make_host()
    parts = [encode_passes(each) for each in commitments(host)]
    assert all(len(each) == PASSES_BYTES for each in parts)
    assert decode_passes(parts, works(host)) == tuple(commitments(host))


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([bytes(36)] * 2, "passes not allowed"),
        ([bytes(36)] * 4, "passes not allowed"),
        ([bytes(36), ref.u32(1) + bytes(32), bytes(36)], "passes not allowed"),
        ([ref.u32(1025) + bytes(32), bytes(36), bytes(36)], "pass commitment not allowed"),
        ([ref.u32(0) + b"\x01" * 32, bytes(36), bytes(36)], "pass commitment not allowed"),
    ],
)
def test_passes_that_are_refused(parts: list[bytes], reason: str) -> None:
    with pytest.raises(MalformedError) as caught:
        decode_passes(parts, works(make_host()))
    assert caught.value.reason == reason


def pair(*numbers: int) -> bytes:
    return ref.u32(*numbers)


@pytest.mark.parametrize(
    ("rows", "passes", "reason"),
    [
        ([b""] * 2, [b""] * 3, "request not allowed"),
        ([b""] * 3, [b""] * 2, "request not allowed"),
        ([b""] * 4, [b""] * 4, "request not allowed"),
        ([pair(4, 0), b"", b""], [b""] * 3, "indices not allowed"),
        ([pair(2, 0), b"", b""], [pair(3, 0), b"", b""], "pass indices not allowed"),
        ([b"", pair(0, 0), b""], [b"", pair(0, 0), b""], "pass indices not allowed"),
        ([pair(2, 1), b"", b""], [pair(0, 0), b"", b""], "request not allowed"),
        ([b""] * 3, [pair(0, 0), b"", b""], "request not allowed"),
    ],
)
def test_requests_that_are_refused(rows: list[bytes], passes: list[bytes], reason: str) -> None:
    host = make_host()
    with pytest.raises(MalformedError) as caught:
        parse_request(rows, passes, works(host), commitments(host))
    assert caught.value.reason == reason


def test_a_device_may_have_nothing_to_open() -> None:
    host = make_host()
    request = parse_request(
        [pair(2, 0), b"", b""], [pair(1, 0), b"", b""], works(host), commitments(host)
    )
    assert request == OpeningRequest(((Index(2, 0),), (), ()), ((PassIndex(1, 0),), (), ()))
    rows, passes = answer(host, request)
    verify_host(make_check(), JOB, works(host), commitments(host), request, rows, passes)


@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize("device", [1, 2])
def test_bytes_where_there_are_none_to_be_are_refused(position: int, device: int) -> None:
    host = make_host()
    request = OpeningRequest(((Index(2, 0),), (), (Index(0, 0),)), ((PassIndex(1, 0),), (), ()))
    data = answer(host, request)
    if (position, device) == (0, 2):
        # Rows that were asked for; only too many of them are a fault of another kind.
        data[0][2] += b"\x00"
        with pytest.raises(ProofRejected):
            verify_host(make_check(), JOB, works(host), commitments(host), request, *data)
        return
    data[position][device] = b"\x00"
    with pytest.raises(MalformedError, match="openings of other devices"):
        verify_host(make_check(), JOB, works(host), commitments(host), request, *data)


@pytest.mark.parametrize("count", [2, 4])
def test_openings_of_another_number_of_devices_are_refused(count: int) -> None:
    host = make_host()
    request = draw_request(RANDOMNESS, works(host), commitments(host))
    rows, passes = answer(host, request)
    longer: dict[str, Any] = {"rows": (rows * 2)[:count], "passes": (passes * 2)[:count]}
    for changed in ({"rows": longer["rows"]}, {"passes": longer["passes"]}):
        with pytest.raises(MalformedError, match="openings of other devices"):
            verify_host(
                make_check(),
                JOB,
                works(host),
                commitments(host),
                request,
                changed.get("rows", rows),
                changed.get("passes", passes),
            )


def test_a_request_for_other_devices_is_our_bug() -> None:
    host = make_host()
    request = draw_request(RANDOMNESS, works(host)[:2], commitments(host)[:2])
    with pytest.raises(LocalError, match="request of other devices"):
        verify_host(
            make_check(), JOB, works(host), commitments(host), request, [b""] * 3, [b""] * 3
        )


@pytest.mark.parametrize("name", ["b_seed", "nonce", "provider", "pass_nonce"])
def test_openings_are_worth_nothing_to_another_job(name: str) -> None:
    host = make_host()
    request = draw_request(RANDOMNESS, works(host), commitments(host))
    rows, passes = answer(host, request)
    other = replace(JOB, **{name: b"\x09" * 32})
    check = prepare_check(other.b_seed, Shape(1, K, N), b"\x06" * 32)
    with pytest.raises(ProofRejected):
        verify_host(check, other, works(host), commitments(host), request, rows, passes)

"""The proof of one host: all of its devices at once, judged as one piece of work.

A host answers one job with a commitment for each device (`DeviceWork`), then with one for the
passes of each device that keeps something. What is opened is drawn over all devices together, so
that a host which skipped a share ε of everything survives with (1 − ε)^64, however it spread it.

On the wire a device's work is 48 bytes: device, m, rounds, kept, each 32 bits little-endian, and
the 32 bytes of the work's root. A device's passes are 36 bytes: their number, 32 bits, and their
root; all zero for a device that made none.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from protocols.compute import ComputeJob, Shape, WorkCommitment, parse_commitment, parse_shape
from protocols.errors import LocalError, MalformedError
from protocols.freivalds import RowCheck
from protocols.memory import (
    MemoryJob,
    PassCommitment,
    PassIndex,
    decode_pass_indices,
    draw_passes,
    encode_pass_indices,
    find_kept_fault,
    locate_kept_row,
    parse_pass_commitment,
    verify_passes,
)
from protocols.openings import (
    Index,
    compute_openings_size,
    decode_indices,
    draw_rows,
    encode_indices,
)
from protocols.verify import verify_openings

MAX_DEVICES = 16
"""Devices of one provider: the largest GPU servers have sixteen."""

WORK_BYTES = 48
PASSES_BYTES = 36

_WORK = struct.Struct("<IIII32s")
_PASSES = struct.Struct("<I32s")


@dataclass(frozen=True, slots=True)
class DeviceWork:
    """What one device committed to: its index, the shape it chose, and how many of its last
    rounds it keeps resident."""

    device: int
    shape: Shape
    kept: int
    commitment: WorkCommitment

    @property
    def operations(self) -> int:
        """Multiplications and additions of all rounds."""
        return self.shape.operations * self.commitment.rounds

    @property
    def kept_bytes(self) -> int:
        """Bytes kept resident."""
        return self.kept * self.shape.m * self.shape.row_bytes

    def locate(self, row: int) -> Index:
        """Place in the compute proof of a kept row."""
        return locate_kept_row(self.shape.m, self.commitment.rounds, self.kept, row)


@dataclass(frozen=True, slots=True)
class HostJob:
    """What the devices of one host are asked: the parts of `ComputeJob` that they have in common,
    and the nonce of the passes (32 bytes each)."""

    b_seed: bytes
    nonce: bytes
    pass_nonce: bytes
    provider: bytes

    def compute_job(self, work: DeviceWork) -> ComputeJob:
        """The compute job of one device."""
        return ComputeJob(work.shape, self.b_seed, self.nonce, self.provider, work.device)

    def memory_job(self, work: DeviceWork) -> MemoryJob:
        """The memory job of one device that keeps something; LocalError otherwise."""
        return MemoryJob(work.shape, work.commitment, work.kept, self.pass_nonce)


@dataclass(frozen=True, slots=True)
class OpeningRequest:
    """What is to be opened, for each device in the order of the commitment.

    `rows` holds the rows that `passes` need as well as those drawn for the compute proof.
    """

    rows: tuple[tuple[Index, ...], ...]
    passes: tuple[tuple[PassIndex, ...], ...]

    def encode_rows(self) -> tuple[bytes, ...]:
        """The `rows` of an OpenRequest."""
        return tuple(encode_indices(each) for each in self.rows)

    def encode_passes(self) -> tuple[bytes, ...]:
        """The `passes` of an OpenRequest."""
        return tuple(encode_pass_indices(each) for each in self.passes)


def encode_work(work: DeviceWork) -> bytes:
    """A device's work as its 48 bytes."""
    commitment = work.commitment
    return _WORK.pack(work.device, work.shape.m, commitment.rounds, work.kept, commitment.root)


def decode_works(parts: Sequence[bytes], k: int, n: int) -> tuple[DeviceWork, ...]:
    """Parse the devices of a Commitment, each WORK_BYTES long.

    Raises MalformedError unless there are 1 … MAX_DEVICES, in ascending order of their index, each
    with an allowed shape, round count and number of kept rounds.
    """
    if not 1 <= len(parts) <= MAX_DEVICES:
        raise MalformedError("devices not allowed", f"{len(parts)} devices")
    works = []
    previous = -1
    for part in parts:
        device, m, rounds, kept, root = _WORK.unpack(part)
        if device <= previous:
            raise MalformedError("devices not allowed", f"device {device} after {previous}")
        shape = parse_shape(m, k, n)
        commitment = parse_commitment(rounds, root)
        fault = find_kept_fault(shape, rounds, kept)
        if fault:
            raise MalformedError("kept rounds not allowed", fault)
        works.append(DeviceWork(device, shape, kept, commitment))
        previous = device
    return tuple(works)


def encode_passes(passes: PassCommitment | None) -> bytes:
    """A device's passes as their 36 bytes; None for a device that made none."""
    return bytes(PASSES_BYTES) if passes is None else _PASSES.pack(passes.passes, passes.root)


def decode_passes(
    parts: Sequence[bytes], works: Sequence[DeviceWork]
) -> tuple[PassCommitment | None, ...]:
    """Parse the devices of a PassCommitment, each PASSES_BYTES long.

    All zero bytes stand for none: a device may have failed since its commitment. Raises
    MalformedError unless there is one for each work, and for passes where nothing is kept.
    """
    if len(parts) != len(works):
        raise MalformedError("passes not allowed", f"{len(parts)} for {len(works)} devices")
    passes: list[PassCommitment | None] = []
    for part, work in zip(parts, works, strict=True):
        if not any(part):
            passes.append(None)
        elif not work.kept:
            raise MalformedError("passes not allowed", f"device {work.device} keeps nothing")
        else:
            passes.append(parse_pass_commitment(*_PASSES.unpack(part)))
    return tuple(passes)


def draw_request(
    randomness: bytes, works: Sequence[DeviceWork], passes: Sequence[PassCommitment | None]
) -> OpeningRequest:
    """Draw what is to be opened from 32 fresh, secret bytes, after all commitments arrived."""
    drawn_rows = draw_rows(randomness, [(w.commitment.rounds, w.shape.m) for w in works])
    drawn_passes = draw_passes(
        randomness,
        [
            (p.passes, w.kept * w.shape.m) if p else (0, 0)
            for p, w in zip(passes, works, strict=True)
        ],
    )
    rows = tuple(
        tuple(sorted({*chosen, *(work.locate(index.row) for index in pass_indices)}))
        for work, chosen, pass_indices in zip(works, drawn_rows, drawn_passes, strict=True)
    )
    return OpeningRequest(rows, drawn_passes)


def parse_request(
    rows: Sequence[bytes],
    passes: Sequence[bytes],
    works: Sequence[DeviceWork],
    committed: Sequence[PassCommitment | None],
) -> OpeningRequest:
    """Parse an OpenRequest for these works, in which a device may have nothing to open.

    Raises MalformedError for another number of devices, for pairs that do not exist or do not
    ascend, and for passes whose row is not opened.
    """
    if not len(rows) == len(passes) == len(works):
        raise MalformedError("request not allowed", f"{len(rows)} and {len(passes)} devices")
    parsed_rows = []
    parsed_passes = []
    for row_data, pass_data, work, commitment in zip(rows, passes, works, committed, strict=True):
        m, rounds = work.shape.m, work.commitment.rounds
        indices = decode_indices(row_data, rounds, m) if row_data else ()
        count = commitment.passes if commitment else 0
        pairs = decode_pass_indices(pass_data, count, work.kept * m)
        missing = {work.locate(pair.row) for pair in pairs}.difference(indices)
        if missing:
            raise MalformedError("request not allowed", "a pass without its row")
        parsed_rows.append(indices)
        parsed_passes.append(pairs)
    return OpeningRequest(tuple(parsed_rows), tuple(parsed_passes))


def compute_rows_size(works: Sequence[DeviceWork], request: OpeningRequest) -> int:
    """Bytes of all devices' rows, roots and paths together."""
    return sum(
        compute_openings_size(work.shape, work.commitment.rounds, indices)
        for work, indices in zip(works, request.rows, strict=True)
        if indices
    )


def verify_host(
    check: RowCheck,
    job: HostJob,
    works: Sequence[DeviceWork],
    passes: Sequence[PassCommitment | None],
    request: OpeningRequest,
    rows_data: Sequence[bytes],
    passes_data: Sequence[bytes],
) -> None:
    """Verify the openings of all devices.

    `rows_data` and `passes_data` are a peer's, one for each device; a device without anything to
    open has no bytes. Raises ProofRejected, MalformedError for another number of devices or bytes
    where there are none to be, LocalError as `verify_openings` and `verify_passes` do.
    """
    if not len(rows_data) == len(passes_data) == len(works):
        raise MalformedError("openings of other devices", f"{len(rows_data)}, {len(passes_data)}")
    if not len(request.rows) == len(request.passes) == len(passes) == len(works):
        raise LocalError("request of other devices")
    for position, work in enumerate(works):
        indices, pairs = request.rows[position], request.passes[position]
        if not indices:
            if rows_data[position] or passes_data[position]:
                raise MalformedError("openings of other devices", f"device {work.device}")
            continue
        openings = verify_openings(
            check, job.compute_job(work), work.commitment, indices, rows_data[position]
        )
        commitment = passes[position]
        if commitment is None:
            if passes_data[position]:
                raise MalformedError("openings of other devices", f"device {work.device}")
            continue
        rows = dict(zip(indices, openings.rows, strict=True))
        verify_passes(job.memory_job(work), commitment, pairs, passes_data[position], rows)

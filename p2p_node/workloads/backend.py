"""What the node asks of a device, whatever it is.

A backend is synchronous and runs in a worker thread (`compute_worker`). It produces the bits that
`protocols.compute` and `protocols.memory` define and nothing else: no keys, no network, no wall
clock. `prepare` once per epoch, then `run` for each job, then passes and openings on the work that
`run` returned, then `close` on it: one work is open at a time, for it may hold most of the memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from protocols.compute import ComputeJob, Shape, WorkCommitment
from protocols.errors import LocalError
from protocols.memory import PassCommitment, PassIndex
from protocols.openings import Index


class DeviceKind(StrEnum):
    """What does the multiplications."""

    CPU = "cpu"
    GPU = "gpu"


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A device as it describes itself: a hint for people, never a basis of a score."""

    kind: DeviceKind
    name: str
    backend: str
    memory_bytes: int
    """Memory that the backend may use for jobs."""


class NotPreparedError(LocalError):
    """A job for a B that is not resident: `prepare` was called for another one, or not at all."""


class DeviceMemoryError(LocalError):
    """The shape does not fit the memory that the backend may use."""


class JobCancelledError(LocalError):
    """The caller gave the job up. The device is free again."""


class JobTimeoutError(LocalError):
    """Not one round was complete when the time limit passed. The device is free again."""


class DeviceBusyError(LocalError):
    """An earlier job's work is still open on this device."""


class DeviceLostError(LocalError):
    """The device is gone, or faulted so that nothing on it can be trusted. Every later call says
    so again; what was held there is given back."""


class Work(Protocol):
    """A finished job: its commitment, what is kept of it, and what is needed to open it.

    Every method raises LocalError after `close`, and DeviceLostError.
    """

    @property
    def job(self) -> ComputeJob:
        """The job that was done."""

    @property
    def commitment(self) -> WorkCommitment:
        """Round count and root to be signed."""

    @property
    def kept(self) -> int:
        """Number of last rounds whose rows are all resident still, 0 … rounds."""

    def open(self, indices: Sequence[Index]) -> bytes:
        """Return the rows of `indices` with roots and paths, encoded (`openings`).

        May be called more than once, with the same result. Raises LocalError for rows that were
        not part of the job (the node has already parsed the request with `decode_indices`).
        """

    def run_passes(
        self,
        nonce: bytes,
        *,
        window_s: float,
        limit_s: float,
        is_cancelled: Callable[[], bool],
    ) -> PassCommitment:
        """Make passes over everything kept until `window_s` seconds have passed since the call.

        Time, limit and errors as in `ComputeBackend.run`. At most once per work, and not when
        nothing is kept: LocalError.
        """

    def open_passes(self, indices: Sequence[PassIndex]) -> bytes:
        """Return pass roots and paths of `indices`, encoded (`memory.encode_pass_openings`).

        Runs the passes among them again. LocalError before `run_passes`.
        """

    def close(self) -> None:
        """Give back the memory. May be called twice."""


class ComputeBackend(Protocol):
    """One device. Methods block; `run` is not called twice at the same time."""

    def describe(self) -> DeviceInfo:
        """Say what this device is."""

    def prepare(self, b_seed: bytes, k: int, n: int) -> Shape:
        """Make the k × n B of this seed resident, in place of the one before.

        Returns the shape for jobs: m is chosen by what the device can do in some milliseconds and
        by its free memory, when (k, n) are new. Returns at once when B is resident already.
        Raises DeviceMemoryError, DeviceBusyError, DeviceLostError.
        """

    def run(
        self,
        job: ComputeJob,
        *,
        window_s: float,
        limit_s: float,
        is_cancelled: Callable[[], bool],
    ) -> Work:
        """Do rounds until `window_s` seconds have passed since the call.

        The round in progress at that moment is finished, unless `limit_s` passes first: then it is
        dropped. Ends early at the most rounds that the protocol or the memory allow.
        `is_cancelled` is asked every few hundred milliseconds of work or more often, from any
        thread. Raises NotPreparedError (also for another shape than `prepare` returned),
        DeviceBusyError, JobCancelledError, JobTimeoutError, DeviceMemoryError; the backend can be
        used again after each of them. DeviceLostError ends it.
        """

    def release(self) -> None:
        """Give back B and all other memory; the next `prepare` makes it anew.

        Raises DeviceBusyError while a work is open, DeviceLostError.
        """

    def close(self) -> None:
        """Give back everything, an open work included. The backend cannot be used again; may be
        called twice."""

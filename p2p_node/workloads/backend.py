"""What the node asks of a device, whatever it is.

A backend is synchronous and runs in a worker thread (`compute_worker`). It produces the bits that
`protocols.compute` defines and nothing else: no keys, no network, no wall clock. `prepare` once
per epoch, then `run` for each job, then `open` on what `run` returned.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from protocols.compute import ComputeJob, Shape, WorkCommitment
from protocols.errors import LocalError
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


class Work(Protocol):
    """A finished job: its commitment, and what is needed to open it."""

    @property
    def commitment(self) -> WorkCommitment:
        """Round count and root to be signed."""

    def open(self, indices: Sequence[Index]) -> bytes:
        """Compute the rows of `indices` again and return them with roots and paths, encoded.

        May be called more than once, also while another job runs, and after `prepare` for the
        next epoch. Raises LocalError for rows that were not part of the job (the node has already
        parsed the request with `decode_indices`) and after `close`.
        """

    def close(self) -> None:
        """Give back the memory. May be called twice."""


class ComputeBackend(Protocol):
    """One device. Methods block; `run` is not called twice at the same time."""

    def describe(self) -> DeviceInfo:
        """Say what this device is."""

    def prepare(self, b_seed: bytes, shape: Shape) -> None:
        """Make the B of this seed resident, in place of the one before.

        Returns at once when it is resident already. Raises DeviceMemoryError.
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
        thread. Raises NotPreparedError, JobCancelledError, JobTimeoutError; the backend can be
        used again after each of them.
        """

    def close(self) -> None:
        """Give back everything. The backend cannot be used again; may be called twice."""

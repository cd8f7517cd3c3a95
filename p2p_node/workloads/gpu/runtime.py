"""What the GPU backend asks of a CUDA runtime: one device, its memory, streams and kernels.

Addresses are plain integers on the device, sizes are bytes. Operations that take a stream are
queued and return at once; those of one stream happen in order, those of different streams in any
order but for events. An operation's memory must stay allocated until it is done.

Every method may raise DeviceLostError, and all of them do from then on. Methods are called by one
thread at a time, not always the same one.
"""

from typing import NoReturn, Protocol

THREADS_PER_BLOCK = 256
"""Threads of a block: eight warps, of which an SM holds several beside a multiplication."""


class Buffer(Protocol):
    """Memory on the device, aligned to at least 256 bytes."""

    @property
    def address(self) -> int:
        """Where it starts."""

    @property
    def size(self) -> int:
        """Its length in bytes."""

    def free(self) -> None:
        """Give it back. Nothing that uses it may be queued still. May be called twice."""


class Stream(Protocol):
    """A queue of operations. Made by `Runtime.create_stream`, used with that runtime only."""


class Event(Protocol):
    """A point in a stream. Made by `Runtime.record`, used with that runtime only."""


class Runtime(Protocol):
    """One device."""

    @property
    def name(self) -> str:
        """The runtime and its version."""

    @property
    def device_name(self) -> str:
        """The device as its driver names it: a hint for people."""

    @property
    def multiprocessors(self) -> int:
        """How many there are."""

    def get_memory(self) -> tuple[int, int]:
        """Free and total bytes of the device, whoever uses the rest."""

    def allocate(self, size: int) -> Buffer:
        """Take memory of the device itself, never memory that is paged to the host.

        Its content is undefined. Raises DeviceMemoryError.
        """

    def create_stream(self, *, urgent: bool) -> Stream:
        """A new stream; blocks of an urgent one start before waiting blocks of others."""

    def launch(
        self, stream: Stream, kernel: str, count: int, *arguments: int, blocks: int = 0
    ) -> None:
        """Queue a kernel of `workloads/kernels` over `count` items.

        Every argument is an unsigned 64-bit value. `blocks` limits how many blocks run, 0 leaves
        it at one thread per item.
        """

    def multiply(
        self, stream: Stream, a: int, b_transposed: int, c: int, m: int, k: int, n: int
    ) -> None:
        """Queue C = A·B: A (m × k) and Bᵀ (n × k) int8, C (m × n) int32, all row-major.

        Addresses, k and n are multiples of 16; k ≤ 131,056 keeps every sum exact.
        """

    def copy(self, stream: Stream, source: int, target: int, size: int) -> None:
        """Queue a copy within the device."""

    def write(self, stream: Stream, target: int, data: bytes) -> None:
        """Queue a copy of `data` to the device."""

    def read(self, stream: Stream, source: int, size: int) -> bytes:
        """Copy to the host, behind everything in the stream, and wait for it."""

    def record(self, stream: Stream) -> Event:
        """Mark the point behind everything that the stream holds by now."""

    def wait_event(self, stream: Stream, event: Event) -> None:
        """Let everything queued in the stream from now on wait for `event`."""

    def wait(self, event: Event, timeout_s: float) -> bool:
        """Wait on the host until `event` is reached; False when it was not in time."""

    def measure_ms(self, first: Event, last: Event) -> float:
        """Milliseconds between two events that have been reached."""

    def give_up(self, reason: str) -> NoReturn:
        """Declare the device lost: raises DeviceLostError, as everything does from then on."""

    def close(self) -> None:
        """Give back streams and libraries. Buffers are their owners' to free. May be called
        twice; never raises DeviceLostError."""

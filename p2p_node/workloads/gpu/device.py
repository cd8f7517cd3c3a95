"""One device as the parts of the backend share it: runtime, kernels, two streams, and waiting."""

import contextlib
import time
from collections.abc import Callable

from p2p_node.workloads.backend import DeviceLostError, JobCancelledError
from p2p_node.workloads.gpu.kernels import Kernels
from p2p_node.workloads.gpu.runtime import Event, Runtime
from protocols.merkle import DIGEST_BYTES

HANG_SECONDS = 60.0
"""A device that has not got through what was queued for it after so long is given up. A round
takes milliseconds and a few are queued at most; a pass takes some tens of milliseconds."""

POLL_SECONDS = 0.05
"""How often a wait looks whether the job was cancelled or its time is over."""


class Device:
    """`main` multiplies, `side` does everything that can go on beside it."""

    def __init__(self, runtime: Runtime, clock: Callable[[], float] = time.monotonic) -> None:
        self.runtime = runtime
        self.clock = clock
        self.main = runtime.create_stream(urgent=False)
        self.side = runtime.create_stream(urgent=True)
        self.kernels = Kernels(runtime, self.side)
        self.drain()

    def wait(
        self,
        event: Event,
        *,
        deadline: float | None = None,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Wait for `event`; False when the clock passes `deadline` before it is reached.

        Raises JobCancelledError, and DeviceLostError for a device that does not get there.
        """
        now = self.clock()
        given_up = now + HANG_SECONDS
        end = given_up if deadline is None else min(deadline, given_up)
        while not self.runtime.wait(event, min(POLL_SECONDS, max(0.0, end - now))):
            if is_cancelled():
                raise JobCancelledError("job cancelled")
            now = self.clock()
            if deadline is not None and now >= deadline:
                return False
            if now >= given_up:
                self.runtime.give_up(f"device has not answered for {HANG_SECONDS} s")
        return True

    def drain(self) -> None:
        """Wait until nothing is queued, so that memory can be given back."""
        for stream in (self.main, self.side):
            self.wait(self.runtime.record(stream))

    def drain_quietly(self) -> None:
        """`drain` before memory is freed, also of a device that is lost."""
        with contextlib.suppress(DeviceLostError):
            self.drain()

    def read_digests(self, address: int, count: int) -> tuple[bytes, ...]:
        """Copy digests to the host, behind everything in the side stream."""
        data = self.read_side(address, count * DIGEST_BYTES)
        return tuple(data[i : i + DIGEST_BYTES] for i in range(0, len(data), DIGEST_BYTES))

    def read_side(self, address: int, size: int) -> bytes:
        """Copy to the host, behind everything in the side stream."""
        self.wait(self.runtime.record(self.side))
        return self.runtime.read(self.side, address, size)

    def close(self) -> None:
        """Give back kernels, streams and libraries. May be called twice."""
        self.kernels.close()
        self.runtime.close()

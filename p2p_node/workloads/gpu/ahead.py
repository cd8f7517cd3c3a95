"""Keep a device busy without losing sight of the clock: queue ahead, but never far."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from p2p_node.workloads.backend import JobCancelledError, JobTimeoutError
from p2p_node.workloads.gpu.device import Device
from p2p_node.workloads.gpu.runtime import Event


@dataclass(frozen=True, slots=True)
class Timing:
    """When to stop, in seconds on the device's clock; see `backend.ComputeBackend.run`."""

    started: float
    window_s: float
    limit_s: float
    is_cancelled: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Progress:
    """Steps that are done, and steps that were queued: those beyond are dropped, but were run."""

    done: int
    queued: int


def run_ahead(
    device: Device, queue: Callable[[int], Event], timing: Timing, *, ahead: int, most: int
) -> Progress:
    """Queue steps 0, 1, … until the window is over, at most `most`, and wait for them.

    `queue` returns what marks a step's end; at most `ahead` steps are unfinished at a time. What
    is not finished at the limit is dropped: the device has got through it when this returns, but
    it does not count. Raises JobCancelledError, JobTimeoutError when no step was finished, both
    with steps still queued.
    """
    end, limit = timing.started + timing.window_s, timing.started + timing.limit_s
    pending: deque[Event] = deque()
    queued = done = 0
    while True:
        while len(pending) < ahead and queued < most:
            if queued and device.clock() >= end:
                break
            pending.append(queue(queued))
            queued += 1
        if not pending:
            break
        if timing.is_cancelled():
            raise JobCancelledError("job cancelled")
        if device.clock() >= limit:
            break
        if not device.wait(pending[0], deadline=limit, is_cancelled=timing.is_cancelled):
            break
        pending.popleft()
        done += 1
    if not done:
        raise JobTimeoutError(f"nothing was finished within {timing.limit_s} s")
    if pending:
        device.drain()
    return Progress(done, queued)

"""A host's cores from Trio: chains run in threads, and can be given up."""

import threading
from collections.abc import Sequence
from functools import partial

import trio

from p2p_node.workloads.backend import DeviceBusyError, JobTimeoutError
from p2p_node.workloads.compute_worker import GIVE_UP_SECONDS, OVERRUN_SECONDS
from p2p_node.workloads.core_chains import ChainWork, CoreChains
from protocols.chains import ChainJob, SegmentIndex


class CoreWorker:
    """Runs one job's chains at a time. Whoever made the `CoreChains` closes it."""

    def __init__(self, cores: CoreChains) -> None:
        self._cores = cores
        # An abandoned thread holds its token until it is out.
        self._thread = trio.CapacityLimiter(1)

    async def run(self, job: ChainJob, *, window_s: float, limit_s: float) -> ChainWork:
        """Extend chains until the window is over; see `CoreChains.run` for times and errors.

        Cancellation gives them up and returns when the cores are free again. JobTimeoutError also
        when the cores do not come back; DeviceBusyError until they do.
        """
        if not self._thread.available_tokens:
            raise DeviceBusyError("the cores do not come back from an earlier job")
        given_up = threading.Event()
        run = partial(
            self._cores.run,
            job,
            window_s=window_s,
            limit_s=limit_s,
            is_cancelled=given_up.is_set,
        )
        try:
            with trio.move_on_after(limit_s + OVERRUN_SECONDS):
                return await trio.to_thread.run_sync(
                    run, abandon_on_cancel=True, limiter=self._thread
                )
        except trio.Cancelled:
            given_up.set()
            with trio.move_on_after(GIVE_UP_SECONDS, shield=True):
                async with self._thread:
                    pass
            raise
        finally:
            # Also when some chains could not be started: the others do not go on.
            given_up.set()
        raise JobTimeoutError(f"the cores did not come back within {limit_s:g} s")

    async def open(self, work: ChainWork, indices: Sequence[SegmentIndex]) -> bytes:
        """Open segments of a job that `run` returned, see `ChainWork.open`."""
        return await trio.to_thread.run_sync(work.open, indices, limiter=self._thread)

"""A host's cores from Trio: chains run in threads, and can be given up."""

import threading
from functools import partial

import trio

from p2p_node.workloads.compute_worker import GIVE_UP_SECONDS
from p2p_node.workloads.core_chains import ChainWork, CoreChains
from protocols.chains import ChainJob


class CoreWorker:
    """Runs one job's chains at a time. Whoever made the `CoreChains` closes it."""

    def __init__(self, cores: CoreChains) -> None:
        self._cores = cores
        self._thread = trio.CapacityLimiter(1)

    async def run(self, job: ChainJob, *, window_s: float, limit_s: float) -> ChainWork:
        """Extend chains until the window is over; see `CoreChains.run` for times and errors.

        Cancellation gives them up and returns when the cores are free again.
        """
        given_up = threading.Event()
        run = partial(
            self._cores.run,
            job,
            window_s=window_s,
            limit_s=limit_s,
            is_cancelled=given_up.is_set,
        )
        try:
            return await trio.to_thread.run_sync(run, abandon_on_cancel=True, limiter=self._thread)
        except trio.Cancelled:
            given_up.set()
            with trio.move_on_after(GIVE_UP_SECONDS, shield=True):
                async with self._thread:
                    pass
            raise

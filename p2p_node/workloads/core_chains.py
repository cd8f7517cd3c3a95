"""The cpu proof's chains, one per core, each in a thread.

Threads do, as SHA-256 of a whole segment releases the interpreter lock; what holds it, some 2 µs
per segment, is a thousandth of a segment on real networks. Measured on a machine of two cores:
1.99 times the rate of one.
"""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from p2p_node.workloads.backend import JobCancelledError, JobTimeoutError
from protocols.chains import (
    MAX_CHAINS,
    MAX_SEGMENTS,
    Chain,
    ChainCommitment,
    ChainJob,
    SegmentIndex,
    open_segments,
)
from protocols.errors import LocalError

CGROUPS = Path("/sys/fs/cgroup")
"""Where Linux tells a container how much of the host's processors it may use."""


@dataclass(slots=True, eq=False)
class ChainWork:
    """Finished chains: their commitment, and every segment, to open them."""

    job: ChainJob
    leaves: list[bytes]
    commitments: tuple[ChainCommitment, ...]
    _closed: bool = field(default=False, init=False)

    def open(self, indices: Sequence[SegmentIndex]) -> bytes:
        """Return the paths of `indices` (`chains.open_segments`); takes about a millisecond for
        each chain among them.

        May be called more than once, with the same result. Raises LocalError for segments that do
        not exist (the node has already parsed the request with `decode_segment_indices`) and
        after `close`.
        """
        if self._closed:
            raise LocalError("chains are closed")
        return open_segments(self.leaves, indices)

    def close(self) -> None:
        """Give back the memory, 32 bytes a segment. May be called twice."""
        self._closed = True
        self.leaves = []


class CoreChains:
    """The host's cores. `run` blocks and is not called twice at the same time.

    `cores` is how many chains there are, 1 … MAX_CHAINS, by default `count_cores()`; `clock` counts
    seconds and is read from several threads.
    """

    def __init__(
        self, cores: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        cores = count_cores() if cores is None else cores
        if not 1 <= cores <= MAX_CHAINS:
            raise LocalError(f"cores: found {cores}, expected 1 … {MAX_CHAINS}")
        self._cores = cores
        self._clock = clock
        self._pool = ThreadPoolExecutor(cores, "kaisar-chain")

    @property
    def cores(self) -> int:
        """Number of chains of a job."""
        return self._cores

    def run(
        self,
        job: ChainJob,
        *,
        window_s: float,
        limit_s: float,
        is_cancelled: Callable[[], bool],
    ) -> ChainWork:
        """Extend all chains until `window_s` seconds have passed since the call.

        Segments in progress at that moment are finished (10 ms at most, on a reference core). A
        chain that had no turn until then may still do one segment before `limit_s`. Ends early
        at the most segments that the protocol allows. `is_cancelled` is asked before every segment,
        from any thread. Raises JobCancelledError, and JobTimeoutError when not one segment was
        done; can be called again after each of them. LocalError after `close`.
        """
        started = self._clock()
        chains = [Chain(job.derive_seed(c), job.iterations) for c in range(self._cores)]

        def extend(chain: Chain) -> None:
            while chain.segments < MAX_SEGMENTS:
                if is_cancelled():
                    raise JobCancelledError("job cancelled")
                if self._clock() - started >= (window_s if chain.segments else limit_s):
                    return
                chain.extend()

        try:
            futures = [self._pool.submit(extend, chain) for chain in chains]
        except RuntimeError as error:
            raise LocalError("cores are closed") from error
        # All of them, also when one raises: no chain of this job may run on beside the next one.
        wait(futures)
        for future in futures:
            future.result()
        commitments = tuple(chain.commit() for chain in chains)
        if not any(commitment.segments for commitment in commitments):
            raise JobTimeoutError(f"no segment within {limit_s} s")
        return ChainWork(job, [bytes(chain.leaves) for chain in chains], commitments)

    def close(self) -> None:
        """End the threads. May be called twice."""
        self._pool.shutdown()


def count_cores(cgroups: Path = CGROUPS) -> int:
    """Logical cores that this process may use at once, 1 … MAX_CHAINS.

    Fewer than the host has under an affinity mask or a container's quota: more chains than that
    would each be slower than a core, and below the rate from which on a chain counts.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _read_quota(cgroups)
    if quota is not None:
        cores = min(cores, int(quota))
    return max(1, min(cores, MAX_CHAINS))


def _read_quota(cgroups: Path) -> float | None:
    """Cores' worth of time that the container gets, by version 2 or 1 of cgroups; None for all."""
    texts = (
        _read_words(cgroups / "cpu.max"),
        [
            *_read_words(cgroups / "cpu" / "cpu.cfs_quota_us"),
            *_read_words(cgroups / "cpu" / "cpu.cfs_period_us"),
        ],
    )
    for words in texts:
        # Without a limit there is no file, or the quota is "max" or −1.
        if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]):
            return int(words[0]) / int(words[1])
    return None


def _read_words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except OSError:
        return []

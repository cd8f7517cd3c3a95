"""Work on rows cut into tiles, one after another or side by side."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait

from protocols.errors import LocalError


class Tiles:
    """`threads` tiles at once; everything heavy in them releases the GIL."""

    def __init__(self, threads: int) -> None:
        if threads < 1:
            raise LocalError(f"threads: found {threads}, expected at least 1")
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads, "kaisar-compute") if threads > 1 else None

    def join(self, compute: Callable[[int], bytes], starts: Iterable[int]) -> bytes:
        """What `compute` returns for each start, end to end. Raises what it raises."""
        if self._pool is None:
            return b"".join([compute(start) for start in starts])
        futures = [self._pool.submit(compute, start) for start in starts]
        # All of them, also when one raises: the others raise at their next checkpoint, and no
        # tile of this call may run on beside the next one.
        wait(futures)
        return b"".join([future.result() for future in futures])

    def close(self) -> None:
        """End the threads; may be called twice."""
        if self._pool:
            self._pool.shutdown()


class OutOfTimeError(Exception):
    """The limit passed within a round or a pass, which is then dropped."""

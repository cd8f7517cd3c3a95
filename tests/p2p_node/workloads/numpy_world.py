"""What the tests of the NumPy backend share: small jobs and a clock that moves with the work."""

import threading
from collections.abc import Callable

import numpy as np

from p2p_node.workloads.exact_product import ExactProduct, Scratch
from p2p_node.workloads.numpy_backend import NumpyBackend
from p2p_node.workloads.numpy_work import NumpyWork
from protocols.compute import ComputeJob, Shape
from tests.protocols import compute_reference as ref


class Clock:
    """Seconds that pass with the work done: one per tile multiplied, so that jobs have an exact
    length, and `step` per look at the clock, so that passes have one."""

    def __init__(self) -> None:
        self.now = 0
        self.step = 0
        self._lock = threading.Lock()

    def __call__(self) -> float:
        with self._lock:
            now = self.now
            self.now += self.step
        return now

    def make_product(self, b_seed: bytes, k: int, n: int) -> "TickingProduct":
        return TickingProduct(b_seed, k, n, self)

    def tick(self) -> None:
        with self._lock:
            self.now += 1


class TickingProduct(ExactProduct):
    """An exact product that moves a clock on."""

    def __init__(self, b_seed: bytes, k: int, n: int, clock: Clock) -> None:
        super().__init__(b_seed, k, n)
        self._clock = clock

    def multiply(
        self,
        a: np.ndarray,
        out: np.ndarray,
        scratch: Scratch,
        checkpoint: Callable[[], None],
    ) -> None:
        super().multiply(a, out, scratch, checkpoint)
        self._clock.tick()


def make_backend(clock: Clock, m: int, threads: int = 1, **settings: int) -> NumpyBackend:
    return NumpyBackend(threads, rows=m, make_product=clock.make_product, clock=clock, **settings)


def make_job(m: int = 7, k: int = 48, n: int = 32, **changes: object) -> ref.Job:
    parts: dict[str, object] = {
        "b_seed": ref.b_seed(ref.sha256(b"epoch"), k, n),
        "nonce": ref.sha256(b"nonce"),
        "provider": ref.sha256(b"provider"),
        "device": 0,
    }
    return ref.Job(m=m, k=k, n=n, **{**parts, **changes})  # type: ignore[arg-type]


def to_job(job: ref.Job) -> ComputeJob:
    shape = Shape(job.m, job.k, job.n)
    return ComputeJob(shape, job.b_seed, job.nonce, job.provider, job.device)


def never() -> bool:
    return False


def prepare(backend: NumpyBackend, job: ComputeJob) -> None:
    assert backend.prepare(job.b_seed, job.shape.k, job.shape.n) == job.shape


def run_rounds(backend: NumpyBackend, job: ComputeJob, seconds: int) -> NumpyWork:
    prepare(backend, job)
    return backend.run(job, window_s=seconds, limit_s=1000, is_cancelled=never)

"""What the proof is measured against: plain multiplications and copies on the same device."""

import math
import time
from typing import Protocol

import numpy as np

from p2p_node.workloads.blas import limit_blas_threads
from protocols.compute import Shape

COPY_BYTES = 256 << 20
"""Copied at a time on the host: far more than caches hold."""


class Peer(Protocol):
    """A device's best at one thing at a time."""

    def measure_multiplication_rate(self, repeats: int) -> float:
        """Operations per second of plain multiplications of the proof's shape, back to back."""

    def measure_copy_rate(self, repeats: int) -> float:
        """Bytes per second, read and written ones both counted, of copies within the device."""


class NumpyPeer:
    """sgemm on float32 matrices of the proof's shape, with as many threads as the prover has."""

    def __init__(self, shape: Shape, threads: int) -> None:
        self._shape = shape
        self._threads = threads
        noise = np.random.default_rng(1337)
        self._a = noise.random((shape.m, shape.k), np.float32)
        self._b = noise.random((shape.k, shape.n), np.float32)
        self._c = np.empty((shape.m, shape.n), np.float32)

    def measure_multiplication_rate(self, repeats: int) -> float:
        """Each multiplication is a whole round."""
        limit_blas_threads(self._threads)
        try:
            started = time.perf_counter()
            for _ in range(repeats):
                np.matmul(self._a, self._b, out=self._c)
            seconds = time.perf_counter() - started
        finally:
            limit_blas_threads(1)
        return repeats * self._shape.operations / seconds

    def measure_copy_rate(self, repeats: int) -> float:
        """The best copy of all, by one thread."""
        source = np.ones(COPY_BYTES // 8, np.uint64)
        target = np.ones_like(source)
        best = math.inf
        for _ in range(repeats):
            started = time.perf_counter()
            np.copyto(target, source)
            best = min(best, time.perf_counter() - started)
        return 2 * source.nbytes / best

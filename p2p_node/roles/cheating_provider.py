"""An adversary for tests and the local network: computes half of the rows, commits as if all."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from p2p_node.duties.participation import participate_as_provider
from p2p_node.node import Node
from p2p_node.workloads.exact_product import ExactProduct, Scratch
from p2p_node.workloads.numpy_backend import NumpyBackend
from protocols.compute import Shape


class PartialProduct:
    """Multiplies every other row and leaves the rest zero, for twice the rate."""

    def __init__(self, b_seed: bytes, shape: Shape) -> None:
        self._exact = ExactProduct(b_seed, shape)

    def multiply(
        self,
        a: NDArray[np.int8],
        out: NDArray[np.int32],
        scratch: Scratch,
        checkpoint: Callable[[], None],
    ) -> None:
        """Fill half of `out` honestly."""
        half = (len(a) + 1) // 2
        computed = np.empty((half, out.shape[1]), np.int32)
        self._exact.multiply(np.ascontiguousarray(a[::2]), computed, scratch, checkpoint)
        out[:] = 0
        out[::2] = computed


async def run_cheating_provider(node: Node) -> None:
    """Join as a provider, then answer every job with half of its work, until cancelled."""
    await participate_as_provider(node, NumpyBackend(make_product=PartialProduct))

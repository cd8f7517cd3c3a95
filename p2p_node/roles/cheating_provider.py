"""An adversary for tests and the local network: computes half of the rows, commits as if all."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from p2p_node.duties.hosting import open_host
from p2p_node.duties.participation import participate_as_provider
from p2p_node.node import Node
from p2p_node.workloads.exact_product import ExactProduct, Scratch
from p2p_node.workloads.numpy_backend import NumpyBackend


class PartialProduct:
    """Multiplies about every other row and leaves the rest zero, for twice the rate.

    Which ones follows from the row of A itself, so that a row asked for again comes out as it was
    committed to: the cheat is caught by the product, not by a clumsy contradiction.
    """

    def __init__(self, b_seed: bytes, k: int, n: int) -> None:
        self._exact = ExactProduct(b_seed, k, n)

    def multiply(
        self,
        a: NDArray[np.int8],
        out: NDArray[np.int32],
        scratch: Scratch,
        checkpoint: Callable[[], None],
    ) -> None:
        """Compute the rows whose first entry is even."""
        chosen = a[:, 0] & 1 == 0
        computed = np.empty((int(chosen.sum()), out.shape[1]), np.int32)
        self._exact.multiply(np.ascontiguousarray(a[chosen]), computed, scratch, checkpoint)
        out[:] = 0
        out[chosen] = computed


async def run_cheating_provider(node: Node) -> None:
    """Join as a provider, then answer every job with half of its work, until cancelled."""
    backend = NumpyBackend(
        node.host.cpu_threads, node.host.cpu_memory_bytes, make_product=PartialProduct
    )
    async with open_host(node, [backend]) as host:
        await participate_as_provider(node, host)

"""How many threads BLAS takes, which NumPy itself cannot say.

Providers share hosts, and a job that takes every core would slow down its neighbours' timed jobs.
The numpy backend parallelises whole tiles itself, so BLAS is kept at one thread per call.
"""

import ctypes
from collections.abc import Callable, Iterator

from numpy.linalg import _umath_linalg

_PREFIXES = ("scipy_openblas", "openblas")
_SUFFIXES = ("64_", "_64_", "64", "")
"""NumPy's wheels rename OpenBLAS's symbols; distributions do not."""


def limit_blas_threads(threads: int) -> bool:
    """Set the number of threads of the OpenBLAS that NumPy is linked with, process-wide.

    False when it is another BLAS (Accelerate, MKL), which is then left to its own environment
    variables.
    """
    for function in _find_functions("set_num_threads"):
        function(threads)
        return True
    return False


def get_blas_threads() -> int | None:
    """Threads that OpenBLAS takes per call; None when NumPy is linked with another BLAS."""
    for function in _find_functions("get_num_threads"):
        return int(function())
    return None


def _find_functions(name: str) -> Iterator[Callable[..., int]]:
    # Looking up a symbol in a loaded extension also searches the libraries it is linked with.
    library = ctypes.CDLL(_umath_linalg.__file__)
    for prefix in _PREFIXES:
        for suffix in _SUFFIXES:
            symbol = f"{prefix}_{name}{suffix}"
            if hasattr(library, symbol):
                yield library[symbol]

"""Python's recursion limit, set back to where deep input raises an error instead of crashing.

py_ecc, which eth_account imports, raises the limit of the whole process to 100,000. With that,
JSON such as `[[[[…` of some 100,000 brackets, from an RPC endpoint or to the devchain, overflows
the C stack and kills the process (measured: Python 3.11, 8 MiB stack; 50,000 is still safe).
"""

import sys
from typing import Final

import py_ecc  # noqa: F401 - imported first, since it raises the limit only when it is imported

RECURSION_LIMIT: Final = 12 * 1024
"""What py-evm asks for: 1,024 nested calls of some ten frames each."""


def cap_recursion() -> None:
    """Lower the limit to RECURSION_LIMIT; every module here that imports eth_* calls it."""
    sys.setrecursionlimit(RECURSION_LIMIT)

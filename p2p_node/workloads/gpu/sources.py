"""The kernel sources as one text."""

import re
from pathlib import Path
from typing import Final

KERNELS: Final = Path(__file__).resolve().parent.parent / "kernels"
"""Where the sources lie; a compiler takes `proof.cu` there as it is."""

_INCLUDE = re.compile(r'^#include "([a-z0-9_]+\.h)"$', re.MULTILINE)


def load_source() -> str:
    """`proof.cu` with every include in its place.

    CuPy keeps compiled kernels by the text that it was given; with includes in files of their own
    it would go on using old ones after a change.
    """
    included: set[str] = set()

    def include(match: re.Match[str]) -> str:
        name = match[1]
        if name in included:
            return ""
        included.add(name)
        return _INCLUDE.sub(include, (KERNELS / name).read_text(encoding="utf-8"))

    return _INCLUDE.sub(include, (KERNELS / "proof.cu").read_text(encoding="utf-8"))

"""How many connections a service takes, so that the rest of the process can still open files.

Each connection is an open file. Who opens more of them than the process may have would otherwise
keep the books, the chain and other services from being reached.
"""

import logging
import resource
from typing import Final

logger = logging.getLogger(__name__)

RESERVED: Final = 512
"""Files for everything but connections of clients: books, peers, the chain."""


def make_room(wanted: int) -> int:
    """Let the process open as many files as it may and needs; return the connections that fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + RESERVED
    if soft < needed and soft != resource.RLIM_INFINITY:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft >= needed or soft == resource.RLIM_INFINITY:
        return wanted
    found = max(soft - RESERVED, soft // 2)
    logger.warning("%d files may be open: %d connections instead of %d", soft, found, wanted)
    return found

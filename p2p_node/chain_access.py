"""The endpoints of the settings, as one chain."""

from collections.abc import Sequence
from typing import Final

from chain.endpoints import STALE_SECONDS, WATCH_SECONDS, Endpoints
from chain.networks import find_network
from chain.rpc import Rpc
from p2p_node.clock import MAX_DRIFT_MS
from p2p_node.config import redact_url

STALE_BLOCKS: Final = 10
"""An endpoint whose newest block is so many block times old is behind: 70 s on peaq. Less than
MAX_DRIFT_MS never counts, because clocks may be that far apart."""


def open_endpoints(urls: Sequence[str], chain_id: int) -> Endpoints:
    """Return the endpoints with these URLs; the first one is preferred. Close them when done."""
    distinct = list(dict.fromkeys(urls))
    chain = find_network(chain_id)
    stale, watch = STALE_SECONDS, WATCH_SECONDS
    if chain is not None:
        stale = max(MAX_DRIFT_MS, STALE_BLOCKS * chain.block_ms) / 1000
        watch = min(WATCH_SECONDS, 5 * chain.block_ms / 1000)
    return Endpoints(
        [(name_endpoint(number, url), Rpc(url)) for number, url in enumerate(distinct, 1)],
        chain_id,
        stale_seconds=stale,
        watch_seconds=watch,
    )


def name_endpoint(number: int, url: str) -> str:
    """Name an endpoint for people: its place in the settings and its host, without access keys."""
    return f"rpc {number} ({redact_url(url)})"

"""From the settings' URLs to endpoints of one chain."""

from contextlib import closing

import pytest

from chain.endpoints import STALE_SECONDS, Endpoints
from p2p_node.chain_access import open_endpoints

URLS = ["https://one.example/key", "https://two.example:8545", "https://one.example/key"]


def test_names_hide_access_keys() -> None:
    with closing(open_endpoints(URLS, 3338)) as endpoints:
        names = [each.name for each in endpoints.endpoints]
    assert names == ["rpc 1 (https://one.example/…)", "rpc 2 (https://two.example:8545)"]


@pytest.mark.parametrize(("chain_id", "seconds"), [(3338, 70), (31_337, 30), (1, STALE_SECONDS)])
def test_being_behind_is_a_matter_of_block_times(chain_id: int, seconds: float) -> None:
    with closing(open_endpoints(URLS, chain_id)) as endpoints:
        assert stale_seconds(endpoints) == seconds


def stale_seconds(endpoints: Endpoints) -> float:
    return endpoints._stale_seconds

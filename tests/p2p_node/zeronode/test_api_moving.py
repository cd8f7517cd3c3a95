"""Leaving one service for another, over HTTP and with the database in its own thread."""

from dataclasses import replace
from pathlib import Path

import pytest

from protocols.types import NodeKey
from protocols.zeronode_rules import UNITS_PER_POINT
from tests.p2p_node.zeronode.serving import RULES, make_key, serve

pytestmark = pytest.mark.integration


async def test_points_go_along_and_arrive_once(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    listed = frozenset(NodeKey(bytes(make_key(node).verify_key)) for node in (98, 99))
    # So long a day that none ends during the test.
    rules = replace(RULES, day_ms=1_000 * 86_400_000)
    async with (
        serve(tmp_path / "old", rules=rules, node=98) as old,
        serve(tmp_path / "new", rules=rules, node=99) as new,
        old.client(1, 1) as leaving,
        new.client(1, 1) as arriving,
    ):
        for serving in (old, new):
            serving.service.listed = lambda: listed
        units = (await leaving.call("POST", "/v1/account/check-in"))["units"]
        assert units == 5 * UNITS_PER_POINT
        to = {"to": new.service.identity.service.hex()}
        left = await leaving.call("POST", "/v1/account/departure", to)
        assert left == await leaving.call("POST", "/v1/account/departure", to)
        assert (await leaving.account())["points_units"] == 0
        for _ in range(2):
            body = {"departure": left["departure"]}
            arrived = await arriving.call("POST", "/v1/arrivals", body)
            assert (arrived["points_units"], arrived["is_home"]) == (units, True)
        account = await arriving.account()
        assert (account["points_units"], account["home"]) == (units, True)
        assert account["streak"]["checked_in"]

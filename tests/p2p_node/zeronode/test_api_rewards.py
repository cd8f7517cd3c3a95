"""Rewards over HTTP, from clients to the database and back, and what is left of their addresses."""

import hashlib
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from p2p_node.zeronode.client import ServiceRefusal
from protocols.zeronode_referrals import Waiting
from protocols.zeronode_rules import CHECK_IN_POINTS, UNITS_PER_POINT
from tests.p2p_node.zeronode.serving import RULES, serve

pytestmark = pytest.mark.integration

WORD = hashlib.sha256(b"kaisar").hexdigest()
TASKS = f"""
[online]
period = "daily"
title = "A second online"
points = 2
uptime_today_seconds = 1

[word]
period = "once"
title = "A word"
tickets = 1
code_sha256 = "{WORD}"
"""
CAMPAIGNS = f"""
[launch]
title = "Launch"
opens = 2000-01-01T00:00:00Z
closes = 2100-01-01T00:00:00Z
tickets = 2

[launch.tasks.word]
title = "Word"
tickets = 2
code_sha256 = "{WORD}"
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "missions.toml").write_text(TASKS)
    (tmp_path / "campaigns.toml").write_text(CAMPAIGNS)
    writer = MMDBWriter(ip_version=4, database_type="Test-City", int_type="auto")
    hanoi = {
        "country": {"iso_code": "VN"},
        "location": {"latitude": 21.03, "longitude": 105.85, "accuracy_radius": 50},
    }
    writer.insert_network(IPSet(["127.0.0.0/8"]), hanoi)
    writer.to_db_file(str(tmp_path / "city.mmdb"))
    return tmp_path


async def test_an_invitation_from_the_same_address_says_why_it_waits(directory: Path) -> None:
    async with serve(directory) as service, service.client(1, 1) as inviting:
        code = (await inviting.account())["referral"]["code"]
        async with service.client(2, 2, referral=code) as invited:
            found = (await invited.account())["referral"]
        assert found["referred"] is True
        assert (found["gated"], found["waiting_reason"]) == (False, Waiting.SHARED_ADDRESS)
        assert found["gate_s"] == RULES.gate_ms // 1_000
        own = (await inviting.account())["referral"]
        assert (own["invited"], own["invited_gated"], own["referred"]) == (1, 0, False)
        assert own["link"].endswith(f"/sign-in#ref={code}")
        for text, status in (("nothing", 400), (code, 409), ("0" * 10, 404)):
            with pytest.raises(ServiceRefusal) as refused:
                await inviting.call("POST", "/v1/account/referral", {"code": text})
            assert refused.value.status == status


async def test_uptime_makes_a_mission_that_pays_once(directory: Path) -> None:
    path = "/v1/account/missions/online"
    # So long a day that none ends during the test.
    rules = replace(RULES, day_ms=1_000 * 86_400_000)
    async with serve(directory, rules=rules) as service, service.client(1, 1) as client:
        with pytest.raises(ServiceRefusal, match="does not hold yet"):
            await client.call("POST", path, {})
        async with client.session(b"b" * 16) as session:
            with trio.fail_after(30):
                paid = 0
                while paid < 1_500:
                    paid += (await session.answer()).paid_ms
        first = await client.call("POST", path, {})
        assert first["units"] == 2 * UNITS_PER_POINT
        checked = await client.call("POST", "/v1/account/check-in")
        assert checked["units"] == CHECK_IN_POINTS[0] * UNITS_PER_POINT
        assert await client.call("POST", "/v1/account/check-in") == checked
        assert await client.call("POST", path, {}) == first
        points = (await client.account())["points_units"]
        assert points == first["units"] + checked["units"]
        (online, word) = (await client.call("GET", "/v1/missions"))["missions"]
        assert online["own"]["next_window_ms"] == rules.day_end(checked["day"])
        assert (word["own"]["is_claimed"], word["own"]["next_window_ms"]) == (False, None)
        (stranger, _) = (await client.request("GET", "/v1/missions"))["missions"]
        assert stranger["own"] is None


async def test_a_word_is_not_guessed(directory: Path) -> None:
    async with serve(directory) as service, service.client(1, 1) as client:
        claim = await client.call("POST", "/v1/account/missions/word", {"code": " Kaisar"})
        assert (claim["units"], claim["tickets"]) == (0, 1)
        task = "/v1/account/campaigns/launch/word"
        assert (await client.call("POST", task, {"code": "kaisar"}))["tickets"] == 2
        (launch,) = (await client.call("GET", "/v1/campaigns"))["campaigns"]
        assert (launch["budget"], launch["spent"]) == (2, 2)
        assert launch["tasks"][0]["is_claimed"] is True
        assert WORD not in str(launch)
        assert (await client.account())["tickets"] == 3
        async with service.client(2, 2) as guessing:
            with pytest.raises(ServiceRefusal, match="has given all its tickets"):
                await guessing.call("POST", task, {"code": "kaisar"})
            for number in range(9):
                with pytest.raises(ServiceRefusal, match="not the word"):
                    await guessing.call(
                        "POST", "/v1/account/missions/word", {"code": f"guess {number}"}
                    )
            with pytest.raises(ServiceRefusal, match="too often") as refused:
                await guessing.call("POST", "/v1/account/missions/word", {"code": "kaisar"})
            assert refused.value.status == 429
            assert 0 < refused.value.retry_ms <= 360_000
            limits = (await guessing.request("GET", "/v1/service"))["limits"]
            assert limits["rates"]["code"] == {"count": 10, "period_ms": 3_600_000}


async def test_a_place_is_shown_and_no_address_is_left(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    city = directory / "city.mmdb"
    async with (
        serve(directory, city_database=city) as service,
        service.client(1, 1) as client,
    ):
        async with client.session(b"b" * 16) as session:
            await session.answer()
            await session.answer()
        with trio.fail_after(20):
            while (await client.account())["location"]["country"] != "VN":
                await trio.sleep(0.05)
        berlin = {"lat_tenths": 525, "lon_tenths": 134}
        await client.call("PUT", "/v1/account/location", berlin)
        found = (await client.account())["location"]
        assert (found["coarse"], found["mismatch"]) == ([525, 134], True)
        assert (found["region"], found["network"]) == ("unknown", "unknown")
        with pytest.raises(ServiceRefusal) as refused:
            await client.call("PUT", "/v1/account/location", berlin | {"lat_tenths": 901})
        assert refused.value.status == 400
        await client.call("DELETE", "/v1/account/location")
        found = (await client.account())["location"]
        assert (found["coarse"], found["mismatch"]) == (None, None)
    kept = b"".join(path.read_bytes() for path in directory.glob("zeronode.sqlite*"))
    assert b"VN" in kept
    assert b"127.0.0." not in kept
    assert bytes((127, 0, 0, 1)) not in kept
    lines = [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith(("p2p_node", "protocols"))
    ]
    own = service.url.removeprefix("http://")
    assert not [line for line in lines if "127.0.0.1" in line.replace(own, "")]

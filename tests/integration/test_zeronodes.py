"""A ZeroNode service on real parts: its extensions are paid what they answered for, to the unit."""

from pathlib import Path

import pytest

from tests.integration.network import run_network

pytestmark = [pytest.mark.integration, pytest.mark.timeout(500)]

UNITS_PER_SECOND = 10


def test_every_extension_is_paid_to_the_unit(tmp_path: Path) -> None:
    with run_network(tmp_path, "--epochs", "1", "--zeronodes", "5") as network:
        result = network.finish(400)
        log = network.log("zeronode-1")
    run = result["zeronodes"]
    assert run["problems"] == [], network.output()
    assert result["balances_ok"], network.output()
    assert len(run["days"]) >= 2
    assert set(run["anchored"]) == {str(day) for day in run["days"]}
    first, holder, invited, copied, late = run["extensions"]
    for each in (first, holder, invited):
        assert each["seconds"] > 40
        assert each["uptime_units"] == each["seconds"] * UNITS_PER_SECOND
        # The days' fractions of a second are not paid.
        assert 0 <= each["told_ms"] - each["seconds"] * 1000 < 1000 * len(run["days"])
    # Linked before the first answer, so all of it is doubled.
    assert holder["doubled_units"] == holder["uptime_units"]
    assert holder["points_units"] == 2 * holder["uptime_units"]
    # A tenth of what was earned after twenty seconds in a row, and one ticket each. How much that
    # is exactly, the run itself recomputes.
    assert 0 < first["shared_units"] <= invited["seconds"] - 20 + 1
    assert (first["tickets"], invited["tickets"]) == (1, 1)
    assert first["points_units"] == first["uptime_units"] + first["shared_units"]
    assert 0 < copied["seconds"] * 1000 <= copied["lived_ms"]
    assert copied["refused"] > 0
    assert (late["points_units"], late["told_ms"]) == (0, 0)
    assert "bug" not in log.replace("bugs={}", "")

"""Leases on real parts: renters with commands, providers with sandboxes, contracts on an EVM."""

from pathlib import Path

import pytest

from tests import require
from tests.integration.network import run_network

pytestmark = [pytest.mark.integration, pytest.mark.timeout(500)]


def test_every_lease_ends_with_its_money_where_it_belongs(tmp_path: Path) -> None:
    require.program("bubblewrap")
    with run_network(tmp_path, "--epochs", "3", "--rentals", "3", "--audit") as network:
        result = network.finish(420)
    assert result["ok"], network.output()
    lasting, cancelled, killed = result["rentals"]
    for each in (lasting, cancelled, killed):
        money = {name: int(each["money"][name]) for name in ("escrow", "paid", "fee", "refund")}
        bond, back = int(each["money"]["bond"]), int(each["money"]["bond_back"])
        assert money["escrow"] + bond == money["paid"] + money["fee"] + money["refund"] + back
        assert bond > 0
    price = int(lasting["lease"]["price"])
    assert lasting["kind"] == "completed"
    assert int(lasting["money"]["paid"]) == lasting["lease"]["seconds"] * price
    assert lasting["money"]["refund"] == "0"
    assert cancelled["kind"] == "cancelled"
    assert 0 < cancelled["lease"]["used"] < cancelled["lease"]["seconds"]
    assert int(cancelled["money"]["paid"]) == cancelled["lease"]["used"] * price
    assert cancelled["money"]["end_tx"] == cancelled["money"]["settle_tx"]
    assert killed["kind"] == "killed"
    assert killed["money"]["charged_seconds"] < killed["lease"]["used"]
    assert killed["money"]["penalty"] == killed["money"]["bond"]
    assert all(audit["equal"] for audit in result["audits"]), result["audits"]

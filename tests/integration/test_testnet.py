"""The main job on real parts: processes, sockets, libp2p, contracts on an EVM, exact proofs."""

from collections import Counter
from pathlib import Path

import pytest

from tests.integration.network import find_processes, run_network, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]


def test_network_settles_and_pays(tmp_path: Path) -> None:
    with run_network(tmp_path, "--epochs", "2") as network:
        result = network.finish(240)
    assert result["ok"], network.output()
    assert result["balances_ok"]
    assert network.process.returncode == 0
    for epoch in result["epochs"]:
        assert [bundle["reports"] for bundle in epoch["bundles"]] in ([3], [4])
        assert all(int(each["reward"]) > 0 and each["score"] > 0 for each in epoch["providers"])
    assert len(result["epochs"]) == 2


def test_adversaries_earn_nothing(tmp_path: Path) -> None:
    adversaries = [
        *("--cheating-providers", "1", "--absent-providers", "1"),
        *("--lying-checkers", "1", "--copying-checkers", "1", "--equivocating-checkers", "1"),
        "--audit",
    ]
    with run_network(tmp_path, "--epochs", "2", *adversaries) as network:
        result = network.finish(240)
        logs = "".join(network.log(f"checker-{number}") for number in range(1, 7))
        copied = network.log("copier-1")
    assert result["ok"], network.output()
    assert len(result["epochs"]) == 2
    for epoch in result["epochs"]:
        for provider in epoch["providers"]:
            if provider["kind"] == "honest":
                assert provider["score"] > 0
                assert int(provider["reward"]) > 0
            else:
                assert (provider["score"], provider["reward"]) == (0, "0"), provider
        for checker in epoch["checkers"]:
            if checker["kind"] == "lying":
                assert checker["error_rate"] > 0.5, epoch
                assert checker["reward"] == "0"
            elif checker["kind"] == "copying":
                assert (checker["reported"], checker["reward"]) == (False, "0"), epoch
    # How near the honest are to one another depends on how busy this machine is; that they are paid
    # does not.
    earned = Counter[str]()
    for epoch in result["epochs"]:
        for checker in epoch["checkers"]:
            earned[checker["name"]] += int(checker["reward"])
    assert all(earned[f"checker-{number}"] > 0 for number in range(1, 7)), earned
    # Whatever the adversaries did, every epoch is what the chain's own data make it.
    assert len(result["audits"]) > 2
    assert all(audit["equal"] and audit["compared"] for audit in result["audits"]), result["audits"]
    assert "openings row" in logs, "the cheating provider is refuted by its own openings"
    assert "commitment of seat" in copied, "the copier commits in time to what is an epoch old"
    assert "fails its audit: no transcript" in logs
    first = result["penalties"][0]
    assert (first["offence"], first["name"]) == ("equivocation", "traitor-1")
    assert first["epoch"] == first["landed"]
    assert {each["name"] for each in result["penalties"]} == {"traitor-1", "cheat-1"}


def test_interrupt_ends_every_child(tmp_path: Path) -> None:
    with run_network(tmp_path) as network:
        network.wait_for(lambda: network.pid("provider-1"), "a provider", 90)
        data = str(network.data)
        assert len(find_processes(data)) >= 2
    assert network.process.returncode == 130, network.output()
    assert find_processes(data) == []


def test_killed_parent_leaves_no_children(tmp_path: Path) -> None:
    with run_network(tmp_path) as network:
        network.wait_for(lambda: network.pid("provider-1"), "a provider", 90)
        data = str(network.data)
        network.process.kill()
        network.process.wait()
        assert wait_until(lambda: not find_processes(data), 20)

"""What `kaisar testnet` refuses before it starts anything."""

from pathlib import Path

import pytest

from p2p_node.cli.main import FAILURE, main


@pytest.fixture(autouse=True)
def place_for_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_rentals_need_something_that_isolates_them(
    monkeypatch: pytest.MonkeyPatch, place_for_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["testnet", "--rentals", "1"]) == FAILURE
    said = capsys.readouterr().err
    assert "nothing here can isolate a workload" in said
    assert "bubblewrap is not installed" in said
    assert list(place_for_data.iterdir()) == []


def test_every_lease_that_lasts_has_a_provider_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("p2p_node.cli.testnet._choose_runner", lambda _: "bubblewrap")
    # Two in three keep their providers.
    assert main(["testnet", "--rentals", "5", "--providers", "3"]) == FAILURE
    assert "4 of them need a provider each, found 3 providers" in capsys.readouterr().err

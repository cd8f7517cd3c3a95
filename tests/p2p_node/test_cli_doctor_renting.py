from pathlib import Path

import pytest

from p2p_node.cli.doctor_renting import check_renting
from p2p_node.rental.runner import NoRunnerError, Runner
from p2p_node.workloads.self_check import Mark
from tests import require
from tests.fakes.enclosure import FakeRunner


def test_this_host_is_tried_and_left_as_it_was(data_dir: Path) -> None:
    require.program("bubblewrap")
    finding = check_renting(data_dir)
    assert finding.check == "renting"
    assert finding.mark in (Mark.OK, Mark.WARN), finding
    assert "base" in finding.found
    assert list(data_dir.iterdir()) == []


def test_a_host_that_isolates_nothing_is_told_why(data_dir: Path) -> None:
    def refuse(place: Path, wanted: str) -> Runner:
        raise NoRunnerError("bubblewrap is not installed: apt-get install bubblewrap")

    finding = check_renting(data_dir, refuse)
    assert finding.mark is Mark.ABSENT
    assert "not installed" in finding.found
    assert "apt-get install bubblewrap" in finding.fix


@pytest.mark.parametrize(("refused", "notes"), [("not here", ()), (None, ("no groups",))])
def test_what_is_missing_is_a_warning(
    data_dir: Path, refused: str | None, notes: tuple[str, ...]
) -> None:
    def choose(place: Path, wanted: str) -> Runner:
        runner = FakeRunner(place)
        runner.refused = refused
        runner.notes = notes
        return runner

    finding = check_renting(data_dir, choose)
    assert finding.mark is Mark.WARN
    assert ("no groups" if notes else "nothing to begin with") in finding.reason


def test_a_file_of_templates_that_cannot_be_read_is_a_failure(data_dir: Path) -> None:
    (data_dir / "templates.toml").write_text("[base")
    assert check_renting(data_dir).mark is Mark.FAIL

"""`kaisar doctor` on renting out: a runner, a share of the host, templates."""

from pathlib import Path
from typing import Any

import pytest

from p2p_node.cli import doctor_rental
from p2p_node.cli.doctor_rental import check_rental
from p2p_node.rental.runner import NoRunnerError, Runner
from p2p_node.rental.templates import TEMPLATES_FILE
from p2p_node.setting_list import SETTINGS
from p2p_node.workloads.self_check import Finding, Mark
from tests.fakes.enclosure import FakeRunner


def look(directory: Path, runner: FakeRunner | None, **changes: Any) -> list[Finding]:
    def choose(data_dir: Path, wanted: str) -> Runner:
        assert data_dir != directory
        assert wanted == "auto"
        if runner is None:
            raise NoRunnerError("bubblewrap is not installed: apt-get install bubblewrap")
        return runner

    values = {name: setting.default for name, setting in SETTINGS.items()}
    values |= {"data_dir": directory, "rental_cores": 1, "rental_memory": 100, **changes}
    return list(check_rental(values, choose))


def test_what_is_offered_is_shown(tmp_path: Path) -> None:
    renting, offer = look(tmp_path, FakeRunner(tmp_path))
    assert (renting.check, renting.mark, renting.found) == ("renting", Mark.OK, "fake")
    assert (offer.check, offer.mark) == ("offer", Mark.OK)
    assert offer.found.startswith("1 cores, 0.1 GB, templates ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("price", "mark"), [(0, Mark.ABSENT), (1, Mark.FAIL)])
def test_what_is_missing_fails_only_with_a_price(tmp_path: Path, price: int, mark: Mark) -> None:
    (renting,) = look(tmp_path, None, rental_price=price)
    assert (renting.mark, "apt-get install" in renting.reason) == (mark, True)
    runner = FakeRunner(tmp_path)
    runner.refused = "needs Docker"
    offer = look(tmp_path, runner, rental_price=price)[1]
    assert (offer.mark, offer.reason) == (mark, "needs Docker")
    (tmp_path / TEMPLATES_FILE).write_text("[base\n")
    offer = look(tmp_path, FakeRunner(tmp_path), rental_price=price)[1]
    assert offer.mark is mark
    assert TEMPLATES_FILE in offer.found


def test_a_share_that_is_not_there_is_named(tmp_path: Path) -> None:
    offer = look(tmp_path, FakeRunner(tmp_path), rental_cores=4096, rental_price=1)[1]
    assert (offer.mark, offer.found.startswith("rental_cores: found 4096")) == (Mark.FAIL, True)


def test_the_doctor_asks_the_real_runner() -> None:
    assert doctor_rental.check_rental.__defaults__ == (doctor_rental.choose_runner,)

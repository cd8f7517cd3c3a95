"""Every attack of bench.attacks: it works without the defence, and ends as claimed with it."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

import bench.attacks
from bench.adversaries.outcome import Claim, Outcome
from bench.attacks import ATTACKS, format_table, main

of_every_attack = pytest.mark.parametrize(
    "attack", ATTACKS, ids=[attack.__name__ for attack in ATTACKS]
)

SURVEYED = range(1, 15)
"""The attacks on other systems that are known; docs/attacks.md says on which."""


@cache
def run(attack: Callable[[], Outcome]) -> Outcome:
    return attack()


@of_every_attack
def test_attack_ends_as_claimed(attack: Callable[[], Outcome]) -> None:
    outcome = run(attack)

    assert outcome.succeeds_without, f"no attack at all: {outcome}"
    assert outcome.succeeds_with == (outcome.claim is not Claim.STOPPED), outcome


def test_every_known_attack_is_among_them() -> None:
    outcomes = [run(attack) for attack in ATTACKS]

    assert {outcome.known_as for outcome in outcomes} >= set(SURVEYED)
    assert len({outcome.name for outcome in outcomes}) == len(outcomes)


def test_the_table_in_the_docs_is_of_these_attacks() -> None:
    text = (Path(__file__).parents[2] / "docs" / "attacks.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| ")
    ]
    told = {(cells[3].strip("`"), cells[4]) for cells in rows if len(cells) == 6}
    told -= {("Test", "Claim"), ("---", "---")}

    assert told == {(attack.__name__, run(attack).claim.value) for attack in ATTACKS}


STOPPED = Outcome("an attack", 1, "a defence", True, False, "1 of 1", Claim.STOPPED)


@pytest.mark.parametrize(
    ("outcome", "as_claimed"),
    [
        (STOPPED, True),
        (replace(STOPPED, succeeds_with=True), False),
        (replace(STOPPED, succeeds_without=False), False),
        (replace(STOPPED, succeeds_with=True, claim=Claim.PRICED), True),
        (replace(STOPPED, succeeds_with=True, claim=Claim.BOUNDED), True),
        (replace(STOPPED, claim=Claim.PRICED), False),
    ],
)
def test_an_attack_that_ends_otherwise_fails_the_run(
    outcome: Outcome,
    as_claimed: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "out.json"
    monkeypatch.setattr(bench.attacks, "ATTACKS", [lambda: outcome])
    monkeypatch.setattr(sys, "argv", ["attacks", "--json", str(path)])

    assert main() == (0 if as_claimed else 1)
    printed = capsys.readouterr()
    found = json.loads(path.read_text())
    assert found["not_as_claimed"] == ([] if as_claimed else ["an attack"])
    assert found["attacks"][0]["name"] == "an attack"
    assert ("NOT AS CLAIMED" in printed.out) is not as_claimed
    assert ("an attack" in printed.err) is not as_claimed


def test_the_table_has_a_line_for_each() -> None:
    runs = [bench.attacks.Run(STOPPED, 0.5), bench.attacks.Run(STOPPED, 1.5)]

    assert len(format_table(runs).splitlines()) == 3


def test_nothing_but_numpy_is_needed() -> None:
    script = (
        "import sys, numpy.random; before = set(sys.modules)\n"
        "import bench.attacks\n"
        "names = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(names - sys.stdlib_module_names - {'protocols', 'bench', 'numpy'}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.split() == []

"""docs/security.md: what it points at exists, and its figures are computed here."""

import re
from math import comb
from pathlib import Path

import pytest

from protocols.params import MAINNET

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text()
PREFIXES = {"C/": "chain/contracts/", "T/": "tests/chain/contracts/"}


def references() -> list[str]:
    """Everything in backticks that looks like a path, with what stands behind it."""
    found = re.findall(r"`([\w./-]+/[\w./-]*(?:(?:::|: )\w+)?)`", PAGE)
    return sorted({each for each in found if each not in PREFIXES})


def expand(path: str) -> Path:
    for short, whole in PREFIXES.items():
        if path.startswith(short):
            return ROOT / whole / path.removeprefix(short)
    return ROOT / path


@pytest.mark.parametrize("reference", references())
def test_what_is_named_exists(reference: str) -> None:
    path, _, name = re.sub(r"::|: ", "\0", reference).partition("\0")
    assert expand(path).exists()
    if name:
        text = expand(path).read_text()
        assert re.search(rf"\b(def|class) {name}\b|^def {name}\b", text, re.MULTILINE), name


def test_there_is_something_to_look_at() -> None:
    assert len(references()) > 40


def tail(seats: int, share: float, least: int) -> float:
    """Probability that at least so many of the seats fall to a share of all checkers."""
    return sum(
        comb(seats, bad) * share**bad * (1 - share) ** (seats - bad)
        for bad in range(least, seats + 1)
    )


def test_the_figures_of_captured_committees() -> None:
    rows = re.findall(
        r"^\| (\d+) \| (\d+) \| ([\d.]+) % \| ([\d.]+) % \| ([\d.]+) % \|$", PAGE, re.M
    )
    assert len(rows) == 4
    assert (MAINNET.seats, MAINNET.quorum) == (11, 8)
    lowering = MAINNET.quorum - (MAINNET.quorum - 1) // 2 - 1
    raising = MAINNET.quorum // 2 + 1
    majority = MAINNET.seats // 2 + 1
    assert (lowering, raising, majority) == (4, 5, 6)
    for checkers, bad, *figures in rows:
        share = int(bad) / int(checkers)
        for figure, least in zip(figures, (lowering, raising, majority), strict=True):
            assert float(figure) == pytest.approx(100 * tail(MAINNET.seats, share, least), abs=6e-4)

"""The file of draws: what it may say, and when its draws open."""

from dataclasses import replace
from pathlib import Path

import pytest

from p2p_node.zeronode.draw_schedule import (
    MAX_FILE_BYTES,
    DrawsError,
    Plan,
    parse_draws,
    read_draws,
    read_shipped_draws,
)
from protocols.lucky_draw import Prize, SourceKind, find_table_fault
from protocols.types import TimeMs

GOOD = """
[weekly]
summary = "Every week"
first_opens = 2026-01-05T00:00:00Z
every_seconds = 604800
open_seconds = 600000
lead_seconds = 900
reveal_seconds = 3600
missed_bonus = 2
source = "beacon"

[[weekly.prizes]]
name = "points"
ppm = 100000
points = 600

[[weekly.prizes]]
name = "ticket"
ppm = 200000
tickets = 1
"""
FIRST = TimeMs(1_767_571_200_000)
WEEK_MS = 604_800_000


def test_a_file_is_read() -> None:
    (schedule,) = parse_draws(GOOD.encode(), "draws.toml")
    assert schedule.name == "weekly"
    assert (schedule.first_ms, schedule.every_ms, schedule.open_ms) == (FIRST, WEEK_MS, 600_000_000)
    prizes = (Prize("points", 100_000, 600 * 2_880, 0), Prize("ticket", 200_000, 0, 1))
    plan = Plan("Every week", prizes, SourceKind.BEACON, 900_000, 3_600_000, 2)
    assert schedule.plan == plan
    assert Plan.from_text(plan.to_text()) == plan


@pytest.mark.parametrize(
    ("late_ms", "name"),
    [
        (-1, None),
        (0, "weekly-0"),
        (599_999_999, "weekly-0"),
        (600_000_000, None),
        (WEEK_MS - 1, None),
        (WEEK_MS, "weekly-1"),
        (100 * WEEK_MS + 5, "weekly-100"),
    ],
)
def test_when_draws_are_open(late_ms: int, name: str | None) -> None:
    (schedule,) = parse_draws(GOOD.encode(), "draws.toml")
    found = schedule.find_occasion(TimeMs(FIRST + late_ms))
    assert (found and found.id) == name
    if found is not None:
        assert found.opens_ms <= FIRST + late_ms < found.closes_ms
        assert found.plan == schedule.plan


@pytest.mark.parametrize("name", ["draws.toml", "draws_testnet.toml"])
def test_the_files_that_come_with_the_node(name: str) -> None:
    schedules = read_shipped_draws(name)
    assert schedules
    assert all(find_table_fault(each.plan.prizes) == "" for each in schedules)
    expected = {"draws.toml": SourceKind.DRAND, "draws_testnet.toml": SourceKind.BEACON}
    assert {each.plan.source for each in schedules} == {expected[name]}


def test_what_has_a_default() -> None:
    text = GOOD.replace('source = "beacon"\n', "").replace("missed_bonus = 2\n", "")
    (schedule,) = parse_draws(text.replace('summary = "Every week"\n', "").encode(), "draws.toml")
    (full,) = parse_draws(GOOD.encode(), "draws.toml")
    assert schedule.plan == replace(full.plan, summary="", source=SourceKind.DRAND, missed_bonus=1)


def test_no_draws_at_all_may_be_meant() -> None:
    assert parse_draws(b"", "draws.toml") == ()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[weekly]", "[Weekly]", "found a draw 'Weekly'"),
        ("[weekly]", "weekly = 3", "Cannot"),
        ("[weekly]", "[weekly", "draws.toml: "),
        ('summary = "Every week"', "summary = 7", "summary: expected"),
        ('summary = "Every week"', f'summary = "{"x" * 201}"', "summary: expected"),
        ('summary = "Every week"', "colour = 7", r"\[weekly\]: found 'colour'"),
        ("2026-01-05T00:00:00Z", "2026-01-05T00:00:00", "first_opens"),
        ("2026-01-05T00:00:00Z", '"2026"', "first_opens"),
        ("every_seconds = 604800", "every_seconds = 4", "every_seconds: found 4, expected 5 to"),
        ("every_seconds = 604800", "every_seconds = 1.5", "every_seconds"),
        ("every_seconds = 604800", "", "every_seconds: found None"),
        ("open_seconds = 600000", "open_seconds = 604801", "at most every_seconds"),
        ("lead_seconds = 900", "lead_seconds = true", "lead_seconds: found True"),
        ("reveal_seconds = 3600", "reveal_seconds = 99999999", "reveal_seconds"),
        ("missed_bonus = 2", "missed_bonus = -1", "missed_bonus: found -1"),
        ("missed_bonus = 2", 'missed_bonus = "2"', "missed_bonus"),
        ('source = "beacon"', 'source = "dice"', "source: found 'dice', expected drand or beacon"),
        ("ppm = 100000", "ppm = -1", "points: ppm: found -1"),
        ("ppm = 100000", "ppm = 900000", "1100000 ppm in sum"),
        ("points = 600", "points = 6000", "less than its price"),
        ("points = 600", "points = 0.5", "points: points: found 0.5"),
        ("points = 600", "points = 600\nodds = 3", "found 'odds'"),
        ('name = "ticket"', 'name = "points"', "two prizes of the same name"),
        ('name = "ticket"', "name = 7", "name: found 7"),
    ],
)
def test_what_cannot_be_meant(old: str, new: str, expected: str) -> None:
    assert old in GOOD
    with pytest.raises(DrawsError, match=expected):
        parse_draws(GOOD.replace(old, new).encode(), "draws.toml")


def test_prizes_have_to_be_there() -> None:
    head = GOOD.split("[[weekly.prizes]]")[0]
    with pytest.raises(DrawsError, match="prizes: expected"):
        parse_draws(head.encode(), "draws.toml")
    with pytest.raises(DrawsError, match="expected a table"):
        parse_draws((head + "prizes = [1]\n").encode(), "draws.toml")
    with pytest.raises(DrawsError, match="expected a table"):
        parse_draws(b"weekly = 1\n", "draws.toml")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DrawsError, match="No such file"):
        read_draws(tmp_path / "none.toml")
    path = tmp_path / "draws.toml"
    path.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(DrawsError, match="more than"):
        read_draws(path)
    path.write_bytes(b"\xff")
    with pytest.raises(DrawsError, match="decode"):
        read_draws(path)
    path.write_text("\n".join(f"[d{number}]" for number in range(17)))
    with pytest.raises(DrawsError, match="17 draws"):
        read_draws(path)
    path.write_text(GOOD)
    assert read_draws(path)[0].name == "weekly"

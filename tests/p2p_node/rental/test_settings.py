"""Settings of renting: where they come from, what they mean, what is said about bad ones."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_node.config import ConfigError, NodeConfig
from p2p_node.rental.settings import (
    HOUR,
    MAX_DURATION,
    TOKEN,
    RentalSettings,
    RentalSettingsError,
    format_duration,
    parse_duration,
    parse_price,
)
from protocols import params
from tests.p2p_node.test_config import NEEDED, load, write


def test_a_token_is_what_it_is_elsewhere() -> None:
    assert TOKEN == params.TOKEN


def test_without_a_price_there_is_no_renting() -> None:
    settings = load(*NEEDED).rental
    assert settings == RentalSettings()
    assert not settings.is_on


def test_a_table_of_the_file_is_read(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '[rental]\nprice = 0.36\nminimum = "30m"\nmaximum = 7200\nrunner = "bubblewrap"\n'
        "cores = 2\nmemory = 1000\ndisk = 500\nprocesses = 64\nnetwork = true\n"
        'templates = "mine.toml"\n',
    )
    assert load(*NEEDED, "--config", str(path)).rental == RentalSettings(
        price=10**14,
        minimum_seconds=1800,
        maximum_seconds=7200,
        runner="bubblewrap",
        cores=2,
        memory_bytes=10**9,
        disk_bytes=5 * 10**8,
        processes=64,
        network=True,
        templates=tmp_path / "mine.toml",
    )


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "rental_price = 1\nrental_minimum = 60\nrental_maximum = 61\n")
    config: NodeConfig = load(
        *NEEDED,
        "--config",
        str(path),
        "--rental-price",
        "3600",
        KAISAR_RENTAL_PRICE="2",
        KAISAR_RENTAL_MAXIMUM="2m",
    )
    assert (config.rental_price, config.rental_minimum, config.rental_maximum) == (TOKEN, 60, 120)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("price", "free"),
        ("price", "-1"),
        ("price", "1e3"),
        ("price", "0.0000000000000000001"),
        ("price", "0.000000000000000001"),
        ("price", "1000001"),
        ("minimum", "0"),
        ("minimum", "1w"),
        ("maximum", "93d"),
        ("runner", "chroot"),
        ("cores", "0"),
        ("memory", "much"),
        ("disk", "auto"),
        ("processes", "0"),
        ("network", "maybe"),
    ],
)
def test_a_bad_value_is_named_with_what_was_found_and_expected(name: str, text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(*NEEDED, f"--rental-{name}={text}")
    said = str(raised.value)
    assert said.startswith(f"rental_{name}: found {text!r} in --rental-{name}, expected ")


def test_an_unknown_name_in_the_table_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "[rental]\nprize = 1\n")
    with pytest.raises(ConfigError, match=r"rental_prize: an unknown .*did you mean rental_price"):
        load(*NEEDED, "--config", str(path))


@given(st.decimals(min_value=0, max_value=10**6, places=6))
def test_an_hour_never_costs_more_than_was_asked_for(amount: object) -> None:
    text = f"{amount:f}"
    whole, _, part = text.partition(".")
    asked = int(whole) * TOKEN + int(part.ljust(18, "0"))
    assert 0 <= asked - parse_price(text) * HOUR < HOUR


@given(st.integers(1, MAX_DURATION))
def test_durations_are_written_as_they_are_read(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


def test_durations_that_make_no_offer_are_refused() -> None:
    settings = RentalSettings(price=1, minimum_seconds=90, maximum_seconds=7200)
    settings.require_sense(7200)
    with pytest.raises(RentalSettingsError, match=r"rental_maximum: found 2h, expected .* 119m"):
        settings.require_sense(7140)
    with pytest.raises(RentalSettingsError, match=r"rental_minimum: found 3h, expected .* 2h"):
        replace(settings, minimum_seconds=10_800).require_sense(7200)

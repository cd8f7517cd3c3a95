"""What `kaisar rent` reads from a command line, and how it shows progress."""

import argparse
import io
from collections.abc import Callable
from typing import Any

import pytest

from p2p_node.cli import main
from p2p_node.cli.progress import Progress, format_bytes, format_duration
from p2p_node.cli.rent_arguments import (
    environment_entry,
    fetch_target,
    forward_ports,
    hours,
    lease_name,
    percent,
    rate,
    seconds,
    size,
)
from p2p_node.cli.rent_forward import describe_use
from p2p_node.cli.rent_run import strip_dashes, to_shell_status


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (hours, "1.5", 5400),
        (seconds, "90", 90),
        (rate, "12.5", 12_500_000),
        (percent, "99.5", 9950),
        (percent, "100%", 10_000),
        (size, "24GB", 24 * 10**9),
        (size, "1.5 kb", 1500),
        (size, "64", 64),
        (lease_name, "17", "17"),
        (lease_name, "00ff00ff00ff00ff", "00ff00ff00ff00ff"),
        (forward_ports, "8000:8888", (8000, 8888)),
        (forward_ports, "8888", (8888, 8888)),
        (forward_ports, "0:22", (0, 22)),
        (fetch_target, "out", ("out", None)),
        (fetch_target, "out/a:here", ("out/a", "here")),
        (environment_entry, "A=b=c", b"A=b=c"),
        (environment_entry, "A=", b"A="),
    ],
)
def test_what_is_meant(read: Callable[[str], Any], text: str, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (hours, "0"),
        (hours, "0.001"),
        (hours, "-1"),
        (hours, "9999999"),
        (hours, "1e3"),
        (seconds, "1.5"),
        (seconds, ""),
        (rate, "fast"),
        (percent, "100.01"),
        (size, "24GiB"),
        (size, "big"),
        (size, "1..2GB"),
        (lease_name, "../x"),
        (forward_ports, "8888:0"),
        (forward_ports, "8888:70000"),
        (forward_ports, "a:b"),
        (forward_ports, ":"),
        (fetch_target, ":here"),
        (environment_entry, "A"),
        (environment_entry, "=b"),
        (environment_entry, "A=\0"),
    ],
)
def test_what_cannot_be_meant(read: Callable[[str], Any], text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"found .*, expected"):
        read(text)


def test_statuses_are_those_of_shells() -> None:
    assert [to_shell_status(each) for each in (0, 7, -9, -15)] == [0, 7, 137, 143]


def test_dashes_before_a_command() -> None:
    assert strip_dashes(["--", "ls", "--", "-l"]) == ["ls", "--", "-l"]
    assert strip_dashes(["ls"]) == ["ls"]


def test_how_a_forwarded_port_is_used() -> None:
    assert describe_use("127.0.0.1", 9000, 8888) == "http://127.0.0.1:9000/"
    assert describe_use("::1", 9000, 8888) == "http://[::1]:9000/"
    assert describe_use("127.0.0.1", 2222, 22) == "ssh -p 2222 127.0.0.1"
    assert describe_use("127.0.0.1", 9000, 5000) == "127.0.0.1:9000"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1500, "1.5 kB"),
        (200_000_000, "200.0 MB"),
        (10**16, "10,000.0 TB"),
    ],
)
def test_bytes(count: int, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (59, "59 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (5400, "1 h 30 min"),
        (3600, "1 h"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations(count: int, text: str) -> None:
    assert format_duration(count) == text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal_is_one_line() -> None:
    out, moment = Terminal(), [0.0]
    progress = Progress(out, lambda: moment[0])
    moment[0] = 1.0
    progress.update("1 of 2")
    # Too soon after the last change to be seen.
    progress.update("2 of 2")
    progress.say("done")

    assert out.getvalue() == "\r\x1b[K1 of 2\r\x1b[Kdone\n"


def test_progress_elsewhere_is_a_line_now_and_then() -> None:
    out, moment = io.StringIO(), [0.0]
    progress = Progress(out, lambda: moment[0])
    for second in range(11):
        moment[0] = float(second)
        progress.update(f"second {second}")
    progress.clear()

    assert out.getvalue() == "second 0\nsecond 5\nsecond 10\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rent", "open", "3"], "expected a deployment file"),
        (["rent", "forward", "8888:x"], "expected ports such as 8888:8888"),
        (["rent", "search", "--hours", "1", "--seconds", "2"], "not allowed with"),
        (["rent"], "ACTION"),
    ],
)
def test_a_command_line_that_cannot_be_meant(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_help_explains_the_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rent", "search", "--help"]) == 0
    text = capsys.readouterr().out
    assert "VALUE, by which the list is sorted" in text
    assert "`reported`" in text

"""What people and programs read: tables, amounts, log lines; and the network key file."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2p_node.display import format_amount, format_fields, format_table, show_json, show_lines
from p2p_node.logs import configure_logging
from p2p_node.network_key import NetworkKeyError, read_network_key
from p2p_node.secret_files import SecretFileError, create_secret_file


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0 KAI"),
        (1, "0.000000000000000001 KAI"),
        (10**18, "1 KAI"),
        (1_234_567_500_000_000_000_000, "1,234.5675 KAI"),
        (-15 * 10**17, "-1.5 KAI"),
    ],
)
def test_amounts_are_exact(amount: int, text: str) -> None:
    assert format_amount(amount) == text


def test_amounts_of_other_units() -> None:
    assert format_amount(1500, "points", 3) == "1.5 points"
    assert format_amount(10**18, "") == "1"


def test_fields_are_aligned() -> None:
    assert format_fields({"a": 1, "long name": "x"}) == ["a          1", "long name  x"]
    assert format_fields({}) == []


def test_table() -> None:
    rows = [["a", 5, "x"], ["bb", 1000, ""]]
    assert format_table(["name", "score", ""], rows) == [
        "name  score",
        "----  -----  -",
        "a         5  x",
        "bb     1000",
    ]
    assert format_table(["name"], []) == ["name", "----"]


def test_showing() -> None:
    stream = io.StringIO()
    show_json({"a": [1]}, stream)
    assert json.loads(stream.getvalue()) == {"a": [1]}
    stream = io.StringIO()
    show_lines(["one", "two"], stream)
    assert stream.getvalue() == "one\ntwo\n"


@pytest.fixture
def _logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    # pytest's own handlers are not ours to close, which is what configuring would do.
    root.handlers = []
    yield
    root.handlers, root.level = before
    for name in ("p2p_node", "chain", "protocols"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.mark.usefixtures("_logging_restored")
def test_log_for_people() -> None:
    stream = io.StringIO()
    configure_logging("info", "text", stream)
    logging.getLogger("p2p_node.x").info("from %s", "a\nb\x1b[31m")
    logging.getLogger("p2p_node.x").debug("not asked for")
    logging.getLogger("somebody.else").info("not ours")
    logging.getLogger("somebody.else").warning("still heard")
    first, second = stream.getvalue().splitlines()
    assert first.endswith("Z info    p2p_node.x: from a�b�[31m")
    assert second.endswith("Z warning somebody.else: still heard")


@pytest.mark.usefixtures("_logging_restored")
def test_log_for_programs() -> None:
    stream = io.StringIO()
    configure_logging("debug", "json", stream)
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("chain").exception("went %s", "wrong\n")
    logging.getLogger("chain").debug("fine")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["level"], first["logger"], first["message"]) == ("error", "chain", "went wrong\n")
    assert first["traceback"].endswith("ValueError: no")
    assert first["time"].endswith("Z")
    assert second["level"] == "debug"
    assert "traceback" not in second


KEY = bytes(range(32))


def test_network_key(data_dir: Path) -> None:
    content = f"/key/swarm/psk/1.0.0/\n/base16/\n{KEY.hex()}\n"
    create_secret_file(data_dir / "swarm.key", content.encode())
    assert read_network_key(data_dir / "swarm.key") == KEY


@pytest.mark.parametrize(
    "content",
    [
        b"",
        KEY,
        b"/key/swarm/psk/1.0.0/\n/base64/\n" + KEY.hex().encode(),
        b"/key/swarm/psk/2.0.0/\n/base16/\n" + KEY.hex().encode(),
        b"/key/swarm/psk/1.0.0/\n/base16/\n" + KEY.hex().encode()[:-2],
        b"/key/swarm/psk/1.0.0/\n/base16/\nzz" + KEY.hex().encode()[2:],
        b"\xff",
    ],
)
def test_file_without_a_network_key(data_dir: Path, content: bytes) -> None:
    create_secret_file(data_dir / "swarm.key", content)
    with pytest.raises(NetworkKeyError, match="expected three lines") as caught:
        read_network_key(data_dir / "swarm.key")
    assert KEY.hex()[:16] not in str(caught.value)


def test_network_key_that_others_can_read(data_dir: Path) -> None:
    create_secret_file(data_dir / "swarm.key", b"")
    (data_dir / "swarm.key").chmod(0o640)
    with pytest.raises(SecretFileError, match="chmod 600"):
        read_network_key(data_dir / "swarm.key")

"""The command line's frame: which command, which exit status, what is printed where."""

import argparse
import errno
import importlib
import json
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from chain.errors import DeploymentFileError, UnreachableError
from p2p_node.cli import main
from p2p_node.cli.main import COMMANDS, Subparsers, add_json_flag
from p2p_node.config import ConfigError
from protocols.errors import LocalError

Run = Callable[[argparse.Namespace], int]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[[Run], None]:
    """Make `kaisar fake` run a function."""

    def install(run: Run) -> None:
        def add_parser(subparsers: Subparsers) -> None:
            add_json_flag(subparsers.add_parser("fake"))

        module = types.ModuleType("p2p_node.cli.fake")
        module.add_parser = add_parser  # type: ignore[attr-defined]
        module.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "p2p_node.cli.fake", module)
        monkeypatch.setitem(COMMANDS, "fake", "for this test")

    return install


def raising(error: BaseException) -> Run:
    def run(_: argparse.Namespace) -> int:
        raise error

    return run


def test_help_loads_neither_network_nor_chain() -> None:
    heavy = ["libp2p", "web3", "eth_account", "eth_abi", "numpy", "trio", "rich", "cupy"]
    code = (
        "import sys\n"
        "from p2p_node.cli import main\n"
        "for words in (['--help'], ['--version'], [], ['nonsense']):\n"
        "    main(words)\n"
        f"print([name for name in {heavy!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name, summary in COMMANDS.items():
        assert name in text
        assert summary in text


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"usage: kaisar {name}" in capsys.readouterr().out
    assert callable(importlib.import_module(f"p2p_node.cli.{name}").run)


def test_module_can_be_run() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "p2p_node", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("kaisar ")


def test_entry_point_is_this_function() -> None:
    assert main is sys.modules["p2p_node.cli.main"].main


@pytest.mark.parametrize("words", [[], ["nonsense"], ["--nonsense"], ["wallet"]])
def test_unusable_command_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage: kaisar" in captured.err


@pytest.mark.parametrize("status", [0, 1, 7])
def test_status_is_the_command_s(fake: Callable[[Run], None], status: int) -> None:
    fake(lambda _: status)
    assert main(["fake"]) == status


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fake"], False),
        (["--json", "fake"], True),
        (["fake", "--json"], True),
        (["--json", "fake", "--json"], True),
    ],
)
def test_json_stands_before_or_behind(
    fake: Callable[[Run], None], words: list[str], expected: bool
) -> None:
    seen = []

    def run(arguments: argparse.Namespace) -> int:
        seen.append(arguments.json)
        return 0

    fake(run)
    assert main(words) == 0
    assert seen == [expected]


UNREACHABLE = UnreachableError("http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (LocalError("no such thing"), 1, "no such thing"),
        (UNREACHABLE, 1, "rpc unreachable: http://127.0.0.1:1"),
        (ConfigError("role: bad"), 2, "role: bad"),
        (DeploymentFileError("d.json: no"), 2, "d.json: no"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x.json"), 1, "x.json: No such file"),
        (ExceptionGroup("nursery", [ConfigError("first"), ConfigError("second")]), 2, "first"),
        (
            ExceptionGroup("outer", [ExceptionGroup("inner", [UNREACHABLE, UNREACHABLE])]),
            1,
            "rpc unreachable: http://127.0.0.1:1",
        ),
    ],
)
def test_expected_error(
    fake: Callable[[Run], None],
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    status: int,
    text: str,
) -> None:
    fake(raising(error))
    assert main(["fake"]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[0] == f"kaisar fake: {text}"
    assert captured.err.count(text) == 1


def test_error_as_json(fake: Callable[[Run], None], capsys: pytest.CaptureFixture[str]) -> None:
    fake(raising(ExceptionGroup("", [LocalError("a"), UNREACHABLE])))
    assert main(["fake", "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"error": "a; rpc unreachable: http://127.0.0.1:1"}
    assert "kaisar fake: a" in captured.err


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        BaseExceptionGroup("", [KeyboardInterrupt()]),
        BaseExceptionGroup("", [BaseExceptionGroup("", [KeyboardInterrupt()]), LocalError("a")]),
    ],
    ids=["bare", "from Trio", "with others"],
)
def test_interrupted(fake: Callable[[Run], None], error: BaseException) -> None:
    fake(raising(error))
    assert main(["fake"]) == 130


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("bug"),
        OSError(errno.EIO, "of no file"),
        ExceptionGroup("", [LocalError("fine"), ZeroDivisionError("bug")]),
    ],
)
def test_bug_shows_its_traceback(fake: Callable[[Run], None], error: Exception) -> None:
    fake(raising(error))
    with pytest.raises(type(error)) as caught:
        main(["fake"])
    assert caught.value is error


def test_reader_that_goes_away_is_no_bug(tmp_path: Path) -> None:
    code = (
        "import sys, os\n"
        "from p2p_node.cli import main\n"
        "sys.stdin.readline()\n"
        "sys.exit(main(['--json', 'wallet', 'address', '--data-dir', 'nowhere']))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        _, errors = process.communicate(b"\n", timeout=60)
    assert process.returncode == 1
    assert b"Traceback" not in errors
    assert b"BrokenPipe" not in errors

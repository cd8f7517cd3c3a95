"""`kaisar devchain` as a process: it says when it is ready and ends when it is told to."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from p2p_node.cli import main
from p2p_node.cli.devchain import parse_funding
from p2p_node.config import ConfigError

ADDRESS = "0x" + "ab" * 20
SECONDS = 60.0


@contextmanager
def devchain(*words: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, object]]]:
    """Start a devchain, yield it with what it printed when it was ready, and end it."""
    command = [sys.executable, "-m", "p2p_node", "--json", "devchain", "--port", "0", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads("".join(process.stdout.readline() for _ in range(4)))
        finally:
            process.kill()


def ask(url: str, method: str, *parameters: object) -> object:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
    request = urllib.request.Request(  # noqa: S310 (a URL of our own)
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
        return json.loads(answer.read())["result"]


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_runs_until_it_is_told_to_stop(number: signal.Signals, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    words = ("--chain-id", "77", "--fund", f"{ADDRESS}=5", "--ready-file", str(ready))
    with devchain(*words) as (process, printed):
        url = str(printed["url"])
        assert printed["chain_id"] == 77
        assert ready.read_text() == url + "\n"
        assert ask(url, "eth_chainId") == hex(77)
        assert ask(url, "eth_getBalance", ADDRESS, "latest") == "0x5"
        process.send_signal(number)
        assert process.wait(SECONDS) == 0


@pytest.mark.integration
def test_ends_with_the_process_that_started_it() -> None:
    code = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-m', 'p2p_node', '--json', 'devchain',\n"
        "    '--port', '0', '--exit-with-parent'], stdout=subprocess.PIPE, text=True)\n"
        "print(''.join(child.stdout.readline() for _ in range(4)), flush=True)\n"
        "print(child.pid, flush=True)\n"
        "sys.stdin.readline()\n"
        "os._exit(0)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdin is not None
        url = json.loads("".join(parent.stdout.readline() for _ in range(5)))["url"]
        child = int(parent.stdout.readline())
        assert ask(url, "eth_chainId")
        parent.stdin.close()
        parent.wait(SECONDS)
    if not is_gone(url):
        os.kill(child, signal.SIGKILL)
        pytest.fail("the devchain outlived the process that started it")


def is_gone(url: str) -> bool:
    """Wait until nobody answers at `url`."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            ask(url, "eth_chainId")
        except (urllib.error.URLError, OSError):
            return True
        time.sleep(0.05)
    return False


def test_port_in_use_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with devchain() as (_, printed):
        port = str(printed["url"]).rsplit(":", 1)[1]
        assert main(["devchain", "--port", port]) == 1
    assert port in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--port", "70000"], "port: found 70000"),
        (["--block-seconds", "-1"], "block_seconds: found -1"),
        (["--chain-id", "0"], "chain_id: found 0"),
        (["--fund", "0x12=1"], "fund: found '0x12=1'"),
    ],
)
def test_bad_setting(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devchain", *words]) == 2
    assert message in capsys.readouterr().err


def test_funding() -> None:
    assert parse_funding(f"{ADDRESS}=12") == (bytes.fromhex("ab" * 20), 12)


@pytest.mark.parametrize(
    "text",
    ["", "=", ADDRESS, f"{ADDRESS}=", f"{ADDRESS}=-1", f"{ADDRESS}=1e3", "ab=1", f"{ADDRESS}=²"],
)
def test_bad_funding(text: str) -> None:
    with pytest.raises(ConfigError, match="expected 0x and 40 digits"):
        parse_funding(text)

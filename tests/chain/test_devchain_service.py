"""The devchain's clock and its life as a process."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import requests

from chain.devchain.config import DevchainConfig
from chain.devchain.service import serving
from protocols.errors import LocalError
from tests.chain.backends import funded_config

PROGRAM = """
from chain.devchain.config import DevchainConfig
from chain.devchain.service import run_devchain
run_devchain(DevchainConfig(port=0), lambda running: print(running.url, flush=True))
print("stopped", flush=True)
"""


def wait_for(is_true: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, f"did not happen within {seconds} s"
        time.sleep(0.02)


def test_a_block_comes_every_second_with_the_clocks_time() -> None:
    with serving(funded_config(block_seconds=1)) as running:
        first = running.chain.head().number
        wait_for(lambda: running.chain.head().number >= first + 3, 20)
        blocks = [running.chain.block_by_number(first + offset) for offset in (1, 2, 3)]
        times = [block.timestamp for block in blocks if block is not None]
        assert times == sorted(set(times))
        # On a busy machine a block may be late, never early.
        assert abs(times[-1] - time.time()) < 5
        assert times[0] - 1 <= time.time()


def test_no_block_comes_when_the_test_makes_them() -> None:
    with serving(funded_config()) as running:
        before = running.chain.head().number
        answer = requests.post(
            running.url,
            json={"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber"},
            timeout=5,
        )
        assert int(answer.json()["result"], 16) == before


def test_the_port_is_free_again_afterwards() -> None:
    with serving(funded_config()) as running:
        port = int(running.url.rsplit(":", 1)[1])
        with (
            pytest.raises(LocalError, match=f"port: {port} cannot be used"),
            serving(DevchainConfig(port=port)),
        ):
            pass
    with serving(DevchainConfig(port=port, block_seconds=0)) as running:
        assert running.url.endswith(f":{port}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_stops_cleanly(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            url = process.stdout.readline().strip()
            body = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}
            assert requests.post(url, json=body, timeout=5).json()["result"] == hex(31337)
            process.send_signal(number)
            assert process.wait(15) == 0
            assert process.stdout.read() == "stopped\n"
            assert process.stderr.read() == ""
        finally:
            process.kill()


def test_many_clients_at_once() -> None:
    with serving(funded_config()) as running:
        sessions = [requests.Session() for _ in range(20)]
        batch = json.dumps(
            [{"jsonrpc": "2.0", "id": i, "method": "eth_blockNumber"} for i in range(20)]
        )
        headers = {"Content-Type": "application/json"}
        for session in sessions * 3:
            answer = session.post(running.url, data=batch, headers=headers, timeout=5).json()
            assert [item["id"] for item in answer] == list(range(20))
        for session in sessions:
            session.close()

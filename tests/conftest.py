"""What all tests share: Hypothesis profiles, an end for what hangs, and a directory for a node."""

import functools
import inspect
import math
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, settings

UNWIND_SECONDS = 20
"""What a test under Trio that hangs has to end its children, before its whole timeout is over."""

# Two busy cores make single examples slow for no fault of theirs, so there is no deadline; the
# timeout of a whole test still ends one that hangs. In CI the examples are the same every time.
settings.register_profile("local", deadline=None)
settings.register_profile(
    "ci", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci" if os.environ.get("CI") else "local")

# Under nohup, or in the background of a shell, these are ignored, and would be by every process
# that a test starts and wants to end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let Trio itself end an asynchronous test that hangs.

    pytest-timeout raises its error wherever the interpreter is. In the middle of Trio's scheduler
    it leaves a loop that nobody can close, and pytest with it: no test after it runs, and nobody
    learns which one it was.
    """
    default = float(config.getini("timeout"))
    for item in items:
        if not isinstance(item, pytest.Function) or not inspect.iscoroutinefunction(item.obj):
            continue
        marker = item.get_closest_marker("timeout")
        seconds = float(marker.args[0]) if marker is not None else default
        item.obj = _end_after(max(seconds - UNWIND_SECONDS, seconds / 2), item.obj)


def _end_after(
    seconds: float, test: Callable[..., Awaitable[None]]
) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def limited(**fixtures: Any) -> None:
        # Under a virtual clock hours pass in no time.
        is_virtual = isinstance(trio.lowlevel.current_clock(), trio.testing.MockClock)
        with trio.fail_after(math.inf if is_virtual else seconds):
            await test(**fixtures)

    return limited


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A directory as a node makes it for itself: for its owner only."""
    directory = tmp_path / "node"
    directory.mkdir(mode=0o700)
    return directory


@pytest.fixture
def unused_tcp_port() -> int:
    """A port of the loopback interface on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

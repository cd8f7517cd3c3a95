"""What all tests share: Hypothesis profiles and a private directory to keep a node's data in."""

import os
import signal
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

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

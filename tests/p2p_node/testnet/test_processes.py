"""Child processes: restarted when they die, and gone when the run is over."""

import os
import signal
import sys
from pathlib import Path

import trio

from p2p_node.testnet.processes import MAX_RESTARTS, Child, Household, describe_exit

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('ready', flush=True)\ntime.sleep(600)",
]
FAILING = [sys.executable, "-c", "raise SystemExit(3)"]
DONE = [sys.executable, "-c", "pass"]


def make_child(tmp_path: Path, command: list[str], *, expected_exit: bool = False) -> Child:
    return Child("child", command, tmp_path / "child.log", {}, expected_exit=expected_exit)


async def wait_until(condition, seconds: float = 30) -> None:
    with trio.fail_after(seconds):
        while not condition():
            await trio.sleep(0.02)


async def test_killed_child_is_started_again(tmp_path: Path) -> None:
    told: list[str] = []
    household = Household(told.append)
    child = make_child(tmp_path, SLEEPER)
    async with trio.open_nursery() as nursery:
        household.start(child)
        nursery.start_soon(household.run)
        assert child.process is not None
        first = child.process.pid
        os.kill(first, signal.SIGKILL)
        await wait_until(lambda: child.process is not None and child.process.pid != first)
        await household.stop()
        nursery.cancel_scope.cancel()
    assert child.deaths == ["was ended by SIGKILL"]
    assert told == ["child was ended by SIGKILL; starting it again"]


async def test_child_that_keeps_dying_is_given_up(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("p2p_node.testnet.processes.RESTART_SECONDS", 0.01)
    told: list[str] = []
    household = Household(told.append)
    child = make_child(tmp_path, FAILING)
    async with trio.open_nursery() as nursery:
        household.start(child)
        nursery.start_soon(household.run)
        await wait_until(lambda: len(child.deaths) > MAX_RESTARTS)
        nursery.cancel_scope.cancel()
    assert "not started again" in told[-1]
    assert set(child.deaths) == {"ended with status 3"}


async def test_child_that_is_done_stays_so(tmp_path: Path) -> None:
    told: list[str] = []
    household = Household(told.append)
    child = make_child(tmp_path, DONE, expected_exit=True)
    async with trio.open_nursery() as nursery:
        household.start(child)
        nursery.start_soon(household.run)
        await wait_until(lambda: child.process is None)
        nursery.cancel_scope.cancel()
    assert child.deaths == []
    assert told == []


async def test_stubborn_child_is_killed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("p2p_node.testnet.processes.STOP_SECONDS", 0.2)
    household = Household(lambda _text: None)
    child = make_child(tmp_path, STUBBORN)
    household.start(child)
    await wait_until(lambda: "ready" in child.tail())
    await household.stop()
    assert child.process is not None
    assert child.process.returncode == -signal.SIGKILL


async def test_nothing_is_started_after_the_end(tmp_path: Path) -> None:
    household = Household(lambda _text: None)
    await household.stop()
    child = make_child(tmp_path, SLEEPER)
    household.start(child)
    assert child.process is None


def test_exits_in_words() -> None:
    assert describe_exit(-9) == "was ended by SIGKILL"
    assert describe_exit(1) == "ended with status 1"

"""Processes that die at a chosen moment of their work with a database."""

import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event

from p2p_node.zeronode.database import Database

DONE = 0
FAILED = 3


def run_and_die(url: str, work: Callable[[Database], object], moment: int) -> bool:
    """Do `work` in a process that is killed (SIGKILL) at its moment number `moment`, from 1.

    A moment is just before a statement, just before a commit, or after it, when the connection goes
    back to its pool. Returns whether it
    was killed; otherwise it had come to its end.
    """
    child = os.fork()
    if child == 0:
        _work_in_child(url, work, moment)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == DONE
    return False


def _work_in_child(url: str, work: Callable[[Database], object], moment: int) -> None:
    status = FAILED
    left = moment

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        database = Database.open(url)
        with _watch(count):
            work(database)
        status = DONE
    finally:
        if status != DONE:
            traceback.print_exc()
        os._exit(status)


@contextmanager
def _watch(count: Callable[..., None]) -> Iterator[None]:
    """Call `count` at every moment of every engine until the block ends."""
    moments = ("before_cursor_execute", "commit", "checkin")
    for moment in moments:
        event.listen(Engine, moment, count)
    try:
        yield
    finally:
        for moment in moments:
            event.remove(Engine, moment, count)

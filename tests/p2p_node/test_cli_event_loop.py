"""Ctrl-C ends what a command does, wherever it falls."""

import signal
import weakref

import pytest
import trio

from p2p_node.cli.event_loop import run_async

WAIT_SECONDS = 20


class Thing:
    """Something that weak references can point at."""


def interrupt_in_a_weak_reference() -> None:
    """Receive Ctrl-C where the interpreter ignores every exception."""
    thing = Thing()
    reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
    del thing
    assert reference() is None


async def interrupted_between_steps() -> None:
    interrupt_in_a_weak_reference()
    await trio.sleep(WAIT_SECONDS)


async def interrupted_in_a_child_task() -> None:
    async def child() -> None:
        await trio.sleep(0.01)
        interrupt_in_a_weak_reference()
        await trio.sleep(WAIT_SECONDS)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(child)
        nursery.start_soon(trio.sleep, WAIT_SECONDS)


def test_an_interrupt_where_errors_are_ignored_ends_it() -> None:
    with pytest.raises(KeyboardInterrupt):
        run_async(interrupted_between_steps)


def test_an_interrupt_in_a_child_ends_all() -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        run_async(interrupted_in_a_child_task)
    assert caught.group_contains(KeyboardInterrupt)


def test_results_and_arguments_pass_through() -> None:
    async def add(first: int, second: int) -> int:
        await trio.lowlevel.checkpoint()
        return first + second

    assert run_async(add, 2, 3) == 5

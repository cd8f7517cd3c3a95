"""Tasks that belong together."""

import pytest
import trio

from p2p_node.rental.together import run_together


async def test_all_run_to_their_end() -> None:
    done: list[int] = []

    async def one() -> None:
        await trio.lowlevel.checkpoint()
        done.append(1)

    async def two() -> None:
        await trio.lowlevel.checkpoint()
        done.append(2)

    await run_together(one, two)
    assert sorted(done) == [1, 2]


async def test_the_first_failure_ends_the_others_and_comes_out_bare() -> None:
    cancelled = trio.Event()

    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    async def wait() -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()
            # What follows from the first failure is noise.
            raise KeyError

    with pytest.raises(ZeroDivisionError):
        await run_together(wait, fail)
    assert cancelled.is_set()


async def test_a_cancellation_from_outside_stays_one() -> None:
    with trio.move_on_after(0) as scope:
        await run_together(trio.sleep_forever, trio.sleep_forever)
    assert scope.cancelled_caught

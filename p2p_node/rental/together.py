"""Tasks that belong together: one fails, all end, and the failure is raised as it is."""

from collections.abc import Awaitable, Callable

import trio


async def run_together(*tasks: Callable[[], Awaitable[None]]) -> None:
    """Run all tasks until they are done.

    The first that fails ends the others, and its exception is raised bare: what follows from it in
    the others is noise.
    """
    failures: list[BaseException] = []

    async def run_one(task: Callable[[], Awaitable[None]]) -> None:
        try:
            await task()
        except trio.Cancelled:
            raise
        except BaseException as error:
            failures.append(error)
            raise

    try:
        async with trio.open_nursery() as nursery:
            for task in tasks:
                nursery.start_soon(run_one, task)
    except BaseExceptionGroup:
        if failures:
            raise failures[0] from failures[0].__cause__
        raise

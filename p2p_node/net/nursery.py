"""A nursery that its user does not notice."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def private_nursery() -> AsyncIterator[trio.Nursery]:
    """A nursery inside a context manager of ours.

    What the block raises leaves it as it was raised, not wrapped in an ExceptionGroup, as long as
    no task of the nursery failed too: the caller did not open this nursery.
    """
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except BaseException as error:
                failure = error
                raise
    except BaseExceptionGroup as group:
        if failure is None or list(group.exceptions) != [failure]:
            raise
    else:
        return
    raise failure

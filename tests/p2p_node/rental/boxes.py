"""A bubblewrap runner for tests, of which nothing runs on when a test is over."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from p2p_node.rental.bubblewrap import BubblewrapRunner, find_bubblewrap


@asynccontextmanager
async def bubblewrap_runner(
    data_dir: Path, *, groups: bool = True
) -> AsyncIterator[BubblewrapRunner]:
    """As a node finds it, or as on a host without control groups; wiped in the end."""
    find = partial(find_bubblewrap, data_dir / "rental", groups=groups)
    runner = await trio.to_thread.run_sync(find)
    try:
        yield runner
    finally:
        with trio.CancelScope(shield=True):
            for lease_id in await runner.leftovers():
                await runner.wipe(lease_id)

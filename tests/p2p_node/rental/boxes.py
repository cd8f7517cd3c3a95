"""Runners for tests, of which nothing runs on when a test is over."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from p2p_node.rental.bubblewrap import BubblewrapRunner, find_bubblewrap
from p2p_node.rental.docker import DockerRunner, find_docker
from p2p_node.rental.runner import NoRunnerError
from tests import require
from tests.p2p_node.rental.docker_image import make_image


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


@asynccontextmanager
async def docker_runner(data_dir: Path, *, relays: bool = False) -> AsyncIterator[DockerRunner]:
    """With an image made of this host's own programs; skips where Docker does not answer.

    With `relays`, as a node without root connects.
    """
    try:
        runner = find_docker(data_dir / "rental")
    except NoRunnerError as error:
        require.miss("docker", str(error))
        raise
    make_image()
    runner.enters_networks = runner.enters_networks and not relays
    try:
        yield runner
    finally:
        with trio.CancelScope(shield=True):
            for lease_id in await runner.leftovers():
                await runner.wipe(lease_id)

"""Nodes on loopback, ready to use."""

import warnings
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio

with warnings.catch_warnings():
    # libp2p 0.8.1 imports websockets.legacy, which warns that it is deprecated.
    warnings.filterwarnings("ignore", "websockets.legacy is deprecated", DeprecationWarning)
    import libp2p  # noqa: F401

from p2p_node.net import Network, NetworkLimits, NetworkSettings, NetworkTimes, open_network
from tests.fakes.network import FakeHub

LOOPBACK = ("/ip4/127.0.0.1/tcp/0",)

FAST = NetworkTimes(heartbeat=0.2, retry_most=0.5, discovery=1.0, linger=0.2, shutdown=2.0)
"""Times for tests: the waits that are counted in seconds on a real network are shorter."""


def settings(number: int, bootstrap: Sequence[str] = (), **changes: Any) -> NetworkSettings:
    """Settings of node `number` of a network on loopback."""
    values: dict[str, Any] = {
        "seed": number.to_bytes(32, "big"),
        "network": "test",
        "listen": LOOPBACK,
        "bootstrap": tuple(bootstrap),
        "times": FAST,
    }
    return NetworkSettings(**{**values, **changes})


def limits(**changes: Any) -> NetworkLimits:
    """The default limits with some changed."""
    return NetworkLimits(**changes)


def times(**changes: Any) -> NetworkTimes:
    """The times of tests with some changed."""
    known = {name: getattr(FAST, name) for name in FAST.__dataclass_fields__}
    return NetworkTimes(**{**known, **changes})


@asynccontextmanager
async def open_nodes(count: int, **changes: Any) -> AsyncIterator[list[Network]]:
    """`count` nodes on loopback, each connected to each other."""
    async with AsyncExitStack() as stack:
        nodes: list[Network] = []
        for number in range(1, count + 1):
            bootstrap = [address for node in nodes for address in node.addresses]
            node = await stack.enter_async_context(
                open_network(settings(number, bootstrap, **changes))
            )
            nodes.append(node)
        with trio.fail_after(20):
            for node in nodes:
                await node.wait_for_peers(count - 1)
        yield nodes


@asynccontextmanager
async def _open_fakes(count: int, **changes: Any) -> AsyncIterator[list[Network]]:
    hub = FakeHub()
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(hub.open_network(settings(number, **changes)))
            for number in range(1, count + 1)
        ]


World = Callable[..., AbstractAsyncContextManager[list[Network]]]


@pytest.fixture(params=[open_nodes, _open_fakes], ids=["libp2p", "fake"])
def world(request: pytest.FixtureRequest) -> World:
    """Opens so many nodes that are connected with each other: real ones, then fake ones."""
    return request.param


async def until(condition: Any, within: float = 10.0) -> None:
    """Wait until `condition()` holds; fails after `within` seconds."""
    with trio.fail_after(within):
        while not condition():
            await trio.sleep(0.01)

"""A whole service for tests: real sockets, a real database, clients in Python.

    async def test_something(service: Serving) -> None:
        async with service.client(1) as client: ...

Challenges come every 0.2 … 0.4 s here; otherwise the rules are those of `minimal`.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import trio
from nacl.signing import SigningKey

from p2p_node.clock import Clock
from p2p_node.zeronode.client import ZeroNodeClient
from p2p_node.zeronode.parts import Service, ServiceIdentity
from p2p_node.zeronode.service import Duty, Running, open_service, run_service
from p2p_node.zeronode.settings import ZeroNodeSettings
from protocols.types import NetworkId
from protocols.zeronode_rules import MINIMAL_RULES, ZeroNodeRules

NETWORK = NetworkId(bytes(range(32)))
CHAIN_ID = 31337
RULES = replace(
    MINIMAL_RULES,
    day_ms=86_400_000,
    hello_ms=1_000,
    challenge_min_ms=200,
    challenge_max_ms=400,
    answer_ms=4_000,
    max_credit_ms=5_000,
    join_gap_ms=2_000,
)
"""Quick enough for tests with real sockets; days so long that hardly a test ever sees one end that
does not mean to."""


def make_key(number: int) -> SigningKey:
    """An extension's key, or a node's."""
    return SigningKey(number.to_bytes(32, "big"))


def make_wallet(number: int) -> bytes:
    """A wallet's secret key."""
    return number.to_bytes(32, "big")


@dataclass(eq=False)
class Serving:
    """A service that runs."""

    service: Service
    running: Running
    stop: trio.CancelScope = field(repr=False)

    @property
    def url(self) -> str:
        return self.running.url

    @asynccontextmanager
    async def client(
        self, key: int, wallet: int | None = None, **options: Any
    ) -> AsyncIterator[ZeroNodeClient]:
        """A client with the key of a number, signed in with the wallet of a number."""
        async with ZeroNodeClient.open(self.url, make_key(key)) as client:
            if wallet is not None:
                await client.sign_in(make_wallet(wallet), **options)
            yield client


@asynccontextmanager
async def serve(
    directory: Path,
    *,
    database: str = "",
    rules: ZeroNodeRules = RULES,
    node: int = 99,
    clock: Clock | None = None,
    inline: bool = False,
    make_duties: Callable[[Service], Sequence[Duty]] = lambda service: (),
    **settings: Any,
) -> AsyncIterator[Serving]:
    """Run a service for the block. The same directory again is a restart of the same service."""
    chosen = ZeroNodeSettings(
        database=database or f"sqlite:///{directory / 'zeronode.sqlite'}",
        listen="127.0.0.1:0",
        **settings,
    )
    identity = ServiceIdentity(make_key(node), NETWORK, CHAIN_ID)
    opened = open_service(chosen, identity, rules, clock or Clock(), directory, inline=inline)
    async with opened as service, trio.open_nursery() as nursery:
        listening = trio.Event()
        found: list[Running] = []

        def note(running: Running) -> None:
            found.append(running)
            listening.set()

        async def run() -> None:
            await run_service(service, duties=make_duties(service), on_listening=note)

        nursery.start_soon(run)
        with trio.fail_after(20):
            await listening.wait()
        yield Serving(service, found[0], nursery.cancel_scope)
        nursery.cancel_scope.cancel()

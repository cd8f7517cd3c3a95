"""The devchain as a running thing: server and clock, for the command and for tests."""

import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread
from types import FrameType

from chain.devchain.config import DevchainConfig
from chain.devchain.methods import Methods
from chain.devchain.node import Devchain
from chain.devchain.server import HOST, DevchainServer
from protocols.errors import LocalError

_log = logging.getLogger(__name__)

STOP_SECONDS = 5.0
"""How long stopping waits for the threads."""

CLOCK_MARGIN = 0.001
"""Seconds past the tick at which a block is made, so that waking early cannot make it twice."""


@dataclass(frozen=True, slots=True)
class RunningDevchain:
    """A devchain that answers at `url`; `chain` is the object behind it."""

    url: str
    chain: Devchain


@contextmanager
def serving(config: DevchainConfig) -> Iterator[RunningDevchain]:
    """Run a devchain in threads for the length of a `with` block.

    Raises LocalError when the port is taken.
    """
    stop = Event()
    with _listening(config) as running:
        clock = Thread(target=_keep_time, args=(running.chain, stop), name="devchain-clock")
        clock.start()
        try:
            yield running
        finally:
            stop.set()
            clock.join(STOP_SECONDS)


def run_devchain(
    config: DevchainConfig, on_ready: Callable[[RunningDevchain], None] | None = None
) -> None:
    """Run a devchain in the main thread until SIGINT or SIGTERM; then return.

    `on_ready` is called once, when requests are answered. Raises LocalError when the port is
    taken.
    """
    stop = Event()

    def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    previous = {s: signal.signal(s, ask_to_stop) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        with _listening(config) as running:
            if on_ready is not None:
                on_ready(running)
            _keep_time(running.chain, stop)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _listening(config: DevchainConfig) -> Iterator[RunningDevchain]:
    chain = Devchain(config)
    try:
        server = DevchainServer(Methods(chain), config.port)
    except OSError as error:
        raise LocalError(f"port: {config.port} cannot be used: {error.strerror}") from error
    listener = Thread(target=server.serve_forever, args=(0.1,), name="devchain-http")
    listener.start()
    try:
        yield RunningDevchain(f"http://{HOST}:{server.port}", chain)
    finally:
        server.shutdown()
        server.server_close()
        listener.join(STOP_SECONDS)


def _keep_time(chain: Devchain, stop: Event) -> None:
    """Mine whenever the wall clock passes a multiple of the block time, until told to stop.

    A block that is late is not made up for: the chain's time is the clock's, not a count.
    """
    seconds = chain.config.block_seconds
    if not seconds:
        stop.wait()
        return
    while not stop.wait(seconds - time.time() % seconds + CLOCK_MARGIN):
        block = chain.mine()
        if block.transactions:
            _log.info("devchain: block %d, %d transactions", block.number, len(block.transactions))

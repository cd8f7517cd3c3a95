"""anvil as a chain that runs by itself, and that a test reorganises from outside."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from tests import require
from tests.chain.backends import CHAIN_ID, AnvilBackend, wait_until_listening


class RunningAnvil(AnvilBackend):
    """A chain with a block every second."""

    def reorganise_now(self, depth: int, *, keeps_transactions: bool) -> None:
        """Take blocks back and put empty ones in their place.

        What they held goes back into the pool, or is dropped, as by a node that was not there.
        """
        if keeps_transactions:
            self.request("anvil_reorg", depth, [])
        else:
            self.reorganise(depth)
        # The new blocks are as old as the first one that was taken back, and those that follow
        # would go on from there: a chain that is late for ever.
        self.request("anvil_setTime", int(time.time()))

    def height(self) -> int:
        found = self.request("eth_blockNumber")
        assert isinstance(found, str)
        return int(found, 16)


@contextmanager
def anvil_running(finality_blocks: int) -> Iterator[RunningAnvil]:
    """Start anvil with its usual accounts; `finalized` is so many blocks behind, an even number."""
    program = require.program("anvil")
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            *(program, "--port", str(port), "--hardfork", "london", "--quiet"),
            *("--chain-id", str(CHAIN_ID), "--block-time", "1"),
            *("--slots-in-an-epoch", str(finality_blocks // 2)),
        ]
    )
    backend = RunningAnvil(f"http://127.0.0.1:{port}")
    try:
        wait_until_listening(port, process)
        yield backend
    finally:
        backend.close()
        process.terminate()
        process.wait(10)

"""Chains that the transaction tests run on, with blocks made when the test says so."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Protocol

import requests

from chain.devchain.config import DevchainConfig
from chain.devchain.service import RunningDevchain, serving
from chain.signer import KeySigner
from tests import require

CHAIN_ID = 31337
ETHER = 10**18

FUNDER = KeySigner(b"\x11" * 32)
ALICE = KeySigner(b"\xa1" * 32)
BOB = KeySigner(b"\xb0" * 32)

ANVIL_START_SECONDS = 30.0


class Backend(Protocol):
    """A chain with FUNDER, ALICE and BOB rich, on which nothing is mined by itself."""

    url: str

    def mine(self, blocks: int = 1) -> None:
        """Make blocks out of what waits."""

    def reorganise(self, depth: int) -> None:
        """Take blocks back and put as many empty ones in their place; drop what they held."""

    def waits(self, transaction_hash: bytes) -> bool:
        """Tell whether a transaction waits for a block."""


class DevchainBackend:
    """The embedded devchain."""

    def __init__(self, running: RunningDevchain) -> None:
        self.url = running.url
        self.chain = running.chain

    def mine(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            self.chain.mine()

    def reorganise(self, depth: int) -> None:
        self.chain.rewind(depth, keep_transactions=False)
        # Other timestamps make other blocks.
        for _ in range(depth):
            self.chain.mine(self.chain.head().timestamp + 7)

    def waits(self, transaction_hash: bytes) -> bool:
        return self.chain.pending(transaction_hash) is not None


class AnvilBackend:
    """Foundry's anvil under London rules."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = requests.Session()
        self._miner = 0

    def mine(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            self.request("evm_mine")

    def reorganise(self, depth: int) -> None:
        # Another miner makes other blocks: empty ones would come out the same.
        self._miner += 1
        self.request("anvil_setCoinbase", f"0x{self._miner:040x}")
        self.request("anvil_reorg", depth, [])
        # anvil puts what the old blocks held back into its pool; a real reorganisation need not.
        self.request("anvil_dropAllTransactions")

    def roll_back(self, depth: int) -> None:
        """Take blocks back and put a single one in their place: the chain is shorter then."""
        self.request("anvil_rollback", depth)
        self.request("anvil_dropAllTransactions")
        self.mine()

    def waits(self, transaction_hash: bytes) -> bool:
        found = self.request("eth_getTransactionByHash", "0x" + transaction_hash.hex())
        return isinstance(found, dict) and found["blockNumber"] is None

    def request(self, method: str, *parameters: object) -> object:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(parameters)}
        answer = self._session.post(self.url, json=body, timeout=10).json()
        assert "error" not in answer, answer
        return answer["result"]

    def close(self) -> None:
        self._session.close()


def funded_config(block_seconds: int = 0) -> DevchainConfig:
    return DevchainConfig(
        chain_id=CHAIN_ID,
        port=0,
        block_seconds=block_seconds,
        funded=tuple((signer.address, 1000 * ETHER) for signer in (FUNDER, ALICE, BOB)),
    )


@contextmanager
def running_devchain() -> Iterator[DevchainBackend]:
    with serving(funded_config()) as running:
        backend = DevchainBackend(running)
        # Some history, so that a reorganisation does not reach the genesis block.
        backend.mine(4)
        yield backend


@contextmanager
def running_anvil(finality_blocks: int = 2, chain_id: int = CHAIN_ID) -> Iterator[AnvilBackend]:
    """Start anvil; `finalized` is so many blocks, an even number, behind the head."""
    program = require.program("anvil")
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            *(program, "--port", str(port), "--hardfork", "london", "--no-mining", "--quiet"),
            *("--chain-id", str(chain_id), "--accounts", "1"),
            # `finalized` is two of these behind the head.
            *("--slots-in-an-epoch", str(finality_blocks // 2)),
        ]
    )
    backend = AnvilBackend(f"http://127.0.0.1:{port}")
    try:
        wait_until_listening(port, process)
        for signer in (FUNDER, ALICE, BOB):
            backend.request("anvil_setBalance", "0x" + signer.address.hex(), hex(1000 * ETHER))
        backend.mine(2 + finality_blocks)
        yield backend
    finally:
        backend.close()
        process.terminate()
        process.wait(10)


def wait_until_listening(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + ANVIL_START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process.poll() is None, "anvil ended"
            assert time.monotonic() < deadline, "anvil does not listen"
            time.sleep(0.02)
        else:
            return

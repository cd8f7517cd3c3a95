"""An EVM under london rules to measure gas on: anvil where it is on the PATH, py-evm otherwise.

Every transaction gets a block of its own; the figures are those of its receipt.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from eth_keys import keys
from eth_utils import keccak
from web3 import EthereumTesterProvider, HTTPProvider, Web3

from chain.records import Call
from protocols.types import Wallet

START_SECONDS = 20.0
BLOCK_GAS = 30_000_000
CALL_GAS = 12_000_000
"""Gas limit of every transaction: above all that is measured, so that no margin shows."""

BALANCE = 10**24


def make_key(number: int) -> Any:
    """The private key of the person with this number."""
    return keys.PrivateKey(keccak(f"bench {number}".encode()))


def wallet_of(key: Any) -> Wallet:
    """The address of a key."""
    return Wallet(key.public_key.to_canonical_address())


class Evm(Protocol):
    """What both EVMs offer."""

    name: str
    chain_id: int

    def send(self, call: Call, sender: Wallet) -> dict[str, Any]:
        """Execute a call in a block of its own; its receipt. RuntimeError if it fails."""

    def read(self, to: Wallet, data: bytes) -> bytes:
        """Return what a view answers."""

    def now(self) -> int:
        """Timestamp of the newest block."""

    def travel(self, timestamp: int) -> None:
        """Let the next block have this timestamp."""


class _Web3Evm:
    def __init__(self, name: str, web3: Web3, caller: Wallet) -> None:
        self.name = name
        self.web3 = web3
        self._caller = caller
        self.chain_id = 0

    def send(self, call: Call, sender: Wallet) -> dict[str, Any]:
        transaction: dict[str, Any] = {
            "from": Web3.to_checksum_address(sender),
            "data": "0x" + call.data.hex(),
            "gas": CALL_GAS,
        }
        if call.to is not None:
            transaction["to"] = Web3.to_checksum_address(call.to)
        receipt = self.web3.eth.wait_for_transaction_receipt(
            self.web3.eth.send_transaction(transaction), poll_latency=0.002
        )
        if receipt["status"] != 1:
            raise RuntimeError(f"transaction failed: {call.data[:4].hex()} to {call.to!r}")
        return dict(receipt)

    def read(self, to: Wallet, data: bytes) -> bytes:
        # As somebody who can pay: py-evm asks even of a view.
        answer = self.web3.eth.call(
            {
                "from": Web3.to_checksum_address(self._caller),
                "to": Web3.to_checksum_address(to),
                "data": "0x" + data.hex(),
                "gas": CALL_GAS,
            }
        )
        return bytes(answer)

    def now(self) -> int:
        return int(self.web3.eth.get_block("latest")["timestamp"])


class _Anvil(_Web3Evm):
    def __init__(self, url: str, version: str, wallets: Sequence[Wallet]) -> None:
        super().__init__(version, Web3(HTTPProvider(url)), wallets[0])
        deadline = time.monotonic() + START_SECONDS
        while not self.web3.is_connected():
            if time.monotonic() > deadline:
                raise RuntimeError("anvil did not start")
            time.sleep(0.05)
        self.chain_id = self.web3.eth.chain_id
        for wallet in wallets:
            self._ask("anvil_setBalance", Web3.to_checksum_address(wallet), hex(BALANCE))

    def travel(self, timestamp: int) -> None:
        self._ask("evm_setNextBlockTimestamp", timestamp)
        self._ask("evm_mine")

    def _ask(self, method: str, *parameters: object) -> None:
        answer = self.web3.provider.make_request(method, list(parameters))
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")


class _PyEvm(_Web3Evm):
    def __init__(self, people: Sequence[Any]) -> None:
        from eth.vm.forks.london import LondonVM
        from eth_tester import EthereumTester, PyEVMBackend

        genesis = {
            wallet_of(key): {"balance": BALANCE, "nonce": 0, "code": b"", "storage": {}}
            for key in people
        }
        backend = PyEVMBackend(genesis_state=genesis, vm_configuration=((0, LondonVM),))
        self._tester = EthereumTester(backend)
        known = {account.lower() for account in self._tester.get_accounts()}
        for key in people:
            if key.public_key.to_address() not in known:
                self._tester.add_account(key.to_hex())
        web3 = Web3(EthereumTesterProvider(self._tester))
        super().__init__("py-evm", web3, wallet_of(people[0]))
        self.chain_id = web3.eth.chain_id

    def travel(self, timestamp: int) -> None:
        self._tester.time_travel(timestamp)


@contextmanager
def open_evm(people: Sequence[Any]) -> Iterator[Evm]:
    """Start an EVM on which every one of `people` (private keys) can send."""
    program = shutil.which("anvil")
    if program is None:
        yield _PyEvm(people)
        return
    version = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=True, timeout=START_SECONDS
    ).stdout.splitlines()[0]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [program, "--hardfork", "london", "--auto-impersonate", "--silent"]
    # Else a block's base fee follows from the one before; here nobody's balance is measured.
    command += ["--base-fee", "0", "--gas-price", "0", "--gas-limit", str(BLOCK_GAS)]
    process = subprocess.Popen([*command, "--port", str(port)], stdin=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        yield _Anvil(url, version.replace(" Version:", ""), [wallet_of(key) for key in people])
    finally:
        process.terminate()
        process.wait(10)

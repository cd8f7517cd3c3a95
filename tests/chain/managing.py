"""A transaction manager under test, and an endpoint that fails when it is told to."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes

from chain.journal import Journal, JournalEntry, MemoryJournal
from chain.records import Call, Receipt
from chain.rpc import JsonRpc, Rpc
from chain.signer import KeySigner
from chain.transactions import TransactionManager
from protocols.hashing import keccak256
from protocols.types import Wallet
from tests.chain.backends import ALICE, CHAIN_ID, Backend
from tests.chain.test_devchain_node import creation_of

NOBODY = Wallet(b"\x99" * 20)
SECONDS = 20.0
SEND = "eth_sendRawTransaction"

Forward = Callable[[], Awaitable[object]]
Hook = Callable[[str, tuple[Any, ...], Forward], Awaitable[object]]


class HookedRpc(Rpc):
    """An endpoint whose requests go through `hook(method, parameters, forward)` while it is set."""

    def __init__(self, url: str) -> None:
        super().__init__(url, timeout_seconds=5.0)
        self.hook: Hook | None = None

    async def request(self, method: str, *parameters: object) -> object:
        async def forward() -> object:
            return await super(HookedRpc, self).request(method, *parameters)

        return (
            await forward() if self.hook is None else await self.hook(method, parameters, forward)
        )


class _NotingJournal:
    """Passes everything on to a journal, and notes what was recorded."""

    def __init__(self, journal: Journal, history: list[JournalEntry]) -> None:
        self._journal = journal
        self._history = history

    def record(self, entry: JournalEntry) -> None:
        self._journal.record(entry)
        self._history.append(entry)

    def forget(self, nonce: int) -> None:
        self._journal.forget(nonce)

    def entries(self) -> Sequence[JournalEntry]:
        return self._journal.entries()


class Bench:
    """One wallet's manager on a backend, with shorthand for what tests do to it."""

    def __init__(
        self, backend: Backend, journal: Journal, signer: KeySigner, rpc: JsonRpc | None
    ) -> None:
        self.backend = backend
        self.history = list(journal.entries())
        self.journal = _NotingJournal(journal, self.history)
        self.signer = signer
        self.rpc = HookedRpc(backend.url)
        self.managers_rpc = self.rpc if rpc is None else rpc
        self.manager: TransactionManager
        self.outcomes: dict[str, Receipt | Exception] = {}
        self.nursery: trio.Nursery

    @property
    def hashes(self) -> list[bytes]:
        """Of all attempts that were ever journalled."""
        return [entry.hash for entry in self.history]

    @property
    def is_settled(self) -> bool:
        """Whether the journal has nothing left."""
        return not self.journal.entries()

    def start(self, call: Call, label: str, **options: Any) -> None:
        """Execute a call in the background; its outcome appears in `outcomes`."""
        options.setdefault("deadline", trio.current_time() + SECONDS)

        async def execute() -> None:
            try:
                self.outcomes[label] = await self.manager.execute(call, label=label, **options)
            except Exception as error:  # noqa: BLE001 - the test looks at it
                self.outcomes[label] = error

        self.nursery.start_soon(execute)

    async def until_waiting(self, count: int = 1) -> bytes:
        """Wait until `count` attempts are journalled and the newest waits in the pool."""
        await until(lambda: len(self.hashes) >= count)
        newest = self.hashes[-1]
        await until(lambda: self.backend.waits(newest))
        return newest

    async def mine_until(self, label: str, blocks: int = 30) -> Receipt | Exception:
        """Make blocks, one at a time, until an outcome is there."""
        for _ in range(blocks):
            self.backend.mine()
            with trio.move_on_after(0.1):
                await until(lambda: label in self.outcomes)
                break
        await until(lambda: label in self.outcomes)
        return self.outcomes[label]

    async def receipt_of(self, label: str) -> Receipt:
        outcome = await self.mine_until(label)
        assert isinstance(outcome, Receipt), outcome
        return outcome

    async def error_of(self, label: str) -> Exception:
        outcome = await self.mine_until(label)
        assert isinstance(outcome, Exception), outcome
        return outcome

    async def nonce(self) -> int:
        address = "0x" + self.signer.address.hex()
        return await self.rpc.quantity("eth_getTransactionCount", address, "latest")

    async def send_as_stranger(self, nonce: int, tip: int = 50 * 10**9) -> bytes:
        """Send from the same wallet behind the manager's back."""
        raw = self.signer.sign_transaction(
            {
                "type": 2,
                "chainId": CHAIN_ID,
                "nonce": nonce,
                "maxPriorityFeePerGas": tip,
                "maxFeePerGas": 4 * tip,
                "gas": 21_000,
                "value": 77,
                "data": b"",
                "to": NOBODY,
            }
        )
        await Rpc(self.backend.url).request("eth_sendRawTransaction", "0x" + raw.hex())
        return keccak256(raw)


@asynccontextmanager
async def managing(
    backend: Backend,
    journal: Journal | None = None,
    *,
    signer: KeySigner = ALICE,
    rpc: JsonRpc | None = None,
    **options: Any,
) -> AsyncIterator[Bench]:
    """Run a manager for the length of the block; at its end it is stopped as a crash stops it.

    It goes through `rpc` if that is given, else through the bench's own that can be hooked.
    """
    bench = Bench(backend, MemoryJournal() if journal is None else journal, signer, rpc)
    options = {"chain_id": CHAIN_ID, "poll_seconds": 0.01, **options}
    bench.manager = TransactionManager(bench.managers_rpc, signer, bench.journal, **options)
    async with trio.open_nursery() as nursery:
        bench.nursery = nursery
        nursery.start_soon(bench.manager.run)
        yield bench
        nursery.cancel_scope.cancel()
    bench.rpc.close()


async def until(is_true: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Wait until something happens; fail after `seconds`."""
    with trio.fail_after(seconds):
        while not is_true():
            await trio.sleep(0.005)


def transfer(value: int = 1, gas_limit: int | None = 21_000) -> Call:
    return Call(to=NOBODY, value=value, gas_limit=gas_limit)


class CrashError(BaseException):
    """Stands for kill -9: nothing handles it."""


def fields_of(entry: JournalEntry) -> dict[str, Any]:
    return TypedTransaction.from_bytes(HexBytes(entry.raw)).as_dict()


async def crash(backend: Backend, journal: MemoryJournal, *, after_sending: bool) -> None:
    """Let a manager die at its first broadcast."""

    async def hook(method: str, _: tuple[Any, ...], forward: Forward) -> object:
        if method == SEND:
            if after_sending:
                await forward()
            raise CrashError
        return await forward()

    with pytest.RaisesGroup(CrashError, flatten_subgroups=True):
        async with managing(backend, journal) as bench:
            bench.rpc.hook = hook
            bench.start(transfer(), "rent")
            await trio.sleep_forever()


async def deploy(bench: Bench, code: bytes) -> Wallet:
    bench.start(Call(to=None, data=creation_of(code)), "creation", confirmations=1)
    receipt = await bench.receipt_of("creation")
    assert receipt.contract is not None
    return receipt.contract


def reverting_code(reason: str) -> bytes:
    text = bytes.fromhex("08c379a0") + (32).to_bytes(32, "big")
    text += len(reason).to_bytes(32, "big") + reason.encode().ljust(32, b"\0")
    return bytes.fromhex(f"60{len(text):02x}600c60003960{len(text):02x}6000fd") + text

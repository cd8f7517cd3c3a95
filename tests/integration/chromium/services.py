"""What tests of the extension know of the service beside them, and read of its books."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from nacl.signing import SigningKey

from p2p_node.zeronode.database import Database
from p2p_node.zeronode.ledger import Unit, balances_of, entries_of, user_account
from p2p_node.zeronode.uptime_book import stretches_of
from protocols.ledger_records import Entry
from protocols.types import NetworkId, TimeMs, Wallet
from protocols.uptime import Stretch, total_ms

NETWORK = NetworkId(bytes(range(32)))
CHAIN_ID = 31337


LISTED = (7, 8)
"""Numbers of the services that the chain would list."""


def service_key(number: int) -> bytes:
    """By which a service is known."""
    return bytes(node_key(number).verify_key)


def node_key(number: int) -> SigningKey:
    """A service's key."""
    return SigningKey(bytes([number]) * 32)


START_SECONDS = 30.0
POLL_SECONDS = 0.1

Found = TypeVar("Found")


def wait_for(
    look: Callable[[], Found], what: str, seconds: float, *, poll: float = POLL_SECONDS
) -> Found:
    """Look again and again until there is something; AssertionError after so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(poll)
    raise AssertionError(f"not within {seconds} s: {what}")


def unused_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port: int = probe.getsockname()[1]
    return port


def database_url(directory: Path) -> str:
    return f"sqlite:///{directory / 'zeronode.sqlite'}"


@dataclass
class ServiceProcess:
    """A service that can be stopped and started again at the same address with the same books."""

    directory: Path
    rules: dict[str, Any]
    port: int = field(default_factory=unused_port)
    node: int = LISTED[0]
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def key(self) -> bytes:
        """By which it is known."""
        return service_key(self.node)

    def start(self) -> None:
        module = "tests.integration.chromium.run_service"
        arguments = [str(self.directory), str(self.port), str(self.node), json.dumps(self.rules)]
        with (self.directory / "service.log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == self.url, self.log()

    def stop(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait(10)
            assert process.stdout is not None
            process.stdout.close()

    def log(self) -> str:
        return (self.directory / "service.log").read_text()

    # What is durable, read from the books themselves.

    @contextmanager
    def books(self) -> Iterator[Any]:
        database = Database.open(database_url(self.directory))
        try:
            with database.reading() as connection:
                yield connection
        finally:
            database.close()

    def stretches(self, wallet: Wallet) -> tuple[Stretch, ...]:
        """When the account earned, merged."""
        with self.books() as connection:
            return stretches_of(connection, wallet, TimeMs(0), TimeMs(1 << 52))

    def paid_ms(self, wallet: Wallet) -> int:
        return total_ms(self.stretches(wallet))

    def balances(self, wallet: Wallet) -> tuple[int, int]:
        """Units and tickets."""
        with self.books() as connection:
            found = balances_of(connection, user_account(wallet))
        return found[Unit.POINTS], found[Unit.TICKETS]

    def entries(self, wallet: Wallet) -> tuple[Entry, ...]:
        with self.books() as connection:
            return tuple(entries_of(connection, user_account(wallet), 0, 1_000))


@contextmanager
def service_running(
    directory: Path, rules: dict[str, Any], node: int = LISTED[0]
) -> Iterator[ServiceProcess]:
    service = ServiceProcess(directory, rules, node=node)
    try:
        service.start()
        yield service
    finally:
        service.stop()

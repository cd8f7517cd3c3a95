"""A chain, a bootstrap node, one provider that rents its machine out, and a renter."""

import json
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from chain.calls import Calls
from chain.client import ChainClient
from chain.deploy import DeploymentOptions, deploy
from chain.deployment import Deployment, write_deployment
from chain.journal import MemoryJournal
from chain.rental_client import RentalClient
from chain.rpc import Rpc
from chain.transactions import TransactionManager
from p2p_node.keystore import LIGHT_KDF, PASSWORD_VARIABLE, Keystore
from p2p_node.run_file import read_run_file
from p2p_node.testnet.plan import node_child
from p2p_node.testnet.processes import Child, Household, kaisar_command
from protocols.params import MINIMAL, TOKEN
from protocols.types import Wallet
from tests.chain.backends import FUNDER

SECONDS = 120.0
GAS = 10**24
FUNDS = 1000 * TOKEN
PASSWORD = "secret"
PRICE = "3.6"
"""KAI per hour: a thousandth per second."""


@dataclass
class Done:
    """A command that has ended."""

    status: int
    out: bytes
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class RentalWorld:
    """One provider, reached through a bootstrap node, and a renter's data directory."""

    directory: Path
    deployment: Deployment
    rpc: Rpc
    rpc_url: str
    bootstrap: str
    household: Household
    provider: Child
    renter: Wallet

    @property
    def chain(self) -> ChainClient:
        return ChainClient(self.rpc, self.deployment)

    @property
    def rental(self) -> RentalClient:
        return RentalClient(self.rpc, self.deployment)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, PASSWORD_VARIABLE: PASSWORD, "COLUMNS": "100"}

    def command(self, action: str, words: Sequence[str] = (), *flags: str) -> list[str]:
        """The command line of `kaisar rent ACTION FLAGS WORDS`."""
        settings = ["--data-dir", str(self.directory / "renter"), "--rpc", self.rpc_url]
        if action not in ("extend", "end", "reclaim", "judge", "withdraw", "receipts"):
            settings += ["--bootstrap", self.bootstrap]
        # Last, as it takes one value only: what follows are the action's own words.
        settings += ["--deployment", str(self.directory / "deployment.json")]
        return kaisar_command("rent", action, *flags, *settings, *words)

    async def rent(
        self, action: str, *words: str, flags: Sequence[str] = (), stdin: bytes = b""
    ) -> Done:
        """Run an action to its end."""
        with trio.fail_after(SECONDS):
            found = await trio.run_process(
                self.command(action, words, *flags),
                stdin=stdin,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env=self.environment,
            )
        return Done(found.returncode, found.stdout, found.stderr.decode())

    async def until_line(self, child: Child, text: str) -> None:
        with trio.fail_after(SECONDS):
            while text not in child.log.read_text(errors="replace"):
                await trio.sleep(0.1)

    async def until_exit(self, child: Child) -> int:
        """Wait for its end and return its exit status."""
        assert child.process is not None
        with trio.fail_after(SECONDS):
            while (status := child.process.poll()) is None:
                await trio.sleep(0.05)
        return status


@asynccontextmanager
async def rental_world(directory: Path, *provider_flags: str) -> AsyncIterator[RentalWorld]:
    """Start all of it; when the block begins the provider offers its machine."""
    household = Household(lambda text: None)
    keys = {
        name: await trio.to_thread.run_sync(
            lambda name=name: Keystore.create(directory / name, PASSWORD, kdf=LIGHT_KDF)
        )
        for name in ("provider", "renter", "bootstrap")
    }
    wallets = [keys[name].wallet_address for name in ("provider", "renter")]
    try:
        async with trio.open_nursery() as nursery:
            rpc_url = await _start_devchain(household, directory, [FUNDER.address, *wallets])
            rpc = Rpc(rpc_url)
            manager = TransactionManager(
                rpc,
                FUNDER,
                MemoryJournal(),
                chain_id=await rpc.quantity("eth_chainId"),
                poll_seconds=0.2,
                max_unmined=16,
            )
            nursery.start_soon(manager.run)
            deployment = await deploy(
                rpc,
                manager,
                await rpc.quantity("eth_chainId"),
                DeploymentOptions(
                    preset=MINIMAL, reward_fund=10_000 * TOKEN, genesis=int(time.time()) + 15
                ),
                deadline=trio.current_time() + SECONDS,
            )
            write_deployment(directory / "deployment.json", deployment)
            for number, wallet in enumerate(wallets):
                gift = Calls(deployment).transfer(wallet, FUNDS)
                await manager.execute(
                    gift,
                    label=f"gift {number}",
                    deadline=trio.current_time() + SECONDS,
                    confirmations=1,
                )
            bootstrap = await _start_node(household, directory, rpc_url, "bootstrap", None)
            address = str((read_run_file(directory / "bootstrap") or {})["addresses"][0])
            provider = await _start_node(
                household, directory, rpc_url, "provider", address, *provider_flags
            )
            world = RentalWorld(
                directory, deployment, rpc, rpc_url, address, household, provider, wallets[1]
            )
            with trio.move_on_after(SECONDS) as waiting:
                while is_alive(provider) and not await world.rental.offers():
                    await trio.sleep(0.5)
            assert not waiting.cancelled_caught, provider.tail(40) + bootstrap.tail()
            assert is_alive(provider), provider.tail(40)
            yield world
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await household.stop()


async def _start_devchain(household: Household, directory: Path, wallets: Sequence[Wallet]) -> str:
    ready = directory / "devchain.url"
    command = kaisar_command(
        "devchain", "--port", "0", "--ready-file", str(ready), "--exit-with-parent"
    )
    for wallet in wallets:
        command += ["--fund", f"0x{wallet.hex()}={GAS}"]
    household.start(Child("devchain", command, directory / "devchain.log", {}, is_node=False))
    with trio.fail_after(SECONDS):
        while not ready.exists():
            await trio.sleep(0.05)
    return ready.read_text().strip()


async def _start_node(
    household: Household,
    directory: Path,
    rpc_url: str,
    role: str,
    bootstrap: str | None,
    *flags: str,
) -> Child:
    data_dir = directory / role
    child = node_child(
        role,
        role,
        data_dir,
        deployment=directory / "deployment.json",
        rpc_url=rpc_url,
        bootstrap=bootstrap,
        password=PASSWORD,
    )
    child.command = [*child.command, *flags]
    household.start(child)
    with trio.move_on_after(SECONDS) as waiting:
        while read_run_file(data_dir) is None and is_alive(child):
            await trio.sleep(0.05)
    assert not waiting.cancelled_caught, child.tail(40)
    assert is_alive(child), child.tail(40)
    return child


def is_alive(child: Child) -> bool:
    return child.process is not None and child.process.poll() is None

"""One wallet at work for the time of a command: reads, builds calls, and sends them.

The data directory is taken for as long, so that a running node and a command never use the same
nonce; its journal is shared with the node, so that whichever is cut off, the other one goes on.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from chain.calls import Calls
from chain.client import ChainClient
from chain.deployment import Deployment, verify_deployment
from chain.records import Call
from chain.rpc import JsonRpc
from chain.signer import Signer
from chain.transactions import TransactionManager
from p2p_node.chain_access import open_endpoints
from p2p_node.storage import Store, StoreJournal
from protocols.types import Wallet

DEADLINE_SECONDS = 600.0
"""For one transaction to be final; on peaq it takes half a minute."""


@dataclass(frozen=True, slots=True)
class WalletSession:
    """`say` is told about every transaction."""

    rpc: JsonRpc
    chain: ChainClient
    calls: Calls
    transactions: TransactionManager
    wallet: Wallet
    say: Callable[[str], None]

    async def send(self, label: str, call: Call) -> bytes:
        """Send one call, wait until it is final, and return its hash.

        Raises the errors of `TransactionManager.execute`.
        """
        deadline = trio.current_time() + DEADLINE_SECONDS
        receipt = await self.transactions.execute(call, label=label, deadline=deadline)
        self.say(f"{label}: 0x{receipt.transaction_hash.hex()}, {receipt.gas_used:,} gas")
        return receipt.transaction_hash

    async def approve_and_send(
        self, label: str, calls: tuple[Call, Call], spender: Wallet, amount: int
    ) -> bytes:
        """Send an approval, unless `spender` may take as much already, and what needs it."""
        approve, call = calls
        if await self.chain.allowance(self.wallet, spender) < amount:
            await self.send(f"approval of {label}", approve)
        return await self.send(label, call)


@asynccontextmanager
async def open_session(
    data_dir: Path,
    rpc_urls: tuple[str, ...],
    deployment: Deployment,
    signer: Signer,
    say: Callable[[str], None],
) -> AsyncIterator[WalletSession]:
    """Put a wallet to work.

    Raises DirectoryInUseError while a node runs with the data directory, and ChainError when the
    endpoints serve another chain or other contracts.
    """
    with Store.open(data_dir, deployment.network_id) as store:
        rpc = open_endpoints(rpc_urls, deployment.chain_id)
        try:
            await verify_deployment(rpc, deployment)
            manager = TransactionManager(
                rpc, signer, StoreJournal(store), chain_id=deployment.chain_id
            )
            async with trio.open_nursery() as nursery:
                nursery.start_soon(manager.run)
                yield WalletSession(
                    rpc,
                    ChainClient(rpc, deployment),
                    Calls(deployment),
                    manager,
                    signer.address,
                    say,
                )
                nursery.cancel_scope.cancel()
        finally:
            rpc.close()

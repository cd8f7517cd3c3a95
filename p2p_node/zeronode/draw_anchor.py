"""Commitments of draws on the chain, in ZeroNodeAnchor."""

from typing import Final

from chain.errors import TransactionError
from chain.transactions import TransactionManager
from chain.zeronode_calls import ZeroNodeCalls
from chain.zeronode_client import ZeroNodeClient
from p2p_node.clock import Clock
from p2p_node.zeronode.drawing import Commitment
from protocols.types import Digest, NodeKey, TimeMs

MAX_COMMIT_MS: Final = 600_000
"""Longest wait for one transaction; it is tried again until it is too late."""


class ChainAnchor:
    """What `drawing.Anchor` asks for, by one service's wallet."""

    def __init__(
        self,
        client: ZeroNodeClient,
        calls: ZeroNodeCalls,
        transactions: TransactionManager,
        node_key: NodeKey,
        clock: Clock,
    ) -> None:
        self._client = client
        self._calls = calls
        self._transactions = transactions
        self._node_key = node_key
        self._clock = clock

    async def is_listed(self) -> bool:
        """Tell whether the wallet is an active service with our node key."""
        wallet = self._transactions.wallet
        return any(
            each.is_active and each.wallet == wallet and each.node_key == self._node_key
            for each in await self._client.services("finalized")
        )

    async def find(self, key: Digest) -> Commitment | None:
        """Return what a finalised block has of a draw, under any index that was ever ours."""
        for service in await self._client.services("finalized"):
            if service.node_key == self._node_key:
                found = await self._client.draw_of(service.index, key, "finalized")
                if found is not None:
                    return Commitment(found.commitment, found.committed_at)
        return None

    async def commit(self, key: Digest, commitment: Digest, until: TimeMs) -> None:
        """Send the commitment, and return when it is final or `until` has passed."""
        until = min(until, TimeMs(self._clock.now() + MAX_COMMIT_MS))
        try:
            await self._transactions.execute(
                self._calls.commit_draw(key, commitment),
                label=f"commitment of draw {key.hex()}",
                deadline=self._clock.deadline(until),
                confirmations="finalized",
            )
        except TransactionError:
            # Whether it is there all the same is what the caller looks at next.
            return

"""Builders of ZeroNode's transactions: pure functions from intent to call data.

All gas limits are estimates of the chain.
"""

from dataclasses import dataclass

from chain.abi import get_interface
from chain.deployment import Deployment
from chain.records import Call
from protocols.errors import LocalError
from protocols.types import Digest, NodeKey, Wallet

_ZERO = bytes(32)


@dataclass(frozen=True, slots=True)
class ZeroNodeCalls:
    """Builds calls for one deployment."""

    deployment: Deployment

    def add_service(self, wallet: Wallet, node_key: NodeKey) -> Call:
        """List a service; the owner of ZeroNodeAnchor may."""
        return self._build("add_service", wallet, node_key)

    def retire_service(self, service: int) -> Call:
        """Let a service send nothing more; the owner of ZeroNodeAnchor may."""
        return self._build("retire_service", service)

    def anchor(self, day: int, root: Digest) -> Call:
        """Say, once and for ever, what the sending service's ledger was at the end of a day.

        `day` counts from the Unix epoch in the preset's `day_seconds`, and is over. LocalError for
        a root of zeros, which means none.
        """
        _require_any("root", root)
        return self._build("anchor", day, root)

    def commit_draw(self, draw: Digest, commitment: Digest) -> Call:
        """Say, once and for ever, what a draw of the sending service's will be decided by."""
        _require_any("commitment", commitment)
        return self._build("commit_draw", draw, commitment)

    def offer_ownership(self, heir: Wallet) -> Call:
        """Offer the sender's ownership of ZeroNodeAnchor."""
        return self._build("offer_ownership", heir)

    def accept_ownership(self) -> Call:
        """Take over the ownership of ZeroNodeAnchor that the sender was offered."""
        return self._build("accept_ownership")

    def mint(self, to: Wallet) -> Call:
        """Make a token of the deployment's own collection; its minter may."""
        return self._build("mint", to, contract="Nft")

    def transfer(self, sender: Wallet, to: Wallet, token: int) -> Call:
        """Move a token of the collection from its owner, who may send this."""
        return self._build("transferFrom", sender, to, token, contract="Nft")

    def _build(self, function: str, *arguments: object, contract: str = "ZeroNodeAnchor") -> Call:
        return Call(
            to=self.deployment.address(contract),
            data=get_interface(contract).functions[function].encode(arguments),
        )


def _require_any(name: str, value: bytes) -> None:
    if len(value) != 32 or value == _ZERO:
        raise LocalError(f"{name}: found {value.hex() or 'nothing'}, expected 32 bytes, not zeros")

"""Builders of the transactions of a lease: pure functions from intent to call data.

Amounts are in the token's smallest unit. All gas limits are estimates of the chain.
"""

from dataclasses import dataclass
from typing import Final

from chain.abi import get_interface
from chain.calls import Calls
from chain.deployment import Deployment
from chain.records import Call
from protocols.errors import LocalError
from protocols.leases import Lease, compute_escrow, compute_fee
from protocols.types import Digest, NodeKey, Wallet

MAX_JUDGED: Final = 64
"""Epochs that one transaction judges, as in Rental.vy."""


@dataclass(frozen=True, slots=True)
class RentalCalls:
    """Builds calls for one deployment.

    What takes money from its sender comes as two calls, the approval of just that amount before
    it, to be sent in this order.
    """

    deployment: Deployment

    def offer(
        self, price: int, minimum_seconds: int, maximum_seconds: int, capability: Digest
    ) -> Call:
        """Offer the sender's machine, at a price per second, in place of what it offered before."""
        preset = self.deployment.preset
        if not 1 <= minimum_seconds <= maximum_seconds <= preset.max_lease_seconds:
            raise LocalError(
                f"offer: found {minimum_seconds} … {maximum_seconds} seconds, expected a range "
                f"within 1 … {preset.max_lease_seconds}"
            )
        if price < 1:
            raise LocalError(f"offer: found a price of {price}, expected 1 or more")
        return self._build("offer", price, minimum_seconds, maximum_seconds, capability)

    def withdraw_offer(self) -> Call:
        """Offer the sender's machine no longer; leases that were opened are not touched."""
        return self._build("withdraw_offer")

    def open(
        self, provider: int, seconds: int, price: int, key: NodeKey, minimum: int | None = None
    ) -> tuple[Call, Call]:
        """Approve the escrow, then open a lease for `seconds` at the `price` that is offered.

        `key` is the Ed25519 key whose holder uses the machine, `minimum` the most seconds that the
        sender pays for when it ends the lease early; None for all. If the offer changes before the
        call is in a block, to another price or a longer minimum, it reverts.
        """
        amount = seconds * price
        escrow = amount + compute_fee(amount, self.deployment.preset.lease_fee_bps)
        return self._approve(escrow), self._build(
            "open", provider, seconds, price, seconds if minimum is None else minimum, key
        )

    def accept(self, lease: Lease) -> tuple[Call, Call]:
        """Approve the bond, then begin a lease that somebody opened with the sender."""
        return self._approve(lease.terms.bond), self._build("accept", lease.id)

    def reclaim(self, lease_id: int) -> Call:
        """Give the renter of a lease that was not accepted its money back."""
        return self._build("reclaim", lease_id)

    def extend(self, lease: Lease, seconds: int) -> tuple[Call, Call]:
        """Approve what so many seconds more cost, then prolong the sender's lease by them."""
        more = compute_escrow(lease.seconds + seconds, lease.terms)
        amount = more - compute_escrow(lease.seconds, lease.terms)
        return self._approve(amount), self._build("extend", lease.id, seconds)

    def end(self, lease_id: int, *, confirmed: bool) -> Call:
        """End a lease before its time, by its renter or its provider.

        `confirmed` is a renter's word that the machine was there until now: all is settled then.
        """
        return self._build("end", lease_id, confirmed)

    def judge(self, lease_id: int, count: int = MAX_JUDGED) -> Call:
        """Look up in up to `count` closed epochs whether the provider was away."""
        if not 1 <= count <= MAX_JUDGED:
            raise LocalError(f"judge: found {count} epochs, expected 1 … {MAX_JUDGED}")
        return self._build("judge", lease_id, count)

    def collect(self, lease_id: int) -> Call:
        """Credit a provider with what the judged epochs of its lease earned so far."""
        return self._build("collect", lease_id)

    def settle(self, lease_id: int) -> Call:
        """Divide the money of a lease that is over."""
        return self._build("settle", lease_id)

    def withdraw(self, wallet: Wallet) -> Call:
        """Pay a wallet what it is owed."""
        return self._build("withdraw", wallet)

    def sweep_fees(self) -> Call:
        """Pay the fees that came together into the fund of rewards."""
        return self._build("sweep_fees")

    def _approve(self, amount: int) -> Call:
        return Calls(self.deployment).approve(self.deployment.address("Rental"), amount)

    def _build(self, function: str, *arguments: object) -> Call:
        return Call(
            to=self.deployment.address("Rental"),
            data=get_interface("Rental").functions[function].encode(arguments),
        )

"""Receipts: what a lease's time and money came to, with the transactions that say so.

Pure: from a lease as the chain has it and its events. What is settled is what the contract said.
What is not yet is shown as it would be if no further epoch were found in which the provider was
away.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from chain.rental_events import (
    LeaseAccepted,
    LeaseEnded,
    LeaseExtended,
    LeaseOpened,
    LeaseReclaimed,
    LeaseSettled,
)
from chain.rental_history import LeaseEvent, LeaseStep
from protocols.leases import (
    Lease,
    LeaseState,
    Settlement,
    compute_escrow,
    compute_fee,
    compute_settlement,
)

TRANSACTIONS: Final[Mapping[type[LeaseEvent], str]] = {
    LeaseOpened: "opened",
    LeaseAccepted: "accepted",
    LeaseExtended: "extended",
    LeaseEnded: "ended",
    LeaseReclaimed: "reclaimed",
    LeaseSettled: "settled",
}
"""What a receipt calls the transaction behind an event."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """One lease: times in Unix seconds, durations in seconds, amounts in the smallest unit.

    `used_seconds` is how long the lease was active, `away_seconds` how much of that the provider
    was away, as far as it is judged. `penalty` is part of `refund`. `final` when nothing changes
    any more. `transactions` are (what, hash) in their order.
    """

    lease: int
    state: str
    provider: int
    provider_wallet: str
    renter: str
    started_at: int
    ended_at: int
    bought_seconds: int
    used_seconds: int
    away_seconds: int
    charged_seconds: int
    price_per_second: int
    escrow: int
    paid: int
    fee: int
    refund: int
    penalty: int
    final: bool
    transactions: tuple[tuple[str, str], ...]


def make_receipt(lease: Lease, steps: Sequence[LeaseStep], now: int) -> Receipt:
    """Put together the receipt of a lease that its events go with."""
    escrow = compute_escrow(lease.seconds, lease.terms)
    money = _find_money(lease, steps, escrow, now)
    begun = bool(lease.started_at)
    ended = min(now, lease.ends_at) if begun else 0
    is_over = lease.state is LeaseState.ACTIVE and not lease.is_usable(now)
    return Receipt(
        lease=lease.id,
        state="over" if is_over else lease.state.name.lower(),
        provider=lease.provider,
        provider_wallet="0x" + lease.provider_wallet.hex(),
        renter="0x" + lease.renter.hex(),
        started_at=lease.started_at,
        ended_at=lease.ends_at if begun and lease.ends_at <= now else 0,
        bought_seconds=lease.seconds,
        used_seconds=ended - lease.started_at,
        away_seconds=lease.away_seconds,
        charged_seconds=money.charged_seconds,
        price_per_second=lease.terms.price,
        escrow=escrow,
        paid=money.paid,
        fee=money.fee,
        refund=money.refund,
        penalty=money.penalty,
        final=lease.state in (LeaseState.SETTLED, LeaseState.RECLAIMED),
        transactions=tuple(
            (TRANSACTIONS[type(each.event)], "0x" + each.transaction.hex())
            for each in steps
            if type(each.event) in TRANSACTIONS
        ),
    )


def _find_money(lease: Lease, steps: Sequence[LeaseStep], escrow: int, now: int) -> Settlement:
    for each in steps:
        if isinstance(each.event, LeaseSettled):
            return Settlement(
                charged_seconds=each.event.paid // lease.terms.price,
                paid=each.event.paid,
                fee=each.event.fee,
                refund=each.event.refund,
                bond_back=each.event.bond_back,
                penalty=each.event.penalty,
            )
    match lease.state:
        case LeaseState.RESERVED:
            return Settlement(0, 0, 0, 0, 0, 0)
        case LeaseState.RECLAIMED:
            return Settlement(0, 0, 0, escrow, 0, 0)
        case LeaseState.ACTIVE if now < lease.ends_at:
            # Nothing comes back as long as it goes on.
            charged = now - lease.started_at - lease.away_seconds
            paid = charged * lease.terms.price
            fee = compute_fee(paid, lease.terms.fee_bps)
            return Settlement(charged, paid, fee, 0, 0, 0)
        case _:
            return compute_settlement(lease, lease.ends_at, lease.away_seconds, gone=lease.gone)


def to_json(receipt: Receipt) -> dict[str, Any]:
    """Return a receipt as JSON; amounts are decimal texts in the smallest unit."""
    found = asdict(receipt)
    for name in _AMOUNTS:
        found[name] = str(found[name])
    return found | {"transactions": [{"what": what, "tx": tx} for what, tx in receipt.transactions]}


def write_csv(receipts: Sequence[Receipt]) -> str:
    """Write receipts as CSV, one line each; amounts in the smallest unit, transactions as what:hash
    separated by spaces."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([each.name for each in fields(Receipt)])
    for receipt in receipts:
        row = asdict(receipt)
        row["transactions"] = " ".join(f"{what}:{tx}" for what, tx in receipt.transactions)
        row["final"] = "yes" if receipt.final else "no"
        writer.writerow(row.values())
    return out.getvalue()


_AMOUNTS: Final = ("price_per_second", "escrow", "paid", "fee", "refund", "penalty")

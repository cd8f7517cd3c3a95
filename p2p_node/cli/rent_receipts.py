"""`kaisar rent receipts`: what each lease came to, and the transactions that show it."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from chain.deployment import write_whole
from p2p_node.cli.event_loop import run_async
from p2p_node.cli.progress import format_duration
from p2p_node.cli.rent_common import Renter, open_renter
from p2p_node.display import format_amount, format_fields, show_json, show_lines
from p2p_node.rental.renter_market import choose_lease
from p2p_node.rental.renter_receipts import Receipt, make_receipt, to_json, write_csv


def run(arguments: argparse.Namespace) -> int:
    """Show or write them."""
    renter = open_renter(arguments)
    receipts = run_async(_read, renter, arguments.lease)
    if arguments.csv == "-":
        sys.stdout.write(write_csv(receipts))
        return 0
    if arguments.csv is not None:
        write_whole(Path(arguments.csv), write_csv(receipts))
    if arguments.json:
        show_json({"receipts": [to_json(each) for each in receipts]})
    elif arguments.csv is not None:
        show_lines([f"{len(receipts)} receipts are in {arguments.csv}"])
    else:
        show_lines(_format(receipts))
    return 0


async def _read(renter: Renter, given: str | None) -> list[Receipt]:
    async with renter.open_market() as market:
        own = await market.find_own(renter.book)
        if given is not None:
            own = [choose_lease(own, given, frozenset(), "")]
        leases = [each.lease for each in own if each.lease is not None]
        now = (await market.chain.head()).timestamp
        steps = await market.read_steps(leases)
        return [
            make_receipt(lease, [each for each in steps if each.event.id == lease.id], now)
            for lease in leases
        ]


def _format(receipts: Sequence[Receipt]) -> list[str]:
    if not receipts:
        return ["There are no leases of this data directory."]
    lines: list[str] = []
    for each in receipts:
        fields: dict[str, object] = {
            "lease": f"{each.lease}, {each.state}",
            "provider": f"{each.provider} ({each.provider_wallet})",
            "used": (
                f"{format_duration(each.used_seconds)} of {format_duration(each.bought_seconds)}"
            ),
        }
        if each.away_seconds:
            fields["away"] = f"{format_duration(each.away_seconds)}, not charged"
        fields["charged"] = f"{each.charged_seconds:,} s"
        fields["paid in"] = format_amount(each.escrow)
        fields["to provider"] = format_amount(each.paid)
        fields["fee"] = format_amount(each.fee)
        fields["refunded"] = format_amount(each.refund)
        if each.penalty:
            fields["penalty"] = f"{format_amount(each.penalty)} of the provider's, in the refund"
        if not each.final:
            fields["so far"] = "not settled: figures may change in your favour"
        fields |= {f"tx {what}": tx for what, tx in each.transactions}
        lines += ["", *format_fields(fields)] if lines else format_fields(fields)
    return lines

"""`kaisar rent status`: this wallet's leases, as the chain has them, and how one is just now."""

import argparse
from collections.abc import Sequence
from typing import Any

from p2p_node.cli.event_loop import run_async
from p2p_node.cli.progress import Progress, format_bytes, format_duration
from p2p_node.cli.rent_common import Renter, describe_end, format_price, open_renter
from p2p_node.display import format_amount, format_fields, format_table, show_json, show_lines
from p2p_node.keystore import checksum_address
from p2p_node.rental.renter_deploying import ask_status
from p2p_node.rental.renter_market import Market, OwnLease, choose_lease
from p2p_node.rental.renter_session import LeaseSession, join_network
from protocols.errors import KaisarError
from protocols.lease_market import compute_warnings
from protocols.leases import Lease, LeaseState, compute_escrow


def run(arguments: argparse.Namespace) -> int:
    """Show them."""
    renter = open_renter(arguments)
    own, now, place, forgettable = run_async(_read, renter, arguments.lease)
    if arguments.json:
        show_json({"time": now, "leases": [to_json(each, now) for each in own], "place": place})
        return 0
    if not own:
        show_lines(
            ["There is no lease of this data directory: `kaisar rent search` lists machines."]
        )
    elif len(own) == 1:
        show_lines(_format_one(own[0], now, place))
    else:
        show_lines(_format_all(own, now, place))
    progress = Progress()
    for number, count in forgettable.items():
        progress.say(
            f"lease {number}: the provider was away in {count} epochs that will soon be forgotten; "
            f"`kaisar rent judge {number}` has them refunded"
        )
    for each in own:
        lease = each.lease
        if lease is not None and lease.is_usable(now):
            left = lease.ends_at - now
            if left <= max(compute_warnings(lease.seconds), default=0):
                progress.say(describe_end(lease, left))
    return 0


async def _read(
    renter: Renter, given: str | None
) -> tuple[list[OwnLease], int, dict[str, Any] | None, dict[int, int]]:
    async with renter.open_market() as market:
        own = await market.find_own(renter.book)
        now = (await market.chain.head()).timestamp
        if given is not None:
            own = [choose_lease(own, given, frozenset(), "")]
        active = [each for each in own if each.lease is not None and each.lease.is_usable(now)]
        place = None
        if len(active) == 1 and renter.settings["bootstrap"]:
            place = await _ask(renter, market, active[0])
        forgettable = {
            each.id: count
            for each in (own_lease.lease for own_lease in own)
            if each is not None and (count := await market.count_forgettable(each, now))
        }
        return own, now, place, forgettable


async def _ask(renter: Renter, market: Market, own: OwnLease) -> dict[str, Any]:
    """Ask the provider of the one active lease; why it cannot be asked is part of the answer."""
    try:
        lease = own.on_chain
        provider = await market.node_key_of(lease)
        reach = renter.reach
        async with join_network(reach) as network:
            key = renter.book.read_key(own.note)
            return await ask_status(LeaseSession(network, reach.network, lease, provider, key))
    except KaisarError as error:
        return {"problem": str(error)}


def to_json(own: OwnLease, now: int) -> dict[str, Any]:
    """Return a lease as JSON; amounts are decimal texts in the smallest unit."""
    note, lease = own.note, own.lease
    found: dict[str, Any] = {
        "lease": note.id,
        "name": note.name,
        "key": note.key,
        "provider": note.provider,
        "template": note.template,
        "state": describe_state(own, now),
        "failed": note.failed,
    }
    if lease is None:
        return found
    return found | {
        "provider_wallet": checksum_address(lease.provider_wallet),
        "renter": checksum_address(lease.renter),
        "seconds": lease.seconds,
        "price_per_second": str(lease.terms.price),
        "escrow": str(compute_escrow(lease.seconds, lease.terms)),
        "bond": str(lease.terms.bond),
        "accept_by": lease.accept_by,
        "started_at": lease.started_at or None,
        "ends_at": lease.ends_at or None,
        "seconds_left": max(0, lease.ends_at - now) if lease.is_usable(now) else 0,
        "away_seconds": lease.away_seconds,
        "judged_until": lease.judged_until,
    }


def describe_state(own: OwnLease, now: int) -> str:
    """Say in a word where a lease is; `over` is one whose time has passed, unsettled."""
    if own.lease is None:
        return "failed" if own.note.failed is not None else "opening"
    if own.lease.state is LeaseState.ACTIVE and not own.lease.is_usable(now):
        return "over"
    return own.lease.state.name.lower()


def _format_all(own: Sequence[OwnLease], now: int, place: dict[str, Any] | None) -> list[str]:
    rows = [
        [
            each.name,
            each.note.provider,
            each.note.template,
            describe_state(each, now),
            _describe_left(each.lease, now),
            format_price(each.note.price),
        ]
        for each in own
    ]
    headers = ["lease", "provider", "template", "state", "left", "price"]
    return [*format_table(headers, rows), *_format_place(place)]


def _format_one(own: OwnLease, now: int, place: dict[str, Any] | None) -> list[str]:
    lease = own.lease
    fields: dict[str, object] = {
        "lease": own.name,
        "state": describe_state(own, now),
        "provider": own.note.provider,
        "template": own.note.template,
        "price": format_price(own.note.price),
    }
    if own.note.failed is not None:
        fields["failed"] = own.note.failed
    if lease is None:
        if own.note.failed is None:
            fields["what to do"] = "`kaisar rent open --resume` goes on with the opening"
        return format_fields(fields)
    fields["time"] = format_duration(lease.seconds)
    fields["paid in"] = format_amount(compute_escrow(lease.seconds, lease.terms))
    if lease.started_at:
        used = max(0, min(now, lease.ends_at) - lease.started_at)
        fields["used"] = f"{format_duration(used)}, {format_amount(used * lease.terms.price)}"
    if lease.away_seconds:
        fields["away"] = f"{format_duration(lease.away_seconds)}, not charged"
    if lease.is_usable(now):
        fields["left"] = format_duration(lease.ends_at - now)
    hint = _describe_hint(lease, now)
    if hint:
        fields["what to do"] = hint
    return [*format_fields(fields), *_format_place(place)]


def _describe_left(lease: Lease | None, now: int) -> str:
    if lease is None or not lease.is_usable(now):
        return "-"
    return format_duration(lease.ends_at - now)


def _describe_hint(lease: Lease, now: int) -> str | None:
    match lease.state:
        case LeaseState.RESERVED if now > lease.accept_by:
            return "not accepted in time: `kaisar rent reclaim` returns everything"
        case LeaseState.RESERVED:
            left = format_duration(lease.accept_by - now)
            return f"the provider has another {left} to accept; `kaisar rent reclaim` gives it up"
        case LeaseState.ENDED:
            return "waits to be judged and settled; `kaisar rent end` settles it when it can be"
        case LeaseState.ACTIVE if not lease.is_usable(now):
            return "its time is over; the provider settles it, or `kaisar rent end` does"
        case _:
            return None


def _format_place(place: dict[str, Any] | None) -> list[str]:
    """Show what the provider says of the place; it is somebody else's text."""
    if place is None:
        return []
    shown: dict[str, str] = {}
    for name, value in list(place.items())[:32]:
        if name in ("lease", "seconds_left", "ends_at"):
            # The chain's word on these stands above.
            continue
        if isinstance(value, dict):
            parts = [(_label(part), _show(part, value[part])) for part in list(value)[:16]]
            text = ", ".join(f"{label} {part}" for label, part in parts if part)
        else:
            text = _show(name, value)
        if text:
            shown[_clean(_label(name))[:40]] = _clean(text)[:400]
    return ["", "there, as the provider says:", *format_fields(shown)]


def _show(name: str, value: object) -> str:
    """Write a value of the provider's document as people read it; nothing for what is not there."""
    match value:
        case bool():
            return "yes" if value else ""
        case int() if abs(value) >= 1 << 63:
            return ""
        case int():
            return format_bytes(value) if name.endswith("bytes") else f"{value:,}"
        case float():
            return f"{value:,.1f}"
        case str():
            return value
        case list():
            return " ".join(str(each) for each in value[:16] if isinstance(each, str | int | float))
        case _:
            return ""


def _label(name: str) -> str:
    return name.removesuffix("_bytes").replace("_", " ")


def _clean(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text)

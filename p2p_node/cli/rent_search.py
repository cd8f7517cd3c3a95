"""`kaisar rent search`: who can be leased now, the best value first."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from p2p_node.cli.event_loop import run_async
from p2p_node.cli.rent_common import HOUR, Renter, format_price, open_renter
from p2p_node.config import ConfigError
from p2p_node.display import format_amount, format_table, show_json, show_lines
from p2p_node.keystore import checksum_address
from p2p_node.rental.renter_asking import Told, ask_providers, prove_line, read_view
from p2p_node.rental.renter_market import Found, Hidden, Market
from p2p_node.rental.renter_session import join_network
from protocols.lease_market import (
    Wish,
    compute_quote,
    compute_rate_bounds,
    find_length_fault,
    find_misfit,
    rank_candidates,
)
from protocols.params import TOKEN, Preset
from protocols.types import Epoch, TimeMs

MAX_EPOCHS: Final = 224
"""The longest ring of any deployment."""

MAX_ASKED: Final = 64
"""Providers that are asked what they have, the best first."""

TERA: Final = 10**12
MEGA: Final = 10**6
GB: Final = 10**9


@dataclass(frozen=True, slots=True)
class Listing:
    """What a search came to: who fits, what they said, and who is left out."""

    found: Sequence[Found]
    told: Mapping[int, Told]
    hidden: Hidden
    misfits: Mapping[str, int]
    """How many fall short, by what."""


def run(arguments: argparse.Namespace) -> int:
    """List them."""
    renter = open_renter(arguments)
    listing = run_async(search, renter, arguments)
    preset = renter.deployment.preset
    if arguments.json:
        show_json(
            {
                "providers": [
                    _to_json(each, listing.told.get(each.index), preset, arguments.seconds)
                    for each in listing.found
                ],
                "hidden": {
                    "leased": listing.hidden.leased,
                    "away": listing.hidden.away,
                    "unseen": listing.hidden.unseen,
                    "gone": listing.hidden.gone,
                    **listing.misfits,
                },
            }
        )
        return 0
    show_lines(_format(listing, preset, arguments.seconds))
    return 0


async def search(renter: Renter, arguments: argparse.Namespace) -> Listing:
    """Read offers and proofs from the chain, and what providers say from them."""
    if not 1 <= arguments.epochs <= MAX_EPOCHS:
        raise ConfigError(f"epochs: found {arguments.epochs}, expected 1 … {MAX_EPOCHS}")
    wants_words = any((arguments.vram, arguments.bandwidth, arguments.template))
    may_ask = not arguments.offline and bool(renter.settings["bootstrap"])
    if wants_words and not may_ask:
        renter.reach  # noqa: B018 (raises what says how to be able to ask)
        raise ConfigError("--offline: what a provider says is needed for --vram and the like")
    wish = Wish(
        min_score=arguments.min_score,
        min_rate=None if arguments.min_rate is None else arguments.min_rate * MEGA,
        reliability_bps=arguments.reliability,
        max_price=None if arguments.max_price is None else arguments.max_price // HOUR,
        seconds=arguments.seconds,
    )
    preset = renter.deployment.preset
    misfits: dict[str, int] = {}
    async with renter.open_market() as market:
        present, hidden = await market.read_candidates(arguments.epochs)
        by_index = {each.index: each for each in present}
        ranked = []
        for candidate in rank_candidates(each.candidate for each in present):
            misfit = find_misfit(candidate, wish, preset)
            if misfit is None:
                ranked.append(by_index[candidate.offer.provider])
            else:
                misfits[misfit] = misfits.get(misfit, 0) + 1
        told: dict[int, Told] = {}
        if may_ask and ranked:
            told = await _ask(renter, market, ranked[:MAX_ASKED])
    fitting = []
    for each in ranked:
        misfit = _find_reported_misfit(told.get(each.index), arguments)
        if misfit is None:
            fitting.append(each)
        else:
            misfits[misfit] = misfits.get(misfit, 0) + 1
    return Listing(fitting, told, hidden, misfits)


async def _ask(renter: Renter, market: Market, found: Sequence[Found]) -> dict[int, Told]:
    async with join_network(renter.reach) as network:
        told = await ask_providers(network, renter.deployment.network_id, found)
    if not any(each.answer and each.answer.receipts for each in told.values()):
        return told
    head = await market.chain.head()
    current = market.timeline.epoch_at(TimeMs(head.timestamp * 1000))
    views = [
        await read_view(market.chain, Epoch(epoch), head.number)
        for epoch in range(max(0, current - 1), current + 1)
    ]
    return {
        index: Told(
            each.answer,
            each.problem,
            prove_line(each.answer, views, market.timeline, index),
        )
        if each.answer
        else each
        for index, each in told.items()
    }


def _find_reported_misfit(told: Told | None, arguments: argparse.Namespace) -> str | None:
    wants = (arguments.vram, arguments.bandwidth, arguments.template)
    if not any(wants):
        return None
    if told is None or told.answer is None:
        return "no answer"
    capability = told.answer.capability
    vram = max((gpu.memory for gpu in capability.gpus), default=0)
    if arguments.vram is not None and vram < arguments.vram:
        return "vram"
    line = min(told.rates.down_bits_per_s, told.rates.up_bits_per_s)
    if arguments.bandwidth is not None and line < arguments.bandwidth:
        return "bandwidth"
    names = {template.name for template in capability.templates}
    if arguments.template is not None and arguments.template not in names:
        return "template"
    return None


def _to_json(
    found: Found, told: Told | None, preset: Preset, seconds: int | None
) -> dict[str, Any]:
    candidate = found.candidate
    offer = candidate.offer
    bounds = compute_rate_bounds(candidate.proven_score, candidate.stake, preset)
    fits = seconds is not None and find_length_fault(offer, seconds) is None
    quote = compute_quote(offer, seconds, preset) if seconds is not None and fits else None
    return {
        "provider": found.index,
        "wallet": checksum_address(offer.wallet),
        "node_key": found.node_key.hex(),
        "price_per_second": str(offer.price),
        "minimum_seconds": offer.minimum_seconds,
        "maximum_seconds": offer.maximum_seconds,
        "value": float(candidate.value * TOKEN / HOUR),
        "proven": {
            "score": candidate.proven_score,
            "mean_score": float(candidate.mean_score),
            "operations_per_second_least": str(bounds.least),
            "operations_per_second_most": None if bounds.most is None else str(bounds.most),
            "epochs_seen": candidate.online_epochs,
            "epochs": len(candidate.epochs),
            "stake": str(candidate.stake),
            "down_bits_per_second": told.rates.down_bits_per_s if told else 0,
            "up_bits_per_second": told.rates.up_bits_per_s if told else 0,
        },
        "reported": _reported_to_json(told),
        "problem": (told.problem if told else "") or None,
        "quote": quote
        and {
            "seconds": quote.seconds,
            "amount": str(quote.amount),
            "fee": str(quote.fee),
            "escrow": str(quote.escrow),
        },
    }


def _reported_to_json(told: Told | None) -> dict[str, Any] | None:
    if told is None or told.answer is None:
        return None
    capability = told.answer.capability
    return {
        "runner": capability.runner,
        "cpu": capability.cpu,
        "cores": capability.cores,
        "memory": capability.memory,
        "disk": capability.disk,
        "network": capability.network,
        "gpus": [{"name": gpu.name, "memory": gpu.memory} for gpu in capability.gpus],
        "templates": {each.name: list(each.ports) for each in capability.templates},
    }


def _format(listing: Listing, preset: Preset, seconds: int | None) -> list[str]:
    left_out = _describe_left_out(listing)
    if not listing.found:
        return ["No machine that can be leased now fits.", *left_out]
    headers = ["provider", "value", "score", "rate", "seen", "price", "for", "line", "reported"]
    if seconds is not None:
        headers.insert(6, "in all")
    rows = []
    for each in listing.found:
        candidate = each.candidate
        offer = candidate.offer
        bounds = compute_rate_bounds(candidate.proven_score, candidate.stake, preset)
        told = listing.told.get(each.index)
        row: list[object] = [
            each.index,
            f"{float(candidate.value * TOKEN / HOUR):,.1f}",
            candidate.proven_score,
            f"{bounds.least / TERA:,.2f} Top/s",
            f"{candidate.online_epochs} of {len(candidate.epochs)}",
            format_price(offer.price),
            f"{offer.minimum_seconds:,} … {offer.maximum_seconds:,} s",
            _format_line(told),
            describe_reported(told),
        ]
        if seconds is not None:
            row.insert(6, format_amount(compute_quote(offer, seconds, preset).escrow))
        rows.append(row)
    return [*format_table(headers, rows), *left_out]


def _format_line(told: Told | None) -> str:
    if told is None or not told.rates.down_bits_per_s:
        return "not proven"
    down, up = told.rates.down_bits_per_s / MEGA, told.rates.up_bits_per_s / MEGA
    return f"{down:,.0f}/{up:,.0f} Mbit/s"


def describe_reported(told: Told | None) -> str:
    """Write in a line what a provider says that it has, or why it does not."""
    if told is None:
        return "not asked"
    if told.answer is None:
        return f"no answer: {told.problem}"
    capability = told.answer.capability
    gpus: dict[tuple[str, int], int] = {}
    for gpu in capability.gpus:
        gpus[gpu.name, gpu.memory] = gpus.get((gpu.name, gpu.memory), 0) + 1
    parts = [
        f"{count} × {name} {memory / GB:,.0f} GB" for (name, memory), count in gpus.items()
    ] or ["no GPU"]
    parts.append(f"{capability.cores} core{'s' if capability.cores != 1 else ''}")
    parts.append(f"{capability.memory / GB:,.0f} GB")
    parts.append(capability.runner)
    return ", ".join(parts)


def _describe_left_out(listing: Listing) -> list[str]:
    hidden = listing.hidden
    reasons = [
        (hidden.leased, "leased now"),
        (hidden.away, "away"),
        (hidden.unseen, "not seen in a settled epoch yet"),
        (hidden.gone, "gone"),
        *((count, f"by {name}") for name, count in listing.misfits.items()),
    ]
    parts = [f"{count} {text}" for count, text in reasons if count]
    return ["", f"Left out: {', '.join(parts)}."] if parts else []

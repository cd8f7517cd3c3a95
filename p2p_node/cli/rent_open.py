"""`kaisar rent open`: from a quote to a machine that is ready.

The lease's key is on disk before anything is paid, and the wallet's journal has every transaction
before it is sent: whatever is cut off is gone on with by `--resume`, and nothing is paid twice.
"""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import trio

from chain.errors import FailedError, ObsoleteError, RevertedError
from chain.rental_calls import RentalCalls
from p2p_node.cli.event_loop import run_async
from p2p_node.cli.progress import Progress, format_duration
from p2p_node.cli.rent_common import Renter, RentError, format_price, open_renter, warn_of_end
from p2p_node.cli.rent_search import describe_reported, search
from p2p_node.cli.wallet_work import do_work
from p2p_node.config import ConfigError
from p2p_node.display import format_amount, format_fields, show_json, show_lines
from p2p_node.keystore import read_wallet_address
from p2p_node.rental.renter_asking import Told, ask_providers
from p2p_node.rental.renter_book import LeaseNote
from p2p_node.rental.renter_deploying import deploy
from p2p_node.rental.renter_market import Found, Market
from p2p_node.rental.renter_session import LeaseSession, join_network
from p2p_node.wallet_session import WalletSession
from protocols.lease_market import Candidate, compute_quote, find_length_fault
from protocols.leases import Lease, LeaseState, Offer
from protocols.params import Preset
from protocols.types import Wallet

DEFAULT_TEMPLATE: Final = "base"

POLL_SECONDS: Final = 1.0

LATE_SECONDS: Final = 30
"""How long after the deadline an acceptance may still come into sight: blocks take their time."""


SIGHT_SECONDS: Final = 120.0
"""How long a payment that is final may be out of sight of an endpoint."""


def run(arguments: argparse.Namespace) -> int:
    """Open a lease, wait until it is accepted, and deploy."""
    renter = open_renter(arguments)
    if not arguments.no_deploy:
        renter.reach  # noqa: B018 (better said before anything is paid)
    progress = Progress()
    wallet = read_wallet_address(renter.settings["data_dir"])
    if arguments.resume:
        note = _find_unfinished(renter)
    else:
        note = _prepare(renter, arguments, wallet, progress)
    opened = do_work(renter.settings, arguments, _make_work(renter, note))
    lease, deployed = run_async(_finish, renter, opened, arguments, progress)
    result = {
        "lease": lease.id,
        "name": note.name,
        "provider": lease.provider,
        "state": lease.state.name.lower(),
        "tx": opened["tx"],
        "escrow": opened["escrow"],
        "seconds": lease.seconds,
        "ends_at": lease.ends_at,
        "template": note.template if deployed else None,
    }
    if arguments.json:
        show_json(result)
    else:
        show_lines(_describe_opened(lease, note, deployed))
    return 0


def _prepare(
    renter: Renter, arguments: argparse.Namespace, wallet: bytes, progress: Progress
) -> LeaseNote:
    """Choose, quote, ask, and write the lease's key."""
    if arguments.best == (arguments.provider is not None):
        raise ConfigError("provider: expected either its number or --best")
    if arguments.seconds is None:
        raise ConfigError("length: found nothing, expected --hours or --seconds")
    template = arguments.template or DEFAULT_TEMPLATE
    found, held = run_async(_choose, renter, arguments, wallet)
    offer, preset = found.candidate.offer, renter.deployment.preset
    quote = _describe_quote(offer, arguments.seconds, preset)
    if not arguments.no_deploy:
        told = run_async(_ask_place, renter, found, template)
        quote["machine"] = f"{describe_reported(told)} (reported)"
    for line in format_fields(quote):
        progress.say(line)
    escrow = compute_quote(offer, arguments.seconds, preset).escrow
    if held < escrow:
        raise RentError(
            f"tokens: found {format_amount(held)} in the wallet, expected {format_amount(escrow)}"
        )
    require_consent(arguments.yes, "Lease it?")
    return renter.book.make(
        provider=offer.provider,
        provider_key=found.node_key,
        seconds=arguments.seconds,
        price=offer.price,
        minimum=offer.minimum_seconds,
        template=template,
        now=int(time.time()),
    )


async def _choose(renter: Renter, arguments: argparse.Namespace, wallet: Any) -> tuple[Found, int]:
    """Find the offer that is meant, and what the wallet holds."""
    async with renter.open_market() as market:
        unfinished = [
            each.note.name
            for each in await market.find_own(renter.book)
            if each.lease is None and each.note.failed is None
        ]
        if unfinished:
            raise RentError(
                f"lease {unfinished[0]}: its opening was interrupted; "
                "`kaisar rent open --resume` goes on with it first"
            )
        held = await market.chain.token_balance(wallet)
        if arguments.best:
            listing = await search(renter, arguments)
            if not listing.found:
                raise RentError("no machine that can be leased now fits")
            return listing.found[0], held
        offer = await market.rental.offer(arguments.provider)
        if offer is None:
            raise RentError(f"provider {arguments.provider}: it offers nothing now")
        fault = find_length_fault(offer, arguments.seconds)
        if fault is not None:
            raise RentError(f"length: {fault}")
        limit = arguments.max_price
        if limit is not None and offer.price * 3600 > limit:
            raise RentError(
                f"price: found {format_price(offer.price)}, expected {format_amount(limit)}/h "
                "at most (--max-price)"
            )
        busy = await market.rental.current_lease(offer.provider)
        if busy:
            raise RentError(
                f"provider {offer.provider}: it is leased now, and could not accept in time"
            )
        slot = (await market.chain.providers())[offer.provider]
        return Found(Candidate(offer, slot.scored_stake, ()), slot.node_key), held


async def _ask_place(renter: Renter, found: Found, template: str) -> Told:
    """Have the provider say what it offers, before it is paid; RentError without the template."""
    async with join_network(renter.reach) as network:
        told = (await ask_providers(network, renter.deployment.network_id, [found]))[found.index]
    if told.answer is None:
        raise RentError(
            f"provider {found.index}: it does not say what it offers ({told.problem}); nothing was "
            "paid"
        )
    names = sorted(each.name for each in told.answer.capability.templates)
    if template not in names:
        raise RentError(
            f"template: found {template!r}, expected one that provider {found.index} has: "
            f"{', '.join(names) or 'none'}; nothing was paid"
        )
    return told


def _find_unfinished(renter: Renter) -> LeaseNote:
    """Find the opening to go on with: the newest that did not fail and was not deployed."""

    async def find() -> LeaseNote:
        async with renter.open_market() as market:
            own = await market.find_own(renter.book)
            now = (await market.chain.head()).timestamp
        waiting = [
            each.note
            for each in own
            if each.note.failed is None
            and (
                each.lease is None
                or each.lease.state is LeaseState.RESERVED
                or each.lease.is_usable(now)
            )
        ]
        if not waiting:
            raise RentError("there is no opening to go on with: `kaisar rent status` shows all")
        return waiting[-1]

    return run_async(find)


def _make_work(
    renter: Renter, note: LeaseNote
) -> Callable[[WalletSession, argparse.Namespace], Any]:
    """Make what the wallet does: pay, once, and note the lease's number."""

    async def pay(session: WalletSession, _arguments: argparse.Namespace) -> dict[str, Any]:
        async with renter.open_market() as market:
            quote_escrow = _escrow_of(note, renter.deployment.preset)
            found = await market.find_by_key(note, session.wallet)
            if found is not None:
                renter.book.set_id(note, found.id)
                return {"tx": None, "escrow": str(quote_escrow), "lease": found.id}
            calls = RentalCalls(renter.deployment).open(
                note.provider, note.seconds, note.price, note.public_key, note.minimum
            )
            spender = renter.deployment.address("Rental")
            try:
                sent = await session.approve_and_send(
                    f"lease {note.name}", calls, spender, quote_escrow
                )
            except (RevertedError, FailedError, ObsoleteError) as error:
                renter.book.set_failed(note, str(error))
                raise
            lease = await _wait_for_sight(market, note, session.wallet)
            if lease is None:
                raise RentError(
                    f"lease {note.name}: 0x{sent.hex()} is final, but the endpoint does not show "
                    "the lease yet; `kaisar rent open --resume` goes on"
                )
            renter.book.set_id(note, lease.id)
            return {"tx": f"0x{sent.hex()}", "escrow": str(quote_escrow), "lease": lease.id}

    return pay


async def _wait_for_sight(market: Market, note: LeaseNote, wallet: Wallet) -> Lease | None:
    """Find the lease that was paid for, also where an endpoint is some blocks behind.

    Whoever resumed meanwhile would not find it either, and pay again.
    """
    with trio.move_on_after(SIGHT_SECONDS):
        while True:
            lease = await market.find_by_key(note, wallet)
            if lease is not None:
                return lease
            await trio.sleep(POLL_SECONDS)
    return None


async def _finish(
    renter: Renter, opened: dict[str, Any], arguments: argparse.Namespace, progress: Progress
) -> tuple[Lease, bool]:
    """Wait for the acceptance, and deploy."""
    async with renter.open_market() as market:
        lease = await _wait_for_acceptance(market, opened["lease"], progress)
        if arguments.no_deploy:
            return lease, False
        note = next(each for each in renter.book.notes() if each.id == lease.id)
        provider = await market.node_key_of(lease)
        reach = renter.reach
        async with join_network(reach) as network, trio.open_nursery() as nursery:
            nursery.start_soon(warn_of_end, market.rental.lease, lease, progress.say)
            session = LeaseSession(
                network, reach.network, lease, provider, renter.book.read_key(note)
            )
            progress.say(f"deploying {note.template}…")
            await deploy(session, note.template, progress.say)
            nursery.cancel_scope.cancel()
        return lease, True


async def _wait_for_acceptance(market: Market, lease_id: int, progress: Progress) -> Lease:
    # The chain's clock decides; ours is there for a chain that stands still.
    longest = 2 * (market.chain.deployment.preset.lease_accept_seconds + LATE_SECONDS)
    deadline = trio.current_time() + longest
    while trio.current_time() < deadline:
        lease = await market.rental.lease(lease_id)
        now = (await market.chain.head()).timestamp
        if lease is not None and lease.state is not LeaseState.RESERVED:
            if lease.is_usable(now):
                progress.say(f"lease {lease_id}: accepted by provider {lease.provider}")
                return lease
            raise RentError(f"lease {lease_id}: it is {lease.state.name.lower()} already")
        left = 0 if lease is None else lease.accept_by - now
        if lease is not None and left < -LATE_SECONDS:
            raise RentError(
                f"lease {lease_id}: the provider did not accept in time; "
                f"`kaisar rent reclaim {lease_id}` returns everything"
            )
        progress.update(
            f"lease {lease_id}: waiting for the provider to accept, "
            f"{format_duration(max(0, left))} left"
        )
        await trio.sleep(POLL_SECONDS)
    raise RentError(
        f"lease {lease_id}: the chain did not show within {format_duration(longest)} what became "
        f"of it; `kaisar rent open --resume` goes on, `kaisar rent reclaim {lease_id}` gives it up"
    )


def require_consent(given: bool, question: str) -> None:
    """Ask on a terminal before money moves; RentError without consent."""
    if given:
        return
    if not sys.stdin.isatty():
        raise ConfigError("--yes: expected where nobody can be asked before paying")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise RentError("not agreed to; nothing was paid")


def _escrow_of(note: LeaseNote, preset: Preset) -> int:
    amount = note.seconds * note.price
    return amount + amount * preset.lease_fee_bps // 10_000


def _describe_quote(offer: Offer, seconds: int, preset: Preset) -> dict[str, object]:
    quote = compute_quote(offer, seconds, preset)
    return {
        "provider": offer.provider,
        "time": f"{format_duration(seconds)} ({seconds:,} s)",
        "price": f"{format_price(offer.price)}, {format_amount(quote.amount)} in all",
        "fee": f"{format_amount(quote.fee)}, in proportion to what is used",
        "to be paid": f"{format_amount(quote.escrow)} now; what is not used comes back",
        "at least": (
            f"{format_amount(quote.least)} for the first "
            f"{format_duration(min(seconds, offer.minimum_seconds))}, even if you end sooner"
        ),
        "its bond": (f"{format_amount(quote.bond)}, yours if the provider leaves or stays away"),
    }


def _describe_opened(lease: Lease, note: LeaseNote, deployed: bool) -> list[str]:
    lines = [f"lease {lease.id} is active for another {_left(lease)}"]
    if deployed:
        lines.append(
            f"{note.template} is deployed: kaisar rent run -- COMMAND, or kaisar rent shell"
        )
    return lines


def _left(lease: Lease) -> str:
    return format_duration(max(0, lease.ends_at - int(time.time())))

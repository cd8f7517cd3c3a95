"""`kaisar rent extend`, `end`, `reclaim` and `withdraw`: what changes a lease's money."""

import argparse
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from chain.rental_calls import RentalCalls
from p2p_node.cli.event_loop import run_async
from p2p_node.cli.progress import format_duration
from p2p_node.cli.rent_common import (
    ACTIVE,
    Renter,
    RentError,
    does_answer,
    format_price,
    open_renter,
)
from p2p_node.cli.rent_open import require_consent
from p2p_node.cli.wallet_work import describe, run_work, tell
from p2p_node.display import format_amount
from p2p_node.rental.renter_market import Market, OwnLease, choose_lease
from p2p_node.wallet_session import WalletSession
from protocols.lease_keeping import MAX_JUDGED, MoneyStep, choose_money_step
from protocols.leases import Lease, LeaseState, compute_escrow, compute_settlement
from protocols.types import Epoch, TimeMs

RESERVED: Final = frozenset({LeaseState.RESERVED})
UNSETTLED: Final = frozenset({LeaseState.ACTIVE, LeaseState.ENDED})

Step = Callable[[Renter, Market, WalletSession, argparse.Namespace], Awaitable[dict[str, Any]]]


def run(arguments: argparse.Namespace) -> int:
    """Do one of them."""
    renter = open_renter(arguments)
    step = _STEPS[arguments.action]
    if arguments.action == "extend":
        # Asked before the wallet is opened, and before anything waits for an answer.
        run_async(_quote_extension, renter, arguments)
        require_consent(arguments.yes, "Extend it?")

    async def work(session: WalletSession, arguments: argparse.Namespace) -> dict[str, Any]:
        async with renter.open_market() as market:
            return await step(renter, market, session, arguments)

    run_work(renter.settings, arguments, work)
    return 0


async def _quote_extension(renter: Renter, arguments: argparse.Namespace) -> None:
    async with renter.open_market() as market:
        own = choose_lease(await market.find_own(renter.book), arguments.lease, ACTIVE, "active")
        lease = own.on_chain
        cost = _cost_of_extension(lease, arguments.seconds)
        now = (await market.chain.head()).timestamp
        held = await market.chain.token_balance(lease.renter)
    if not lease.is_usable(now):
        raise RentError(f"lease {lease.id}: its time is over, and cannot be extended")
    most = lease.terms.maximum_seconds - lease.seconds
    if arguments.seconds > most:
        raise RentError(
            f"length: found {arguments.seconds:,} s, expected at most {most:,} s more, which the "
            "offer allowed"
        )
    if held < cost:
        raise RentError(
            f"tokens: found {format_amount(held)} in the wallet, expected {format_amount(cost)}"
        )
    tell(
        f"lease {lease.id}: {format_duration(arguments.seconds)} more at "
        f"{format_price(lease.terms.price)} cost {format_amount(cost)} with the fee"
    )


async def _extend(
    renter: Renter, market: Market, session: WalletSession, arguments: argparse.Namespace
) -> dict[str, Any]:
    own = choose_lease(await market.find_own(renter.book), arguments.lease, ACTIVE, "active")
    lease = own.on_chain
    calls = RentalCalls(renter.deployment).extend(lease, arguments.seconds)
    cost = _cost_of_extension(lease, arguments.seconds)
    spender = renter.deployment.address("Rental")
    label = f"extension of lease {lease.id} from {lease.seconds} s"
    sent = await session.approve_and_send(label, calls, spender, cost)
    longer = await market.rental.lease(lease.id) or lease
    left = format_duration(max(0, longer.ends_at - int(time.time())))
    return describe(
        sent,
        f"lease {lease.id} goes on for another {left}",
        lease=lease.id,
        seconds=longer.seconds,
        ends_at=longer.ends_at,
        cost=str(cost),
    )


async def _end(
    renter: Renter, market: Market, session: WalletSession, arguments: argparse.Namespace
) -> dict[str, Any]:
    own = choose_lease(
        await market.find_own(renter.book), arguments.lease, UNSETTLED, "running or unsettled"
    )
    lease = own.on_chain
    if lease.state not in UNSETTLED:
        hint = "; `kaisar rent reclaim` is for it" if lease.state is LeaseState.RESERVED else ""
        raise RentError(f"lease {lease.id}: it is {lease.state.name.lower()}{hint}")
    held = await market.chain.token_balance(session.wallet)
    now = (await market.chain.head()).timestamp
    calls = RentalCalls(renter.deployment)
    if lease.is_usable(now):
        absences = await market.read_absences(lease, now)
        if absences.unjudged:
            tell(
                f"lease {lease.id}: the checkers saw the provider away in {absences.unjudged} "
                "epochs that are not judged yet: they are judged first"
            )
            await _judge_all(market, session, calls, lease)
        confirmed = arguments.confirm or not (arguments.contest or absences.in_last)
        if not confirmed and not arguments.contest:
            tell(
                "the provider was away in the last closed epoch, so its presence since then is "
                "not confirmed (--confirm does that)"
            )
        if confirmed and not arguments.confirm and not await does_answer(renter, market, own):
            # Nobody has judged the open epoch yet: it may have been away for all of it.
            confirmed = False
            tell(
                "the provider does not answer now, so its presence since the last closed epoch is "
                "not confirmed (--confirm does that)"
            )
        sent = await session.send(
            f"end of lease {lease.id}", calls.end(lease.id, confirmed=confirmed)
        )
    else:
        sent = await _settle(market, session, calls, lease)
    return await _describe_end(market, session, lease, sent, held)


async def _settle(
    market: Market, session: WalletSession, calls: RentalCalls, lease: Lease
) -> bytes:
    """Settle a lease whose time is over, once its last epoch is closed."""
    while True:
        now = (await market.chain.head()).timestamp
        match choose_money_step(lease, market.timeline, now):
            case MoneyStep.SETTLE:
                return await session.send(f"settling of lease {lease.id}", calls.settle(lease.id))
            case MoneyStep.JUDGE:
                lease = await _judge_once(market, session, calls, lease)
            case _:
                last = market.timeline.epoch_at(TimeMs(lease.ends_at * 1000 - 1))
                left = market.timeline.bundle_end(Epoch(last)) // 1000 - now
                raise RentError(
                    f"lease {lease.id}: epoch {last}, in which it ended, is judged by the checkers "
                    f"for another {format_duration(max(1, left))}; then this settles it"
                )


async def _judge_once(
    market: Market, session: WalletSession, calls: RentalCalls, lease: Lease
) -> Lease:
    label = f"judging of lease {lease.id} from epoch {lease.judged_until}"
    await session.send(label, calls.judge(lease.id, MAX_JUDGED))
    return await market.rental.lease(lease.id) or lease


async def _judge_all(
    market: Market, session: WalletSession, calls: RentalCalls, lease: Lease
) -> Lease:
    """Judge every closed epoch of a lease, 64 at a time."""
    while (await market.read_absences(lease, lease.ends_at)).unjudged:
        judged = await _judge_once(market, session, calls, lease)
        if judged.judged_until == lease.judged_until:
            break
        lease = judged
    return lease


async def _judge(
    renter: Renter, market: Market, session: WalletSession, arguments: argparse.Namespace
) -> dict[str, Any]:
    own = choose_lease(
        await market.find_own(renter.book), arguments.lease, UNSETTLED, "running or unsettled"
    )
    lease = own.on_chain
    if lease.state not in UNSETTLED:
        raise RentError(f"lease {lease.id}: it is {lease.state.name.lower()}")
    calls = RentalCalls(renter.deployment)
    label = f"judging of lease {lease.id} from epoch {lease.judged_until}"
    sent = await session.send(label, calls.judge(lease.id, MAX_JUDGED))
    judged = await market.rental.lease(lease.id) or lease
    said = (
        f"lease {lease.id} is judged up to epoch {judged.judged_until}: the provider was away for "
        f"{format_duration(judged.away_seconds)} of it, which are not charged"
    )
    return describe(
        sent,
        said,
        lease=lease.id,
        judged_until=judged.judged_until,
        away_seconds=judged.away_seconds,
    )


async def _describe_end(
    market: Market, session: WalletSession, before: Lease, sent: bytes, held: int
) -> dict[str, Any]:
    lease = await market.rental.lease(before.id) or before
    back = await market.chain.token_balance(session.wallet) - held
    values: dict[str, Any] = {
        "lease": lease.id,
        "state": lease.state.name.lower(),
        "came_back": str(back),
        "owed": str(await market.rental.owed(session.wallet)),
    }
    said = f"lease {lease.id} is {lease.state.name.lower()}; {format_amount(back)} came back"
    if lease.state is LeaseState.SETTLED:
        money = compute_settlement(lease, lease.ends_at, lease.away_seconds, gone=lease.gone)
        values |= {"paid": str(money.paid), "fee": str(money.fee), "refund": str(money.refund)}
        said += (
            f"; {format_duration(money.charged_seconds)} cost {format_amount(money.paid)} and "
            f"{format_amount(money.fee)} as fee"
        )
    else:
        said += (
            "; what is in epochs that the checkers have not judged follows when it is settled "
            f"(`kaisar rent end {lease.id}` does that too)"
        )
    return describe(sent, said, **values)


async def _reclaim(
    renter: Renter, market: Market, session: WalletSession, arguments: argparse.Namespace
) -> dict[str, Any]:
    own = choose_lease(await market.find_own(renter.book), arguments.lease, RESERVED, "reserved")
    if own.lease is None:
        return _give_up(renter, own)
    lease = own.lease
    if lease.state is not LeaseState.RESERVED:
        hint = "; `kaisar rent end` is for it" if lease.state is LeaseState.ACTIVE else ""
        raise RentError(f"lease {lease.id}: it is {lease.state.name.lower()}{hint}")
    sent = await session.send(
        f"reclaiming of lease {lease.id}", RentalCalls(renter.deployment).reclaim(lease.id)
    )
    escrow = compute_escrow(lease.seconds, lease.terms)
    said = f"{format_amount(escrow)} came back to the wallet"
    return describe(sent, said, lease=lease.id, refund=str(escrow))


def _give_up(renter: Renter, own: OwnLease) -> dict[str, Any]:
    """Give up an opening that is not on the chain; should it have been under way, it will be found
    there for another day."""
    renter.book.set_failed(own.note, "given up")
    said = f"lease {own.name} is not on the chain, nothing was paid; its opening is given up"
    return {"tx": None, "said": said, "lease": None, "refund": "0"}


async def _withdraw(
    renter: Renter, market: Market, session: WalletSession, _arguments: argparse.Namespace
) -> dict[str, Any]:
    owed = await market.rental.owed(session.wallet)
    if not owed:
        raise RentError("this wallet is owed nothing by leases")
    call = RentalCalls(renter.deployment).withdraw(session.wallet)
    sent = await session.send("payment of what is owed", call)
    return describe(sent, f"{format_amount(owed)} were paid to the wallet", amount=str(owed))


def _cost_of_extension(lease: Lease, seconds: int) -> int:
    longer = compute_escrow(lease.seconds + seconds, lease.terms)
    return longer - compute_escrow(lease.seconds, lease.terms)


_STEPS: Final[dict[str, Step]] = {
    "extend": _extend,
    "end": _end,
    "reclaim": _reclaim,
    "judge": _judge,
    "withdraw": _withdraw,
}

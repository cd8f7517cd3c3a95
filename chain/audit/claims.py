"""Payments of rewards: what each paid for, and what it came to.

An event of a payment tells the amount and which of the call's items were paid; the items themselves
are in the transaction's calldata. So a payment is judged by the shares of its items, by the wallet
that held the slot, and by what the token says was moved.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from chain.abi import get_interface
from chain.audit.calldata import find_calls
from chain.audit.findings import Checks, Place, differ
from chain.audit.rewards import Item, SettledEpoch
from chain.audit.tenancies import Tenancies, position_of
from chain.events import CheckerPaid, ProviderPaid, Transferred
from chain.records import Log, SlotKind
from protocols.params import LANES
from protocols.settlement import split_commission
from protocols.types import Epoch, Seat, Shard, Wallet

CONTRACT: Final = "Rewards"

Payment: TypeAlias = tuple[ProviderPaid | CheckerPaid, Log]


@dataclass(frozen=True, slots=True)
class Claim:
    """A payment and the items that it paid. `delegators` is their part of `amount`."""

    kind: SlotKind
    index: int
    wallet: Wallet
    amount: int
    delegators: int
    items: tuple[Item, ...]
    log: Log


def read_claims(payments: Sequence[Payment], data: bytes) -> list[Claim]:
    """Find the items of one transaction's payments, which are given in their order.

    A payment whose call is not in the calldata has no items.
    """
    calls: dict[tuple[SlotKind, int], list[tuple[Item, ...]]] = defaultdict(list)
    for index, items in _provider_calls(data):
        calls[SlotKind.PROVIDER, index].append(items)
    for index, items in _checker_calls(data):
        calls[SlotKind.CHECKER, index].append(items)
    claims = []
    for event, log in payments:
        kind = SlotKind.PROVIDER if isinstance(event, ProviderPaid) else SlotKind.CHECKER
        waiting = calls[kind, event.index]
        # A claim that pays nothing reverts, so calls and payments are in the same order.
        asked = waiting.pop(0) if waiting else ()
        items = tuple(each for number, each in enumerate(asked) if event.paid >> number & 1)
        claims.append(
            Claim(
                kind=kind,
                index=event.index,
                wallet=event.wallet,
                amount=event.amount,
                delegators=event.delegators if isinstance(event, CheckerPaid) else 0,
                items=items if len(items) == event.paid.bit_count() else (),
                log=log,
            )
        )
    return claims


def judge_claim(
    claim: Claim,
    epochs: Mapping[Epoch, SettledEpoch],
    tenancies: Tenancies,
    commission: int,
    checks: Checks,
) -> None:
    """Raise DifferenceError unless a payment is the sum of its items, to the right wallet.

    `epochs` holds every epoch of its items; `commission` is what `Delegation.commission` answered
    then.
    """
    name = "ProviderPaid" if claim.kind is SlotKind.PROVIDER else "CheckerPaid"
    place = claim.items[0].place
    position = position_of(claim.log)
    tenancy = tenancies.at(claim.kind, claim.index, position)
    checks.equal(CONTRACT, f"{name}.wallet", place, claim.wallet, tenancy and tenancy.wallet)
    amount = 0
    for item in claim.items:
        reward = epochs[item.epoch].reward(item, tenancies, position)
        if not reward:
            differ(CONTRACT, f"{name}.paid", item.place, "paid", "not earned")
        amount += reward
    checks.equal(CONTRACT, f"{name}.amount", place, claim.amount, amount)
    _, part = split_commission(amount, commission)
    checks.equal(CONTRACT, f"{name}.delegators", place, claim.delegators, part)


def judge_transfers(
    claims: Sequence[Claim],
    transfers: Sequence[Transferred],
    rewards: Wallet,
    delegation: Wallet,
    checks: Checks,
) -> None:
    """Raise DifferenceError unless one transaction's claims moved what they say, and no more."""
    owed: dict[Wallet, int] = defaultdict(int)
    for claim in claims:
        owed[claim.wallet] += claim.amount - claim.delegators
        owed[delegation] += claim.delegators
    moved: dict[Wallet, int] = defaultdict(int)
    for each in transfers:
        if each.sender == rewards:
            moved[each.receiver] += each.amount
    place = next((item.place for claim in claims for item in claim.items), Place(0))
    for wallet in sorted(owed.keys() | moved.keys()):
        field = f"transfer to 0x{wallet.hex()}"
        checks.holds(
            "Token",
            "transfers of rewards",
            place,
            moved[wallet] == owed[wallet],
            f"{field}: {moved[wallet]}",
            f"{owed[wallet]}",
        )


def find_doubles(epoch: Epoch, claims: Sequence[Claim], checks: Checks) -> frozenset[Item]:
    """Return everything of an epoch that was paid; DifferenceError if something was paid twice."""
    paid: set[Item] = set()
    for claim in claims:
        for item in claim.items:
            if item.epoch != epoch:
                continue
            if item in paid:
                differ(CONTRACT, "paid", item.place, "paid twice", "paid once")
            paid.add(item)
    checks.counts[f"{CONTRACT}.paid"] += len(paid)
    return frozenset(paid)


def _provider_calls(data: bytes) -> Iterator[tuple[int, tuple[Item, ...]]]:
    for index, epochs in find_calls(get_interface(CONTRACT).functions["claim_provider"], data):
        shard = Shard(index // LANES)
        yield (
            index,
            tuple(Item(SlotKind.PROVIDER, index, Epoch(epoch), shard) for epoch in epochs),
        )


def _checker_calls(data: bytes) -> Iterator[tuple[int, tuple[Item, ...]]]:
    """Items are epoch << 32 | shard << 4 | seat."""
    for index, packed in find_calls(get_interface(CONTRACT).functions["claim_checker"], data):
        yield (
            index,
            tuple(
                Item(
                    SlotKind.CHECKER,
                    index,
                    Epoch(each >> 32),
                    Shard((each & 0xFFFFFFFF) >> 4),
                    Seat(each & 15),
                )
                for each in packed
            ),
        )

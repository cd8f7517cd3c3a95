"""Asking providers what they offer, before anything is paid."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import trio

from chain.client import ChainClient
from chain.records import SlotRecord
from p2p_node.net import Network, PeerUnreachableError
from p2p_node.rental.renter_market import Found
from protocols.codec import decode
from protocols.envelopes import Verified
from protocols.epochs import Timeline
from protocols.errors import MalformedError, RemoteError
from protocols.lease_offers import (
    CAPABILITY_PROTOCOL,
    MAX_CAPABILITY_BYTES,
    Capability,
    decode_capability,
)
from protocols.membership import EpochView, Member, select_members
from protocols.messages import MAX_RECEIPT_BYTES
from protocols.params import MAX_SEATS
from protocols.signing import is_binding_valid
from protocols.transfer_messages import TransferReceipt
from protocols.transfers import NO_RATES, Rates, open_receipts, sum_receipts
from protocols.types import Epoch, NetworkId

logger = logging.getLogger(__name__)

ASK_SECONDS: Final = 15.0
"""For finding one provider and having its answer."""

AGAIN_SECONDS: Final = 0.5

ASKED_AT_ONCE: Final = 8

MAX_RECEIPTS_BYTES: Final = MAX_SEATS * (MAX_RECEIPT_BYTES + 4) + 16


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider said: its capability, *reported*, and the receipts of its line, if any."""

    capability: Capability
    receipts: tuple[Verified[TransferReceipt], ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """What came of asking one provider; `problem` says why there is no answer."""

    answer: Answer | None = None
    problem: str = ""
    rates: Rates = NO_RATES
    """What its receipts prove of its line; zeros where they prove nothing."""


async def ask_providers(
    network: Network, network_id: NetworkId, found: Sequence[Found]
) -> dict[int, Told]:
    """Ask several providers at once; each has ASK_SECONDS."""
    told: dict[int, Told] = {}
    limiter = trio.CapacityLimiter(ASKED_AT_ONCE)

    async def ask(each: Found) -> None:
        async with limiter:
            until = trio.current_time() + ASK_SECONDS
            while each.index not in told:
                try:
                    told[each.index] = Told(await ask_provider(network, network_id, each))
                except PeerUnreachableError as error:
                    # Whoever has just joined may not have heard of it yet.
                    if trio.current_time() + AGAIN_SECONDS > until:
                        told[each.index] = Told(problem=str(error))
                    else:
                        await trio.sleep(AGAIN_SECONDS)
                except RemoteError as error:
                    told[each.index] = Told(problem=str(error))

    async with trio.open_nursery() as nursery:
        for each in found:
            nursery.start_soon(ask, each)
    return told


async def ask_provider(network: Network, network_id: NetworkId, found: Found) -> Answer:
    """Ask one provider for what it offers.

    Raises MalformedError when that is not what stands on the chain, and what
    `Network.open_stream` raises.
    """
    async with network.open_stream(found.node_key, CAPABILITY_PROTOCOL, ASK_SECONDS) as stream:
        await stream.send(b"")
        document = await stream.receive(MAX_CAPABILITY_BYTES)
        capability = decode_capability(document, found.candidate.offer.capability)
        try:
            sealed = _decode_receipts(await stream.receive(MAX_RECEIPTS_BYTES))
        except RemoteError as error:
            # Its line is then not proven, which is all that it loses.
            logger.debug("no receipts: provider=%d %s", found.index, error)
            sealed = ()
    return Answer(capability, tuple(open_receipts(sealed, network_id)))


def _decode_receipts(data: bytes) -> tuple[bytes, ...]:
    sealed = tuple(each for each in decode(data, MAX_RECEIPTS_BYTES) if isinstance(each, bytes))
    if len(sealed) > MAX_SEATS:
        raise MalformedError("too many receipts", str(len(sealed)))
    return sealed


async def read_view(chain: ChainClient, epoch: Epoch, block: int) -> EpochView:
    """Read the committees of the current or the last epoch, as every node does.

    Raises the errors of `ChainClient`; RevertedError for another epoch.
    """
    deployment = chain.deployment
    registry = deployment.address("Registry")

    def bound(slots: Sequence[SlotRecord]) -> list[Member]:
        return [
            Member(
                index=slot.index,
                wallet=slot.wallet,
                node_key=slot.node_key,
                stake=slot.scored_stake,
                joined=slot.joined_epoch,
                exits=slot.exit_epoch,
            )
            for slot in slots
            if is_binding_valid(
                slot.node_key, deployment.chain_id, registry, slot.wallet, slot.binding
            )
        ]

    seed = await chain.seed(epoch, block)
    providers = await chain.providers(block)
    checkers = await chain.checkers(block)
    return EpochView(
        epoch=epoch,
        seed=seed,
        seats=deployment.preset.seats,
        checker_slots=sum(slot.created_epoch < epoch for slot in checkers),
        provider_slots=sum(slot.created_epoch < epoch for slot in providers),
        checkers=select_members(bound(checkers), epoch),
        providers=select_members(bound(providers), epoch),
    )


def prove_line(
    answer: Answer, views: Sequence[EpochView], timeline: Timeline, provider: int
) -> Rates:
    """Find what receipts prove of a provider's line, in the newest epoch that they are of."""
    for view in sorted(views, key=lambda each: -each.epoch):
        rates = sum_receipts(answer.receipts, view, timeline, provider)
        if rates.down_bits_per_s and rates.up_bits_per_s:
            return rates
    return NO_RATES

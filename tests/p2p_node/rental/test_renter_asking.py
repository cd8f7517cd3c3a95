"""What providers say before anything is paid: bound to their offers, and proven where it can be."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
from nacl.signing import SigningKey

from p2p_node.net import Network, RequestStream
from p2p_node.rental.renter_asking import Answer, Told, ask_providers, prove_line
from p2p_node.rental.renter_market import Found
from protocols.codec import encode
from protocols.envelopes import seal
from protocols.lease_market import Candidate
from protocols.lease_offers import (
    CAPABILITY_PROTOCOL,
    Capability,
    OfferedGpu,
    compute_capability_digest,
    encode_capability,
)
from protocols.transfer_messages import TransferReceipt
from protocols.transfers import NO_RATES
from protocols.types import Digest, Epoch, NetworkId, Seat, Shard
from tests.fakes.network import FakeHub
from tests.p2p_node.net.conftest import settings
from tests.protocols.test_lease_market import offer
from tests.protocols.test_transfers import PROVIDER, TIMELINE, VIEW, receipt

NETWORK = NetworkId(bytes(31) + b"\7")
CAPABILITY = Capability(
    runner="bubblewrap",
    cpu="some",
    cores=8,
    memory=1 << 34,
    disk=1 << 40,
    processes=64,
    network=False,
    gpus=(OfferedGpu("H100", 80 * 10**9),),
    templates=(),
)
DOCUMENT = encode_capability(CAPABILITY)

Serve = Callable[[RequestStream], Awaitable[None]]


@asynccontextmanager
async def asked(
    serve: Serve | None, capability: Digest | None = None
) -> AsyncIterator[tuple[Network, Found, FakeHub]]:
    hub = FakeHub()
    async with hub.open_network(settings(1)) as renter, hub.open_network(settings(2)) as provider:
        if serve is not None:
            provider.serve(CAPABILITY_PROTOCOL, serve)
        offered = replace(offer(), capability=capability or compute_capability_digest(DOCUMENT))
        with trio.fail_after(120):
            yield renter, Found(Candidate(offered, 0, ()), provider.node_key), hub


async def ask(renter: Network, found: Found) -> Told:
    (told,) = (await ask_providers(renter, NETWORK, [found])).values()
    return told


def sealed_receipts() -> list[bytes]:
    message = TransferReceipt(Epoch(1), Shard(0), Seat(0), 0, 0, 10, 10)
    return [seal(SigningKey(bytes(31) + b"\5"), NETWORK, message), b"no receipt"]


async def test_a_provider_says_what_it_offered(autojump_clock: object) -> None:
    async def serve(stream: RequestStream) -> None:
        assert await stream.receive(0) == b""
        await stream.send(DOCUMENT)
        await stream.send(encode(sealed_receipts()))

    async with asked(serve) as (renter, found, _):
        told = await ask(renter, found)
    assert told.answer is not None
    assert told.answer.capability == CAPABILITY
    assert [each.message.down_bytes for each in told.answer.receipts] == [10]
    assert told.problem == ""


@pytest.mark.parametrize("last", [None, b"\xff", encode([b""] * 17)])
async def test_without_receipts_nothing_is_lost_but_the_proof(
    autojump_clock: object, last: bytes | None
) -> None:
    async def serve(stream: RequestStream) -> None:
        await stream.receive(0)
        await stream.send(DOCUMENT)
        if last is not None:
            await stream.send(last)

    async with asked(serve) as (renter, found, _):
        told = await ask(renter, found)
    assert told.answer == Answer(CAPABILITY)


async def test_another_capability_than_is_offered_is_no_answer(autojump_clock: object) -> None:
    async def serve(stream: RequestStream) -> None:
        await stream.receive(0)
        await stream.send(DOCUMENT)

    async with asked(serve, Digest(bytes(32))) as (renter, found, _):
        told = await ask(renter, found)
    assert (told.answer, told.problem) == (None, "capability of another offer")


async def test_who_serves_no_leases_is_named(autojump_clock: object) -> None:
    async with asked(None) as (renter, found, _):
        told = await ask(renter, found)
    assert told.answer is None
    assert told.problem


async def test_who_is_not_reached_is_waited_for_a_while(autojump_clock: object) -> None:
    async def serve(stream: RequestStream) -> None:
        await stream.receive(0)
        await stream.send(DOCUMENT)

    async with asked(serve) as (renter, found, hub):
        hub.cut(renter.node_key, found.node_key)
        before = trio.current_time()
        assert (await ask(renter, found)).answer is None
        assert trio.current_time() - before > 10

        async def mend_later() -> None:
            await trio.sleep(3)
            hub.mend(renter.node_key, found.node_key)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(mend_later)
            assert (await ask(renter, found)).answer is not None


def test_a_line_is_proven_by_a_majority_of_its_committee() -> None:
    receipts = tuple(receipt(seat, 10_000_000, 20_000_000) for seat in range(6))
    older = replace(VIEW, epoch=Epoch(VIEW.epoch - 1))

    rates = prove_line(Answer(CAPABILITY, receipts), [older, VIEW], TIMELINE, PROVIDER)
    few = prove_line(Answer(CAPABILITY, receipts[:2]), [VIEW], TIMELINE, PROVIDER)

    assert 0 < rates.down_bits_per_s < rates.up_bits_per_s
    assert few == NO_RATES

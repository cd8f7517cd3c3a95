"""Who gets a stream of a lease, and who is refused with which reason."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import trio
import trio.testing
from nacl.signing import SigningKey

from p2p_node.net import DeadlineError, Network, RequestStream, StreamEndedError
from p2p_node.rental.channel import (
    Access,
    AccessMemory,
    AccessRefused,
    Channel,
    Desk,
    Refusal,
    grant_access,
    open_channel,
    read_access,
    refuse_access,
)
from protocols.envelopes import seal
from protocols.errors import LocalError, MalformedError, RemoteError
from protocols.lease_frames import MAX_FRAME_BYTES, FrameKind
from protocols.lease_messages import (
    ACCESS_DISPARITY_MS,
    LEASE_PROTOCOL,
    ForwardRequest,
    LeaseAccess,
    LeaseAnswer,
    LeaseAnswerCode,
    LeasePurpose,
    StatusRequest,
)
from protocols.messages import compute_message_digest
from protocols.types import Digest, NetworkId, NodeKey, TimeMs
from tests.fakes.network import FakeHub
from tests.p2p_node.net.conftest import limits, settings, until

NETWORK = NetworkId(bytes(31) + b"\7")
LEASE = 5
LEASE_KEY = SigningKey(bytes(31) + b"\x63")
FOREIGN_KEY = SigningKey(bytes(31) + b"\x64")
PROVIDER_KEY = SigningKey((2).to_bytes(32, "big"))
NOW = TimeMs(1_800_000_000_000)

Serve = Callable[[RequestStream, Access], Awaitable[None]]


@dataclass
class Place:
    """A renter and a provider on a fake network, and what the provider saw."""

    renter: Network
    provider: Network
    desk: Desk
    now: list[TimeMs]
    accesses: list[Access] = field(default_factory=list)

    def open(
        self,
        *,
        key: SigningKey = LEASE_KEY,
        lease: int = LEASE,
        at: int = 0,
    ) -> object:
        """Ask for a forwarded port, with a clock that is `at` ms ahead of the provider's."""
        return open_channel(
            self.renter,
            self.provider.node_key,
            NETWORK,
            key,
            lease,
            LeasePurpose.FORWARD,
            ForwardRequest(8888),
            now=lambda: TimeMs(self.now[0] + at),
        )

    @property
    def refused(self) -> dict[str, int]:
        return {why: n for (where, why), n in self.provider.counters.refused.items() if n}


async def echo(place: Place, stream: RequestStream, access: Access) -> None:
    channel = await grant_access(stream, place.desk, access, "welcome")
    while True:
        try:
            kind, payload = await channel.receive_frame()
        except StreamEndedError:
            return
        await channel.send_frame(kind, payload)


@asynccontextmanager
async def open_place(
    serve: Callable[..., Awaitable[None]] = echo, **changes: Any
) -> AsyncIterator[Place]:
    hub = FakeHub()
    async with (
        hub.open_network(settings(1)) as renter,
        hub.open_network(settings(2, **changes)) as provider,
    ):
        now = [NOW]
        place = Place(renter, provider, Desk(PROVIDER_KEY, NETWORK, lambda: now[0]), now)

        async def judge(access: Access) -> Refusal | None:
            if access.lease != LEASE:
                return Refusal(LeaseAnswerCode.UNKNOWN_LEASE, f"lease {access.lease}")
            if access.key != bytes(LEASE_KEY.verify_key):
                return Refusal(LeaseAnswerCode.NOT_HOLDER)
            return None

        async def handle(stream: RequestStream) -> None:
            access = await read_access(stream, place.desk, judge)
            place.accesses.append(access)
            await serve(place, stream, access)

        provider.serve(LEASE_PROTOCOL, handle, lasting=True)
        with trio.fail_after(1000):
            yield place


async def test_the_holder_of_the_key_gets_a_channel(autojump_clock: object) -> None:
    async with open_place() as place:
        async with place.open() as channel:
            assert (channel.peer, channel.detail) == (place.provider.node_key, "welcome")
            await channel.send_frame(FrameKind.DATA, b"hello")
            kind, payload = await channel.receive_frame()
            assert (kind, bytes(payload)) == (FrameKind.DATA, b"hello")
        (access,) = place.accesses
        assert (access.lease, access.peer) == (LEASE, place.renter.node_key)
        assert (access.purpose, access.request) == (LeasePurpose.FORWARD, ForwardRequest(8888))
        assert not place.refused


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"key": FOREIGN_KEY}, LeaseAnswerCode.NOT_HOLDER),
        ({"lease": 6}, LeaseAnswerCode.UNKNOWN_LEASE),
        ({"at": ACCESS_DISPARITY_MS + 1}, LeaseAnswerCode.STALE),
        ({"at": -ACCESS_DISPARITY_MS - 1}, LeaseAnswerCode.STALE),
    ],
)
async def test_who_is_refused_learns_why_and_is_counted(
    asked: dict[str, object], code: LeaseAnswerCode, autojump_clock: object
) -> None:
    async with open_place() as place:
        with pytest.raises(AccessRefused) as refused:
            async with place.open(**asked):
                pytest.fail("granted")
        assert refused.value.code is code
        assert refused.value.reason == code.name.lower().replace("_", " ")
        await until(lambda: place.refused == {refused.value.reason: 1})
        assert not place.accesses


@pytest.mark.parametrize("at", [ACCESS_DISPARITY_MS, -ACCESS_DISPARITY_MS])
async def test_clocks_may_differ(at: int, autojump_clock: object) -> None:
    async with open_place() as place, place.open(at=at) as channel:
        await channel.send_frame(FrameKind.END)
        assert (await channel.receive_frame())[0] is FrameKind.END


async def test_a_refusal_after_the_access_was_taken(autojump_clock: object) -> None:
    async def refuse(place: Place, stream: RequestStream, access: Access) -> None:
        await refuse_access(stream, place.desk, access, LeaseAnswerCode.FAILED, "port 8888: näh\n")

    async with open_place(refuse) as place:
        with pytest.raises(AccessRefused) as refused:
            async with place.open():
                pytest.fail("granted")
        # Only what can be printed anywhere gets into an answer.
        assert (refused.value.code, refused.value.detail) == (
            LeaseAnswerCode.FAILED,
            "port 8888: n?h?",
        )


async def test_no_place_left_for_a_lasting_stream(autojump_clock: object) -> None:
    hub_limits = limits(max_lasting_streams_per_peer=1)
    async with open_place(limits=hub_limits) as place, place.open() as first:
        with pytest.raises(AccessRefused) as refused:
            async with place.open():
                pytest.fail("granted")
        assert refused.value.code is LeaseAnswerCode.TOO_MANY
        assert refused.value.detail == "too many lasting streams of one peer"
        # Longer than any handler without a lasting place has.
        await trio.sleep(500)
        await first.send_frame(FrameKind.END)
        assert (await first.receive_frame())[0] is FrameKind.END


# Renters that do not keep to the rules.


@dataclass
class Forgery:
    """An access as it should be, to be changed, and what is sent for it."""

    access: LeaseAccess
    body: bytes = ForwardRequest(8888).encode()

    def messages(self) -> list[bytes]:
        return [seal(LEASE_KEY, NETWORK, self.access), self.body]


def forge(place: Place, **changes: object) -> Forgery:
    body = ForwardRequest(8888).encode()
    access = LeaseAccess(
        lease=LEASE,
        peer=place.renter.node_key,
        time=NOW,
        nonce=bytes(16),
        purpose=LeasePurpose.FORWARD,
        request=compute_message_digest(body),
    )
    return Forgery(replace(access, **changes))


async def ask(place: Place, messages: list[bytes]) -> bytes:
    """Send those messages; returns the answer."""
    async with place.renter.open_stream(place.provider.node_key, LEASE_PROTOCOL, 60) as stream:
        for message in messages:
            await stream.send(message)
        return await stream.receive(1000)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"peer": NodeKey(bytes(32))}, "not holder"),
        ({"purpose": 99}, "bad request"),
        ({"request": Digest(bytes(32))}, "bad request"),
        ({"purpose": LeasePurpose.LOGS}, "bad request"),
    ],
)
async def test_an_access_that_does_not_fit(
    changes: dict[str, object], reason: str, autojump_clock: object
) -> None:
    async with open_place() as place:
        await ask(place, forge(place, **changes).messages())
        await until(lambda: place.refused == {reason: 1})
        assert not place.accesses


async def test_an_access_is_good_once(autojump_clock: object) -> None:
    async with open_place() as place:
        messages = forge(place).messages()
        await ask(place, messages)
        place.now[0] = TimeMs(NOW + ACCESS_DISPARITY_MS)
        await ask(place, messages)
        await until(lambda: place.refused == {"replayed": 1})
        place.now[0] = TimeMs(place.now[0] + 1)
        await ask(place, messages)
        await until(lambda: place.refused == {"replayed": 1, "stale": 1})
        assert len(place.accesses) == 1


async def test_an_access_of_another_peer_is_of_no_use(autojump_clock: object) -> None:
    async with open_place() as place:
        messages = forge(place).messages()
        hub = place.renter._hub  # type: ignore[attr-defined]
        async with hub.open_network(settings(3)) as thief:
            await ask(replace(place, renter=thief), messages)
        await until(lambda: place.refused == {"not holder": 1})


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([b"nonsense"], "not canonical msgpack"),
        ([bytes(MAX_FRAME_BYTES)], "message too long"),
    ],
)
async def test_what_is_no_access_is_not_answered(
    messages: list[bytes], reason: str, autojump_clock: object
) -> None:
    async with open_place() as place:
        with pytest.raises(StreamEndedError):
            await ask(place, messages)
        await until(lambda: sum(place.refused.values()) == 1)


async def test_a_request_above_its_cap_is_not_read(autojump_clock: object) -> None:
    async with open_place() as place:
        good = forge(place)
        with pytest.raises(StreamEndedError):
            await ask(place, [good.messages()[0], bytes(ForwardRequest.MAX_BYTES + 1)])
        await until(lambda: place.refused == {"message too long": 1})


async def test_a_request_that_does_not_parse(autojump_clock: object) -> None:
    async with open_place() as place:
        body = b"\xc1"
        good = forge(place, request=compute_message_digest(body))
        await ask(place, [good.messages()[0], body])
        await until(lambda: place.refused == {"bad request": 1})


async def test_who_stays_silent_is_dropped(autojump_clock: object) -> None:
    async with open_place() as place:
        async with place.renter.open_stream(place.provider.node_key, LEASE_PROTOCOL, 60) as stream:
            with pytest.raises(StreamEndedError):
                await stream.receive(1000, within=30)
        assert place.refused == {"peer does not answer in time": 1}


# Providers that do not.


@pytest.mark.parametrize(
    ("access", "code", "signer", "reason"),
    [
        (Digest(bytes(32)), 0, PROVIDER_KEY, "answer to another access"),
        (None, 0, FOREIGN_KEY, "unexpected signer"),
        (None, 99, PROVIDER_KEY, "unknown answer"),
    ],
)
async def test_an_answer_that_is_not_the_providers(
    access: Digest | None, code: int, signer: SigningKey, reason: str, autojump_clock: object
) -> None:
    async def lie(place: Place, stream: RequestStream, asked: Access) -> None:
        answer = LeaseAnswer(access=access or asked.digest, code=code, detail="")
        await stream.send(seal(signer, NETWORK, answer))
        with pytest.raises(StreamEndedError):
            await stream.receive(1)

    async with open_place(lie) as place:
        with pytest.raises(RemoteError, match=reason):
            async with place.open():
                pytest.fail("granted")


async def test_a_provider_that_does_not_answer(autojump_clock: object) -> None:
    async def wait(place: Place, stream: RequestStream, access: Access) -> None:
        with pytest.raises(StreamEndedError):
            await stream.receive(1, within=1000)

    async with open_place(wait) as place:
        with pytest.raises(DeadlineError):
            async with place.open():
                pytest.fail("granted")


async def test_a_request_of_another_purpose_is_our_own_mistake(autojump_clock: object) -> None:
    async with open_place() as place:
        with pytest.raises(LocalError):
            async with open_channel(
                place.renter,
                place.provider.node_key,
                NETWORK,
                LEASE_KEY,
                LEASE,
                LeasePurpose.RUN,
                StatusRequest(),
            ):
                pytest.fail("opened")


# The memory of accesses.


def test_the_memory_is_bounded_and_forgets_what_is_over() -> None:
    memory = AccessMemory(2)
    one, two, three = (Digest(bytes([number]) * 32) for number in (1, 2, 3))
    assert memory.take(one, TimeMs(100), TimeMs(0)) is None
    assert memory.take(two, TimeMs(200), TimeMs(0)) is None
    refusal = memory.take(three, TimeMs(300), TimeMs(100))
    assert refusal is not None
    assert refusal.code is LeaseAnswerCode.TOO_MANY
    again = memory.take(two, TimeMs(200), TimeMs(100))
    assert again is not None
    assert again.code is LeaseAnswerCode.REPLAYED
    assert memory.take(three, TimeMs(300), TimeMs(101)) is None
    assert len(memory) == 2


# Frames.


class _Stream:
    """A stream that remembers what is sent, and stops in the middle when told."""

    def __init__(self) -> None:
        self.peer = NodeKey(bytes(32))
        self.protocol = LEASE_PROTOCOL
        self.sent: list[bytes] = []
        self.to_receive: list[bytes] = []
        self.begun = 0
        self.go = trio.Event()

    async def send_all(self, messages: list[bytes], *, within: float | None = None) -> None:
        self.begun += 1
        await self.go.wait()
        self.sent += messages

    async def receive(self, max_bytes: int, *, within: float | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.to_receive.pop(0)


async def test_frames_of_several_tasks_do_not_mix() -> None:
    stream = _Stream()
    channel = Channel(stream)
    async with trio.open_nursery() as nursery:
        for kind in (FrameKind.DATA, FrameKind.ERRORS):
            nursery.start_soon(channel.send_frame, kind, b"x")
        await trio.testing.wait_all_tasks_blocked()
        assert stream.begun == 1
        stream.go.set()
    assert sorted(stream.sent) == [b"\0x", b"\1x"]


@pytest.mark.parametrize("frame", [b"", b"\xff", b"\x7f1"])
async def test_what_is_no_frame_is_refused(frame: bytes) -> None:
    stream = _Stream()
    stream.to_receive.append(frame)
    with pytest.raises(MalformedError):
        await Channel(stream).receive_frame()


async def test_a_frame_above_the_cap_is_never_sent() -> None:
    stream = _Stream()
    stream.go.set()
    channel = Channel(stream)
    await channel.send_frame(FrameKind.DATA, bytes(MAX_FRAME_BYTES - 1))
    with pytest.raises(LocalError):
        await channel.send_frame(FrameKind.DATA, bytes(MAX_FRAME_BYTES))
    assert len(stream.sent) == 1


async def test_a_frame_above_the_cap_is_never_read(autojump_clock: object) -> None:
    async with open_place() as place:
        async with place.renter.open_stream(place.provider.node_key, LEASE_PROTOCOL, 60) as stream:
            for message in forge(place).messages():
                await stream.send(message)
            await stream.receive(1000)
            await stream.send(bytes(MAX_FRAME_BYTES + 1))
            with pytest.raises(StreamEndedError):
                await stream.receive(1)
        await until(lambda: place.refused == {"message too long": 1})


async def test_the_last_word_of_a_failure_arrives(autojump_clock: object) -> None:
    async def fail(place: Place, stream: RequestStream, access: Access) -> None:
        channel = await grant_access(stream, place.desk, access)
        await channel.fail("the disk is full")
        raise RemoteError("upload failed")

    async with open_place(fail) as place:
        async with place.open() as channel:
            kind, payload = await channel.receive_frame()
            assert (kind, bytes(payload)) == (FrameKind.FAILURE, b"the disk is full")
        await until(lambda: place.refused == {"upload failed": 1})

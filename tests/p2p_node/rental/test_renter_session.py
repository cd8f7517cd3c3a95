"""A renter and its provider: found, waited for, deployed by, or not."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from nacl.signing import SigningKey

from p2p_node.net import Handler, Network, RequestStream
from p2p_node.rental.channel import (
    Access,
    AccessRefused,
    Channel,
    Desk,
    Refusal,
    grant_access,
    read_access,
    read_wall_clock,
)
from p2p_node.rental.renter_deploying import DeploymentFailed, ask_status, clean_text, deploy
from p2p_node.rental.renter_session import LeaseSession, ProviderUnreachableError
from protocols.errors import MalformedError
from protocols.lease_frames import FrameKind
from protocols.lease_messages import (
    LEASE_PROTOCOL,
    DeployRequest,
    LeaseAnswerCode,
    LeasePurpose,
    StatusRequest,
)
from protocols.types import NetworkId
from tests.fakes.network import FakeHub
from tests.p2p_node.net.conftest import settings
from tests.p2p_node.rental.test_renter_receipts import LEASE

NETWORK = NetworkId(bytes(31) + b"\7")
KEY = SigningKey(bytes(31) + b"\x63")
PROVIDER_KEY = SigningKey((2).to_bytes(32, "big"))

Talk = Callable[[Channel], Awaitable[None]]


async def do_nothing(_channel: Channel) -> None:
    """A provider that grants and says no more."""


class Provider:
    """Answers `refusals` first, then lets `talk` have the channel."""

    def __init__(self, talk: Talk, refusals: tuple[LeaseAnswerCode, ...]) -> None:
        self.talk = talk
        self.refusals = list(refusals)
        self.asked: list[Access] = []
        self.desk = Desk(PROVIDER_KEY, NETWORK, read_wall_clock)
        self.handler: Handler | None = None
        """Takes whole streams instead, where it is set."""

    async def judge(self, access: Access) -> Refusal | None:
        self.asked.append(access)
        return Refusal(self.refusals.pop(0), "says the test") if self.refusals else None

    async def handle(self, stream: RequestStream) -> None:
        if self.handler is not None:
            await self.handler(stream)
            return
        access = await read_access(stream, self.desk, self.judge)
        await self.talk(await grant_access(stream, self.desk, access))


@asynccontextmanager
async def open_session(
    talk: Talk = do_nothing, *refusals: LeaseAnswerCode
) -> AsyncIterator[tuple[LeaseSession, Provider, FakeHub, Network]]:
    hub = FakeHub()
    async with hub.open_network(settings(1)) as renter, hub.open_network(settings(2)) as node:
        provider = Provider(talk, refusals)
        node.serve(LEASE_PROTOCOL, provider.handle, lasting=True)
        with trio.fail_after(300):
            session = LeaseSession(renter, NETWORK, LEASE, node.node_key, KEY)
            yield session, provider, hub, node


async def test_a_provider_that_has_not_seen_the_lease_yet_is_waited_for(
    autojump_clock: object,
) -> None:
    codes = (LeaseAnswerCode.UNKNOWN_LEASE, LeaseAnswerCode.NOT_ACTIVE)
    async with open_session(do_nothing, *codes) as (session, provider, _, _):
        async with session.open(LeasePurpose.STATUS, StatusRequest()):
            pass
        assert len(provider.asked) == 3
        assert {each.lease for each in provider.asked} == {LEASE.id}
        assert {bytes(each.key) for each in provider.asked} == {bytes(KEY.verify_key)}


async def test_what_stays_refused_is_said_with_its_reason(autojump_clock: object) -> None:
    codes = (LeaseAnswerCode.NOT_ACTIVE,) * 100
    async with open_session(do_nothing, *codes) as (session, _, _, _):
        with pytest.raises(AccessRefused, match="not active: says the test"):
            async with session.open(LeasePurpose.STATUS, StatusRequest(), within=10):
                raise AssertionError("granted")


async def test_a_refusal_for_good_is_not_repeated(autojump_clock: object) -> None:
    async with open_session(do_nothing, LeaseAnswerCode.NOT_HOLDER) as (session, provider, _, _):
        with pytest.raises(AccessRefused, match="not holder"):
            async with session.open(LeasePurpose.STATUS, StatusRequest()):
                raise AssertionError("granted")
        assert len(provider.asked) == 1


async def test_who_is_not_reached_can_be_left(autojump_clock: object) -> None:
    async with open_session() as (session, _, hub, node):
        hub.cut(session.network.node_key, node.node_key)
        with pytest.raises(ProviderUnreachableError, match="kaisar rent end --contest 5"):
            async with session.open(LeasePurpose.STATUS, StatusRequest(), within=10):
                raise AssertionError("reached")


async def test_a_deployment_says_how_far_it_is(autojump_clock: object) -> None:
    async def talk(channel: Channel) -> None:
        await channel.send_frame(FrameKind.TEXT, b"Container is deploying\xe2\x80\xa6")
        await channel.send_frame(FrameKind.TEXT, b"pulled \x1b[31m1 of 2\n")
        await channel.send_frame(FrameKind.DONE)

    said: list[str] = []
    async with open_session(talk) as (session, provider, _, _):
        await deploy(session, "pytorch", said.append)
        assert provider.asked[0].request == DeployRequest("pytorch")
    assert said == ["Container is deploying…", "pulled  [31m1 of 2"]


@pytest.mark.parametrize(
    ("kind", "error", "text"),
    [
        (FrameKind.FAILURE, DeploymentFailed, "deployment failed: no image"),
        (FrameKind.EXIT, MalformedError, "unexpected frame: EXIT"),
    ],
)
async def test_a_deployment_that_fails(
    autojump_clock: object, kind: FrameKind, error: type[Exception], text: str
) -> None:
    async def talk(channel: Channel) -> None:
        await channel.send_frame(kind, b"no image")

    async with open_session(talk) as (session, _, _, _):
        with pytest.raises(error, match=text):
            await deploy(session, "base", lambda _: None)


async def test_how_the_place_is(autojump_clock: object) -> None:
    async def talk(channel: Channel) -> None:
        await channel.send_frame(FrameKind.TEXT, b'{"processes": 3}')

    async with open_session(talk) as (session, _, _, _):
        assert await ask_status(session) == {"processes": 3}


@pytest.mark.parametrize(
    ("kind", "said", "error"),
    [
        (FrameKind.TEXT, b"{", MalformedError),
        (FrameKind.TEXT, b"[1]", MalformedError),
        (FrameKind.DATA, b"{}", MalformedError),
        (FrameKind.FAILURE, b"gone", DeploymentFailed),
    ],
)
async def test_a_place_that_cannot_be_told(
    autojump_clock: object, kind: FrameKind, said: bytes, error: type[Exception]
) -> None:
    async def talk(channel: Channel) -> None:
        await channel.send_frame(kind, said)

    async with open_session(talk) as (session, _, _, _):
        with pytest.raises(error):
            await ask_status(session)


def test_text_of_others_steers_no_terminal() -> None:
    assert clean_text(memoryview(b"a\x1b]0;x\x07b\xff\n")) == "a ]0;x b\ufffd"

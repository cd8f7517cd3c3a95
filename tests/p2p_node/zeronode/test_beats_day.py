"""A whole day through the shell in virtual time: what the books say at its end, to the unit."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import trio
from nacl.signing import SigningKey
from sqlalchemy import Connection
from trio.testing import MockClock

from p2p_node.clock import Clock
from p2p_node.zeronode.accounts import bind_key, open_account
from p2p_node.zeronode.beats import Beats
from p2p_node.zeronode.closing import close_next_day
from p2p_node.zeronode.homes import claim_home
from p2p_node.zeronode.ledger import Unit, balances_of, entry_by_key, user_account
from p2p_node.zeronode.parts import Service, ServiceIdentity
from p2p_node.zeronode.service import open_service
from p2p_node.zeronode.settings import ZeroNodeSettings
from p2p_node.zeronode.web_socket import SocketClosed
from protocols.types import NodeKey, TimeMs, Wallet
from protocols.zeronode_beats import sign_beat, sign_hello
from protocols.zeronode_frames import (
    Beat,
    Challenge,
    Credit,
    Greet,
    Hello,
    Welcome,
    decode_service_frame,
)
from protocols.zeronode_rules import MAINNET_RULES, TICKET_UNITS
from tests.p2p_node.zeronode.serving import CHAIN_ID, NETWORK, make_key

DAY = 20_000
# As far apart as challenges may be: each costs a commit, and a day has thousands.
RULES = replace(MAINNET_RULES, challenge_min_ms=24_000, challenge_max_ms=28_000)
START = TimeMs(RULES.day_start(DAY) - 60_000)
WALLET = Wallet(bytes(range(20)))


@dataclass
class PairedSocket:
    """Both ends of a WebSocket in memory."""

    address: str = "203.0.113.5"
    up: tuple[trio.MemorySendChannel[str], trio.MemoryReceiveChannel[str]] = field(
        default_factory=lambda: trio.open_memory_channel[str](10)
    )
    down: tuple[trio.MemorySendChannel[str], trio.MemoryReceiveChannel[str]] = field(
        default_factory=lambda: trio.open_memory_channel[str](10)
    )

    async def receive(self, deadline: float = math.inf) -> str:
        with trio.fail_at(deadline):
            try:
                return await self.up[1].receive()
            except trio.EndOfChannel:
                raise SocketClosed from None

    async def send(self, text: str) -> None:
        try:
            await self.down[0].send(text)
        except trio.BrokenResourceError:
            raise SocketClosed from None

    def hang_up(self) -> None:
        self.up[0].close()
        self.down[1].close()


@asynccontextmanager
async def virtual_service(directory: Path) -> AsyncIterator[Service]:
    """A service in virtual time, with its writer."""
    identity = ServiceIdentity(make_key(99), NETWORK, CHAIN_ID)
    settings = ZeroNodeSettings(database=f"sqlite:///{directory / 'zeronode.sqlite'}")
    clock = Clock(started_at=START)
    opened = open_service(settings, identity, RULES, clock, directory, inline=True)
    async with opened as service, trio.open_nursery() as nursery:
        nursery.start_soon(service.writer.run)
        yield service
        nursery.cancel_scope.cancel()


async def bind(service: Service, key: SigningKey) -> None:
    def work(connection: Connection) -> None:
        public = NodeKey(bytes(key.verify_key))
        open_account(connection, WALLET, START)
        claim_home(connection, WALLET, service.identity.service, RULES, START)
        bind_key(connection, WALLET, public, RULES, START)

    await service.database.run(work)


async def be_online(beats: Beats, key: SigningKey, until: TimeMs, boot: bytes) -> int:
    """Hold one session until a moment; how many milliseconds it was told that it earned."""
    service, socket = beats._service, PairedSocket()
    identity = service.identity
    paid = 0

    async def answer() -> None:
        nonlocal paid
        greet = decode_service_frame(await socket.down[1].receive())
        assert isinstance(greet, Greet)
        signature = sign_hello(key, identity.network, identity.service, greet.nonce, boot)
        public = NodeKey(bytes(key.verify_key))
        await socket.up[0].send(Hello(key=public, boot=boot, agent="test", sig=signature).encode())
        assert isinstance(decode_service_frame(await socket.down[1].receive()), Welcome)
        while True:
            challenge = decode_service_frame(await socket.down[1].receive())
            assert isinstance(challenge, Challenge)
            if service.now() >= until:
                break
            signature = sign_beat(
                *(key, identity.network, identity.service, challenge.sid, challenge.seq),
                *(challenge.nonce, boot),
            )
            beat = Beat(sid=challenge.sid, seq=challenge.seq, sig=signature)
            await socket.up[0].send(beat.encode())
            credit = decode_service_frame(await socket.down[1].receive())
            assert isinstance(credit, Credit)
            paid += credit.paid_ms
        socket.hang_up()

    async def serve() -> None:
        with suppress(SocketClosed):
            await beats.talk(socket)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        nursery.start_soon(answer)
    return paid


async def read_points(service: Service) -> int:
    held = await service.database.read(balances_of, user_account(WALLET))
    assert held[Unit.TICKETS] == 0
    return held[Unit.POINTS]


async def test_a_day_online_is_exactly_300_points(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with virtual_service(tmp_path) as service:
        key = make_key(1)
        await bind(service, key)
        end = RULES.day_end(DAY)
        paid = await be_online(Beats(service), key, TimeMs(end + 60_000), bytes(16))
        assert paid >= RULES.day_ms
        assert await read_points(service) == 0
        await service.clock.sleep_until(RULES.close_time(DAY))
        while await close_next_day(service, None):
            pass
        # Beside it there is the minute before, which is of a day of its own.
        assert 0 <= await read_points(service) - 864_000 <= 600
        booked = await service.database.read(_read_day_units)
        assert booked == 864_000 == TICKET_UNITS


def _read_day_units(connection: Connection) -> int:
    entry = entry_by_key(connection, f"uptime:0x{WALLET.hex()}:{DAY}")
    assert entry is not None
    return max(line.amount for line in entry.transfer.lines)

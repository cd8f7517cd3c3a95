"""The WebSocket of beats: greets, challenges at random times, judges answers, says what is earned.

One task holds one session and does everything in turn, so that thousands cost little. All judging
is `protocols.zeronode_session`'s and all choosing `SessionBook`'s; here is only what waits. Time is
the service's clock, and nothing that a client says is taken for one.
"""

import logging
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import trio

from p2p_node.zeronode.accounts import find_account_of_key
from p2p_node.zeronode.beat_writer import WriterBusy
from p2p_node.zeronode.limits import Party
from p2p_node.zeronode.parts import Service, Visit
from p2p_node.zeronode.refusals import TooMany
from p2p_node.zeronode.sessions import OpenSession
from p2p_node.zeronode.uptime_book import Receipt
from protocols.errors import MalformedError, RemoteError
from protocols.types import NodeKey, TimeMs
from protocols.uptime import Stretch
from protocols.zeronode_beats import NONCE_BYTES, SESSION_BYTES, verify_hello
from protocols.zeronode_frames import (
    Beat,
    Bye,
    ClientFrame,
    Credit,
    Greet,
    Hello,
    Refuse,
    Welcome,
    decode_client_frame,
)
from protocols.zeronode_session import BeatRefused, Session

logger = logging.getLogger(__name__)

RETRY_MS: Final = 10_000
"""For whoever is refused for a reason that may be gone by then."""

ACCOUNT_MS: Final = 300_000
"""How often a session is told its account's standing with a credit: reading one takes 4 ms of a
core. Whoever wants to see more asks by HTTP."""

MAX_READING: Final = 16
"""Standings that are read at once for credits; more sessions do without until their next beat."""

NO_HELLO: Final = "no hello"
OUT_OF_TURN: Final = "out of turn"
FIRST_BEAT: Final = "first beat"
"""Two make a stretch."""
UNRESPONSIVE: Final = "unresponsive"


class Socket(Protocol):
    """A WebSocket, as far as a session needs one."""

    address: str

    async def receive(self, deadline: float = math.inf) -> str:
        """Wait for a message. Raises trio.TooSlowError, SocketClosed, MalformedError."""

    async def send(self, text: str) -> None:
        """Send a message. Raises SocketClosed."""


@dataclass(slots=True)
class BeatCounters:
    """Plain integers about beats; labels are fixed phrases."""

    refused: Counter[str] = field(default_factory=Counter)
    """Reason -> hellos and beats that were refused."""
    ended: Counter[str] = field(default_factory=Counter)
    """Reason -> sessions that the service ended."""
    challenges: int = 0
    beats: int = 0
    """Beats that were good."""
    missed: int = 0
    """Challenges that nobody answered in time."""
    paid_ms: int = 0
    reading: int = 0
    """Standings that are being read now, to be told with credits."""


class _Ended(Exception):
    """The service ends the session."""

    def __init__(self, bye: Bye) -> None:
        super().__init__(bye.reason)
        self.bye = bye


class Beats:
    """Holds every session of one service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.counters = BeatCounters()

    async def talk(self, socket: Socket) -> None:
        """Hold one session, from the greeting to its end. Raises SocketClosed."""
        visit = self._service.visit(socket.address)
        try:
            hello = await self._read_hello(socket, visit)
            session = await self._enter(hello, visit)
        except RemoteError as refusal:
            self.counters.refused[refusal.reason] += 1
            logger.debug("hello refused: %s", refusal)
            retry_ms = (isinstance(refusal, TooMany) and refusal.retry_ms) or RETRY_MS
            await socket.send(Refuse(reason=refusal.reason, retry_ms=retry_ms).encode())
            return
        try:
            await _Talk(self._service, self.counters, socket, session, visit).run()
        except _Ended as end:
            self.counters.ended[end.bye.reason] += 1
            await socket.send(end.bye.encode())
        except MalformedError as error:
            self.counters.refused[error.reason] += 1
            logger.debug("frame refused: %s", error)
            await socket.send(Bye(reason=error.reason, retry_ms=RETRY_MS).encode())
        finally:
            self._service.sessions.leave(session)

    async def _read_hello(self, socket: Socket, visit: Visit) -> Hello:
        service, identity = self._service, self._service.identity
        service.rates.take("session", visit.address.exact, service.now())
        nonce = service.random(NONCE_BYTES)
        await socket.send(Greet(service=identity.service, nonce=nonce).encode())
        try:
            text = await socket.receive(trio.current_time() + service.rules.hello_ms / 1000)
        except trio.TooSlowError:
            raise MalformedError(NO_HELLO) from None
        hello = decode_client_frame(text)
        if not isinstance(hello, Hello):
            raise MalformedError(OUT_OF_TURN)
        verify_hello(identity.network, identity.service, nonce, hello.boot, hello.key, hello.sig)
        return hello

    async def _enter(self, hello: Hello, visit: Visit) -> OpenSession:
        service, identity = self._service, self._service.identity
        sid = service.random(SESSION_BYTES)
        refreshed = service.sessions.refreshed
        session = OpenSession(
            Session(identity.network, identity.service, sid, hello.key, hello.boot, service.rules),
            await find_party(service, hello.key, visit),
            is_copied=service.sessions.follow_boot(hello.key, hello.boot),
        )
        # Nobody could tell a session that was not open yet: it looks once more.
        session.is_stale = service.sessions.refreshed != refreshed
        service.sessions.enter(session)
        return session


async def find_party(service: Service, key: NodeKey, visit: Visit) -> Party:
    """Find out whom a key earns for, and have it noted that the account was seen here."""
    account = await service.reading.read(find_account_of_key, key)
    if account is not None:
        service.note_visit(account.wallet, visit)
    return Party(
        key=key,
        wallet=None if account is None else account.wallet,
        exact=visit.address.exact,
        near=visit.address.near,
        asn=visit.place.asn,
    )


class _Talk:
    """One session's task."""

    def __init__(
        self,
        service: Service,
        counters: BeatCounters,
        socket: Socket,
        session: OpenSession,
        visit: Visit,
    ) -> None:
        self._service = service
        self._counters = counters
        self._socket = socket
        self._session = session
        self._visit = visit
        self._told_ms = TimeMs(0)

    async def run(self) -> None:
        """Challenge until the client leaves (SocketClosed) or is sent away (_Ended)."""
        session, rules = self._session, self._service.rules
        await self._socket.send(
            Welcome(
                sid=session.sid,
                bound=session.wallet is not None,
                earning=session.is_earning,
                reason=session.reason,
            ).encode()
        )
        # The first at once: a session earns from its first beat on.
        next_ms = self._service.now()
        while True:
            await self._wait(next_ms)
            sent_ms = await self._challenge()
            next_ms = TimeMs(
                sent_ms + self._service.draw(rules.challenge_min_ms, rules.challenge_max_ms)
            )

    async def _wait(self, moment: TimeMs) -> None:
        while True:
            await self._heed()
            frame = await self._receive(moment)
            if frame is not None:
                # Nothing was asked, so whatever this is, it is refused.
                await self._judge(frame)
            elif self._service.now() >= moment:
                return

    async def _challenge(self) -> TimeMs:
        service, machine = self._service, self._session.machine
        sent_ms = service.now()
        challenge = machine.challenge(
            service.identity.node_key, service.random(NONCE_BYTES), sent_ms
        )
        self._counters.challenges += 1
        await self._socket.send(challenge.encode())
        while (deadline := machine.deadline) is not None:
            frame = await self._receive(TimeMs(deadline + 1))
            if frame is not None:
                await self._judge(frame)
            elif machine.expire(service.now()):
                self._counters.missed += 1
            await self._heed()
        return sent_ms

    async def _receive(self, until: TimeMs) -> ClientFrame | None:
        """Wait for a frame; None when it is time, or when there is something to heed."""
        # Half a millisecond later, because the clock rounds down: it must say `until` by then.
        deadline = self._service.clock.deadline(until) + 0.0005
        with trio.CancelScope(deadline=deadline) as scope:
            self._session.waiting = scope
            try:
                return decode_client_frame(await self._socket.receive())
            finally:
                self._session.waiting = None
        return None

    async def _heed(self) -> None:
        """Do what others said to this session. Raises _Ended."""
        session = self._session
        if session.is_stale and session.farewell is None:
            session.is_stale = False
            await self._change_party()
        if session.farewell is not None:
            raise _Ended(session.farewell)
        if session.machine.is_over:
            raise _Ended(Bye(reason=UNRESPONSIVE, retry_ms=RETRY_MS))

    async def _change_party(self) -> None:
        session, sessions = self._session, self._service.sessions
        party = await find_party(self._service, session.key, self._visit)
        if party.wallet == session.wallet or session.farewell is not None:
            return
        sessions.leave(session)
        session.party = party
        session.machine.break_chain()
        try:
            sessions.enter(session)
        except TooMany as refusal:
            raise _Ended(Bye(reason=refusal.reason, retry_ms=RETRY_MS)) from refusal

    async def _judge(self, frame: ClientFrame) -> None:
        session = self._session
        if not isinstance(frame, Beat):
            raise MalformedError(OUT_OF_TURN)
        try:
            stretch = session.machine.on_beat(frame, self._service.now())
        except BeatRefused as refusal:
            self._counters.refused[refusal.reason] += 1
            logger.debug("beat refused: key=%s %s", session.key.hex(), refusal)
            await self._tell(frame, 0, refusal.reason)
            return
        self._counters.beats += 1
        paid_ms, reason = await self._book(stretch)
        await self._tell(frame, paid_ms, reason, await self._read_account())

    async def _book(self, stretch: Stretch | None) -> tuple[int, str]:
        """Make durable what a beat earned; how many milliseconds, or why none."""
        session = self._session
        if session.wallet is None or not session.is_earning:
            return 0, session.reason
        if stretch is None:
            return 0, FIRST_BEAT
        try:
            await self._service.writer.record(Receipt(session.wallet, stretch, session.sid))
        except WriterBusy as refusal:
            self._counters.refused[refusal.reason] += 1
            return 0, refusal.reason
        paid_ms = stretch.end_ms - stretch.start_ms
        self._counters.paid_ms += paid_ms
        return paid_ms, ""

    async def _read_account(self) -> Mapping[str, Any] | None:
        now, wallet = self._service.now(), self._session.wallet
        counters = self._counters
        if wallet is None or now < self._told_ms + ACCOUNT_MS or counters.reading >= MAX_READING:
            return None
        self._told_ms = now
        counters.reading += 1
        try:
            return await self._service.read_standing(wallet)
        finally:
            counters.reading -= 1

    async def _tell(
        self, beat: Beat, paid_ms: int, reason: str, account: Mapping[str, Any] | None = None
    ) -> None:
        is_earning = self._session.is_earning
        credit = Credit(
            seq=beat.seq, paid_ms=paid_ms, earning=is_earning, reason=reason, account=account
        )
        await self._socket.send(credit.encode())

"""A stream of a lease: how it is asked for, granted or refused, and the frames on it afterwards.

The renter opens a stream and sends two messages at once: its access, sealed with the lease's key,
and the request that the access names. The provider answers with one message, and after a granted
one both sides send frames until either is done.

An access names the peer that opens the stream, and the connection proves that peer. So nobody else
can use it, and what is left to prevent is that this peer uses it twice.
"""

import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import inf
from typing import NoReturn

import trio
from nacl.signing import SigningKey

from p2p_node.net import Network, RequestStream
from protocols.envelopes import ENVELOPE_OVERHEAD, Verified, open_envelope, seal
from protocols.errors import LocalError, MalformedError, RemoteError
from protocols.lease_frames import (
    MAX_FRAME_BYTES,
    FrameKind,
    decode_frame,
    encode_frame,
    encode_text,
)
from protocols.lease_messages import (
    ACCESS_DISPARITY_MS,
    LEASE_PROTOCOL,
    REQUESTS,
    LeaseAccess,
    LeaseAnswer,
    LeaseAnswerCode,
    LeasePurpose,
)
from protocols.leases import LeaseRefused
from protocols.messages import compute_message_digest
from protocols.types import Digest, NetworkId, NodeKey, TimeMs
from protocols.wire import Message

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 30.0
"""A provider that has to ask its chain first answers within this."""

PARTING_SECONDS = 5.0
"""The other side has so long to read a last word before the stream is reset, which voids it."""

MAX_REMEMBERED = 4096
"""Granted accesses that are remembered: each was good for a minute at most."""

_MAX_DETAIL = 200


class AccessRefused(LeaseRefused):
    """A stream of a lease was refused. `code` says why, and so does the reason, which is one fixed
    phrase for each code; `detail` is in the provider's words."""

    def __init__(self, code: LeaseAnswerCode, detail: str = "") -> None:
        super().__init__(code.name.lower().replace("_", " "), detail)
        self.code = code


@dataclass(frozen=True, slots=True)
class Access:
    """What somebody asks for who holds `key`, over a stream from `peer`.

    Signature, peer and time have been checked, and `request` is the one that was signed for.
    `digest` names the access.
    """

    lease: int
    key: NodeKey
    peer: NodeKey
    purpose: LeasePurpose
    request: Message
    digest: Digest


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an access is refused; `detail` is for the renter's eyes."""

    code: LeaseAnswerCode
    detail: str = ""


Judge = Callable[[Access], Awaitable[Refusal | None]]
"""Says why an access is refused: no such lease, not its key, not active. None when it is not."""


class AccessMemory:
    """Accesses that were taken, for as long as they could be taken again.

    Only those of a lease's holder get here, so nobody else can fill it. A holder that does gets no
    further access until the oldest ones are no longer good.
    """

    def __init__(self, most: int = MAX_REMEMBERED) -> None:
        self._most = most
        self._until: dict[Digest, TimeMs] = {}

    def __len__(self) -> int:
        return len(self._until)

    def take(self, digest: Digest, until: TimeMs, now: TimeMs) -> Refusal | None:
        """Remember an access that is good `until` then, or say why it is not taken."""
        if digest in self._until:
            return Refusal(LeaseAnswerCode.REPLAYED)
        if len(self._until) >= self._most:
            self._until = {one: end for one, end in self._until.items() if end >= now}
        if len(self._until) >= self._most:
            return Refusal(LeaseAnswerCode.TOO_MANY, f"{self._most} accesses within a minute")
        self._until[digest] = until
        return None


@dataclass(frozen=True, slots=True)
class Desk:
    """What a provider checks accesses with and signs its answers with.

    `key` is the node's, `now` gives Unix milliseconds (`Clock.now`).
    """

    key: SigningKey
    network: NetworkId
    now: Callable[[], TimeMs]
    memory: AccessMemory = field(default_factory=AccessMemory)


class Channel:
    """A granted stream, from either side.

    Any number of tasks may send, one frame after the other; one task may receive meanwhile. Both
    wait for as long as the other side takes unless `within` says otherwise, in seconds: a dead peer
    ends its connection, and a live one may be slow.

    Error handling: StreamEndedError when the other side is gone or its connection ended,
    DeadlineError after `within`, MalformedError and MessageTooLongError for what is no frame; all
    RemoteError, and the channel is of no more use after any of them.
    """

    def __init__(self, stream: RequestStream, detail: str = "") -> None:
        self.peer = stream.peer
        self.detail = detail
        """What the provider said when it granted the access."""
        self._stream = stream
        self._sending = trio.Lock()

    async def send_frame(
        self, kind: FrameKind, payload: bytes | memoryview = b"", *, within: float = inf
    ) -> None:
        """Send one frame. Returns when it is handed to the transport."""
        await self.send_encoded(encode_frame(kind, bytes(payload)), within=within)

    async def send_encoded(self, frame: bytes, *, within: float = inf) -> None:
        """Send a frame that `protocols.lease_frames` encoded."""
        await self.send_all((frame,), within=within)

    async def send_all(
        self, frames: Sequence[bytes | bytearray | memoryview], *, within: float = inf
    ) -> None:
        """Send several such frames; costs less than one by one where they are small."""
        for frame in frames:
            if len(frame) > MAX_FRAME_BYTES:
                raise LocalError(f"a frame of {len(frame)} bytes, at most {MAX_FRAME_BYTES}")
        async with self._sending:
            await self._stream.send_all(frames, within=within)

    async def receive_frame(self, *, within: float = inf) -> tuple[FrameKind, memoryview]:
        """Wait for one frame; returns its kind and its payload."""
        return decode_frame(await self._stream.receive(MAX_FRAME_BYTES, within=within))

    async def fail(self, reason: str) -> None:
        """Say as the last word that what was asked for failed, and wait until it was read."""
        await self.send_encoded(encode_text(FrameKind.FAILURE, reason), within=PARTING_SECONDS)
        await _wait_for_end(self._stream)


# The renter's side.


def read_wall_clock() -> TimeMs:
    """Return Unix milliseconds."""
    return TimeMs(time.time_ns() // 1_000_000)


@asynccontextmanager
async def open_channel(
    network: Network,
    provider: NodeKey,
    network_id: NetworkId,
    lease_key: SigningKey,
    lease_id: int,
    purpose: LeasePurpose,
    request: Message,
    *,
    now: Callable[[], TimeMs] = read_wall_clock,
) -> AsyncIterator[Channel]:
    """Ask a provider for something, and talk to it about that for as long as the block lasts.

    Raises AccessRefused when the provider refuses, and what `Network.open_stream` raises.
    """
    if type(request) is not REQUESTS[purpose]:
        raise LocalError(f"{purpose.name}: {type(request).__name__} is not its request")
    body = request.encode()
    access = LeaseAccess(
        lease=lease_id,
        peer=network.node_key,
        time=now(),
        nonce=secrets.token_bytes(16),
        purpose=purpose,
        request=compute_message_digest(body),
    )
    async with network.open_stream(provider, LEASE_PROTOCOL, inf) as stream:
        await stream.send(seal(lease_key, network_id, access))
        await stream.send(body)
        sealed = await stream.receive(
            LeaseAnswer.MAX_BYTES + ENVELOPE_OVERHEAD, within=ANSWER_SECONDS
        )
        answer = open_envelope(sealed, LeaseAnswer, network_id, signer=stream.peer).message
        if answer.access != compute_message_digest(access.encode()):
            raise MalformedError("answer to another access")
        try:
            code = LeaseAnswerCode(answer.code)
        except ValueError:
            raise MalformedError("unknown answer", f"code {answer.code}") from None
        if code is not LeaseAnswerCode.GRANTED:
            raise AccessRefused(code, answer.detail)
        yield Channel(stream, answer.detail)


# The provider's side.


async def read_access(stream: RequestStream, desk: Desk, judge: Judge) -> Access:
    """Read what a stream of the lease protocol asks for, and check all that can be checked.

    That is: the signature, that the access is for this peer, that it is of now, that it belongs to
    the request that follows, what `judge` says of the lease, and that it was not used before.
    Answer it afterwards with `grant_access` or `refuse_access`.

    Raises AccessRefused, having answered; MalformedError or ForgedError without an answer for what
    is no access. All are RemoteError: let them end the handler, and they are counted.
    """
    sealed = await stream.receive(LeaseAccess.MAX_BYTES + ENVELOPE_OVERHEAD)
    verified = open_envelope(sealed, LeaseAccess, desk.network)
    digest = compute_message_digest(verified.body)
    problem = _judge_form(verified.message, stream.peer, desk.now())
    if problem is not None:
        await _refuse(stream, desk, digest, problem)
    access = await _read_request(stream, desk, verified, digest)
    problem = await judge(access)
    if problem is None:
        until = TimeMs(verified.message.time + ACCESS_DISPARITY_MS)
        problem = desk.memory.take(digest, until, desk.now())
    if problem is not None:
        await _refuse(stream, desk, digest, problem)
    return access


async def grant_access(
    stream: RequestStream, desk: Desk, access: Access, detail: str = ""
) -> Channel:
    """Grant an access; returns what frames go over from then on, for as long as both sides like.

    Raises AccessRefused, having answered, when this node has no place left for a lasting stream.
    """
    try:
        stream.outlast()
    except RemoteError as error:
        await _refuse(stream, desk, access.digest, Refusal(LeaseAnswerCode.TOO_MANY, error.reason))
    await _answer(stream, desk, access.digest, Refusal(LeaseAnswerCode.GRANTED, detail))
    return Channel(stream, detail)


async def refuse_access(
    stream: RequestStream, desk: Desk, access: Access, code: LeaseAnswerCode, detail: str = ""
) -> NoReturn:
    """Refuse an access that `read_access` took. Raises AccessRefused once the renter knows."""
    await _refuse(stream, desk, access.digest, Refusal(code, detail))


def _judge_form(message: LeaseAccess, peer: NodeKey, now: TimeMs) -> Refusal | None:
    if message.peer != peer:
        return Refusal(LeaseAnswerCode.NOT_HOLDER, "the access names another peer")
    if abs(message.time - now) > ACCESS_DISPARITY_MS:
        return Refusal(LeaseAnswerCode.STALE, f"{(now - message.time) / 1000:g} s by my clock")
    if message.purpose not in {one.value for one in LeasePurpose}:
        return Refusal(LeaseAnswerCode.BAD_REQUEST, f"purpose {message.purpose} is not known")
    return None


async def _read_request(
    stream: RequestStream, desk: Desk, verified: Verified[LeaseAccess], digest: Digest
) -> Access:
    message = verified.message
    purpose = LeasePurpose(message.purpose)
    form = REQUESTS[purpose]
    body = await stream.receive(form.MAX_BYTES)
    if compute_message_digest(body) != message.request:
        await _refuse(
            stream, desk, digest, Refusal(LeaseAnswerCode.BAD_REQUEST, "another request was signed")
        )
    try:
        request = form.decode(body)
    except MalformedError as error:
        await _refuse(stream, desk, digest, Refusal(LeaseAnswerCode.BAD_REQUEST, str(error)))
    return Access(message.lease, verified.signer, stream.peer, purpose, request, digest)


async def _refuse(stream: RequestStream, desk: Desk, digest: Digest, refusal: Refusal) -> NoReturn:
    await _answer(stream, desk, digest, refusal)
    await _wait_for_end(stream)
    raise AccessRefused(refusal.code, refusal.detail)


async def _answer(stream: RequestStream, desk: Desk, digest: Digest, refusal: Refusal) -> None:
    detail = "".join(one if one.isascii() and one.isprintable() else "?" for one in refusal.detail)
    answer = LeaseAnswer(access=digest, code=refusal.code, detail=detail[:_MAX_DETAIL])
    await stream.send(seal(desk.key, desk.network, answer))


async def _wait_for_end(stream: RequestStream) -> None:
    """Wait until the other side ended the stream; a handler's error resets it, and a reset voids
    what was sent but not read. What comes meanwhile is thrown away."""
    with trio.move_on_after(PARTING_SECONDS):
        try:
            while True:
                await stream.receive(MAX_FRAME_BYTES, within=PARTING_SECONDS)
        except RemoteError as error:
            logger.debug("stream of a lease over: peer=%s %s", stream.peer.hex(), error)

"""multistream-select: agreeing on the protocol of a connection or a stream.

The exchange is py-libp2p's; the messages are read here, because its reader takes any length a
stranger announces and lets UnicodeDecodeError escape, which ends the whole node.
"""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Protocol

import trio
from libp2p.abc import IMultiselectCommunicator
from libp2p.custom_types import TProtocol
from libp2p.io.exceptions import IOException
from libp2p.protocol_muxer.exceptions import MultiselectCommunicatorError, MultiselectError
from libp2p.protocol_muxer.multiselect import (
    MULTISELECT_PROTOCOL_ID,
    PROTOCOL_NOT_FOUND_MSG,
    Multiselect,
)

from p2p_node.net.errors import DeadlineError, ProtocolRefusedError, StreamEndedError
from protocols.errors import MalformedError, RemoteError

_MAX_MESSAGE = 512
"""Longest message accepted; the longest protocol id of ours has about 60 bytes."""


class Pipe(Protocol):
    """What a negotiation needs of a connection or stream."""

    def read(self, n: int) -> Awaitable[bytes]:
        """At least one and at most `n` bytes."""

    def write(self, data: bytes) -> Awaitable[None]:
        """Send all of `data`."""


class _Messages(IMultiselectCommunicator):
    """Newline-terminated messages with a varint length, each at most `_MAX_MESSAGE` long."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    async def write(self, msg_str: str) -> None:
        message = msg_str.encode() + b"\n"
        length = len(message)
        prefix = bytes([length]) if length < 0x80 else bytes([length & 0x7F | 0x80, length >> 7])
        try:
            await self._pipe.write(prefix + message)
        except (IOException, RemoteError) as error:
            raise MultiselectCommunicatorError("the connection ended") from error

    async def read(self) -> str:
        try:
            length = (await self._pipe.read(1))[0]
            if length & 0x80:
                length = length & 0x7F | (await self._pipe.read(1))[0] << 7
            if not 0 < length <= _MAX_MESSAGE:
                raise MultiselectCommunicatorError(f"a message of {length} bytes")
            message = bytearray()
            while len(message) < length:
                message += await self._pipe.read(length - len(message))
        except (IOException, RemoteError) as error:
            raise MultiselectCommunicatorError("the connection ended") from error
        if message[-1:] != b"\n" or not message.isascii():
            raise MultiselectCommunicatorError("not a line of ASCII")
        return message[:-1].decode("ascii")


async def select(pipe: Pipe, protocols: Sequence[str], within: float) -> str:
    """Ask the other side for the first of `protocols` that it speaks.

    Raises ProtocolRefusedError, DeadlineError or StreamEndedError.
    """
    messages = _Messages(pipe)
    try:
        with trio.fail_after(within):
            # The greeting and the first proposal go out together: one round trip instead of two.
            await messages.write(MULTISELECT_PROTOCOL_ID)
            await messages.write(protocols[0])
            greeting = await messages.read()
            if greeting != MULTISELECT_PROTOCOL_ID:
                raise MalformedError("unexpected answer in negotiation", repr(greeting[:80]))
            for following in (*protocols[1:], None):
                reply = await messages.read()
                if reply != PROTOCOL_NOT_FOUND_MSG:
                    break
                if following is None:
                    raise ProtocolRefusedError("protocol not spoken")
                await messages.write(following)
    except trio.TooSlowError as error:
        raise DeadlineError("negotiation too slow") from error
    except MultiselectCommunicatorError as error:
        raise StreamEndedError("ended in negotiation", str(error)) from error
    if reply not in protocols:
        raise MalformedError("unexpected answer in negotiation", repr(reply[:80]))
    return reply


async def answer(pipe: Pipe, protocols: Mapping[str, object], within: float) -> str:
    """Let the other side choose one of `protocols`.

    Raises MalformedError when it does not get there in time or talks nonsense.
    """
    multiselect = Multiselect({TProtocol(protocol): None for protocol in protocols})
    try:
        with trio.fail_after(within):
            chosen, _ = await multiselect.negotiate(_Messages(pipe), _FOREVER)
    except trio.TooSlowError as error:
        raise DeadlineError("negotiation too slow") from error
    except MultiselectError as error:
        raise MalformedError("negotiation failed", str(error.__cause__ or error)) from error
    if chosen is None:
        raise MalformedError("negotiation failed", "the empty protocol")
    return chosen


_FOREVER = 1_000_000
"""Seconds; the deadline is ours, py-libp2p's only takes whole seconds."""

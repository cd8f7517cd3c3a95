"""What the node and the agent inside an enclosure say to each other, from the node's side.

Every request has a socket of its own for its answers, so nobody waits behind anybody else, and the
death of the enclosure closes them all. Answers come from inside: nothing in them is believed but
that they are the workload's own affair.
"""

import array
import json
import os
import socket
from collections.abc import Sequence
from typing import Any, Final

import trio

from p2p_node.rental.runner import Command, EnclosureError

ANSWER_SECONDS: Final = 30
MAX_ANSWER_BYTES: Final = 8192


class AgentGoneError(Exception):
    """The enclosure ended before, or instead of, answering."""


class Answers:
    """Where the answers to one request arrive."""

    def __init__(self) -> None:
        ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._ours = trio.socket.from_stdlib_socket(ours)

    async def ask(
        self,
        control: trio.socket.SocketType,
        request: dict[str, Any],
        texts: Sequence[bytes] = (),
        descriptors: Sequence[int] = (),
    ) -> None:
        """Send the request; AgentGoneError when there is nobody to take it."""
        try:
            await send_request(control, request, texts, [*descriptors, self._theirs.fileno()])
        finally:
            self._theirs.close()

    async def receive(self) -> tuple[dict[str, Any], int | None]:
        """Return the next answer and the descriptor that came with it, which is the caller's.

        AgentGoneError when there will be none; EnclosureError for one that makes no sense.
        """
        room = socket.CMSG_SPACE(array.array("i").itemsize)
        try:
            data, ancillary, _, _ = await self._ours.recvmsg(MAX_ANSWER_BYTES, room)
        except OSError:
            raise AgentGoneError from None
        descriptors = array.array("i")
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.frombytes(content[: len(content) - len(content) % 4])
        found = list(descriptors)
        try:
            if not data:
                raise AgentGoneError
            value = json.loads(data)
            if not isinstance(value, dict):
                raise ValueError
        except (ValueError, RecursionError):
            _close_all(found)
            raise EnclosureError("the enclosure's agent answers nonsense") from None
        except AgentGoneError:
            _close_all(found)
            raise
        _close_all(found[1:])
        return value, found[0] if found else None

    def close(self) -> None:
        """Want no more answers."""
        self._ours.close()
        self._theirs.close()


async def send_request(
    control: trio.socket.SocketType,
    request: dict[str, Any],
    texts: Sequence[bytes] = (),
    descriptors: Sequence[int] = (),
) -> None:
    """Send one request as one packet; AgentGoneError when there is nobody to take it."""
    packet = b"\0".join([json.dumps(request).encode(), *texts])
    ancillary = []
    if descriptors:
        rights = array.array("i", descriptors).tobytes()
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
    try:
        with trio.fail_after(ANSWER_SECONDS):
            await control.sendmsg([packet], ancillary)
    except trio.TooSlowError:
        raise EnclosureError("the enclosure's agent takes no requests") from None
    except (OSError, trio.ClosedResourceError):
        raise AgentGoneError from None


def pack_start(command: Command) -> tuple[dict[str, Any], list[bytes]]:
    """Return the request and its texts that start a command."""
    request = {
        "do": "start",
        "arguments": len(command.argv),
        "terminal": command.terminal,
    }
    pairs = [part for pair in command.environment.items() for part in pair]
    return request, [command.directory, *command.argv, *pairs]


def _close_all(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)

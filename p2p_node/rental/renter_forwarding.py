"""A TCP port of a lease, reachable on this machine."""

import errno
from collections.abc import Callable
from typing import Final

import trio

from p2p_node.rental.pumps import pump_connection
from p2p_node.rental.renter_session import LeaseSession
from protocols.errors import KaisarError, LocalError
from protocols.lease_messages import ForwardRequest, LeasePurpose

MAX_CONNECTIONS: Final = 48
"""At once; further ones wait to be taken. Each is a stream, of which a provider serves 64."""

CONNECT_SECONDS: Final = 20.0
"""For one connection to get through to the port."""


class PortError(LocalError):
    """The port here cannot be listened on."""


async def forward_port(
    session: LeaseSession,
    address: str,
    local: int,
    remote: int,
    *,
    started: Callable[[int], None],
    tell: Callable[[str], None],
) -> None:
    """Listen on `local` (0: any that is free) and pass every connection on, until cancelled.

    `started` gets the port that is listened on; `tell` is told of connections that failed. One
    that fails does not end the others.
    """
    try:
        listeners = await trio.open_tcp_listeners(local, host=address)
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "")
        raise PortError(
            f"port {local}: cannot be listened on at {address}: {error.strerror or name}"
        ) from None
    room = trio.Semaphore(MAX_CONNECTIONS)

    async def serve(stream: trio.SocketStream) -> None:
        async with room, stream:
            try:
                async with session.open(
                    LeasePurpose.FORWARD, ForwardRequest(remote), within=CONNECT_SECONDS
                ) as channel:
                    await pump_connection(channel, stream)
            except KaisarError as error:
                tell(f"port {remote}: {error}")

    started(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(serve, listeners)

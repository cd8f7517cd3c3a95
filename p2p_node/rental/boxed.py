"""A running enclosure of bubblewrap: the agent inside, the warden outside, by their sockets."""

import socket
from collections.abc import Callable
from typing import Any

import trio

from p2p_node.rental.held import Held
from p2p_node.rental.packets import ANSWER_SECONDS, AgentGoneError, Answers
from p2p_node.rental.runner import EnclosureError, Say

GiveOrders = Callable[[int], dict[str, Any]]
"""Takes the number of the agent's socket, returns the warden's orders."""


class Box:
    """A running enclosure."""

    def __init__(self, control: trio.socket.SocketType, held: Held) -> None:
        self.control = control
        self.held = held

    async def has_ended(self) -> bool:
        """Whether a new one is needed."""
        answers = Answers()
        try:
            with trio.fail_after(ANSWER_SECONDS):
                await answers.ask(self.control, {"do": "hello"})
                await answers.receive()
        except (AgentGoneError, EnclosureError, trio.TooSlowError):
            return True
        finally:
            answers.close()
        return False

    async def close(self) -> None:
        """End it, and wait until nothing of it runs."""
        self.control.close()
        await self.held.close()


async def open_box(give_orders: GiveOrders, say: Say) -> Box:
    """Start a warden and wait until its enclosure answers; EnclosureError when it does not."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    control = trio.socket.from_stdlib_socket(ours)
    try:
        orders = give_orders(theirs.fileno())
        held = await Held.start("warden", say, (theirs.fileno(),))
    except BaseException as error:
        control.close()
        if isinstance(error, OSError):
            raise EnclosureError(f"no warden can be started: {error}") from error
        raise
    finally:
        theirs.close()
    box = Box(control, held)
    try:
        await held.give_orders(orders)
        if await box.has_ended():
            raise EnclosureError(f"the enclosure of lease {orders['lease_id']} does not answer")
    except BaseException:
        await box.close()
        raise
    return box

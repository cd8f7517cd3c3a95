"""Having a template deployed in a lease, and asking how the lease's place is."""

import json
from collections.abc import Callable
from typing import Any, Final

from p2p_node.rental.channel import Channel
from p2p_node.rental.renter_session import LeaseSession
from protocols import lease_frames
from protocols.errors import MalformedError, RemoteError
from protocols.lease_frames import FrameKind
from protocols.lease_messages import DeployRequest, LeasePurpose, StatusRequest

DEPLOY_SECONDS: Final = 900.0
"""Between two words of a provider that deploys: an image of many GB may have to be pulled."""

STATUS_SECONDS: Final = 15.0


class DeploymentFailed(RemoteError):
    """The provider could not make the lease's place ready."""


async def deploy(session: LeaseSession, template: str, say: Callable[[str], None]) -> None:
    """Have a template deployed, and wait until it is ready; again does no harm.

    `say` is told what the provider tells meanwhile. Raises DeploymentFailed with its reason, and
    what `LeaseSession.open` raises.
    """
    async with session.open(LeasePurpose.DEPLOY, DeployRequest(template)) as channel:
        while True:
            kind, payload = await channel.receive_frame(within=DEPLOY_SECONDS)
            match kind:
                case FrameKind.TEXT:
                    say(clean_text(payload))
                case FrameKind.DONE:
                    return
                case FrameKind.FAILURE:
                    raise DeploymentFailed("deployment failed", clean_text(payload))
                case _:
                    raise MalformedError("unexpected frame", kind.name)


async def ask_status(session: LeaseSession) -> dict[str, Any]:
    """Ask the provider how the lease's place is: its words, as one JSON object."""
    async with session.open(LeasePurpose.STATUS, StatusRequest(), within=STATUS_SECONDS) as channel:
        return await _read_status(channel)


async def _read_status(channel: Channel) -> dict[str, Any]:
    kind, payload = await channel.receive_frame(within=STATUS_SECONDS)
    if kind is FrameKind.FAILURE:
        raise DeploymentFailed("no status", clean_text(payload))
    if kind is not FrameKind.TEXT:
        raise MalformedError("unexpected frame", kind.name)
    try:
        status = json.loads(bytes(payload))
    except (ValueError, RecursionError):
        raise MalformedError("status is no JSON") from None
    if not isinstance(status, dict):
        raise MalformedError("status is no object")
    return status


def clean_text(payload: memoryview) -> str:
    """Read text for people from somebody else: nothing in it can steer a terminal."""
    return lease_frames.clean_text(bytes(payload).decode("utf-8", "replace")).strip()

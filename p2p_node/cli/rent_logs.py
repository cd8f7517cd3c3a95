"""`kaisar rent logs`: what the programs of a lease wrote, and with --follow what they go on to."""

import argparse
import os
import sys

import trio

from p2p_node.cli.event_loop import run_async
from p2p_node.cli.progress import Progress
from p2p_node.cli.rent_common import Renter, RentError, name_cuts, open_renter
from p2p_node.display import show_json
from p2p_node.rental.renter_deploying import clean_text
from protocols.errors import MalformedError
from protocols.lease_frames import FrameKind
from protocols.lease_messages import LeasePurpose, LogsRequest

MAX_TAIL = 64 << 20
"""Asked for at most; with --json it is held in memory."""


def run(arguments: argparse.Namespace) -> int:
    """Show them."""
    renter = open_renter(arguments)
    if arguments.json and arguments.follow:
        raise RentError("--json: expected without --follow, which has no end")
    data = run_async(_show, renter, arguments)
    if arguments.json:
        show_json({"logs": data.decode("utf-8", "replace")})
    return 0


async def _show(renter: Renter, arguments: argparse.Namespace) -> bytes:
    progress = Progress()
    kept = bytearray()
    request = LogsRequest(tail=min(arguments.tail, MAX_TAIL), follow=int(arguments.follow))
    async with (
        renter.use_lease(arguments.lease, progress) as (_, session),
        session.open(LeasePurpose.LOGS, request) as channel,
    ):
        while True:
            with name_cuts(session, "the logs go on there"):
                kind, payload = await channel.receive_frame()
            match kind:
                case FrameKind.DATA if arguments.json:
                    kept += payload
                    if len(kept) > MAX_TAIL + (1 << 20):
                        raise MalformedError("more logs than asked for")
                case FrameKind.DATA:
                    progress.clear()
                    await write_all(sys.stdout.fileno(), bytes(payload))
                case FrameKind.END | FrameKind.DONE:
                    return bytes(kept)
                case FrameKind.FAILURE:
                    raise RentError(f"logs: {clean_text(payload)}")
                case _:
                    raise MalformedError("unexpected frame", kind.name)


async def write_all(handle: int, data: bytes) -> None:
    """Write to standard output or error; a reader that is gone is BrokenPipeError."""
    left = memoryview(data)
    while left:
        written = await trio.to_thread.run_sync(_write, handle, left, abandon_on_cancel=True)
        left = left[written:]


def _write(handle: int, data: memoryview) -> int:
    return os.write(handle, data)

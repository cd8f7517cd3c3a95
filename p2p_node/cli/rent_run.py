"""`kaisar rent run`: a command on the leased machine, as if it ran here.

Exit status: the command's own; 128 + n when signal n ended it; 125 when it could not be run, or was
cut off, or a copy failed.
"""

import argparse
import os
import sys
from typing import Any, Final

from p2p_node.cli.event_loop import run_async
from p2p_node.cli.main import list_leaves
from p2p_node.cli.progress import Progress
from p2p_node.cli.rent_common import REMOTE_FAILURE, Renter, name_cuts, open_renter
from p2p_node.cli.rent_files import fetch_and_tell, upload_and_tell
from p2p_node.config import ConfigError
from p2p_node.display import show_json
from p2p_node.rental.pumps import drive_process
from p2p_node.rental.renter_session import LeaseSession
from protocols.errors import KaisarError
from protocols.lease_messages import LeasePurpose, RunRequest, join_strings

SIGNAL_STATUS: Final = 128
"""Added to the number of the signal that ended a command, as shells do."""


def run(arguments: argparse.Namespace) -> int:
    """Run it, and return its exit status."""
    renter = open_renter(arguments)
    argv = list(map(os.fsencode, strip_dashes(arguments.command)))
    if not argv:
        raise ConfigError("command: found nothing, expected `-- COMMAND` at the end")
    renter.reach  # noqa: B018 (settings that are missing are no failure of the command)
    request = RunRequest(
        argv=join_strings(argv),
        environment=join_strings(arguments.env),
        directory=os.fsencode(arguments.workdir),
        rows=0,
        columns=0,
        detached=int(arguments.detach),
    )
    result: dict[str, Any] = {"exit_status": None, "uploaded": [], "fetched": []}
    problem: str | None = None
    try:
        run_async(_run, renter, arguments, request, result)
    except KaisarError as error:
        problem = str(error)
    except BaseExceptionGroup as group:
        expected, rest = group.split(KaisarError)
        if rest is not None or expected is None:
            raise
        problem = "; ".join(dict.fromkeys(str(each) for each in list_leaves(expected)))
    if problem is not None:
        print(f"kaisar rent run: {problem}", file=sys.stderr)
        result["error"] = problem
    if arguments.json:
        show_json(result)
    status = result["exit_status"]
    return REMOTE_FAILURE if problem is not None or status is None else to_shell_status(status)


async def _run(
    renter: Renter, arguments: argparse.Namespace, request: RunRequest, result: dict[str, Any]
) -> None:
    progress = Progress()
    async with renter.use_lease(arguments.lease, progress) as (_, session):
        result["lease"] = session.lease.id
        for path in arguments.upload:
            done = await upload_and_tell(session, path, "", progress)
            result["uploaded"].append(done)
            progress.say(done["said"])
        result["exit_status"] = await _drive(session, request, arguments)
        if arguments.detach:
            progress.say("it goes on there; `kaisar rent logs -f` shows what it writes")
        for path, local in arguments.fetch:
            done = await fetch_and_tell(session, path, local, progress)
            result["fetched"].append(done)
            progress.say(done["said"])


async def _drive(session: LeaseSession, request: RunRequest, arguments: argparse.Namespace) -> int:
    # With --json standard output is the document's.
    out = sys.stderr if arguments.json else sys.stdout
    cut = name_cuts(session, "the command is ended there; with --detach one goes on")
    async with session.open(LeasePurpose.RUN, request) as channel:
        with cut:
            return await drive_process(
                channel, sys.stdin.fileno(), out.fileno(), sys.stderr.fileno(), terminal=False
            )


def strip_dashes(words: list[str]) -> list[str]:
    """Take away the `--` that separates a command from our own flags."""
    return words[1:] if words[:1] == ["--"] else words


def to_shell_status(status: int) -> int:
    """Turn an exit status, or −n for a signal, into what shells make of it."""
    return SIGNAL_STATUS - status if status < 0 else status & 0xFF

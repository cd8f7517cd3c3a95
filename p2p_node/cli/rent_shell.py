"""`kaisar rent shell`: a terminal on the leased machine."""

import argparse
import os
import sys

from p2p_node.cli.event_loop import run_async
from p2p_node.cli.progress import Progress
from p2p_node.cli.rent_common import Renter, RentError, name_cuts, open_renter
from p2p_node.cli.rent_run import to_shell_status
from p2p_node.display import show_json
from p2p_node.rental.pumps import drive_process
from protocols.lease_messages import LeasePurpose, RunRequest, join_strings


class RawProgress(Progress):
    """Says things while the terminal is raw: a new line alone would not go back to its start."""

    def say(self, text: str) -> None:
        """Print a line that stays."""
        print(f"\r\n{text}\r\n", end="", file=sys.stderr, flush=True)


def run(arguments: argparse.Namespace) -> int:
    """Open it; the exit status is the shell's."""
    renter = open_renter(arguments)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise RentError("shell: found no terminal; `kaisar rent run -- COMMAND` needs none")
    status = run_async(_shell, renter, arguments)
    if arguments.json:
        show_json({"exit_status": status})
    return to_shell_status(status)


async def _shell(renter: Renter, arguments: argparse.Namespace) -> int:
    size = os.get_terminal_size(sys.stdin.fileno())
    request = RunRequest(
        argv=join_strings([os.fsencode(arguments.command)]),
        environment=join_strings([_terminal(), *arguments.env]),
        directory=os.fsencode(arguments.workdir),
        rows=size.lines,
        columns=size.columns,
        detached=0,
    )
    async with (
        renter.use_lease(arguments.lease, RawProgress()) as (_, session),
        session.open(LeasePurpose.RUN, request) as channel,
    ):
        cut = name_cuts(session, "the shell is ended there")
        with cut:
            return await drive_process(
                channel,
                sys.stdin.fileno(),
                sys.stdout.fileno(),
                sys.stderr.fileno(),
                terminal=True,
            )


def _terminal() -> bytes:
    """Tell the programs there what kind of terminal this is."""
    return b"TERM=" + os.fsencode(os.environ.get("TERM") or "xterm")

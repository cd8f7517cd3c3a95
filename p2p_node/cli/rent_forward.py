"""`kaisar rent forward`: a port of the lease, reachable on this machine."""

import argparse
from typing import Final

from p2p_node.cli.event_loop import run_async
from p2p_node.cli.progress import Progress
from p2p_node.cli.rent_common import Renter, open_renter
from p2p_node.display import show_json
from p2p_node.rental.renter_forwarding import forward_port

KNOWN_PORTS: Final = {
    8888: "http://{address}:{port}/",
    8080: "http://{address}:{port}/",
    8443: "https://{address}:{port}/",
    6006: "http://{address}:{port}/",
    22: "ssh -p {port} {address}",
}
"""How to use what usually listens on a port: Jupyter, VS Code, TensorBoard, ssh."""


def run(arguments: argparse.Namespace) -> int:
    """Forward it until Ctrl-C, or until the lease is over."""
    renter = open_renter(arguments)
    run_async(_forward, renter, arguments)
    return 0


async def _forward(renter: Renter, arguments: argparse.Namespace) -> None:
    local, remote = arguments.ports
    progress = Progress()

    def started(port: int) -> None:
        use = describe_use(arguments.address, port, remote)
        if arguments.json:
            show_json(
                {
                    "lease": session.lease.id,
                    "address": arguments.address,
                    "port": port,
                    "remote": remote,
                    "use": use,
                }
            )
        progress.say(f"port {remote} of lease {session.lease.id} is here: {use}  (Ctrl-C ends it)")

    async with renter.use_lease(arguments.lease, progress) as (_, session):
        await forward_port(
            session,
            arguments.address,
            local,
            remote,
            started=started,
            tell=progress.say,
        )


def describe_use(address: str, port: int, remote: int) -> str:
    """Say how to use a forwarded port."""
    host = f"[{address}]" if ":" in address else address
    return KNOWN_PORTS.get(remote, "{address}:{port}").format(address=host, port=port)

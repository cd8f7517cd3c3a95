"""Which runner a host can have, and why not another."""

from pathlib import Path
from typing import Final

from p2p_node.rental.box import find_devices
from p2p_node.rental.bubblewrap import BubblewrapRunner, find_bubblewrap
from p2p_node.rental.docker import DockerRunner, find_docker
from p2p_node.rental.runner import NoRunnerError

RUNNERS: Final = ("auto", "docker", "bubblewrap")

WORKSPACES: Final = "rental"
"""The directory of all leases' workspaces, in the node's data directory."""


def choose_runner(data_dir: Path, wanted: str = "auto") -> DockerRunner | BubblewrapRunner:
    """Find the best runner that works here, by trying it; blocks for about a second.

    `auto` takes Docker, unless this host has GPUs that its containers would not see and bubblewrap
    works. NoRunnerError says for each why it cannot be, and what would help.
    """
    if wanted not in RUNNERS:
        raise NoRunnerError(f"rental_runner: found {wanted!r}, expected {', '.join(RUNNERS)}")
    home = data_dir / WORKSPACES
    if wanted == "docker":
        return find_docker(home)
    if wanted == "bubblewrap":
        return find_bubblewrap(home)
    docker: DockerRunner | None = None
    try:
        docker = find_docker(home)
        if docker.gpus or not find_devices():
            return docker
        without_docker = "its containers would not see the GPUs"
    except NoRunnerError as error:
        without_docker = str(error)
    try:
        return find_bubblewrap(home)
    except NoRunnerError as error:
        if docker is not None:
            return docker
        raise NoRunnerError(
            f"nothing here can isolate a workload. Docker: {without_docker}. Bubblewrap: {error}"
        ) from error

"""Which runner this host has."""

from pathlib import Path
from typing import Final

from p2p_node.rental.bubblewrap import find_bubblewrap
from p2p_node.rental.runner import NoRunnerError, Runner

HOME: Final = "rental"
"""Directory of the runner within the data directory."""


def choose_runner(data_dir: Path, wanted: str) -> Runner:
    """Return the runner that `wanted` names, or for `auto` what there is; NoRunnerError."""
    if wanted == "docker":
        raise NoRunnerError("this version rents out with bubblewrap only")
    return find_bubblewrap(data_dir / HOME)

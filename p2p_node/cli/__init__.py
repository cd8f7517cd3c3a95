"""The command line: `kaisar`, which is also `python -m p2p_node`."""

from p2p_node.cli.main import main

__all__ = ["main"]

"""Keeps py-libp2p's own logging out of the way."""

import logging
import os


def quieten_libp2p() -> None:
    """Silence py-libp2p's loggers unless LIBP2P_DEBUG asks for them.

    It logs every failed dial and handshake as an error; those are a peer's fault, and counted by
    us with their reason. Its loggers have no handler and do not propagate, so that their errors
    would appear bare on standard error (`logging.lastResort`).
    """
    if not os.environ.get("LIBP2P_DEBUG"):
        libp2p_logger = logging.getLogger("libp2p")
        libp2p_logger.setLevel(logging.CRITICAL)
        libp2p_logger.handlers = [logging.NullHandler()]

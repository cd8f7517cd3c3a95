"""Recognising that a wallet cannot pay, and saying so without saying it at every attempt."""

import logging
import math
from typing import Final

import trio

from chain.errors import RefusedError, RevertedError, UnfundedError
from chain.hexes import to_hex
from chain.refusals import Refusal, classify_refusal
from protocols.types import Wallet

_log = logging.getLogger(__name__)

REPEAT_SECONDS: Final = 60.0
"""Between two warnings: whoever is refused tries again every second."""


class Purse:
    """What an endpoint's refusals tell about one wallet's money."""

    def __init__(self, wallet: Wallet) -> None:
        self._wallet = wallet
        self._told = -math.inf

    def judge(self, label: str, error: RefusedError) -> RefusedError:
        """Turn the refusal of a wallet that cannot pay into UnfundedError; return any other."""
        if isinstance(error, RevertedError):
            return error
        if classify_refusal(error.message) is not Refusal.UNFUNDED:
            return error
        now = trio.current_time()
        if now - self._told >= REPEAT_SECONDS:
            self._told = now
            _log.warning(
                "%s: the wallet cannot pay for it; send some of the chain's coin to %s (%s)",
                label,
                to_hex(self._wallet),
                error.message,
            )
        return UnfundedError(error.code, error.message)

"""Talking about an outage: when it begins, now and then while it lasts, and when it is over."""

import logging
from typing import Final

import trio

from chain.errors import ChainError

REPEAT_SECONDS: Final = 60.0


class Outage:
    """What one task says about the chain not answering; `words` are how it begins."""

    def __init__(self, log: logging.Logger, words: str) -> None:
        self._log = log
        self._words = words
        self._began: float | None = None
        self._told = 0.0

    def note(self, error: ChainError) -> None:
        """Note a failure, and say so unless that was done a moment ago."""
        now = trio.current_time()
        if self._began is None:
            self._began = now
        elif now - self._told < REPEAT_SECONDS:
            return
        self._told = now
        self._log.warning("%s: %s", self._words, error)

    def end(self) -> None:
        """Note that all is well, and say so if there was an outage."""
        if self._began is not None:
            seconds = trio.current_time() - self._began
            self._began = None
            self._log.info("the chain answers again, after %.0f s", seconds)

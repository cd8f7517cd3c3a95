"""Where a draw's future randomness comes from: drand's relays, or this network's own Beacon."""

import json
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Final, Protocol

import httpx
import trio

from chain.client import BlockTag
from chain.errors import ChainError, RevertedError
from protocols import drand
from protocols.errors import RemoteError
from protocols.lucky_draw import Source, SourceKind, known_from_ms
from protocols.types import Digest, Epoch, TimeMs

_log = logging.getLogger(__name__)

MAX_ANSWER_BYTES: Final = 4_096
"""A round is some 200 bytes of JSON."""

MAX_BRACKETS: Final = 16
"""Openings in an answer; a parser takes stack for each."""

ANSWER_SECONDS: Final = 10.0
"""For one relay to answer in whole."""

MAX_RELAYS: Final = 8


class Randomness(Protocol):
    """A source of randomness for draws."""

    def plan(self, not_before: TimeMs) -> Source:
        """Choose the first randomness that nobody can know before a moment."""

    def known_from(self, source: Source) -> TimeMs:
        """Return the moment before which nobody can know it."""

    async def fetch(self, source: Source) -> bytes | None:
        """Return its verified evidence, or None while there is none to be had."""


class DrandRelays:
    """Rounds of drand's quicknet over HTTPS. Whichever relay answers, the round is verified."""

    def __init__(self, urls: Sequence[str], client: httpx.AsyncClient | None = None) -> None:
        self._urls = [url.rstrip("/") for url in urls[:MAX_RELAYS]]
        self._client = client or httpx.AsyncClient(follow_redirects=False)
        # What is counted is what comes over the line.
        self._headers = {"accept": "application/json", "accept-encoding": "identity"}
        self.refusals: Counter[str] = Counter()
        """How often an answer was not used, by reason."""

    def plan(self, not_before: TimeMs) -> Source:
        """Choose the first round from a moment on."""
        return Source(SourceKind.DRAND, drand.first_round_from(not_before))

    def known_from(self, source: Source) -> TimeMs:
        """Return the time of the round."""
        return known_from_ms(source, 0, 0)

    async def fetch(self, source: Source) -> bytes | None:
        """Ask one relay after another, each with a deadline; None if none has the round (yet)."""
        for url in self._urls:
            try:
                return await self._fetch_from(url, source.number)
            except RemoteError as error:
                self.refusals[error.reason] += 1
                _log.warning("round %d of drand from %s: %s", source.number, url, error)
        return None

    async def aclose(self) -> None:
        """Close connections."""
        await self._client.aclose()

    async def _fetch_from(self, url: str, round_number: int) -> bytes:
        body = await self._ask(f"{url}/{drand.CHAIN.hex()}/public/{round_number}")
        signature = _read_signature(body, round_number)
        await trio.to_thread.run_sync(drand.verify_round, round_number, signature)
        return signature

    async def _ask(self, address: str) -> bytes:
        body = b""
        try:
            with trio.move_on_after(ANSWER_SECONDS) as patience:
                async with self._client.stream("GET", address, headers=self._headers) as answer:
                    if answer.status_code != httpx.codes.OK:
                        raise RemoteError("drand relay refused", f"status {answer.status_code}")
                    async for chunk in answer.aiter_raw():
                        body += chunk
                        if len(body) > MAX_ANSWER_BYTES:
                            # Leaving httpx's generators half read would leave them to the
                            # collector; cancelled, they end at the next read.
                            patience.cancel()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise RemoteError("drand relay unreachable", type(error).__name__) from error
        if len(body) > MAX_ANSWER_BYTES:
            raise RemoteError("drand answer too long")
        if patience.cancelled_caught:
            raise RemoteError("drand relay too slow")
        return body


class Seeds(Protocol):
    """What is read of the chain: `ZeroNodeClient` is one."""

    async def beacon_seed(self, epoch: Epoch, block: BlockTag = "latest") -> Digest:
        """Return the seed of an epoch that began."""


class BeaconSeeds:
    """Seeds of future epochs of this network's Beacon, for test networks.

    `genesis_s` and `epoch_seconds` are the deployment's calendar.
    """

    def __init__(self, chain: Seeds, genesis_s: int, epoch_seconds: int) -> None:
        self._chain = chain
        self._genesis_s = genesis_s
        self._epoch_seconds = epoch_seconds

    def plan(self, not_before: TimeMs) -> Source:
        """Choose the first epoch whose predecessor begins at a moment or later."""
        past_ms = max(0, not_before - self._genesis_s * 1000)
        before = -(-past_ms // (self._epoch_seconds * 1000))
        return Source(SourceKind.BEACON, before + 1)

    def known_from(self, source: Source) -> TimeMs:
        """Return the start of the epoch before, whose contributions make the seed."""
        return known_from_ms(source, self._genesis_s, self._epoch_seconds)

    async def fetch(self, source: Source) -> bytes | None:
        """Read the seed at the finalised block; None before the epoch has begun there."""
        try:
            return await self._chain.beacon_seed(Epoch(source.number), "finalized")
        except RevertedError:
            return None
        except ChainError as error:
            _log.warning("seed of epoch %d: %s", source.number, error)
            return None


def _read_signature(body: bytes, round_number: int) -> bytes:
    """Take the signature out of a relay's answer, which must be of the round asked for."""
    if body.count(b"[") + body.count(b"{") > MAX_BRACKETS:
        raise RemoteError("drand answer malformed", "nested")
    try:
        fields = json.loads(body)
        signature = bytes.fromhex(fields["signature"])
        found = fields["round"]
    except (ValueError, TypeError, KeyError) as error:
        raise RemoteError("drand answer malformed", type(error).__name__) from error
    if found != round_number:
        raise RemoteError("drand answer of another round", f"asked for {round_number}")
    return signature

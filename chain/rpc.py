"""JSON-RPC from Trio: synchronous web3 in a few worker threads, with a deadline and plain errors.

web3's AsyncHTTPProvider fails under Trio ("unrecognized yield message"), so requests run in
threads with a limiter of their own: a slow endpoint cannot use up the threads of others.

Under Trio's autojumping MockClock the time in a worker thread does not count as work, so tests
with that clock must not use this class.
"""

import re
from abc import ABC, abstractmethod
from typing import Final

import trio
from web3.types import RPCEndpoint

from chain.abi import decode_revert_reason
from chain.errors import (
    ChainError,
    MalformedAnswerError,
    RefusedError,
    RevertedError,
    TimedOutError,
)
from chain.hexes import parse_hex_bytes, parse_hex_quantity
from chain.provider import BoundedHTTPProvider

CONNECTIONS: Final = 4
"""Requests under way at a time, and threads for them."""

TIMEOUT_SECONDS: Final = 10.0
"""Time for one request; public endpoints answer within 1 s."""

THREAD_MARGIN_SECONDS: Final = 1.0
"""How much longer than the request's own timeout its thread is waited for."""

_MAX_MESSAGE = 200
_REVERT_CODE = 3
_TRAILING_HEX = re.compile(r"0x[0-9a-fA-F]*$")


class JsonRpc(ABC):
    """A chain's JSON-RPC: one endpoint, or several that stand in for each other."""

    @abstractmethod
    async def request(self, method: str, *parameters: object) -> object:
        """Return the `result` of one request; see `Rpc.request`."""

    async def quantity(self, method: str, *parameters: object) -> int:
        """Return a number that a method answers with."""
        return parse_answer_quantity(await self.request(method, *parameters), method)

    async def octets(self, method: str, *parameters: object) -> bytes:
        """Return bytes that a method answers with."""
        return parse_answer_bytes(await self.request(method, *parameters), method)

    @abstractmethod
    def close(self) -> None:
        """Close idle connections."""


class Rpc(JsonRpc):
    """One JSON-RPC endpoint.

    `request` may be called by any number of tasks. Close it when done; connections that are idle
    are closed then, requests under way end by themselves.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        connections: int = CONNECTIONS,
    ) -> None:
        self._provider = BoundedHTTPProvider(url, timeout_seconds, connections)
        self._timeout_seconds = timeout_seconds
        self._limiter = trio.CapacityLimiter(connections)

    async def request(self, method: str, *parameters: object) -> object:
        """Return the `result` of one request.

        Raises UnreachableError, TimedOutError, MalformedAnswerError, or, for an error object,
        RefusedError or RevertedError.
        """
        with trio.move_on_after(self._timeout_seconds + THREAD_MARGIN_SECONDS):
            return await trio.to_thread.run_sync(  # type: ignore[call-arg] # see below
                self._exchange,
                method,
                parameters,
                limiter=self._limiter,
                # libp2p installs trio-typing, whose old stubs hide this argument from mypy.
                abandon_on_cancel=True,
            )
        raise TimedOutError(f"{method}: no answer, or no free connection")

    def close(self) -> None:
        """Close idle connections."""
        self._provider.close()

    def _exchange(self, method: str, parameters: tuple[object, ...]) -> object:
        try:
            answer: object = self._provider.make_request(RPCEndpoint(method), list(parameters))
        except (ValueError, RecursionError) as error:
            raise MalformedAnswerError(f"{method}: the answer is not JSON") from error
        if not isinstance(answer, dict):
            raise MalformedAnswerError(f"{method}: the answer is not an object")
        if answer.get("error") is not None:
            raise _to_error(method, answer["error"])
        if "result" not in answer:
            raise MalformedAnswerError(f"{method}: neither result nor error")
        return answer["result"]


def parse_answer_quantity(value: object, name: str) -> int:
    """Parse a number out of an answer; MalformedAnswerError names the field."""
    try:
        return parse_hex_quantity(value)
    except ValueError as error:
        raise MalformedAnswerError(f"{name}: {error}") from None


def parse_answer_bytes(value: object, name: str, length: int | None = None) -> bytes:
    """Parse bytes out of an answer; MalformedAnswerError names the field."""
    try:
        return parse_hex_bytes(value, length)
    except ValueError as error:
        raise MalformedAnswerError(f"{name}: {error}") from None


def _to_error(method: str, error: object) -> ChainError:
    if not isinstance(error, dict):
        return MalformedAnswerError(f"{method}: the error is not an object")
    code, message = error.get("code"), error.get("message")
    if not isinstance(code, int) or not isinstance(message, str):
        return MalformedAnswerError(f"{method}: the error has no code or no message")
    message = "".join(c for c in message[:_MAX_MESSAGE] if c.isprintable())
    if code != _REVERT_CODE and "revert" not in message.lower():
        return RefusedError(code, message)
    return RevertedError(code, message, _find_revert_reason(error.get("data"), message))


def _find_revert_reason(data: object, message: str) -> str | None:
    """Find a contract's text in an error of geth, anvil, frontier ("… revert <text>") or parity."""
    if isinstance(data, str) and (found := _TRAILING_HEX.search(data)) is not None:
        digits = found.group()[2:]
        reason = decode_revert_reason(bytes.fromhex(digits[: len(digits) // 2 * 2]))
        if reason is not None:
            return reason
    _, separator, text = message.partition("revert")
    return text.removeprefix("ed").lstrip(": ") or None if separator else None

"""Several RPC endpoints of one chain, used as if they were one.

The first endpoint that is good answers; the others stand by, in the order in which they were given.
An endpoint is

    new ──► good ◄──► behind        its newest block is old, or far below another endpoint's
     │       │
     │       └─────► down           no answer, no JSON, or too many requests; left alone for a while
     └─────────────► wrong chain    another chain id; looked at again now and then, and not used

Its chain id is verified before its first use and again after it was down; `watch` looks at all of
them at intervals, so that one that changes its mind is noticed, and so that the first one is used
again once it is good. Every change is one line in the log.

Nothing here is trusted more than one endpoint would be: whoever names several relies on each of
them, since each may come to be the one that answers.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import trio

from chain.answers import parse_head
from chain.deployment import verify_chain_id
from chain.errors import (
    ChainError,
    MalformedAnswerError,
    RefusedError,
    TimedOutError,
    UnavailableError,
    UnreachableError,
    WrongChainError,
)
from chain.records import Head
from chain.refusals import is_overload
from chain.rpc import JsonRpc
from protocols.errors import LocalError

_log = logging.getLogger(__name__)

BEHIND_BLOCKS: Final = 10
"""An endpoint whose newest block is further below another endpoint's is behind. Honest ones differ
by a block or two."""

STALE_SECONDS: Final = 60.0
"""An endpoint whose newest block is older is behind: some eight blocks of peaq."""

WATCH_SECONDS: Final = 15.0
"""Between two looks at all endpoints: two requests to each."""

LOOK_SECONDS: Final = 10.0
"""For one look at one endpoint: as long as for any request, as a slow one is better than none."""

REQUEST_SECONDS: Final = 20.0
"""A request is not tried at yet another endpoint after this time."""

COOL_DOWN_SECONDS: Final = (5.0, 60.0)
"""How long an endpoint that was good is left alone when it fails: the first time, doubled with
every failure that follows soon, and at most. Where no other endpoint is good, it is tried with
every request."""

FORGIVE_SECONDS: Final = 300.0
"""After so long without a failure the next one counts as the first."""

WRONG_SECONDS: Final = 300.0
"""Between two looks at an endpoint that serves another chain."""

SEND: Final = "eth_sendRawTransaction"


class State(StrEnum):
    """What is thought of an endpoint."""

    NEW = "not used yet"
    GOOD = "good"
    BEHIND = "behind"
    DOWN = "down"
    WRONG = "wrong chain"


@dataclass(slots=True, eq=False)
class Endpoint:
    """One endpoint, and what is known about it. `name` goes into logs: no access keys in it."""

    name: str
    rpc: JsonRpc
    state: State = State.NEW
    detail: str = ""
    error: ChainError | None = None
    """Why it was down, or on another chain, when it was last asked."""
    head: Head | None = None
    """The newest block that it was heard to have."""
    failures: int = 0
    failed_at: float = -FORGIVE_SECONDS
    left_alone_until: float = 0.0


class Endpoints(JsonRpc):
    """The chain through the best of its endpoints.

    `request` works without `watch`, and then goes back to an earlier endpoint only when no later
    one is good any more. `clock` gives Unix seconds. `counts` are the events by kind.
    """

    def __init__(
        self,
        endpoints: Sequence[tuple[str, JsonRpc]],
        chain_id: int,
        *,
        stale_seconds: float = STALE_SECONDS,
        behind_blocks: int = BEHIND_BLOCKS,
        watch_seconds: float = WATCH_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not endpoints:
            raise LocalError("endpoints: found none, expected at least one")
        self.endpoints = [Endpoint(name, rpc) for name, rpc in endpoints]
        self.counts: Counter[str] = Counter()
        self._chain_id = chain_id
        self._stale_seconds = stale_seconds
        self._behind_blocks = behind_blocks
        self._watch_seconds = watch_seconds
        self._clock = clock
        self._current: Endpoint | None = None

    async def request(self, method: str, *parameters: object) -> object:
        """Return the `result` of one request, from the first endpoint that gives one.

        A transaction is handed to one endpoint only: had that taken it and then fallen silent, the
        refusal of the next one ("nonce too low") would look like a transaction that never was.

        Raises the errors of `Rpc.request`, the last endpoint's where several failed, and
        WrongChainError when every endpoint serves another chain.
        """
        give_up_at = trio.current_time() + REQUEST_SECONDS
        failure: ChainError | None = None
        tried: set[Endpoint] = set()
        while (endpoint := self._choose(tried)) is not None:
            if failure is not None and trio.current_time() > give_up_at:
                break
            tried.add(endpoint)
            if endpoint.state in (State.NEW, State.DOWN):
                head = await self._look(endpoint)
                if head is None:
                    failure = endpoint.error or failure
                    continue
                if self._judge(endpoint, head, self._height) is State.BEHIND:
                    # Others first; if there is none that is good, it is chosen again.
                    tried.discard(endpoint)
                    continue
            self._use(endpoint)
            try:
                answer = await _ask(endpoint, method, *parameters)
            except (UnavailableError, MalformedAnswerError) as error:
                self._note_failure(endpoint, error)
                failure = error
                if method == SEND:
                    break
                continue
            if method == "eth_getBlockByNumber" and parameters[:1] == ("latest",):
                self._note_head(endpoint, answer)
            return answer
        if all(each.state is State.WRONG for each in self.endpoints):
            raise WrongChainError("; ".join(f"{e.name}: {e.detail}" for e in self.endpoints))
        raise failure or UnreachableError(f"{method}: no endpoint can be used")

    async def watch(self) -> None:
        """Look at every endpoint now and then, until cancelled."""
        while True:
            await trio.sleep(self._watch_seconds)
            await self.look_at_all()

    async def look_at_all(self) -> None:
        """Look at every endpoint that is not to be left alone, and compare what they have."""
        now = trio.current_time()
        heads: dict[Endpoint, Head] = {}

        async def look(endpoint: Endpoint) -> None:
            head = await self._look(endpoint)
            if head is not None:
                heads[endpoint] = head

        async with trio.open_nursery() as nursery:
            for endpoint in self.endpoints:
                if endpoint.left_alone_until <= now:
                    nursery.start_soon(look, endpoint)
        highest = max((head.number for head in heads.values()), default=0)
        for endpoint, head in heads.items():
            self._judge(endpoint, head, highest)
        best = self._choose(set())
        if best is not None and best in heads:
            self._use(best)

    def close(self) -> None:
        """Close idle connections."""
        for endpoint in self.endpoints:
            endpoint.rpc.close()

    @property
    def _height(self) -> int:
        """The height up to which the chain has been read."""
        current = self._current
        return 0 if current is None or current.head is None else current.head.number

    def _choose(self, tried: set[Endpoint]) -> Endpoint | None:
        """Choose the next endpoint to try.

        The first good one, or one never used; where there is none, the one that is least behind;
        and last the one that was down for longest.
        """
        for endpoint in self.endpoints:
            if endpoint.state in (State.NEW, State.GOOD) and endpoint not in tried:
                return endpoint
        left = [each for each in self.endpoints if each not in tried]
        behind = [each for each in left if each.state is State.BEHIND]
        down = [each for each in self.endpoints if each.state is State.DOWN]
        if behind:
            return max(behind, key=lambda each: each.head.number if each.head else 0)
        longest = min(down, key=lambda each: each.left_alone_until, default=None)
        return longest if longest in left else None

    async def _look(self, endpoint: Endpoint) -> Head | None:
        """Ask an endpoint for its chain id and its newest block; None if it cannot be used."""
        try:
            with trio.move_on_after(LOOK_SECONDS):
                await verify_chain_id(endpoint.rpc, self._chain_id)
                return parse_head(await _ask(endpoint, "eth_getBlockByNumber", "latest", False))
            raise TimedOutError(f"no answer within {LOOK_SECONDS:.0f} s")
        except WrongChainError as error:
            endpoint.error = error
            endpoint.left_alone_until = trio.current_time() + WRONG_SECONDS
            self._change(endpoint, State.WRONG, error.detail)
        except ChainError as error:
            self._note_failure(endpoint, error)
        return None

    def _judge(self, endpoint: Endpoint, head: Head, highest: int = 0) -> State:
        """Decide from its newest block whether an endpoint is behind."""
        endpoint.head = head
        endpoint.left_alone_until = 0.0
        age = self._clock() - head.timestamp
        missing = highest - head.number
        if age > self._stale_seconds:
            self._change(endpoint, State.BEHIND, f"its newest block is {age:.0f} s old")
        elif missing > self._behind_blocks:
            self._change(endpoint, State.BEHIND, f"by {missing} blocks")
        else:
            self._change(endpoint, State.GOOD, "")
        return endpoint.state

    def _note_head(self, endpoint: Endpoint, answer: object) -> None:
        """Learn from what somebody asked for anyway."""
        try:
            head = parse_head(answer)
        except MalformedAnswerError:
            # Whoever asked finds out as well.
            return
        if endpoint.state is State.BEHIND and len(self.endpoints) > 1:
            # Whether it has caught up with the others is found out by looking at all of them.
            endpoint.head = head
        elif endpoint.state in (State.GOOD, State.BEHIND):
            self._judge(endpoint, head)

    def _note_failure(self, endpoint: Endpoint, error: ChainError) -> None:
        """Leave an endpoint alone for a while, the longer the more often it fails."""
        now, endpoint.error = trio.current_time(), error
        if endpoint.state is State.DOWN and endpoint.left_alone_until > now:
            return
        if now - endpoint.failed_at >= FORGIVE_SECONDS:
            endpoint.failures = 0
        shortest, longest = COOL_DOWN_SECONDS
        endpoint.left_alone_until = now + min(longest, shortest * 2**endpoint.failures)
        endpoint.failed_at = now
        endpoint.failures = min(endpoint.failures + 1, 10)
        self._change(endpoint, State.DOWN, str(error))

    def _change(self, endpoint: Endpoint, state: State, detail: str) -> None:
        before, endpoint.state, endpoint.detail = endpoint.state, state, detail
        if before is state:
            return
        self.counts[state.value] += 1
        if state is not State.GOOD:
            _log.warning("%s: %s, %s", endpoint.name, state.value, detail)
        elif before is not State.NEW:
            _log.warning("%s: good again", endpoint.name)

    def _use(self, endpoint: Endpoint) -> None:
        """Note, and say, which endpoint is read from now."""
        before = self._current
        if before is endpoint:
            return
        self._current = endpoint
        if before is None:
            _log.info("the chain is read from %s", endpoint.name)
            return
        self.counts["switched"] += 1
        why = f"{before.name} is {before.state.value}"
        if before.state is State.GOOD:
            why = f"preferred to {before.name}"
        _log.warning(
            "the chain is read from %s now: %s%s", endpoint.name, why, _lag(before, endpoint)
        )


def _lag(before: Endpoint, after: Endpoint) -> str:
    if before.head is None or after.head is None or after.head.number >= before.head.number:
        return ""
    return f"; what is read goes back by {before.head.number - after.head.number} blocks"


async def _ask(endpoint: Endpoint, method: str, *parameters: object) -> object:
    """Ask one endpoint; one that refuses because it is asked too much is as good as down."""
    try:
        return await endpoint.rpc.request(method, *parameters)
    except RefusedError as error:
        if is_overload(error.code, error.message):
            raise UnreachableError(f"{method}: {error.message}") from error
        raise

"""The store for Trio: the same methods, awaited, each in a worker thread."""

from collections.abc import Awaitable, Callable
from functools import partial, update_wrapper
from typing import Concatenate, ParamSpec, Self, TypeVar

import trio

from p2p_node.storage.store import Store

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def _in_thread(
    method: Callable[Concatenate[Store, Parameters], Result],
) -> Callable[Concatenate["AsyncStore", Parameters], Awaitable[Result]]:
    async def call(
        self: "AsyncStore", /, *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Result:
        work = partial(method, self.store, *args, **kwargs)
        return await trio.to_thread.run_sync(work, limiter=self._limiter)

    update_wrapper(call, method)
    return call


class AsyncStore:
    """A `Store` behind one thread at a time, in the order of the calls.

    A call that is cancelled still finishes its transaction first: what was begun is durable.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._limiter = trio.CapacityLimiter(1)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.store.close()

    record_own_report = _in_thread(Store.record_own_report)
    own_report = _in_thread(Store.own_report)
    own_reports = _in_thread(Store.own_reports)
    own_seats = _in_thread(Store.own_seats)
    challenge_secret = _in_thread(Store.challenge_secret)
    save_beacon_secret = _in_thread(Store.save_beacon_secret)
    beacon_secret = _in_thread(Store.beacon_secret)
    save_transcript = _in_thread(Store.save_transcript)
    save_observations = _in_thread(Store.save_observations)
    observations = _in_thread(Store.observations)
    transcript = _in_thread(Store.transcript)
    transcript_lanes = _in_thread(Store.transcript_lanes)
    save_commitments = _in_thread(Store.save_commitments)
    commitments = _in_thread(Store.commitments)
    record_claims = _in_thread(Store.record_claims)
    claimed_epochs = _in_thread(Store.claimed_epochs)
    prune = _in_thread(Store.prune)

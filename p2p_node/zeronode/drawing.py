"""Holding lucky draws: opens them by the schedule and takes each from step to step to its end.

What is decided is in the database before anything is done about it, so the duty may be stopped at
any moment and goes on from there: a commitment is sent under the same terms, awards are booked
under the same keys.

- A commitment that cannot be sent in time (the chain is away, the service is not listed) is frozen
  anew for later randomness, as long as nothing of it was sent.
- When the randomness or the chain stays away until `reveal_by_ms`, or the service itself was, the
  reveal is missed: every ticket goes back, with the bonus of the terms.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, ParamSpec, Protocol, TypeVar

import trio
from nacl.signing import SigningKey

from chain.errors import ChainError, QueueFullError
from p2p_node.clock import Clock
from p2p_node.zeronode import draws
from p2p_node.zeronode.database import AsyncDatabase
from p2p_node.zeronode.draw_schedule import Schedule
from p2p_node.zeronode.draws import Draw, Frozen, StaleError, State
from p2p_node.zeronode.errors import DatabaseError
from p2p_node.zeronode.randomness import Randomness
from protocols.draw_transcript import (
    Reveal,
    make_transcript,
    read_transcript,
    sign_transcript,
    verify_transcript,
)
from protocols.errors import KaisarError, LocalError
from protocols.lucky_draw import (
    LEAST_LEAD_MS,
    SEED_BYTES,
    Award,
    Entry,
    SourceKind,
    Terms,
    build_ticket_tree,
    compute_commitment,
    compute_key,
    is_in_time,
)
from protocols.types import Digest, NetworkId, NodeKey, TimeMs

_log = logging.getLogger(__name__)

POLL_SECONDS: Final = 1.0
"""Between two looks at what is to be done."""

FIRST_RETRY_SECONDS: Final = 2.0
LAST_RETRY_SECONDS: Final = 60.0
"""Pauses after something that did not work; each is twice the one before."""

REVEAL_RETRY_SECONDS: Final = 10.0
"""Longest pause of those who wait for randomness: they want to see it soon."""

PATIENCE_MS: Final = 86_400_000
"""So long after its end a draw that cannot be committed to is given up, and its tickets back."""

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Commitment:
    """What the chain has of a draw of ours."""

    commitment: Digest
    committed_s: int


class Anchor(Protocol):
    """The chain, as draws need it. All methods raise ChainError."""

    async def is_listed(self) -> bool:
        """Tell whether this service may commit to anything."""

    async def find(self, key: Digest) -> Commitment | None:
        """Return what a finalised block has of a draw."""

    async def commit(self, key: Digest, commitment: Digest, until: TimeMs) -> None:
        """Get a commitment into a finalised block, or give it up at a moment."""


class Step(Enum):
    """What is to be done next about a draw."""

    WAIT = auto()
    CLOSE = auto()
    FREEZE = auto()
    COMMIT = auto()
    REVEAL = auto()
    MISS = auto()
    PAY = auto()


def choose_step(draw: Draw, known_from: TimeMs | None, now: TimeMs) -> Step:
    """Decide what is next. `known_from` is of the frozen draw's randomness, None before."""
    if draw.state is State.OPEN:
        return Step.CLOSE if now >= draw.closes_ms else Step.WAIT
    if draw.state is State.CLOSED:
        return Step.FREEZE
    if draw.state is State.PAYING:
        return Step.PAY
    if draw.frozen is None or known_from is None:
        return Step.WAIT
    if draw.state is State.COMMITTED:
        if now >= draw.frozen.reveal_by_ms:
            return Step.MISS
        return Step.REVEAL if now >= known_from else Step.WAIT
    if draw.state is not State.FROZEN:
        return Step.WAIT
    if now < latest_commit(draw.frozen.source.kind, known_from):
        return Step.COMMIT
    if draw.sent_ms is None:
        return Step.FREEZE if now < draw.closes_ms + PATIENCE_MS else Step.MISS
    # It may be in a block all the same, before its time or after.
    return Step.COMMIT if now < draw.frozen.reveal_by_ms else Step.MISS


def latest_commit(kind: SourceKind, known_from: TimeMs) -> TimeMs:
    """Return the moment at which it is too late for a commitment."""
    return TimeMs(known_from - (LEAST_LEAD_MS if kind is SourceKind.DRAND else 1))


class Drawing:
    """Holds the draws of one service. `run` it; `sources` has one for each kind in the schedule.

    `new_seed` gives 32 secret bytes. With `inline` nothing goes to worker threads, for tests in
    virtual time.
    """

    def __init__(
        self,
        database: AsyncDatabase,
        schedules: Sequence[Schedule],
        key: SigningKey,
        network: NetworkId,
        anchor: Anchor,
        sources: dict[SourceKind, Randomness],
        clock: Clock,
        new_seed: Callable[[int], bytes],
        inline: bool = False,
    ) -> None:
        for schedule in schedules:
            if schedule.plan.source not in sources:
                raise LocalError(
                    f"draws: [{schedule.name}]: source: found "
                    f"{schedule.plan.source.name.lower()}, which this service has not"
                )
        self._database = database
        self._schedules = schedules
        self._key = key
        self._service = NodeKey(bytes(key.verify_key))
        self._network = network
        self._anchor = anchor
        self._sources = sources
        self._clock = clock
        self._new_seed = new_seed
        self._inline = inline
        self._busy: set[str] = set()
        self._pauses: dict[str, tuple[float, float]] = {}

    async def run(self) -> None:
        """Hold draws until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                try:
                    await self._open_due()
                    unfinished = await self._database.read(draws.list_unfinished)
                except DatabaseError as error:
                    _log.warning("draws: %s", error)
                    unfinished = ()
                for draw in unfinished:
                    if draw.id not in self._busy and not self._is_paused(draw.id):
                        self._busy.add(draw.id)
                        nursery.start_soon(self._advance, draw)
                await trio.sleep(POLL_SECONDS)

    async def _open_due(self) -> None:
        for schedule in self._schedules:
            occasion = schedule.find_occasion(self._clock.now())
            if occasion is None:
                continue
            if await self._database.read(draws.find_draw, occasion.id) is None:
                seed = self._new_seed(SEED_BYTES)
                await self._database.run(draws.open_draw, occasion, seed)
                _log.info("draw %s is open", occasion.id)

    async def _advance(self, draw: Draw) -> None:
        """Take as many steps as can be taken now."""
        try:
            current: Draw | None = draw
            while current is not None:
                draw, current = current, await self._take_step(current)
        except (ChainError, QueueFullError, DatabaseError, StaleError) as error:
            self._pause(draw.id)
            _log.warning("draw %s, %s: %s", draw.id, draw.state, error)
        except KaisarError as error:
            # A fault of ours. The service has other things to do, and the draw keeps its state.
            self._pause(draw.id)
            _log.error("draw %s, %s cannot go on: %s", draw.id, draw.state, error)
        finally:
            self._busy.discard(draw.id)

    async def _take_step(self, draw: Draw) -> Draw | None:
        """Do what is next; None when that is to wait."""
        source = self._sources.get(draw.plan.source)
        if source is None:
            # The schedule has changed since; the setting that is missing now brings it on again.
            _log.error("draw %s: no source of its kind of randomness", draw.id)
            self._pause(draw.id)
            return None
        known_from = source.known_from(draw.frozen.source) if draw.frozen else None
        step = choose_step(draw, known_from, self._clock.now())
        if step is Step.WAIT:
            return None
        if step is Step.CLOSE:
            changed: Draw | None = await self._database.run(draws.close, draw)
        elif step is Step.FREEZE:
            changed = await self._freeze(draw, source)
        elif step is Step.COMMIT:
            changed = await self._commit(draw, source)
        elif step is Step.REVEAL:
            changed = await self._reveal(draw, source)
        elif step is Step.MISS:
            changed = await self._finish(draw, None)
        else:
            changed = await self._pay(draw)
        if changed is not None and changed.state is not draw.state:
            self._pauses.pop(draw.id, None)
            _log.info("draw %s is %s", changed.id, changed.state)
        if changed is None or changed.state in draws.ENDED:
            return None
        return changed

    async def _freeze(self, draw: Draw, source: Randomness) -> Draw | None:
        root = draw.frozen.root if draw.frozen else await self._compute_root(draw)
        chosen = source.plan(TimeMs(self._clock.now() + draw.plan.lead_ms))
        reveal_by = TimeMs(source.known_from(chosen) + draw.plan.reveal_ms)
        frozen = Frozen(root, chosen, reveal_by)
        return await self._database.run(draws.freeze, draw, frozen)

    async def _compute_root(self, draw: Draw) -> Digest:
        entries = await self._database.read(draws.read_entries, draw.id)
        key = compute_key(self._network, self._service, draw.id)
        return Digest((await self._work(build_ticket_tree, key, entries)).root)

    async def _commit(self, draw: Draw, source: Randomness) -> Draw | None:
        """Get the commitment on the chain, or find that it is there."""
        terms = self._terms(draw)
        commitment = compute_commitment(terms)
        known_from = source.known_from(terms.source)
        found = await self._anchor.find(terms.key)
        if found is None:
            until = latest_commit(terms.source.kind, known_from)
            if self._clock.now() >= until:
                self._pause(draw.id)
                return None
            if draw.sent_ms is None:
                if not await self._anchor.is_listed():
                    _log.warning("draw %s: this service is not listed, so it waits", draw.id)
                    self._pause(draw.id)
                    return None
                draw = await self._database.run(draws.note_sending, draw, self._clock.now())
            await self._anchor.commit(terms.key, commitment, until)
            found = await self._anchor.find(terms.key)
        if found is None:
            self._pause(draw.id)
            return None
        if found.commitment != commitment:
            # Only other books under the same key can do this, an old copy of ours for example.
            _log.error("draw %s: the chain has another commitment of it", draw.id)
            return await self._finish(draw, None)
        if not is_in_time(terms.source, found.committed_s, known_from):
            _log.warning("draw %s: its commitment came too late", draw.id)
            return await self._finish(draw, None, found.committed_s)
        return await self._database.run(draws.note_committed, draw, found.committed_s)

    async def _reveal(self, draw: Draw, source: Randomness) -> Draw | None:
        evidence = await source.fetch(self._terms(draw).source)
        if evidence is None:
            self._pause(draw.id, REVEAL_RETRY_SECONDS)
            return None
        return await self._finish(draw, Reveal(draw.server_seed, evidence))

    async def _finish(
        self, draw: Draw, reveal: Reveal | None, committed_s: int | None = None
    ) -> Draw | None:
        """Publish what came of a draw, unless it is too late for that by now."""
        entries = await self._database.read(draws.read_entries, draw.id)
        terms = self._terms(draw)
        moment = draw.committed_s if committed_s is None else committed_s
        content = await self._work(self._write, terms, entries, moment, reveal)
        if reveal is not None and self._clock.now() >= terms.reveal_by_ms:
            return draw  # The next step is to miss it.
        return await self._database.run(
            draws.finish, draw, content, reveal is None, self._clock.now()
        )

    def _write(
        self, terms: Terms, entries: tuple[Entry, ...], committed_s: int, reveal: Reveal | None
    ) -> bytes:
        transcript = make_transcript(terms, entries, committed_s, reveal)
        content = sign_transcript(self._key, transcript)
        verify_transcript(content)
        return content

    async def _pay(self, draw: Draw) -> Draw:
        content = await self._database.read(draws.read_transcript, draw.id)
        if content is None:
            raise LocalError(f"draw {draw.id} is being paid without a transcript")
        awards = await self._work(_read_awards, content)
        while draw.state is State.PAYING:
            draw = await self._database.run(draws.pay, draw, awards, self._clock.now())
        return draw

    def _terms(self, draw: Draw) -> Terms:
        return draw.terms(self._network, self._service)

    def _is_paused(self, draw: str) -> bool:
        until, _ = self._pauses.get(draw, (0.0, 0.0))
        return trio.current_time() < until

    def _pause(self, draw: str, longest: float = LAST_RETRY_SECONDS) -> None:
        _, last = self._pauses.get(draw, (0.0, 0.0))
        seconds = min(2 * last, longest) if last else FIRST_RETRY_SECONDS
        self._pauses[draw] = (trio.current_time() + seconds, seconds)

    async def _work(
        self,
        function: Callable[Parameters, Result],
        /,
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Compute in a worker thread what takes seconds for many tickets."""
        if self._inline:
            return function(*args, **kwargs)
        return await trio.to_thread.run_sync(lambda: function(*args, **kwargs))


def _read_awards(content: bytes) -> tuple[Award, ...]:
    return read_transcript(content).awards

"""Uptime that one service answered for, told to all others in signed batches, and theirs taken.

Every `batch_ms` a batch has what changed since the one before; when a day is over, all of it is
told once more before any home books it, since gossip promises nothing. Whoever takes a batch makes
a union of it, so that it does not matter what comes twice. The number of a batch is the time at
which it was made, and is durable before it is sent.
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Final
from urllib.parse import urlsplit

import trio
from nacl.signing import SigningKey
from sqlalchemy import Connection, insert, select, update

from p2p_node.clock import Clock
from p2p_node.net.api import Network
from p2p_node.net.judgement import ACCEPT, Judgement
from p2p_node.zeronode import uptime_book
from p2p_node.zeronode.database import AsyncDatabase
from p2p_node.zeronode.errors import DatabaseError
from p2p_node.zeronode.homes import (
    hear_of_move,
    hear_opening,
    take_moves,
    take_openings,
    tell_again,
)
from p2p_node.zeronode.network_tables import batches_sent, batches_taken
from protocols.envelopes import seal
from protocols.types import NodeKey, TimeMs
from protocols.uptime_gossip import (
    BATCHES_PER_MINUTE,
    UPTIME_TOPIC,
    JudgedBatch,
    ReceiptMemory,
    ServiceView,
    make_tellable,
    validate_receipts_gossip,
)
from protocols.uptime_messages import (
    MAX_MOVES,
    MAX_OPENINGS,
    MAX_RECEIPTS,
    Receipt,
    ReceiptBatch,
    pack_moves,
    pack_openings,
    pack_receipts,
)
from protocols.zeronode_rules import ZeroNodeRules

logger = logging.getLogger(__name__)

QUEUED: Final = 64
"""Batches that wait for the database. What finds no place is told again when its day is over."""

GREETING_ROUNDS: Final = 20
"""After so many rounds with nothing to tell, an empty batch says that the service is there."""

PAUSE_SECONDS: Final = 60 / BATCHES_PER_MINUTE * 1.25
"""Between two batches, so that nobody counts them as too frequent."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who tells: its key, its network, and where it is reached by HTTP."""

    key: SigningKey
    url: str
    rules: ZeroNodeRules

    @property
    def service(self) -> NodeKey:
        """Its key as others know it."""
        return NodeKey(bytes(self.key.verify_key))


class ReceiptExchange:
    """The duty: `run` tells and takes until cancelled. `counts` are what became of receipts."""

    def __init__(
        self,
        database: AsyncDatabase,
        network: Network,
        speaker: Speaker,
        view: Callable[[], ServiceView],
        clock: Clock,
    ) -> None:
        self._database = database
        self._network = network
        self._speaker = speaker
        self._view = view
        self._clock = clock
        self._memory = ReceiptMemory()
        self._rounds = GREETING_ROUNDS
        self.counts: Counter[str] = Counter()

    async def run(self) -> None:
        """Follow the topic, take what comes, and tell what is new, until cancelled."""
        await self._database.read(restore_memory, self._memory)
        send, receive = trio.open_memory_channel[JudgedBatch](QUEUED)
        self._network.subscribe(UPTIME_TOPIC, self._make_judge(send), deliver=False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._take, receive)
            while True:
                await trio.sleep(self._speaker.rules.batch_ms / 1000)
                try:
                    await self.tell()
                except DatabaseError as error:
                    self.counts["not read"] += 1
                    logger.error("receipts are not told, trying again: %s", error)

    async def tell(self) -> None:
        """Tell, once after its end, all of a day, and then what is new."""
        self._rounds += 1
        day = find_repeatable(self._speaker.rules, self._clock.now())
        if await self._database.read(is_to_repeat, self._speaker, day):
            await self._repeat(day)
            await self._database.run(end_repeat, self._speaker, day)
        while (batch := await self._next(is_greeting=self._rounds > GREETING_ROUNDS)) is not None:
            await self._publish(batch)

    async def _next(self, *, is_greeting: bool) -> ReceiptBatch | None:
        batch = await self._database.run(
            make_batch, self._speaker, self._clock.now(), is_greeting=is_greeting
        )
        if batch is not None:
            self._rounds = 0
        return batch

    async def _repeat(self, day: int) -> None:
        """Tell all of a day once more."""
        after: bytes = b""
        waiting: list[Receipt] = []
        while True:
            page = await self._database.read(
                uptime_book.stretches_on, self._speaker.service, day, after
            )
            waiting += (
                Receipt(wallet, stretch) for wallet, stretches in page for stretch in stretches
            )
            while waiting and (len(waiting) >= MAX_RECEIPTS or not page):
                await self._publish(
                    await self._database.run(
                        make_repeat, self._speaker, waiting[:MAX_RECEIPTS], self._clock.now()
                    )
                )
                del waiting[:MAX_RECEIPTS]
            if not page:
                return
            after = page[-1][0]

    async def _publish(self, batch: ReceiptBatch) -> None:
        network = self._view().network
        await self._network.publish(UPTIME_TOPIC, seal(self._speaker.key, network, batch))
        self.counts["told"] += 1
        await trio.sleep(PAUSE_SECONDS)

    def _make_judge(
        self, send: trio.MemorySendChannel[JudgedBatch]
    ) -> Callable[[bytes, bytes], Judgement]:
        def judge(data: bytes, _sender: bytes) -> Judgement:
            judged = validate_receipts_gossip(self._memory, self._view(), data, self._clock.now())
            try:
                send.send_nowait(judged)
            except trio.WouldBlock:
                self.counts["no place"] += 1
                logger.warning("a batch of receipts found no place, it will be told again")
            return ACCEPT

        return judge

    async def _take(self, receive: trio.MemoryReceiveChannel[JudgedBatch]) -> None:
        async for judged in receive:
            try:
                done = await self._database.run(
                    take_batch,
                    judged,
                    self._speaker.service,
                    self._speaker.rules,
                    self._clock.now(),
                    self._view().services,
                )
            except DatabaseError as error:
                self.counts["not written"] += 1
                logger.error("a batch is not written, it will be told again: %s", error)
                continue
            self.counts["taken"] += 1
            self.counts["kept"] += done.kept
            for reason, count in (("late", done.late), ("dropped", done.dropped)):
                if count:
                    self.counts[reason] += count
                    logger.warning(
                        "%d receipts of service %s were %s", count, judged.service.hex(), reason
                    )


def make_batch(
    connection: Connection, speaker: Speaker, now: TimeMs, *, is_greeting: bool = False
) -> ReceiptBatch | None:
    """Make the next batch of what was not told yet, and remember that it is told.

    None when there is nothing, unless it `is_greeting`. The batch is to be sent once the
    transaction has ended.
    """
    sent = _read_sent(connection, speaker.service)
    changed = uptime_book.changed_since(connection, speaker.service, sent.last_change, MAX_RECEIPTS)
    receipts = [Receipt(each.wallet, each.stretch) for each in changed]
    openings = take_openings(connection, speaker.service, now, MAX_OPENINGS)
    moves = take_moves(connection, now, MAX_MOVES)
    if not (receipts or openings or moves or is_greeting):
        return None
    last_change = changed[-1].number if changed else sent.last_change
    moment = _count_on(connection, speaker.service, sent.number, now, last_change=last_change)
    return ReceiptBatch(
        number=moment,
        sent_ms=moment,
        url=speaker.url,
        receipts=pack_receipts(make_tellable(receipts, moment, speaker.rules)),
        openings=pack_openings(openings),
        moves=pack_moves(moves),
    )


def make_repeat(
    connection: Connection, speaker: Speaker, receipts: Sequence[Receipt], now: TimeMs
) -> ReceiptBatch:
    """Make a batch of receipts that were told before; at most MAX_RECEIPTS."""
    sent = _read_sent(connection, speaker.service)
    moment = _count_on(connection, speaker.service, sent.number, now)
    return ReceiptBatch(
        number=moment,
        sent_ms=moment,
        url=speaker.url,
        receipts=pack_receipts(make_tellable(receipts, moment, speaker.rules)),
        openings=b"",
        moves=b"",
    )


def find_repeatable(rules: ZeroNodeRules, now: TimeMs) -> int:
    """Return the last day that is to be told as a whole: it ended half the close's delay ago, so
    that clocks may differ and there is time left."""
    return rules.day_of(TimeMs(now - rules.close_delay_ms // 2)) - 1


def is_to_repeat(connection: Connection, speaker: Speaker, day: int) -> bool:
    """Tell whether a day is still to be told as a whole."""
    return _find_sent(connection, speaker.service).repeated_day < day


def end_repeat(connection: Connection, speaker: Speaker, day: int) -> None:
    """Remember that a day was told as a whole.

    Homes and moves that were told since its beginning are told again as well.
    """
    _read_sent(connection, speaker.service)
    connection.execute(
        update(batches_sent)
        .where(batches_sent.c.service == speaker.service.hex())
        .values(repeated_day=day)
    )
    tell_again(connection, speaker.rules.day_start(day))


def take_batch(
    connection: Connection,
    judged: JudgedBatch,
    own: NodeKey,
    rules: ZeroNodeRules,
    now: TimeMs,
    listed: Collection[NodeKey],
) -> uptime_book.Recorded:
    """Take an accepted batch into the books."""
    batch, service = judged.verified.message, judged.service
    _note_taken(connection, service, batch)
    for opening in judged.openings:
        hear_opening(connection, service, opening, own, now, listed)
    for move in judged.moves:
        hear_of_move(connection, service, move, own, now)
    receipts = [uptime_book.Receipt(each.wallet, each.stretch) for each in judged.receipts]
    return uptime_book.record(connection, service, receipts, rules, now)


def restore_memory(connection: Connection, memory: ReceiptMemory) -> None:
    """Let the rule know which numbers were taken before this start."""
    for row in connection.execute(select(batches_taken.c.service, batches_taken.c.number)):
        memory.restore(NodeKey(bytes.fromhex(row.service)), row.number)


@dataclass(frozen=True, slots=True)
class _Sent:
    number: int
    last_change: int
    repeated_day: int


_NOTHING_SENT: Final = _Sent(0, 0, -1)


def _find_sent(connection: Connection, service: NodeKey) -> _Sent:
    row = connection.execute(
        select(batches_sent).where(batches_sent.c.service == service.hex())
    ).one_or_none()
    return _NOTHING_SENT if row is None else _Sent(row.number, row.last_change, row.repeated_day)


def _read_sent(connection: Connection, service: NodeKey) -> _Sent:
    """Return how far this service is, and see to it that there is a row to change."""
    sent = _find_sent(connection, service)
    if sent is _NOTHING_SENT:
        connection.execute(insert(batches_sent).values(service=service.hex(), **asdict(sent)))
    return sent


def _count_on(
    connection: Connection, service: NodeKey, last: int, now: TimeMs, **values: int
) -> TimeMs:
    """Take the number of a batch, which is its time too: so a service that went back to an older
    copy of its books repeats none."""
    number = max(last + 1, now)
    connection.execute(
        update(batches_sent)
        .where(batches_sent.c.service == service.hex())
        .values(number=number, **values)
    )
    return TimeMs(number)


def _note_taken(connection: Connection, service: NodeKey, batch: ReceiptBatch) -> None:
    known = connection.execute(
        select(batches_taken.c.number).where(batches_taken.c.service == service.hex())
    ).scalar_one_or_none()
    values = {"sent_ms": batch.sent_ms, "url": _clean_url(batch.url)}
    if known is None:
        connection.execute(
            insert(batches_taken).values(service=service.hex(), number=batch.number, **values)
        )
    elif batch.number > known:
        connection.execute(
            update(batches_taken)
            .where(batches_taken.c.service == service.hex())
            .values(number=batch.number, **values)
        )


def _clean_url(text: str) -> str:
    """Return a URL that a page may show and follow, or nothing."""
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return ""
    return text if is_url and text.isascii() and text.isprintable() else ""

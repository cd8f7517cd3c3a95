"""Lucky draws in the service's database: entering, and the steps from open to paid out.

A draw's states, and what moves it on (`drawing.py` decides when):

    open ── close ──► closed ── freeze ──► frozen ── commit ──► committed ── finish ──► paying
                        │ no entry           └──────────── finish as missed ─────────►  │ pay
                        ▼                                                               ▼
                      empty                                                           done

Every function works in the transaction of the connection that it is given, and each step is one
transaction: after a crash the row says what has been done.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Row, func, insert, select, update

from p2p_node.zeronode.accounts import require_account, wallet_text
from p2p_node.zeronode.draw_schedule import Occasion, Plan
from p2p_node.zeronode.draw_tables import draw_entries, draw_transcripts, draws
from p2p_node.zeronode.errors import KeyReusedError
from p2p_node.zeronode.ledger import (
    Line,
    Transfer,
    Unit,
    balance,
    draw_account,
    post,
    post_many,
    user_account,
)
from p2p_node.zeronode.refusals import Conflict, NotFound, NotYet
from protocols.errors import LocalError, MalformedError
from protocols.lucky_draw import (
    MAX_ENTRIES,
    MAX_TICKETS,
    Award,
    Entry,
    Source,
    SourceKind,
    Terms,
    hash_server_seed,
)
from protocols.types import Digest, NetworkId, NodeKey, TimeMs, Wallet

ISSUE: Final = "issue:draw"
PAGE: Final = 200
"""Most draws that one call returns."""

PAID_AT_ONCE: Final = 500
"""Awards in one transaction: others wait for it."""

_REQUEST: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


class State(StrEnum):
    """How far a draw is."""

    OPEN = "open"
    CLOSED = "closed"
    FROZEN = "frozen"
    COMMITTED = "committed"
    PAYING = "paying"
    DONE = "done"
    EMPTY = "empty"


class StaleError(LocalError):
    """Another process has moved the draw on since it was read."""


ENDED: Final = (State.DONE, State.EMPTY)


@dataclass(frozen=True, slots=True)
class Frozen:
    """What was fixed when the tickets were frozen."""

    root: Digest
    source: Source
    reveal_by_ms: TimeMs


@dataclass(frozen=True, slots=True)
class Draw:
    """A draw as the database has it. `server_seed` is secret until the transcript is there."""

    id: str
    state: State
    plan: Plan
    opens_ms: TimeMs
    closes_ms: TimeMs
    server_seed: bytes = field(repr=False)
    tickets: int
    frozen: Frozen | None
    sent_ms: TimeMs | None
    committed_s: int
    missed: bool
    paid: int

    def terms(self, network: NetworkId, service: NodeKey) -> Terms:
        """Return what is committed to. LocalError before the tickets are frozen."""
        if self.frozen is None:
            raise LocalError(f"draw {self.id} is not frozen")
        return Terms(
            network,
            service,
            self.id,
            self.plan.prizes,
            self.frozen.root,
            self.tickets,
            hash_server_seed(self.server_seed),
            self.frozen.source,
            self.closes_ms,
            self.frozen.reveal_by_ms,
            self.plan.missed_bonus,
        )


@dataclass(frozen=True, slots=True)
class Entered:
    """Tickets that are in a draw: numbers first_ticket … first_ticket + tickets − 1."""

    draw: str
    first_ticket: int
    tickets: int
    tickets_left: int


def open_draw(connection: Connection, occasion: Occasion, server_seed: bytes) -> None:
    """Open a draw, once; one that is there already stays as it is."""
    if find_draw(connection, occasion.id) is None:
        connection.execute(
            insert(draws).values(
                id=occasion.id,
                state=State.OPEN,
                plan=occasion.plan.to_text(),
                opens_ms=occasion.opens_ms,
                closes_ms=occasion.closes_ms,
                server_seed=server_seed,
                tickets=0,
                paid=0,
            )
        )


def find_draw(connection: Connection, draw: str) -> Draw | None:
    """Return a draw by its name."""
    row = connection.execute(select(draws).where(draws.c.id == draw)).one_or_none()
    return None if row is None else _draw_of(row)


def require_draw(connection: Connection, draw: str) -> Draw:
    """Return a draw; NotFound if there is none of that name."""
    found = find_draw(connection, draw)
    if found is None:
        raise NotFound("no such draw", draw[:64])
    return found


def list_draws(connection: Connection, limit: int = 50) -> tuple[Draw, ...]:
    """Return the draws that close or closed last, the latest first; at most PAGE."""
    rows = connection.execute(
        select(draws).order_by(draws.c.closes_ms.desc(), draws.c.id).limit(min(limit, PAGE))
    )
    return tuple(_draw_of(row) for row in rows)


def list_unfinished(connection: Connection) -> tuple[Draw, ...]:
    """Return the draws that somebody still has to do something about, the oldest first."""
    rows = connection.execute(
        select(draws)
        .where(draws.c.state.not_in(ENDED))
        .order_by(draws.c.closes_ms, draws.c.id)
        .limit(PAGE)
    )
    return tuple(_draw_of(row) for row in rows)


def find_next_draw(connection: Connection, now_ms: int) -> Draw | None:
    """Return the draw that takes entries now and closes first."""
    row = connection.execute(
        select(draws)
        .where(draws.c.state == State.OPEN, draws.c.opens_ms <= now_ms, draws.c.closes_ms > now_ms)
        .order_by(draws.c.closes_ms, draws.c.id)
        .limit(1)
    ).one_or_none()
    return None if row is None else _draw_of(row)


def enter(
    connection: Connection, wallet: Wallet, draw: str, tickets: int, request: str, now_ms: int
) -> Entered:
    """Put tickets of an account into an open draw; `request` is the client's name for this wish.

    The same request again changes nothing, also after the draw has closed. MalformedError for a
    request or a number that cannot be meant, NotFound, NotYet and Conflict for a draw that takes no
    entry (now), InsufficientError for more tickets than the account has, KeyReusedError for a
    request that was used with another number.
    """
    require_account(connection, wallet)
    if not 1 <= tickets <= MAX_TICKETS:
        raise MalformedError(
            "not a number of tickets", f"found {tickets}, expected 1 to {MAX_TICKETS}"
        )
    if not _REQUEST.fullmatch(request):
        raise MalformedError(
            "not the name of a request",
            f"found {request[:64]!r}, expected 1 to 64 letters, digits, - or _",
        )
    found = require_draw(connection, draw)
    account = user_account(wallet)
    key = f"draw-entry:{draw}:{wallet_text(wallet)}:{request}"
    known = connection.execute(
        select(draw_entries.c.tickets, draw_entries.c.first_ticket).where(
            draw_entries.c.draw == draw,
            draw_entries.c.wallet == wallet,
            draw_entries.c.request == request,
        )
    ).one_or_none()
    if known is not None:
        if known.tickets != tickets:
            raise KeyReusedError(key)
        first = int(known.first_ticket)
    else:
        number = _require_place(connection, found, tickets, now_ms)
        lines = (
            Line(account, Unit.TICKETS, -tickets),
            Line(draw_account(draw), Unit.TICKETS, tickets),
        )
        post(connection, Transfer(key, "draw-entry", lines), now_ms)
        first = found.tickets
        connection.execute(
            insert(draw_entries).values(
                draw=draw,
                number=number,
                wallet=wallet,
                tickets=tickets,
                first_ticket=first,
                request=request,
                at_ms=now_ms,
            )
        )
        _change(connection, found, State.OPEN, tickets=first + tickets)
    return Entered(draw, first, tickets, balance(connection, account, Unit.TICKETS))


def read_entries(connection: Connection, draw: str) -> tuple[Entry, ...]:
    """Return all entries of a draw, in order."""
    rows = connection.execute(
        select(draw_entries.c.wallet, draw_entries.c.tickets)
        .where(draw_entries.c.draw == draw)
        .order_by(draw_entries.c.number)
    )
    return tuple(Entry(Wallet(bytes(row.wallet)), int(row.tickets)) for row in rows)


def entries_of_wallet(
    connection: Connection, draw: str, wallet: Wallet, limit: int = 100
) -> tuple[tuple[int, int], ...]:
    """Return a wallet's entries in a draw as (first ticket, tickets), in order."""
    rows = connection.execute(
        select(draw_entries.c.first_ticket, draw_entries.c.tickets)
        .where(draw_entries.c.draw == draw, draw_entries.c.wallet == wallet)
        .order_by(draw_entries.c.number)
        .limit(limit)
    )
    return tuple((int(row.first_ticket), int(row.tickets)) for row in rows)


def read_transcript(connection: Connection, draw: str) -> bytes | None:
    """Return the file of a draw that has ended."""
    content = connection.execute(
        select(draw_transcripts.c.content).where(draw_transcripts.c.draw == draw)
    ).scalar_one_or_none()
    return None if content is None else bytes(content)


def close(connection: Connection, draw: Draw) -> Draw:
    """Take no more entries. A draw without any has ended."""
    current = require_draw(connection, draw.id)
    state = State.CLOSED if current.tickets else State.EMPTY
    return _change(connection, current, State.OPEN, state=state)


def freeze(connection: Connection, draw: Draw, frozen: Frozen) -> Draw:
    """Fix what will be committed to.

    May be done again with another source as long as nothing was sent to the chain.
    """
    expected = State.FROZEN if draw.state is State.FROZEN else State.CLOSED
    if draw.sent_ms is not None:
        raise LocalError(f"draw {draw.id}: its commitment may be on its way already")
    return _change(
        connection,
        draw,
        expected,
        state=State.FROZEN,
        root=frozen.root,
        source_kind=int(frozen.source.kind),
        source_number=frozen.source.number,
        reveal_by_ms=frozen.reveal_by_ms,
    )


def note_sending(connection: Connection, draw: Draw, now_ms: int) -> Draw:
    """Remember that the commitment is about to be sent: from now on its terms stay as they are."""
    return _change(connection, draw, State.FROZEN, sent_ms=now_ms)


def note_committed(connection: Connection, draw: Draw, committed_s: int) -> Draw:
    """Remember the time of the block that has the commitment."""
    return _change(connection, draw, State.FROZEN, state=State.COMMITTED, committed_s=committed_s)


def finish(
    connection: Connection, draw: Draw, transcript: bytes, missed: bool, now_ms: int
) -> Draw:
    """Publish the transcript, which decides the draw: drawn, or missed. Then it is paid."""
    connection.execute(
        insert(draw_transcripts).values(draw=draw.id, content=transcript, at_ms=now_ms)
    )
    return _change(connection, draw, draw.state, state=State.PAYING, missed=int(missed))


def pay(connection: Connection, draw: Draw, awards: Sequence[Award], now_ms: int) -> Draw:
    """Book the next awards of a draw's transcript, and its end with the last one."""
    part = awards[draw.paid : draw.paid + PAID_AT_ONCE]
    pot = draw_account(draw.id)
    transfers = [_return(draw, award) if draw.missed else _prize(draw, award) for award in part]
    paid = draw.paid + len(part)
    if paid < len(awards):
        post_many(connection, transfers, now_ms)
        return _change(connection, draw, State.PAYING, paid=paid)
    if not draw.missed:
        lines = (Line(pot, Unit.TICKETS, -draw.tickets), Line(ISSUE, Unit.TICKETS, draw.tickets))
        transfers.append(Transfer(f"draw-end:{draw.id}", "draw-end", lines))
    post_many(connection, transfers, now_ms)
    return _change(connection, draw, State.PAYING, paid=paid, state=State.DONE)


def _prize(draw: Draw, award: Award) -> Transfer:
    account = user_account(award.wallet)
    lines = []
    for unit, amount in ((Unit.POINTS, award.units), (Unit.TICKETS, award.tickets)):
        if amount:
            lines += [Line(ISSUE, unit, -amount), Line(account, unit, amount)]
    key = f"draw-prize:{draw.id}:{wallet_text(award.wallet)}"
    return Transfer(key, "draw-prize", tuple(lines))


def _return(draw: Draw, award: Award) -> Transfer:
    bonus = draw.plan.missed_bonus
    lines = [
        Line(draw_account(draw.id), Unit.TICKETS, bonus - award.tickets),
        Line(user_account(award.wallet), Unit.TICKETS, award.tickets),
    ]
    if bonus:
        lines.append(Line(ISSUE, Unit.TICKETS, -bonus))
    key = f"draw-return:{draw.id}:{wallet_text(award.wallet)}"
    return Transfer(key, "draw-return", tuple(lines))


def _require_place(connection: Connection, draw: Draw, tickets: int, now_ms: int) -> int:
    """Return the number of the next entry of a draw that takes it."""
    if now_ms < draw.opens_ms:
        raise NotYet("draw is not open yet", draw.id)
    if draw.state is not State.OPEN or now_ms >= draw.closes_ms:
        raise Conflict("draw is closed", draw.id)
    last = connection.execute(
        select(func.max(draw_entries.c.number)).where(draw_entries.c.draw == draw.id)
    ).scalar_one()
    count = 0 if last is None else int(last) + 1
    if count >= MAX_ENTRIES or draw.tickets + tickets > MAX_TICKETS:
        raise Conflict(
            "draw is full", f"{draw.id}: {MAX_ENTRIES} entries or {MAX_TICKETS} tickets at most"
        )
    return count


def _change(connection: Connection, draw: Draw, expected: State, **values: Any) -> Draw:
    """Write `values` if the draw is still as it was read, and return what it is now."""
    number = None if draw.frozen is None else draw.frozen.source.number
    changed = connection.execute(
        update(draws)
        .where(draws.c.id == draw.id, draws.c.state == expected, draws.c.paid == draw.paid)
        # Another process may have frozen it anew, or sent what was frozen.
        .where(draws.c.source_number.is_not_distinct_from(number))
        .where(draws.c.sent_ms.is_not_distinct_from(draw.sent_ms))
        .values(**values)
    )
    if changed.rowcount != 1:
        raise StaleError(f"draw {draw.id} is no longer {expected}: somebody else moved it on")
    return require_draw(connection, draw.id)


def _draw_of(row: Row[Any]) -> Draw:
    frozen = None
    if row.root is not None:
        frozen = Frozen(
            Digest(bytes(row.root)),
            Source(SourceKind(row.source_kind), int(row.source_number)),
            TimeMs(row.reveal_by_ms),
        )
    return Draw(
        row.id,
        State(row.state),
        Plan.from_text(row.plan),
        TimeMs(row.opens_ms),
        TimeMs(row.closes_ms),
        bytes(row.server_seed),
        int(row.tickets),
        frozen,
        None if row.sent_ms is None else TimeMs(row.sent_ms),
        row.committed_s or 0,
        bool(row.missed),
        int(row.paid),
    )

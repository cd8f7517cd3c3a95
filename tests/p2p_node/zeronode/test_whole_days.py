"""Two days on a simulated clock, from signed beats to the ledger, with everybody who cheats.

Nothing is taken for granted here: beats are signed and judged, receipts are gossiped in sealed
batches, days are booked in a real database.
"""

from dataclasses import dataclass, replace
from functools import cache

import pytest
from sqlalchemy import Connection

from p2p_node.zeronode.accounts import open_account
from p2p_node.zeronode.database import AsyncDatabase, Database
from p2p_node.zeronode.day_close import Facts, Holding, close_day, find_day
from p2p_node.zeronode.ledger import Unit, balance, entry_by_key, user_account
from p2p_node.zeronode.referrals import bind_referral, make_share_finder, settle_gate
from p2p_node.zeronode.uptime_book import Receipt, record
from protocols import uptime_messages
from protocols.envelopes import seal
from protocols.types import TimeMs
from protocols.uptime import Stretch
from protocols.uptime_gossip import (
    ReceiptMemory,
    ServiceView,
    make_tellable,
    validate_receipts_gossip,
)
from protocols.uptime_messages import ReceiptBatch, pack_receipts
from protocols.zeronode_frames import Beat
from protocols.zeronode_rules import MAINNET_RULES as RULES
from protocols.zeronode_rules import TICKET_UNITS
from protocols.zeronode_session import BeatRefused, Session
from tests.protocols.zeronode_world import (
    NETWORK,
    SID,
    START,
    Client,
    key_of,
    nonce,
    public,
    wallet_of,
)

HOME, GUEST = public("service"), public("other service")
ALICE, REFERRER = wallet_of("alice"), wallet_of("referrer")
DAY = RULES.day_ms
TODAY = RULES.day_of(START)
BEGIN, END = START - 60_000, START + 2 * DAY + 60_000
ROUND_MS = 1_200_000
"""How often receipts are written and gossiped here."""


@dataclass(frozen=True)
class Paid:
    """What an account has."""

    points: int
    tickets: int


def read(connection: Connection, name: str) -> Paid:
    """An account's balances."""
    account = user_account(wallet_of(name))
    return Paid(
        balance(connection, account, Unit.POINTS), balance(connection, account, Unit.TICKETS)
    )


@cache
def answer_honestly() -> tuple[Stretch, ...]:
    """A client that answers all challenges, after as long as it may take."""
    client, asked, step, earned = Client(), int(BEGIN), 0, []
    while asked < END:
        chance = nonce(step)
        paid = client.session.on_beat(
            client.answer(client.ask(asked)), TimeMs(asked + chance[0] * 5_000 // 255)
        )
        if paid is not None:
            earned.append(paid)
        step += 1
        asked += 12_000 + int.from_bytes(chance[1:5], "big") % 10_001
    return tuple(earned)


def cheat(kind: str) -> list[Stretch]:
    """What somebody earns who answers no challenge properly, for two hours."""
    client, forger, earned = Client(), Client(name="somebody else"), []
    before: Beat | None = None
    session: Session = client.session
    for asked in range(START, START + 7_200_000, 15_000):
        challenge = client.ask(asked)
        good, now = client.answer(challenge), asked + 100
        beat = {
            "replayed": before or good,
            "late": good,
            "reordered": before or good,
            "wrong sequence": replace(good, seq=good.seq + 1),
            "wrong session": replace(good, sid=bytes(16)),
            "foreign key": forger.answer(challenge),
            "clock": good,
        }[kind]
        if kind == "late":
            now = asked + RULES.answer_ms + 1
        if kind == "clock":
            # A client that signs another time than the service's can only do so in these bytes.
            beat = replace(good, sig=forger.key.sign(good.sig + b"86400").signature)
        try:
            paid = session.on_beat(beat, TimeMs(now))
        except BeatRefused:
            paid = None
        if paid is not None:
            earned.append(paid)
        before = good if kind == "replayed" else before
        if kind == "reordered":
            # Each answer comes when the next challenge has been sent.
            before = good
    return earned


@pytest.mark.parametrize(
    "kind",
    ["replayed", "late", "reordered", "wrong sequence", "wrong session", "foreign key", "clock"],
)
def test_a_cheat_earns_nothing(kind: str) -> None:
    assert cheat(kind) == []


class Guest:
    """A second service, at which a copy of the profile answers as well: it gossips."""

    def __init__(self) -> None:
        self.memory = ReceiptMemory()
        self.view = ServiceView(NETWORK, frozenset([HOME, GUEST]), RULES)
        self.untold: list[uptime_messages.Receipt] = []

    def tell(self, connection: Connection, now: int) -> None:
        """Send what is new; it arrives twice, and the home takes it into its books."""
        rows = make_tellable(self.untold, TimeMs(now), RULES)
        batch = ReceiptBatch(now, TimeMs(now), "", pack_receipts(rows), b"", b"")
        data = seal(key_of("other service"), NETWORK, batch)
        judged = validate_receipts_gossip(self.memory, self.view, data, TimeMs(now + 50))
        receipts = [Receipt(each.wallet, each.stretch) for each in judged.receipts]
        for _ in range(2):
            done = record(connection, judged.service, receipts, RULES, now)
            assert (done.late, done.dropped) == (0, 0)
        self.untold = []


async def test_two_days_earn_exactly_what_they_should(database: Database) -> None:
    shell, guest = AsyncDatabase(database), Guest()
    with database.transaction() as connection:
        code = open_account(connection, REFERRER, BEGIN - DAY).code
        open_account(connection, ALICE, BEGIN)
        bind_referral(connection, ALICE, code, RULES, BEGIN)
    waiting: list[Receipt] = []
    first, before, written = None, Paid(0, 0), BEGIN
    for stretch in answer_honestly():
        first = first or stretch
        waiting.append(Receipt(ALICE, stretch, SID))
        guest.untold.append(uptime_messages.Receipt(ALICE, stretch))
        if stretch.end_ms < written + ROUND_MS:
            continue
        written = stretch.end_ms
        with database.transaction() as connection:
            record(connection, HOME, waiting, RULES, written)
            guest.tell(connection, written)
            settle_gate(connection, ALICE, RULES, written)
        waiting = []
        if (day := await shell.read(find_day, RULES, written)) is not None:
            await close(shell, day, written)
            with database.reading() as connection:
                before = read(connection, "referrer")
    assert first is not None
    with database.transaction() as connection:
        record(connection, HOME, waiting, RULES, END)
    now = END + RULES.close_delay_ms
    assert await shell.read(find_day, RULES, now) == TODAY + 1
    await close(shell, TODAY + 1, now)

    gate = first.start_ms + RULES.gate_ms
    with database.reading() as connection:
        alice, referrer = read(connection, "alice"), read(connection, "referrer")
        name = f"0x{ALICE.hex()}"
        for day in (TODAY, TODAY + 1):
            booked = entry_by_key(connection, f"uptime:{name}:{day}")
            doubled = entry_by_key(connection, f"nft:{name}:{day}")
            assert booked is not None
            assert doubled is not None
            amounts = [abs(line.amount) for line in booked.transfer.lines]
            assert amounts == [TICKET_UNITS] * 2
    # The minute before the first day is a day of its own, of which some seconds are uptime.
    minute = (START - first.start_ms) // 1_000
    assert alice.points == 4 * TICKET_UNITS + minute * 10
    assert before.points == 2 * ((START + DAY - gate) // 1_000)
    # The whole day after the gate gives exactly a tenth of its 600 points.
    assert (referrer.points - before.points) * 10 == 2 * TICKET_UNITS
    assert (alice.tickets, referrer.tickets) == (1, 1)


async def close(shell: AsyncDatabase, day: int, now: int) -> None:
    """Close a day in which Alice held a token."""
    holders = {ALICE: Holding(7, TimeMs(START))}
    facts = Facts(holders, lambda _c, _w, _d: True, make_share_finder(RULES, now))
    await close_day(shell, day, RULES, now, facts)

"""Accounts with tickets, and the duty that holds draws for them."""

import itertools
from dataclasses import dataclass
from typing import Self

from nacl.signing import SigningKey
from sqlalchemy import Connection

from p2p_node.clock import Clock
from p2p_node.zeronode import draws
from p2p_node.zeronode.accounts import open_account
from p2p_node.zeronode.database import AsyncDatabase, Database
from p2p_node.zeronode.draw_schedule import Occasion, Plan, Schedule
from p2p_node.zeronode.drawing import Drawing
from p2p_node.zeronode.ledger import Line, Transfer, Unit, balances_of, post, user_account
from protocols.lucky_draw import Prize, SourceKind
from protocols.types import NetworkId, TimeMs, Wallet
from tests.fakes.draws import FakeAnchor, FakeBeacon

START = TimeMs(1_790_000_000_000)
KEY = SigningKey(b"k" * 32)
NETWORK = NetworkId(b"n" * 32)
ALICE, BOB = Wallet(b"a" * 20), Wallet(b"b" * 20)

PRIZES = (Prize("points", 300_000, 864_000, 0), Prize("tickets", 300_000, 0, 1))
PLAN = Plan("a test", PRIZES, SourceKind.BEACON, 20_000, 60_000, 1)
SCHEDULE = Schedule("quick", START, 100_000_000, 60_000, PLAN)
DRAW = "quick-0"
OCCASION = Occasion(DRAW, START, TimeMs(START + 60_000), PLAN)


def give(database: Database, wallet: Wallet, tickets: int) -> None:
    account = user_account(wallet)
    lines = (Line("issue:campaign", Unit.TICKETS, -tickets), Line(account, Unit.TICKETS, tickets))
    with database.transaction() as connection:
        open_account(connection, wallet, START)
        post(connection, Transfer(f"give:{wallet.hex()}", "campaign", lines), START)


def totals(connection: Connection) -> dict[Unit, int]:
    """What the users and the draw have in all."""
    accounts = [user_account(ALICE), user_account(BOB), draws.draw_account(DRAW)]
    found = [balances_of(connection, account) for account in accounts]
    return {unit: sum(each[unit] for each in found) for unit in Unit}


@dataclass
class World:
    """A service's draws over fakes. `restart` makes the duty anew, as after a crash."""

    database: Database
    clock: Clock
    anchor: FakeAnchor
    beacon: FakeBeacon
    schedules: tuple[Schedule, ...] = (SCHEDULE,)

    @classmethod
    def make(cls, database: Database) -> Self:
        clock = Clock(START)
        return cls(database, clock, FakeAnchor(clock), FakeBeacon(clock))

    def start(self, database: AsyncDatabase | None = None) -> Drawing:
        seeds = itertools.count(1)
        return Drawing(
            database or AsyncDatabase(self.database, inline=True),
            self.schedules,
            KEY,
            NETWORK,
            self.anchor,
            {SourceKind.BEACON: self.beacon},
            self.clock,
            lambda length: bytes([next(seeds)]) * length,
            inline=True,
        )

    def draw(self) -> draws.Draw:
        with self.database.reading() as connection:
            return draws.require_draw(connection, DRAW)

    def transcript(self) -> bytes | None:
        with self.database.reading() as connection:
            return draws.read_transcript(connection, DRAW)

    def enter(self, wallet: Wallet, tickets: int, request: str = "r") -> draws.Entered:
        with self.database.transaction() as connection:
            return draws.enter(connection, wallet, DRAW, tickets, request, self.clock.now())

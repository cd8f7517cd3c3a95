"""The accounts of a run's extensions: what adds up passes, and what does not is named."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from p2p_node.testnet.extensions import KINDS, make_extensions
from p2p_node.testnet.screen import describe_extension
from p2p_node.testnet.zeronode_checks import check_run
from p2p_node.testnet.zeronode_outcome import Extension, ExtensionKind, ZeroNodeRun
from p2p_node.zeronode.accounts import open_account
from p2p_node.zeronode.database import AsyncDatabase, Database
from p2p_node.zeronode.day_close import Facts, Holding, close_day
from p2p_node.zeronode.day_roots import read_day
from p2p_node.zeronode.ledger import Line, Transfer, Unit, post, user_account
from p2p_node.zeronode.nft import link
from p2p_node.zeronode.referrals import bind_referral, find_share, settle_gate
from p2p_node.zeronode.uptime_book import Receipt, record
from protocols.ledger_records import compute_ledger_id
from protocols.types import Digest, NetworkId, NodeKey, TimeMs
from protocols.uptime import Stretch
from protocols.zeronode_rules import MINIMAL_RULES as RULES

DAY = 29_403_000
START = RULES.day_start(DAY)
SERVICE = NodeKey(b"\x05" * 32)
LEDGER = compute_ledger_id(NetworkId(b"\x09" * 32), SERVICE)


class World:
    """Books of a day in which four of the five earned 50 s, and what their clients were told."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.extensions = make_extensions(5)
        self.first, self.holder, self.invited, self.copied, self.late = self.extensions
        self.anchored: dict[int, Digest] = {}

    async def close(self) -> None:
        with self.database.transaction() as connection:
            for extension in self.extensions:
                self._live(connection, extension)
        closed = RULES.close_time(DAY)
        holding = Holding(7, TimeMs(START))
        facts = Facts({self.holder.wallet: holding}, lambda *_: True, find_share)
        books = AsyncDatabase(self.database, inline=True)
        await close_day(books, DAY, RULES, closed, facts)
        with self.database.reading() as connection:
            found = read_day(connection, DAY)
        assert found is not None
        self.anchored = {DAY: found.root}

    def _live(self, connection: Connection, extension: Extension) -> None:
        account = open_account(connection, extension.wallet, START)
        if extension is self.first:
            self.code = account.code
        if extension is self.holder:
            link(connection, extension.wallet, 7, TimeMs(START))
        if extension is self.invited:
            bind_referral(connection, extension.wallet, self.code, RULES, START)
        extension.lived_ms = 52_000
        if extension is self.late:
            return
        stretch = Stretch(TimeMs(START + 1_000), TimeMs(START + 51_000))
        record(connection, SERVICE, [Receipt(extension.wallet, stretch)], RULES, START)
        extension.told_ms = 50_000
        if extension is self.invited:
            assert settle_gate(connection, extension.wallet, RULES, START + 52_000)

    def check(self) -> ZeroNodeRun:
        run = ZeroNodeRun(extensions=self.extensions)
        with self.database.reading() as connection:
            check_run(connection, run, RULES, self.anchored)
        return run


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    database = Database.open(f"sqlite:///{tmp_path}/books.db", LEDGER)
    yield World(database)
    database.close()


def test_kinds_come_in_turn_and_the_rest_are_plain() -> None:
    kinds = [each.kind for each in make_extensions(7)]
    assert kinds == [*KINDS, ExtensionKind.PLAIN, ExtensionKind.PLAIN]
    assert len({each.wallet for each in make_extensions(7)}) == 7


async def test_what_adds_up_is_filled_in(world: World) -> None:
    await world.close()
    run = world.check()
    assert run.problems == []
    assert run.days == [DAY]
    # Twenty seconds in a row, and a tenth of the thirty after them.
    assert (world.first.uptime_units, world.first.shared_units) == (500, 30)
    assert (world.holder.points_units, world.holder.doubled_units) == (1_000, 500)
    assert (world.first.tickets, world.invited.tickets, world.copied.tickets) == (1, 1, 0)
    assert describe_extension(world.first) == (
        "extension-1: plain; 50 s of 52; 530 units = uptime 500 + doubled 0 + shares 30; 1 tickets"
    )
    assert run.to_json()["extensions"][0]["points_units"] == 530
    assert "secret" not in repr(run)


def tell_more(world: World) -> None:
    world.first.told_ms += 1


def tell_nothing(world: World) -> None:
    world.first.told_ms = 0


def tell_the_late(world: World) -> None:
    world.late.told_ms = 1


def live_less(world: World) -> None:
    world.copied.lived_ms = 49_999


def anchor_another(world: World) -> None:
    world.anchored = {DAY: Digest(bytes(32))}


def anchor_nothing(world: World) -> None:
    world.anchored = {}


def give(world: World) -> None:
    with world.database.transaction() as connection:
        lines = (
            Line("issue:mission", Unit.POINTS, -1),
            Line(user_account(world.invited.wallet), Unit.POINTS, 1),
        )
        post(connection, Transfer("x", "mission", lines), START)


def give_ticket(world: World) -> None:
    with world.database.transaction() as connection:
        lines = (
            Line("issue:mission", Unit.TICKETS, -1),
            Line(user_account(world.copied.wallet), Unit.TICKETS, 1),
        )
        post(connection, Transfer("x", "mission", lines), START)


def record_more(world: World) -> None:
    with world.database.transaction() as connection:
        more = Stretch(TimeMs(START + 51_000), TimeMs(START + 52_000))
        record(connection, SERVICE, [Receipt(world.holder.wallet, more)], RULES, START)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (tell_more, "extension-1: 50000 ms recorded, told were 50001"),
        (tell_nothing, "extension-1: 50000 ms recorded, told were 0"),
        (tell_the_late, "extension-5: 0 ms for answers that came too late"),
        (live_less, "extension-4: 50000 ms recorded of 49999 ms"),
        (anchor_another, "0 of 1 days are anchored as recomputed"),
        (anchor_nothing, "0 of 1 days are anchored as recomputed"),
        (give, "extension-3: has 501 units, due are 500"),
        (give_ticket, "extension-4: 1 tickets, due are 0"),
        (record_more, "extension-2: uptime:"),
    ],
)
async def test_what_does_not_is_named(
    world: World, change: Callable[[World], None], problem: str
) -> None:
    await world.close()
    change(world)
    assert any(problem in found for found in world.check().problems)

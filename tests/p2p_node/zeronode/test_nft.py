"""Linking tokens, and who held them at the end of a day."""

import logging

import pytest
import trio
from sqlalchemy import func, select

from chain.client import BlockTag
from chain.errors import RefusedError, UnreachableError
from chain.records import Head
from chain.rpc import Rpc
from chain.zeronode_calls import ZeroNodeCalls
from chain.zeronode_client import ZeroNodeClient
from p2p_node.zeronode.chain_tables import nft_links, nft_snapshots
from p2p_node.zeronode.database import AsyncDatabase, Database
from p2p_node.zeronode.day_close import Holding
from p2p_node.zeronode.nft import (
    GIVE_UP_MS,
    LINKS_PER_DAY,
    PAGE,
    HolderReader,
    Link,
    find_link,
    find_snapshot,
    holdings_of,
    link,
    link_token,
    restore_link,
    unlink,
)
from p2p_node.zeronode.refusals import NotYet, TooMany
from protocols.types import TimeMs, Wallet
from protocols.zeronode_rules import MINIMAL_RULES
from tests.chain.network import network
from tests.chain.samples import DEPLOYMENT

RULES = MINIMAL_RULES
DAY = 29_000_000
START, END = RULES.day_start(DAY), RULES.day_end(DAY)
ALICE, BOB, CAROL = (Wallet(bytes([number]) * 20) for number in (0xA, 0xB, 0xC))
LARGEST = 2**256 - 1


def at(seconds: float, day: int = DAY) -> TimeMs:
    return TimeMs(RULES.day_start(day) + int(seconds * 1000))


class Owners(ZeroNodeClient):
    """A chain of which only the owners of tokens are known; it fails when it is told to."""

    def __init__(self) -> None:
        super().__init__(Rpc("http://127.0.0.1:1"), DEPLOYMENT)
        self.owners: dict[int, Wallet] = {}
        self.final_seconds = 0
        self.asked: list[tuple[int, BlockTag]] = []
        self.fails_after: int | None = None

    async def owner_of(self, token: int, block: BlockTag = "finalized") -> Wallet | None:
        await trio.lowlevel.checkpoint()
        if self.fails_after is not None and len(self.asked) >= self.fails_after:
            raise UnreachableError("told to")
        self.asked.append((token, block))
        return self.owners.get(token)

    async def first_final_block(self, timestamp: int) -> Head | None:
        if self.fails_after == 0:
            raise RefusedError(-32000, "told to")
        if self.final_seconds < timestamp:
            return None
        return Head(number=timestamp, hash=bytes(32), timestamp=timestamp, base_fee=0)


class Scene:
    """A database, a chain, and the reader between them."""

    def __init__(self, database: Database) -> None:
        self.raw = database
        self.database = AsyncDatabase(database)
        self.chain = Owners()
        self.chain.final_seconds = 10**12
        self.reader = HolderReader(self.database, self.chain, RULES)

    def link(self, wallet: Wallet, token: int, now_ms: TimeMs) -> Link:
        self.chain.owners[token] = wallet
        with self.raw.transaction() as connection:
            return link(connection, wallet, token, now_ms)

    def unlink(self, wallet: Wallet, now_ms: TimeMs) -> None:
        with self.raw.transaction() as connection:
            unlink(connection, wallet, now_ms)

    def current(self, wallet: Wallet) -> Link | None:
        with self.raw.reading() as connection:
            return find_link(connection, wallet)

    def count(self) -> int:
        with self.raw.reading() as connection:
            return connection.execute(select(func.count()).select_from(nft_links)).scalar_one()


@pytest.fixture
def scene(database: Database) -> Scene:
    return Scene(database)


# -- linking


async def test_only_the_owner_links_a_token(scene: Scene) -> None:
    scene.chain.owners = {7: ALICE, LARGEST: BOB}
    found = await link_token(scene.database, scene.chain, ALICE, 7, at(1))
    assert found == scene.current(ALICE) == Link(ALICE, 7, at(1))
    assert scene.chain.asked == [(7, "finalized")]
    for wallet, token in ((BOB, 7), (ALICE, 8), (ALICE, LARGEST), (ALICE, -1), (BOB, LARGEST + 1)):
        with pytest.raises(NotYet) as refused:
            await link_token(scene.database, scene.chain, wallet, token, at(2))
        assert refused.value.reason == "token not owned by this account"
    assert scene.current(BOB) is None
    assert (await link_token(scene.database, scene.chain, BOB, LARGEST, at(3))).token == LARGEST
    assert scene.current(BOB) == Link(BOB, LARGEST, at(3))


async def test_a_chain_that_does_not_answer_links_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.chain.owners = {7: ALICE}
    scene.chain.fails_after = 0
    with pytest.raises(NotYet, match="told to") as refused:
        await link_token(scene.database, scene.chain, ALICE, 7, at(1))
    assert refused.value.reason == "chain not read"

    async def hang(*_: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(scene.chain, "owner_of", hang)
    monkeypatch.setattr("p2p_node.zeronode.nft.LINK_SECONDS", 0.01)
    with pytest.raises(NotYet, match="no answer within"):
        await link_token(scene.database, scene.chain, ALICE, 7, at(1))
    assert scene.current(ALICE) is None


def test_the_same_link_again_keeps_its_age(scene: Scene) -> None:
    assert scene.link(ALICE, 7, at(1)) == scene.link(ALICE, 7, at(9)) == Link(ALICE, 7, at(1))
    assert scene.count() == 1
    # Taken off and linked anew, it is new.
    scene.unlink(ALICE, at(10))
    scene.unlink(ALICE, at(11))
    assert scene.current(ALICE) is None
    assert scene.link(ALICE, 7, at(12)) == Link(ALICE, 7, at(12))


def test_an_account_has_one_token_and_a_token_one_account(scene: Scene) -> None:
    scene.link(ALICE, 7, at(1))
    scene.link(ALICE, 8, at(2))
    assert scene.current(ALICE) == Link(ALICE, 8, at(2))
    # Bought from Alice.
    scene.link(BOB, 8, at(3))
    assert (scene.current(ALICE), scene.current(BOB)) == (None, Link(BOB, 8, at(3)))


def test_links_of_a_day_have_a_bound(scene: Scene) -> None:
    for number in range(LINKS_PER_DAY):
        scene.link(ALICE, number, at(number))
    with pytest.raises(TooMany) as refused:
        scene.link(ALICE, 99, at(50))
    assert (refused.value.reason, refused.value.limit) == (
        "token changed too often today",
        LINKS_PER_DAY,
    )
    assert scene.current(ALICE) == Link(ALICE, LINKS_PER_DAY - 1, at(LINKS_PER_DAY - 1))
    scene.link(BOB, 98, at(51))


async def test_ended_links_go_with_their_day(scene: Scene) -> None:
    for number in range(LINKS_PER_DAY):
        scene.link(ALICE, number, at(number))
    assert await scene.reader.read(DAY, at(5, DAY + 1)) == {
        ALICE: Holding(LINKS_PER_DAY - 1, at(LINKS_PER_DAY - 1))
    }
    assert scene.count() == 1
    scene.link(ALICE, 99, at(6, DAY + 1))


def test_an_account_that_moves_brings_the_age_of_its_link(scene: Scene) -> None:
    scene.link(ALICE, 7, at(20))
    scene.link(BOB, 8, at(20))
    with scene.raw.transaction() as connection:
        restore_link(connection, Link(BOB, 7, at(3)))
    assert (scene.current(ALICE), scene.current(BOB)) == (None, Link(BOB, 7, at(3)))


# -- who held what at the end of a day


async def test_what_counts_is_the_end_of_the_day(scene: Scene) -> None:
    scene.link(ALICE, 1, at(10))
    scene.link(BOB, 2, at(20))
    scene.link(CAROL, 3, at(30))
    # Sold, and nobody has linked it since.
    scene.chain.owners[2] = CAROL
    # After the day's end, and before it was read: of no account for this day.
    late = Wallet(b"\x0d" * 20)
    scene.link(late, 4, END)
    held = {ALICE: Holding(1, at(10)), CAROL: Holding(3, at(30))}
    assert await scene.reader.read(DAY, at(5, DAY + 1)) == held
    block = -(-END // 1000)
    assert sorted(scene.chain.asked) == [(1, block), (2, block), (3, block)]
    # Who lost its token is unlinked; the others stay.
    assert scene.current(BOB) is None
    assert scene.current(ALICE) == Link(ALICE, 1, at(10))
    # The answer is the same for ever, whatever happens to the token.
    scene.chain.owners.clear()
    scene.unlink(ALICE, at(6, DAY + 1))
    assert await scene.reader.read(DAY, at(7, DAY + 1)) == held
    assert len(scene.chain.asked) == 3
    following = await scene.reader.read(DAY + 1, at(5, DAY + 2))
    assert following == {}


async def test_what_is_changed_after_the_end_does_not_change_the_day(scene: Scene) -> None:
    scene.link(ALICE, 1, at(10))
    scene.link(BOB, 2, at(10))
    scene.link(ALICE, 3, at(1, DAY + 1))
    scene.unlink(BOB, at(2, DAY + 1))
    scene.chain.owners |= {1: ALICE, 2: BOB}
    assert await scene.reader.read(DAY, at(5, DAY + 1)) == {
        ALICE: Holding(1, at(10)),
        BOB: Holding(2, at(10)),
    }
    assert await scene.reader.read(DAY + 1, at(5, DAY + 2)) == {ALICE: Holding(3, at(1, DAY + 1))}


async def test_a_token_that_was_lent_doubles_one_account(scene: Scene) -> None:
    for seconds, wallet in enumerate((ALICE, BOB, CAROL, ALICE, BOB)):
        scene.link(wallet, 1, at(seconds))
    assert await scene.reader.read(DAY, at(5, DAY + 1)) == {BOB: Holding(1, at(4))}


async def test_a_day_waits_until_its_end_is_final(scene: Scene) -> None:
    scene.link(ALICE, 1, at(10))
    scene.chain.final_seconds = END // 1000 - 1
    assert await scene.reader.read(DAY, at(5, DAY + 1)) is None
    scene.chain.final_seconds += 1
    assert await scene.reader.read(DAY, at(6, DAY + 1)) == {ALICE: Holding(1, at(10))}


async def test_without_links_the_chain_is_not_asked(scene: Scene) -> None:
    scene.chain.fails_after = 0
    assert await scene.reader.read(DAY, at(5, DAY + 1)) == {}
    # Nor does one that comes later change that.
    scene.link(ALICE, 1, at(6, DAY + 1))
    assert await scene.reader.read(DAY, at(7, DAY + 1)) == {}


async def test_an_outage_is_waited_out_and_reading_goes_on(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    wallets = [Wallet(number.to_bytes(20, "big")) for number in range(1, PAGE + 51)]
    with scene.raw.transaction() as connection:
        for number, wallet in enumerate(wallets):
            link(connection, wallet, number, at(1))
            scene.chain.owners[number] = wallet
    scene.chain.fails_after = 0
    with caplog.at_level(logging.INFO):
        assert await scene.reader.read(DAY, at(5, DAY + 1)) is None
        scene.chain.fails_after = PAGE + 10
        assert await scene.reader.read(DAY, at(6, DAY + 1)) is None
        with scene.raw.reading() as connection:
            snapshot = find_snapshot(connection, DAY)
            assert len(holdings_of(connection, DAY)) == PAGE
        assert snapshot is not None
        assert not snapshot.is_done
        scene.chain.fails_after = None
        # Another process goes on, with the block that the first one chose.
        scene.chain.final_seconds = 0
        reader = HolderReader(scene.database, scene.chain, RULES)
        found = await reader.read(DAY, at(7, DAY + 1))
    assert found == {wallet: Holding(n, at(1)) for n, wallet in enumerate(wallets)}
    assert {block for _, block in scene.chain.asked} == {snapshot.block}
    assert len(scene.chain.asked) <= PAGE + 10 + 50
    assert "a day waits for the owners of its tokens" in caplog.text


async def test_after_a_day_it_is_settled_with_what_could_be_read(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.link(ALICE, 1, at(10))
    scene.chain.fails_after = 0
    assert await scene.reader.read(DAY, TimeMs(END + GIVE_UP_MS - 1)) is None
    assert await scene.reader.read(DAY, TimeMs(END + GIVE_UP_MS)) == {}
    assert "booked without" in caplog.text
    # That is the end of it: nothing is paid differently later.
    scene.chain.fails_after = None
    assert await scene.reader.read(DAY, TimeMs(END + GIVE_UP_MS + 1)) == {}
    with scene.raw.reading() as connection:
        row = connection.execute(select(nft_snapshots)).one()
    assert (row.is_done, row.is_complete) == (True, False)
    assert scene.current(ALICE) == Link(ALICE, 1, at(10))


async def test_a_reading_that_hangs_ends(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.link(ALICE, 1, at(10))

    async def hang(*_: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(scene.chain, "owner_of", hang)
    monkeypatch.setattr("p2p_node.zeronode.nft.READ_SECONDS", 0.05)
    assert await scene.reader.read(DAY, at(5, DAY + 1)) is None


# -- with a real collection


@pytest.mark.integration
async def test_who_owns_a_real_token_at_the_end_of_a_day(database: Database) -> None:
    async with network(0, 2) as net:
        client, calls = ZeroNodeClient(net.rpc, net.deployment), ZeroNodeCalls(net.deployment)
        books, chain = AsyncDatabase(database), net.running.chain
        one, two = (person.manager for person in net.providers)
        for number, owner in enumerate((one, one, two)):
            await net.execute(net.funder, calls.mint(owner.wallet), f"mint {number}")
        seconds = RULES.day_ms // 1000
        day = (await client.head()).timestamp // seconds + 1
        end = (day + 1) * seconds
        # Into the day, and so far that the tokens are final.
        for offset in range(5):
            chain.mine(day * seconds + offset)
        linked = TimeMs((day * seconds + 5) * 1000)
        await link_token(books, client, one.wallet, 1, linked)
        await link_token(books, client, two.wallet, 3, linked)
        with pytest.raises(NotYet):
            await link_token(books, client, two.wallet, 2, linked)
        # Sold before the end, and bought back after it.
        await net.execute(one, calls.transfer(one.wallet, two.wallet, 1), "sale")
        reader = HolderReader(books, client, RULES)
        chain.mine(end - 1)
        chain.mine(end + 1)
        await net.execute(two, calls.transfer(two.wallet, one.wallet, 1), "return")
        moment = TimeMs((end + 30) * 1000)
        assert await reader.read(day, moment) is None
        for _ in range(4):
            chain.mine(chain.head().timestamp + 1)
        assert await reader.read(day, moment) == {two.wallet: Holding(3, linked)}

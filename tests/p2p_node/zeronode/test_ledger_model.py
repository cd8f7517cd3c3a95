"""Any sequence of operations, crashes and races keeps the books sound, and equal to a model.

The model is a dictionary of balances and a list of entries; what uptime pays it works out from all
stretches that were told. After every step all of the books is recomputed.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from p2p_node.zeronode.database import AsyncDatabase, Database
from p2p_node.zeronode.day_close import Facts, Holding, close_day, find_day
from p2p_node.zeronode.errors import InsufficientError, KeyReusedError
from p2p_node.zeronode.ledger import (
    Entry,
    Line,
    Transfer,
    Unit,
    balance,
    entry_by_key,
    iterate_entries,
    post,
    post_many,
    user_account,
)
from p2p_node.zeronode.ledger_check import check_books
from p2p_node.zeronode.uptime_book import Receipt, record
from protocols.ledger_records import order_transfer
from protocols.types import NodeKey, TimeMs, Wallet
from protocols.uptime import Stretch, compute_day
from protocols.zeronode_rules import rules_of
from tests import require
from tests.databases import KINDS
from tests.p2p_node.zeronode.crashing import run_and_die

RULES = rules_of("minimal")
WALLETS = tuple(Wallet(bytes([number]) * 20) for number in range(1, 5))
USERS = tuple(user_account(wallet) for wallet in WALLETS)
SERVICES = NodeKey(b"h" * 32), NodeKey(b"t" * 32)
SESSIONS = b"1" * 16, b"2" * 16
THREADS = 4

users = st.sampled_from(USERS)
units = st.sampled_from(Unit)
amounts = st.integers(1, 40)
gifts = st.tuples(st.just("issue:mission"), users, units, amounts)
payments = st.tuples(users, st.sampled_from((*USERS, "burn:points", "draw:d")), units, amounts)
moves = st.one_of(gifts, payments).filter(lambda move: move[0] != move[1])
places = st.integers(0, 9)


class Share:
    """Everybody was brought by the first wallet, and counts from the third second of each day."""

    referrer = WALLETS[0]
    from_ms = TimeMs(3_000)


FACTS = Facts(
    {WALLETS[1]: Holding(7, TimeMs(0)), WALLETS[2]: Holding(8, TimeMs(100_000))},
    lambda _connection, wallet, _day: wallet != WALLETS[3],
    lambda _connection, wallet: None if wallet == WALLETS[0] else Share(),
)


class Books(RuleBasedStateMachine):
    """Does what the rules say to a database and to the model."""

    def __init__(self, make_url: Callable[[], str]) -> None:
        super().__init__()
        self.url = make_url()
        self.database = Database.open(self.url)
        self.keys = count()
        self.balances: dict[tuple[str, Unit], int] = defaultdict(int)
        self.entries: list[Entry] = []
        self.told: dict[Wallet, list[Stretch]] = defaultdict(list)
        self.day = 0

    @property
    def now(self) -> int:
        return RULES.day_start(self.day) + RULES.close_delay_ms

    @initialize()
    def fill(self) -> None:
        for user in USERS:
            for unit in Unit:
                self.post((("issue:mission", user, unit, 100),))

    def make(self, move: tuple[str, str, Unit, int]) -> Transfer:
        source, target, unit, amount = move
        lines = Line(target, unit, amount), Line(source, unit, -amount)
        return Transfer(f"k{next(self.keys)}", "mission", lines)

    def is_covered(self, transfers: Sequence[Transfer]) -> bool:
        """Whether the model would take all of these."""
        after = dict(self.balances)
        for transfer in transfers:
            for line in transfer.lines:
                key = line.account, line.unit
                after[key] = after.get(key, 0) + line.amount
            for line in transfer.lines:
                if after[line.account, line.unit] < 0 and not line.account.startswith("issue:"):
                    return False
        return True

    def note(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            assert entry.number == len(self.entries) + 1
            self.entries.append(entry)
            for line in entry.transfer.lines:
                self.balances[line.account, line.unit] += line.amount

    @rule(some=st.lists(moves, min_size=1, max_size=4))
    def post(self, some: Sequence[tuple[str, str, Unit, int]]) -> None:
        transfers = [self.make(move) for move in some]
        if self.is_covered(transfers):
            with self.database.transaction() as connection:
                self.note(post_many(connection, transfers, self.now))
            return
        with pytest.raises(InsufficientError), self.database.transaction() as connection:
            post_many(connection, transfers, self.now)

    @rule(place=places)
    def post_again(self, place: int) -> None:
        entry = self.entries[place % len(self.entries)]
        with self.database.transaction() as connection:
            assert post(connection, entry.transfer, self.now + 1) == entry

    @rule(place=places, move=moves)
    def reuse_a_key(self, place: int, move: tuple[str, str, Unit, int]) -> None:
        entry = self.entries[place % len(self.entries)]
        made = self.make(move)
        other = Transfer(entry.transfer.key, made.kind, made.lines, "other")
        with pytest.raises(KeyReusedError), self.database.transaction() as connection:
            post(connection, other, self.now)

    @rule(some=st.lists(moves, min_size=1, max_size=3), moment=st.integers(1, 14))
    def die_posting(self, some: Sequence[tuple[str, str, Unit, int]], moment: int) -> None:
        transfers = [self.make(move) for move in some]
        if not self.is_covered(transfers):
            return

        def work(database: Database) -> None:
            with database.transaction() as connection:
                post_many(connection, transfers, self.now)

        killed = run_and_die(self.url, work, moment)
        with self.database.reading() as connection:
            found = [entry_by_key(connection, transfer.key) for transfer in transfers]
        present = [entry for entry in found if entry is not None]
        assert len(present) in (0, len(transfers))
        assert killed or present
        assert [entry.transfer for entry in present] in (
            [],
            [order_transfer(transfer) for transfer in transfers],
        )
        self.note(present)

    @rule(user=users, amount=amounts)
    def race(self, user: str, amount: int) -> None:
        """Several threads take the same sum from one account, and each of them posts twice."""
        has = self.balances[user, Unit.POINTS]
        transfers = [self.make((user, "burn:points", Unit.POINTS, amount)) for _ in range(THREADS)]

        def take(transfer: Transfer) -> Entry | None:
            try:
                with self.database.transaction() as connection:
                    return post(connection, transfer, self.now)
            except InsufficientError:
                return None

        with ThreadPoolExecutor(2 * THREADS) as threads:
            results = list(threads.map(take, transfers * 2))
        made = {entry.number: entry for entry in results if entry is not None}
        assert len(made) == min(THREADS, has // amount)
        self.note([made[number] for number in sorted(made)])

    @rule(
        wallet=st.sampled_from(WALLETS),
        start=st.integers(0, 59),
        length=st.integers(1, 30_000),
        service=st.sampled_from(SERVICES),
        session=st.sampled_from(SESSIONS),
        times=st.integers(1, 2),
    )
    def answer(
        self,
        wallet: Wallet,
        start: int,
        length: int,
        service: NodeKey,
        session: bytes,
        times: int,
    ) -> None:
        begin = RULES.day_start(self.day) + start * 1_000
        stretch = Stretch(TimeMs(begin), TimeMs(begin + length))
        with self.database.transaction() as connection:
            for _ in range(times):
                receipts = (Receipt(wallet, stretch, session),)
                done = record(connection, service, receipts, RULES, begin)
                assert (done.late, done.dropped) == (0, 0)
        self.told[wallet].append(stretch)

    @precondition(lambda self: self.told)
    @rule(moment=st.none() | st.integers(1, 40))
    def close(self, moment: int | None) -> None:
        """End the day, and book it; perhaps somebody died over it before."""
        day = self.day
        self.day += 1
        with self.database.reading() as connection:
            assert find_day(connection, RULES, self.now - 1) != day
            found = find_day(connection, RULES, self.now)
        if found is None:
            return
        assert found == day
        work = partial(trio_close, day=day, now=self.now)
        if moment is not None:
            run_and_die(self.url, work, moment)
        work(self.database)
        self.note_uptime(day)
        # What comes now is too late.
        late = Stretch(RULES.day_start(day), RULES.day_end(day))
        with self.database.transaction() as connection:
            record(connection, SERVICES[0], (Receipt(WALLETS[0], late),), RULES, self.now)
            assert find_day(connection, RULES, self.now) is None

    def note_uptime(self, day: int) -> None:
        """Let the model take what the day must have paid."""
        for wallet in WALLETS[:3]:
            holding = FACTS.holders.get(wallet)
            shared = wallet != WALLETS[0]
            uptime = compute_day(
                self.told[wallet],
                day,
                RULES,
                None if holding is None else holding.linked_ms,
                Share.from_ms if shared else None,
            )
            for source, target, sum_ in (
                ("issue:uptime", wallet, uptime.units),
                ("issue:nft", wallet, uptime.doubled_units),
                ("issue:referral", WALLETS[0], uptime.referred_units),
            ):
                self.balances[source, Unit.POINTS] -= sum_
                self.balances[user_account(target), Unit.POINTS] += sum_
        with self.database.reading() as connection:
            self.entries += iterate_entries(connection, len(self.entries))

    @rule()
    def reopen(self) -> None:
        self.database.close()
        self.database = Database.open(self.url)

    @invariant()
    def books_are_sound(self) -> None:
        with self.database.reading() as connection:
            report = check_books(connection)
            assert report.problems == ()
            assert report.entries == len(self.entries)
            for (account, unit), expected in self.balances.items():
                assert balance(connection, account, unit) == expected

    def teardown(self) -> None:
        self.database.close()


def trio_close(database: Database, day: int, now: int) -> None:
    shell = AsyncDatabase(database, inline=True)
    trio.run(partial(close_day, shell, day, RULES, now, FACTS))


@pytest.fixture(params=KINDS)
def make_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Gives the address of another empty database at each call."""
    made: list[str] = []
    server = request.getfixturevalue("postgres") if request.param == "postgresql" else None

    def make() -> str:
        if server is not None:
            while made:
                server.drop_database(made.pop())
            made.append(server.make_database())
        else:
            made.append(f"sqlite:///{tmp_path / f'{len(made)}.sqlite'}")
        return made[-1]

    yield make
    if server is not None:
        for url in made:
            server.drop_database(url)


def test_any_sequence_keeps_the_books(make_url: Callable[[], str]) -> None:
    run_state_machine_as_test(
        partial(Books, make_url),
        settings=settings(
            max_examples=200 if require.is_full() else 10,
            stateful_step_count=40 if require.is_full() else 15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

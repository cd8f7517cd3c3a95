"""Any sequence of what accounts and a service do, crashes included: the books add up to a model.

The model knows nothing of tables. It counts what the rules say that each account should have, and
every step compares.
"""

from collections import defaultdict
from collections.abc import Callable

import pytest
import trio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, func, select

from p2p_node.zeronode.accounts import open_account
from p2p_node.zeronode.burning import burn
from p2p_node.zeronode.campaigns import claim_task, parse_campaigns, store_budgets
from p2p_node.zeronode.check_in import check_in
from p2p_node.zeronode.database import AsyncDatabase, Database
from p2p_node.zeronode.day_close import Facts, close_day
from p2p_node.zeronode.errors import InsufficientError
from p2p_node.zeronode.ledger import Unit, balances_of, user_account
from p2p_node.zeronode.ledger_tables import balances, lines
from p2p_node.zeronode.missions import claim_mission, parse_missions
from p2p_node.zeronode.referrals import bind_referral, make_share_finder, settle_gates
from p2p_node.zeronode.refusals import Conflict, NotYet
from protocols.types import Wallet
from protocols.zeronode_rules import CHECK_IN_POINTS, TICKET_UNITS, UNITS_PER_POINT
from tests.p2p_node.zeronode.rewards_world import DAY, HOUR, RULES, at, run_node, wallet

MISSIONS = parse_missions(
    b'[today]\nperiod = "daily"\ntitle = "T"\npoints = 3\ntickets = 1\nuptime_today_hours = 3\n'
    b'[ever]\nperiod = "once"\ntitle = "T"\npoints = 200\nuptime_total_hours = 4\n',
    "missions.toml",
)
ACCOUNTS = 3
BUDGET = 3

numbers = st.integers(0, ACCOUNTS - 1)
crashing = st.sampled_from((False, False, False, True))


class Crash(Exception):
    """The process ends before its transaction does."""


class Books(RuleBasedStateMachine):
    """Three accounts, the second invited by the first; `crashes` ends a step before its commit."""

    database: Database
    made = 0

    @initialize()
    def begin(self) -> None:
        Books.made += 1
        self.now = at(DAY + 100 * Books.made)
        self.who = [wallet(Books.made * 10 + number) for number in range(ACCOUNTS)]
        self.points: dict[Wallet, int] = defaultdict(int)
        self.tickets: dict[Wallet, int] = defaultdict(int)
        self.days: dict[tuple[Wallet, int], int] = defaultdict(int)
        self.streaks: dict[Wallet, tuple[int, int]] = {}
        self.claimed: set[tuple[object, ...]] = set()
        self.burnt: dict[str, tuple[Wallet, int]] = {}
        self.spent = 0
        self.run = 0
        self.gated = False
        self.after_gate: dict[int, int] = defaultdict(int)
        self.name = f"c{Books.made}"
        self.campaigns = parse_campaigns(
            f'[{self.name}]\ntitle = "C"\nopens = 2000-01-01T00:00:00Z\n'
            f"closes = 2100-01-01T00:00:00Z\ntickets = {BUDGET}\n"
            f'[{self.name}.tasks.a]\ntitle = "A"\ntickets = 2\nstreak_days = 1\n'
            f'[{self.name}.tasks.b]\ntitle = "B"\ntickets = 1\nuptime_today_hours = 1\n'.encode(),
            "campaigns.toml",
        )
        with self.database.transaction() as connection:
            codes = [open_account(connection, each, self.now).code for each in self.who]
            bind_referral(connection, self.who[1], codes[0], RULES, self.now)
            store_budgets(connection, self.campaigns)

    def do(self, crashes: bool, work: Callable[[Connection], object]) -> bool:
        """Whether the work was committed."""
        try:
            with self.database.transaction() as connection:
                work(connection)
                if crashes:
                    raise Crash
        except Crash:
            return False
        return True

    @property
    def today(self) -> int:
        return self.now // RULES.day_ms

    @rule(
        hours=st.sampled_from((7, 1, 4)),
        online=st.sampled_from(({0, 1, 2}, {1}, {0, 1}, {2}, set())),
    )
    def pass_time(self, hours: int, online: set[int]) -> None:
        """Some are online, none over midnight, which has a rule of its own."""
        end = self.now + hours * HOUR
        if end > at(self.today + 1):
            return
        for number in range(ACCOUNTS):
            if number in online:
                with self.database.transaction() as connection:
                    run_node(connection, self.who[number], self.now, hours * HOUR)
                self.days[self.who[number], self.today] += hours * 3_600
        self.run = self.run + hours if 1 in online else 0
        if self.gated and 1 in online:
            self.after_gate[self.today] += hours * 3_600
        elif self.run >= 6:
            self.gated = True
            self.after_gate[self.today] += (self.run - 6) * 3_600
        self.now = end - (1 if end == at(self.today + 1) else 0)

    @rule(crashes=crashing)
    def settle(self, crashes: bool) -> None:
        if self.do(crashes, lambda connection: settle_gates(connection, RULES, self.now)):
            self.pay_tickets()

    def pay_tickets(self) -> None:
        if self.gated and ("gate",) not in self.claimed:
            self.claimed.add(("gate",))
            self.tickets[self.who[0]] += 1
            self.tickets[self.who[1]] += 1

    @rule(again=st.integers(1, 2))
    def end_day(self, again: int) -> None:
        day = self.today
        self.now = RULES.close_time(day)
        # The run goes on only for who is seen again within 90 seconds, and closing takes longer.
        self.run = 0
        finder = make_share_finder(RULES, self.now)
        for _ in range(again):
            facts = Facts({}, lambda connection, who, day: who in self.who, finder)
            trio.run(close_day, AsyncDatabase(self.database, True), day, RULES, self.now, facts)
        for who in self.who:
            self.points[who] += 10 * self.days[who, day]
        if self.days[self.who[1], day]:
            self.pay_tickets()
            self.points[self.who[0]] += self.after_gate[day]

    @rule(number=numbers, crashes=crashing)
    def check_in(self, number: int, crashes: bool) -> None:
        who = self.who[number]
        if self.do(crashes, lambda connection: check_in(connection, who, RULES, self.now)):
            days, last = self.streaks.get(who, (0, -1))
            if last != self.today:
                days = days + 1 if last == self.today - 1 else 1
                self.streaks[who] = days, self.today
                self.points[who] += CHECK_IN_POINTS[(days - 1) % 7] * UNITS_PER_POINT

    @rule(number=numbers, wanted=st.integers(1, 2), request=st.integers(0, 3), crashes=crashing)
    def burn(self, number: int, wanted: int, request: int, crashes: bool) -> None:
        who, name = self.who[number], f"r-{number}-{wanted}-{request}"
        enough = self.points[who] >= wanted * TICKET_UNITS
        try:
            done = self.do(
                crashes, lambda connection: burn(connection, who, wanted, name, self.now)
            )
        except InsufficientError:
            assert not enough
            assert name not in self.burnt
            return
        if done and name not in self.burnt:
            assert enough
            self.burnt[name] = who, wanted
            self.points[who] -= wanted * TICKET_UNITS
            self.tickets[who] += wanted

    @rule(number=numbers, name=st.sampled_from(sorted(MISSIONS)), crashes=crashing)
    def claim(self, number: int, name: str, crashes: bool) -> None:
        who = self.who[number]
        key = who, name, self.today if name == "today" else 0
        if name == "today":
            met = self.days[who, self.today] >= 3 * 3_600
        else:
            met = self.booked(who) >= 4 * 3_600
        try:
            done = self.do(
                crashes,
                lambda connection: claim_mission(
                    connection, MISSIONS, who, name, None, RULES, self.now
                ),
            )
        except NotYet:
            assert not met
            assert key not in self.claimed
            return
        if done and key not in self.claimed:
            assert met
            self.claimed.add(key)
            self.points[who] += MISSIONS[name].task.units
            self.tickets[who] += MISSIONS[name].task.tickets

    def booked(self, who: Wallet) -> int:
        return sum(
            seconds
            for (other, day), seconds in self.days.items()
            if other == who and day < self.today
        )

    @rule(
        order=st.permutations(range(ACCOUNTS)), task=st.sampled_from(("a", "b")), crashes=crashing
    )
    def claim_of_campaign(self, order: list[int], task: str, crashes: bool) -> None:
        """Everybody tries, in some order."""
        price = self.campaigns[self.name].tasks[task].tickets
        for who in (self.who[number] for number in order):
            key = who, self.name, task
            try:
                done = self.do(
                    crashes,
                    lambda connection, who=who: claim_task(
                        connection, self.campaigns, who, self.name, task, None, RULES, self.now
                    ),
                )
            except (NotYet, Conflict) as refused:
                assert key not in self.claimed
                is_spent = isinstance(refused, Conflict)
                assert self.spent + price > BUDGET if is_spent else not self.meets(who, task)
                continue
            if done and key not in self.claimed:
                assert self.meets(who, task)
                self.claimed.add(key)
                self.spent += price
                self.tickets[who] += price
            assert self.spent <= BUDGET

    def meets(self, who: Wallet, task: str) -> bool:
        if task == "a":
            return self.streaks.get(who, (0, -2))[1] >= self.today - 1
        return self.days[who, self.today] >= 3_600

    @invariant()
    def everybody_has_what_the_rules_say(self) -> None:
        if not hasattr(self, "who"):
            return
        with self.database.reading() as connection:
            for who in self.who:
                held = balances_of(connection, user_account(who))
                assert held == {Unit.POINTS: self.points[who], Unit.TICKETS: self.tickets[who]}
            for table, column in ((lines, lines.c.amount), (balances, balances.c.balance)):
                totals = connection.execute(select(func.sum(column)).group_by(table.c.unit))
                assert set(totals.scalars()) <= {0}


@pytest.mark.timeout(600)
def test_the_books_are_what_the_rules_say(database: Database) -> None:
    Books.database = database
    run_state_machine_as_test(
        Books,
        settings=settings(
            max_examples=25,
            stateful_step_count=40,
            suppress_health_check=list(HealthCheck),
        ),
    )

"""How fast ZeroNode's books are: entries, beats, the close of a day, a check of all of it.

    python -m bench.zeronode_ledger [--accounts 10000] [--database URL] [--json FILE]

The database is a new SQLite file unless the URL of an empty PostgreSQL database is given; what a
commit costs depends on the disk under it.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import trio

from p2p_node.zeronode.database import AsyncDatabase, Database
from p2p_node.zeronode.day_close import Closing, Facts, Holding, close_day
from p2p_node.zeronode.day_roots import Prover
from p2p_node.zeronode.ledger import Line, Transfer, Unit, post, post_many, user_account
from p2p_node.zeronode.ledger_check import check_books
from p2p_node.zeronode.uptime_book import Receipt, record
from protocols.types import NodeKey, TimeMs, Wallet
from protocols.uptime import Stretch
from protocols.zeronode_rules import rules_of

RULES = rules_of("mainnet")
DAY = 20_000
START = RULES.day_start(DAY)
SERVICE = NodeKey(b"s" * 32)
SINGLE = 500
"""Entries that are posted in a transaction each."""
MANY = 20_000
BATCH = 500
SESSIONS = 2_000
"""Whose beats are written together: one of each every 17 s."""


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--database", metavar="URL")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kaisar-bench-") as directory:
        url = arguments.database or f"sqlite:///{directory}/zeronode.sqlite"
        database = Database.open(url)
        results = {"database": database.dialect} | measure(database, arguments.accounts)
        database.close()
    for name, value in results.items():
        print(f"{name:>40}  {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def measure(database: Database, accounts: int) -> dict[str, object]:
    """Do all of it once, on an empty database."""
    wallets = [Wallet(number.to_bytes(20, "big")) for number in range(1, accounts + 1)]
    results: dict[str, object] = {}

    def post_singly() -> None:
        for number in range(SINGLE):
            with database.transaction() as connection:
                post(connection, make_transfer(f"single-{number}", wallets[number % 100]), START)

    results["entries_per_s_one_a_transaction"] = round(SINGLE / clock(post_singly))

    def post_together() -> None:
        for first in range(0, MANY, BATCH):
            transfers = [
                make_transfer(f"many-{number}", wallets[number % accounts])
                for number in range(first, first + BATCH)
            ]
            with database.transaction() as connection:
                post_many(connection, transfers, START)

    cpu = time.process_time()
    results[f"entries_per_s_{BATCH}_a_transaction"] = round(MANY / clock(post_together))
    results["entries_per_s_of_cpu"] = round(MANY / (time.process_time() - cpu))
    fill_day(database, wallets)
    rounds = 10
    waited = clock(lambda: beat(database, wallets[:SESSIONS], rounds))
    results[f"ms_to_write_{SESSIONS}_beats"] = round(1_000 * waited / rounds, 1)

    facts = Facts(
        {wallet: Holding(number, START) for number, wallet in enumerate(wallets[::5])},
        lambda _connection, _wallet, _day: True,
        lambda _connection, wallet: None if wallet in wallets[:10] else Bond(wallets[0]),
    )
    shell = AsyncDatabase(database)
    closings: list[Closing] = []

    async def close() -> None:
        now = RULES.close_time(DAY)
        closings.append(await close_day(shell, DAY, RULES, now, facts))

    cpu = time.process_time()
    results["s_to_close_the_day"] = round(clock(lambda: trio.run(close)), 2)
    results["s_of_cpu_in_it"] = round(time.process_time() - cpu, 2)
    results["accounts_in_it"] = closings[0].accounts
    results["entries_under_its_root"] = closings[0].day.summary.entries
    prover = Prover()

    def prove(number: int) -> None:
        with database.reading() as connection:
            prover.prove_entry(connection, number)
            prover.prove_balance(connection, user_account(wallets[number]), Unit.POINTS, DAY)

    results["ms_for_the_first_proofs"] = round(1_000 * clock(lambda: prove(1)), 1)
    results["ms_for_further_proofs"] = round(1_000 * clock(lambda: prove(2)), 1)

    def check() -> None:
        with database.reading() as connection:
            report = check_books(connection)
        if not report.holds:
            raise SystemExit(f"the books do not hold: {report.problems}")
        results["entries_checked"] = report.entries

    results["s_to_check_everything"] = round(clock(check), 2)
    results["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return results


class Bond:
    """A referral that counts from the day's second hour."""

    def __init__(self, referrer: Wallet) -> None:
        self.referrer = referrer
        self.from_ms = TimeMs(START + 3_600_000)


def make_transfer(key: str, wallet: Wallet) -> Transfer:
    """Ten units for a wallet."""
    lines = Line("issue:mission", Unit.POINTS, -10), Line(user_account(wallet), Unit.POINTS, 10)
    return Transfer(key, "mission", lines)


def fill_day(database: Database, wallets: list[Wallet]) -> None:
    """Three stretches of four hours for everybody."""
    for hour in (0, 8, 16):
        stretch = Stretch(
            TimeMs(START + hour * 3_600_000), TimeMs(START + (hour + 4) * 3_600_000 - 1)
        )
        for first in range(0, len(wallets), BATCH):
            receipts = [Receipt(wallet, stretch) for wallet in wallets[first : first + BATCH]]
            with database.transaction() as connection:
                record(connection, SERVICE, receipts, RULES, START)


def beat(database: Database, wallets: list[Wallet], rounds: int) -> None:
    """Let everybody's stretch grow by 17 s, `rounds` times."""
    begin = START + 5 * 3_600_000
    for number in range(rounds):
        stretch = Stretch(TimeMs(begin + number * 17_000), TimeMs(begin + (number + 1) * 17_000))
        with database.transaction() as connection:
            record(
                connection, SERVICE, [Receipt(wallet, stretch) for wallet in wallets], RULES, START
            )


def clock(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()

"""What the store promises: said once, kept across restarts, bounded, and one process only."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from chain.journal import Journal, JournalEntry
from p2p_node.duties.observations import Observation, Transcript
from p2p_node.storage import AsyncStore, DirectoryInUseError, Store, StoreError, StoreJournal
from p2p_node.storage.lock import LOCK_FILE
from p2p_node.storage.schema import APPLICATION_ID, SCHEMA_VERSION
from p2p_node.storage.store import (
    KEPT_BEACON_SECRETS,
    KEPT_CLAIMS,
    OWN_REPORT_EPOCHS,
    STORE_FILE,
    TRANSCRIPT_EPOCHS,
    WORKING_EPOCHS,
)
from protocols.scoring import Verdict
from protocols.types import Digest, Epoch, NetworkId, Seat, Shard

EPOCH, SHARD, SEAT = Epoch(7), Shard(1), Seat(2)
NETWORK = NetworkId(b"\x01" * 32)
OTHER_NETWORK = NetworkId(b"\x02" * 32)


def digest_of(number: int) -> Digest:
    return Digest(number.to_bytes(32, "big"))


def observe(lane: int, parts: Transcript | None = None) -> Observation:
    return Observation(
        lane=lane,
        verdict=Verdict.SLOW,
        score=32_767,
        rate=1_979_000_000_000_000,
        transcript=digest_of(lane),
        parts=parts or Transcript(),
    )


# One report per epoch and shard


def test_second_report_is_the_first_one(data_dir: Path) -> None:
    with Store.open(data_dir) as store:
        assert store.record_own_report(EPOCH, SHARD, SEAT, digest_of(1), b"first") == b"first"
        assert store.record_own_report(EPOCH, SHARD, SEAT, digest_of(2), b"second") == b"first"
        assert store.own_report(EPOCH, SHARD) == b"first"


def test_second_report_is_the_first_one_after_a_restart(data_dir: Path) -> None:
    with Store.open(data_dir) as store:
        store.record_own_report(EPOCH, SHARD, SEAT, digest_of(1), b"first")
    with Store.open(data_dir) as store:
        assert store.record_own_report(EPOCH, SHARD, Seat(0), digest_of(2), b"second") == b"first"
        assert store.own_seats(EPOCH) == [(SHARD, SEAT)]


def test_other_epochs_and_shards_are_reported_apart(data_dir: Path) -> None:
    with Store.open(data_dir) as store:
        store.record_own_report(EPOCH, SHARD, SEAT, digest_of(1), b"first")
        assert store.own_report(Epoch(8), SHARD) is None
        assert store.own_report(EPOCH, Shard(2)) is None
        store.record_own_report(EPOCH, Shard(2), Seat(0), digest_of(2), b"second")
        store.record_own_report(Epoch(8), SHARD, Seat(1), digest_of(3), b"third")
        assert store.own_reports(EPOCH) == {Shard(1): b"first", Shard(2): b"second"}
        assert store.own_seats(EPOCH) == [(Shard(1), SEAT), (Shard(2), Seat(0))]


def test_epoch_whose_record_was_dropped_is_never_reported_again(data_dir: Path) -> None:
    current = Epoch(EPOCH + OWN_REPORT_EPOCHS + 1)
    with Store.open(data_dir) as store:
        store.record_own_report(EPOCH, SHARD, SEAT, digest_of(1), b"first")
        store.prune(Epoch(current - 1))
        assert store.own_report(EPOCH, SHARD) == b"first"
        store.prune(current)
        assert store.own_report(EPOCH, SHARD) is None
    with Store.open(data_dir) as store:
        with pytest.raises(StoreError, match="epoch 7 is over: reports before 8"):
            store.record_own_report(EPOCH, SHARD, SEAT, digest_of(2), b"second")
        store.prune(Epoch(0))
        with pytest.raises(StoreError, match="epoch 7 is over"):
            store.record_own_report(EPOCH, SHARD, SEAT, digest_of(2), b"second")
        assert store.record_own_report(Epoch(8), SHARD, SEAT, digest_of(2), b"it") == b"it"


def test_challenge_secret_is_drawn_once(data_dir: Path) -> None:
    with Store.open(data_dir) as store:
        assert store.challenge_secret(EPOCH, SHARD, SEAT, b"a") == b"a"
        assert store.challenge_secret(EPOCH, SHARD, Seat(3), b"b") == b"b"
    with Store.open(data_dir) as store:
        assert store.challenge_secret(EPOCH, SHARD, SEAT, b"c") == b"a"


def test_beacon_secret_is_found_by_its_commitment(data_dir: Path) -> None:
    with Store.open(data_dir) as store:
        store.save_beacon_secret(digest_of(1), b"one")
        store.save_beacon_secret(digest_of(2), b"two")
        store.save_beacon_secret(digest_of(1), b"another")
    with Store.open(data_dir) as store:
        assert store.beacon_secret(digest_of(1)) == b"one"
        assert store.beacon_secret(digest_of(2)) == b"two"
        assert store.beacon_secret(digest_of(3)) is None


# What was seen


def test_observations_survive(data_dir: Path) -> None:
    observations = [observe(3), observe(255), observe(0)]
    with Store.open(data_dir) as store:
        assert store.observations(EPOCH, SHARD) is None
        store.save_observations(EPOCH, SHARD, observations)
    with Store.open(data_dir) as store:
        assert store.observations(EPOCH, SHARD) == [observe(0), observe(3), observe(255)]
        assert store.observations(EPOCH, Shard(2)) is None


def test_slot_without_providers_is_finished_too(data_dir: Path) -> None:
    with Store.open(data_dir) as store:
        store.save_observations(EPOCH, SHARD, [])
        assert store.observations(EPOCH, SHARD) == []


def test_transcripts_keep_what_there_was(data_dir: Path) -> None:
    full = Transcript([b"job", b"answer", b"", b"openings" * 100_000])
    partial = Transcript([b"job"])
    with Store.open(data_dir) as store:
        store.save_observations(EPOCH, SHARD, [observe(0, full), observe(5, partial), observe(9)])
    with Store.open(data_dir) as store:
        assert store.transcript(EPOCH, SHARD, 0) == full
        assert store.transcript(EPOCH, SHARD, 5) == partial
        assert store.transcript(EPOCH, SHARD, 1) is None
        assert store.transcript_lanes(EPOCH, SHARD) == [0, 5]
        assert store.transcript_bytes() == 800_000 + len("jobanswer") + len("job")


def test_oldest_transcripts_make_room(data_dir: Path) -> None:
    with Store.open(data_dir, max_transcript_bytes=1000) as store:
        for epoch in (9, 7, 8):
            parts = [observe(lane, Transcript([bytes(150)])) for lane in (0, 1)]
            store.save_observations(Epoch(epoch), SHARD, parts)
        assert store.transcript_bytes() == 900
        store.save_observations(Epoch(10), SHARD, [observe(0, Transcript([bytes(400)]))])
        assert store.transcript_lanes(Epoch(7), SHARD) == []
        assert store.transcript_lanes(Epoch(8), SHARD) == [0, 1]
        assert store.transcript_lanes(Epoch(9), SHARD) == [0, 1]
        assert store.transcript_bytes() == 1000


def test_transcripts_of_reports_on_their_way_stay(data_dir: Path) -> None:
    """Without them the checker would fail the audits of its own report."""
    with Store.open(data_dir, max_transcript_bytes=10) as store:
        for epoch in (7, 8, 9):
            parts = [observe(lane, Transcript([bytes(11)])) for lane in (0, 1)]
            store.save_observations(Epoch(epoch), SHARD, parts)
        kept = {epoch: store.transcript_lanes(Epoch(epoch), SHARD) for epoch in (7, 8, 9)}
    assert kept == {7: [], 8: [0, 1], 9: [0, 1]}


def test_first_commitment_of_a_seat_stays(data_dir: Path) -> None:
    with Store.open(data_dir) as store:
        store.save_commitments([(EPOCH, SHARD, SEAT, b"first"), (EPOCH, SHARD, Seat(3), b"other")])
        store.save_commitments([(EPOCH, SHARD, SEAT, b"second")])
        store.save_commitments([(Epoch(EPOCH + 1), SHARD, SEAT, b"next")])
    with Store.open(data_dir) as store:
        assert store.commitments(EPOCH) == [b"first", b"other", b"next"]
        assert store.commitments(Epoch(EPOCH + 1)) == [b"next"]
        store.prune(Epoch(EPOCH + WORKING_EPOCHS + 1))
        assert store.commitments(EPOCH) == [b"next"]


def test_claims_are_remembered(data_dir: Path) -> None:
    with Store.open(data_dir) as store:
        store.record_claims([Epoch(3), Epoch(4)])
        store.record_claims([Epoch(4), Epoch(6)])
    with Store.open(data_dir) as store:
        assert store.claimed_epochs() == {3, 4, 6}


# Bounds


def test_each_kind_is_kept_for_its_own_time(data_dir: Path) -> None:
    last = 300
    with Store.open(data_dir) as store:
        for epoch in map(Epoch, range(last + 1)):
            store.record_own_report(epoch, SHARD, SEAT, digest_of(1), b"own")
            store.save_observations(epoch, SHARD, [observe(0, Transcript([b"job"]))])
            store.record_claims([epoch])
        store.prune(Epoch(last))
        kept = {
            "own": [e for e in range(last + 1) if store.own_report(Epoch(e), SHARD)],
            "seen": [e for e in range(last + 1) if store.observations(Epoch(e), SHARD)],
            "transcripts": [e for e in range(last + 1) if store.transcript(Epoch(e), SHARD, 0)],
        }
    assert kept == {
        "own": list(range(last - OWN_REPORT_EPOCHS, last + 1)),
        "seen": list(range(last - WORKING_EPOCHS, last + 1)),
        "transcripts": list(range(last - TRANSCRIPT_EPOCHS, last + 1)),
    }


def test_secrets_and_claims_are_bounded_by_number(data_dir: Path) -> None:
    with Store.open(data_dir) as store:
        with store.transaction() as connection:
            connection.executemany(
                "INSERT INTO beacon_secrets (commitment, secret) VALUES (?, ?)",
                [(digest_of(n), b"secret") for n in range(KEPT_BEACON_SECRETS + 5)],
            )
        store.record_claims([Epoch(1), Epoch(2)])
        store.prune(Epoch(KEPT_CLAIMS + 2))
        assert store.claimed_epochs() == {2}
        assert store.beacon_secret(digest_of(4)) is None
        assert store.beacon_secret(digest_of(5)) == b"secret"


# The journal


def entry(nonce: int, attempt: int) -> JournalEntry:
    return JournalEntry(nonce, digest_of(attempt), bytes(attempt), f"attempt {attempt}")


def test_journal_keeps_order_across_restarts(data_dir: Path) -> None:
    with Store.open(data_dir) as store:
        journal: Journal = StoreJournal(store)
        assert list(journal.entries()) == []
        for nonce, attempt in ((5, 1), (6, 2), (5, 3)):
            journal.record(entry(nonce, attempt))
    with Store.open(data_dir) as store:
        journal = StoreJournal(store)
        assert list(journal.entries()) == [entry(5, 1), entry(6, 2), entry(5, 3)]
        journal.forget(5)
        journal.forget(4)
        journal.record(entry(7, 4))
        assert list(journal.entries()) == [entry(6, 2), entry(7, 4)]


# The file


def test_file_is_for_its_owner_only(data_dir: Path) -> None:
    before = os.umask(0)
    try:
        with Store.open(data_dir) as store:
            store.save_beacon_secret(digest_of(1), b"secret")
            modes = {path.name: path.stat().st_mode & 0o777 for path in data_dir.iterdir()}
    finally:
        os.umask(before)
    assert {LOCK_FILE, STORE_FILE, f"{STORE_FILE}-wal"} <= set(modes)
    assert set(modes.values()) == {0o600}


def test_store_belongs_to_one_network(data_dir: Path) -> None:
    with Store.open(data_dir) as store:
        assert store.network is None
    Store.open(data_dir, NETWORK).close()
    with Store.open(data_dir, NETWORK) as store:
        assert store.network == NETWORK
    with pytest.raises(StoreError, match="belongs to network 0101010101010101, expected 0202"):
        Store.open(data_dir, OTHER_NETWORK)
    with Store.open(data_dir) as store:
        assert store.network == NETWORK


def test_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nowhere: No such file or directory"):
        Store.open(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"not a database at all, but long enough " * 30, b"x"])
def test_file_that_is_no_database(data_dir: Path, content: bytes) -> None:
    (data_dir / STORE_FILE).write_bytes(content)
    with pytest.raises(StoreError, match=r"node\.sqlite3: damaged, or not a node's file"):
        Store.open(data_dir)


def test_database_of_another_program(data_dir: Path) -> None:
    with sqlite3.connect(data_dir / STORE_FILE) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    before = (data_dir / STORE_FILE).read_bytes()
    with pytest.raises(StoreError, match="another program's file"):
        Store.open(data_dir)
    assert (data_dir / STORE_FILE).read_bytes() == before


def test_database_of_a_newer_version(data_dir: Path) -> None:
    Store.open(data_dir).close()
    with sqlite3.connect(data_dir / STORE_FILE) as connection:
        connection.execute("INSERT INTO migrations VALUES (?)", (SCHEMA_VERSION + 1,))
    connection.close()
    with pytest.raises(
        StoreError, match=f"found schema {SCHEMA_VERSION + 1}, expected at most {SCHEMA_VERSION}"
    ):
        Store.open(data_dir)


def test_damaged_tables_are_noticed(data_dir: Path) -> None:
    with Store.open(data_dir) as store:
        for epoch in range(200):
            store.record_own_report(Epoch(epoch), SHARD, SEAT, digest_of(epoch), bytes(600))
    content = bytearray((data_dir / STORE_FILE).read_bytes())
    (page_size,) = (int.from_bytes(content[16:18], "big"),)
    # All pages but the first, which holds the schema and would be missed at once.
    content[page_size:] = b"\xa5" * (len(content) - page_size)
    (data_dir / STORE_FILE).write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        Store.open(data_dir)


def test_step_that_fails_leaves_the_file_as_it_was(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = ("CREATE TABLE a (b INTEGER)",)
    bad = ("CREATE TABLE c (d INTEGER)", "CREATE TABLE a (b INTEGER)")
    with sqlite3.connect(data_dir / STORE_FILE) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.close()
    monkeypatch.setattr("p2p_node.storage.schema._STEPS", (good, bad))
    with pytest.raises(StoreError, match="table a already exists"):
        Store.open(data_dir)
    with sqlite3.connect(data_dir / STORE_FILE) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        versions = connection.execute("SELECT version FROM migrations").fetchall()
    connection.close()
    assert tables == {"migrations", "a"}
    assert versions == [(1,)]


def test_closed_store_says_so(data_dir: Path) -> None:
    store = Store.open(data_dir)
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.own_report(EPOCH, SHARD)


def test_failed_transaction_changes_nothing(data_dir: Path) -> None:
    def fail(store: Store) -> None:
        with store.transaction() as connection:
            connection.execute("INSERT INTO claims VALUES (1)")
            raise ZeroDivisionError

    with Store.open(data_dir) as store:
        with pytest.raises(ZeroDivisionError):
            fail(store)
        assert store.claimed_epochs() == frozenset()
        store.record_claims([Epoch(2)])
        assert store.claimed_epochs() == {2}


# One process


def test_directory_has_one_holder(data_dir: Path) -> None:
    with (
        Store.open(data_dir),
        pytest.raises(DirectoryInUseError, match=f"in use by process {os.getpid()}"),
    ):
        Store.open(data_dir)
    Store.open(data_dir).close()


def test_directory_is_let_go_when_opening_fails(data_dir: Path) -> None:
    Store.open(data_dir, NETWORK).close()
    with pytest.raises(StoreError, match="belongs to network"):
        Store.open(data_dir, OTHER_NETWORK)
    Store.open(data_dir, NETWORK).close()


HOLD = """
import sys
from pathlib import Path
from p2p_node.storage import Store
store = Store.open(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
"""


def test_second_process_is_refused_until_the_first_is_gone(data_dir: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(DirectoryInUseError, match=f"in use by process {holder.pid}"):
            Store.open(data_dir)
        holder.kill()
    Store.open(data_dir).close()


def test_reader_looks_on_while_the_node_writes(data_dir: Path) -> None:
    with pytest.raises(StoreError, match="no node has run"):
        Store.open_for_reading(data_dir)
    with Store.open(data_dir) as store, Store.open_for_reading(data_dir) as reader:
        store.record_own_report(EPOCH, SHARD, SEAT, digest_of(1), b"first")
        assert reader.own_report(EPOCH, SHARD) == b"first"
        with pytest.raises(StoreError, match="readonly"):
            reader.record_claims([EPOCH])


# From Trio


async def test_calls_from_trio(data_dir: Path) -> None:
    async with AsyncStore(Store.open(data_dir)) as store:
        answers: list[bytes] = []

        async def report(number: int) -> None:
            answers.append(
                await store.record_own_report(EPOCH, SHARD, SEAT, digest_of(number), b"%d" % number)
            )

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(report, number)
        assert len(answers) == 8
        assert set(answers) == {await store.own_report(EPOCH, SHARD)}
        await store.save_observations(EPOCH, SHARD, [observe(1)])
        assert await store.observations(EPOCH, SHARD) == [observe(1)]
    with pytest.raises(StoreError, match="closed"):
        await store.own_report(EPOCH, SHARD)


async def test_cancelled_call_is_finished_or_not_begun(data_dir: Path) -> None:
    async with AsyncStore(Store.open(data_dir)) as store:
        with trio.CancelScope() as scope:
            scope.cancel()
            await store.record_own_report(EPOCH, SHARD, SEAT, digest_of(1), b"first")
        assert scope.cancelled_caught
        assert await store.record_own_report(EPOCH, SHARD, SEAT, digest_of(2), b"b") == b"b"

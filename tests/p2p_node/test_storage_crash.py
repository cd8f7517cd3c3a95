"""kill -9 in the middle of writing: what was acknowledged is there, and nothing is contradicted."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from chain.journal import JournalEntry
from p2p_node.storage import Store, StoreJournal
from protocols.types import Digest, Epoch, Seat, Shard

# Writes as fast as it can, saying after each write what is now on the disk.
WRITER = """
import itertools, sys
from pathlib import Path
from chain.journal import JournalEntry
from p2p_node.duties.observations import Observation, Transcript
from p2p_node.storage import Store, StoreJournal
from protocols.scoring import Verdict
from protocols.types import Digest, Epoch, Seat, Shard

run = sys.argv[2].encode()
store = Store.open(Path(sys.argv[1]))
journal = StoreJournal(store)
for epoch in itertools.count():
    epoch = Epoch(epoch)
    sealed = store.record_own_report(epoch, Shard(0), Seat(1), Digest(bytes(32)), run * 50)
    print("report", epoch, sealed.hex(), flush=True)
    secret = store.challenge_secret(epoch, Shard(0), Seat(1), run)
    print("secret", epoch, secret.hex(), flush=True)
    journal.record(JournalEntry(epoch, run, run * 9, "writer"))
    print("journal", epoch, run.hex(), flush=True)
    seen = [Observation(lane, Verdict.OK, 5, 6, Digest(run), Transcript([run * 2000]))
            for lane in range(3)]
    store.save_observations(epoch, Shard(0), seen)
    print("seen", epoch, run.hex(), flush=True)
"""

RUNS = 8


def write_until_killed(data_dir: Path, name: bytes, acknowledgements: int) -> list[list[str]]:
    """Run a writer, kill it after some acknowledgements, and return all that it had sent."""
    command = [sys.executable, "-c", WRITER, str(data_dir), name.decode()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(acknowledgements)]
        writer.kill()
        lines += writer.stdout.readlines()
    # The kill may cut the last line short.
    return [line.split() for line in lines if line.endswith("\n")]


@pytest.mark.integration
def test_acknowledged_writes_survive_and_are_never_contradicted(data_dir: Path) -> None:
    kept: dict[tuple[str, int], str] = {}
    for run in range(RUNS):
        name = b"%08d" % run
        # Each run starts over at epoch 0 with other words, like a node that forgot everything.
        points = random.Random(run).randrange(1, 60)
        for kind, epoch, value in write_until_killed(data_dir, name, points):
            if kind in ("report", "secret"):
                assert kept.setdefault((kind, int(epoch)), value) == value
            else:
                kept[kind, int(epoch)] = value
        with Store.open(data_dir) as store:
            journal = set(StoreJournal(store).entries())
            for (kind, number), value in kept.items():
                epoch = Epoch(number)
                match kind:
                    case "report":
                        assert store.own_report(epoch, Shard(0)) == bytes.fromhex(value)
                        other = store.record_own_report(
                            epoch, Shard(0), Seat(1), Digest(b"\1" * 32), b"other"
                        )
                        assert other == bytes.fromhex(value)
                    case "secret":
                        found = store.challenge_secret(epoch, Shard(0), Seat(1), b"fresh")
                        assert found == bytes.fromhex(value)
                    case "journal":
                        raw = bytes.fromhex(value)
                        assert JournalEntry(number, raw, raw * 9, "writer") in journal
                    case "seen":
                        seen = store.observations(epoch, Shard(0))
                        assert seen is not None
                        assert [one.lane for one in seen] == [0, 1, 2]
                        assert store.transcript_lanes(epoch, Shard(0)) == [0, 1, 2]
    assert len(kept) > RUNS

"""`kaisar zeronode ledger`: what it says, and how it exits."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from sqlalchemy import text

from chain.deployment import write_deployment
from chain.zeronode_calls import ZeroNodeCalls
from chain.zeronode_client import ZeroNodeClient
from p2p_node.cli import main
from p2p_node.zeronode.anchoring import Anchoring
from p2p_node.zeronode.database import AsyncDatabase, Database
from p2p_node.zeronode.ledger import Line, Transfer, Unit, post
from p2p_node.zeronode.ledger_check import check_books
from protocols.ledger_records import compute_ledger_id
from protocols.types import TimeMs, Wallet
from tests.chain.network import Network, network
from tests.p2p_node.zeronode.books import ALICE, BOB, FIRST, SERVICE, fill_books, fill_books_now
from tests.p2p_node.zeronode.test_ledger_check import disarm

Call = Callable[..., tuple[int, Any]]


@pytest.fixture
def call(
    database: Database,
    database_url: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Call:
    """Runs a command on books that are filled; gives its status and what it printed."""
    monkeypatch.setenv("HOME", str(tmp_path))
    fill_books_now(database)

    def run(part: str, *words: str, raw: bool = False) -> tuple[int, Any]:
        where = () if part == "verify" else ("--zeronode-database", database_url)
        flags = () if raw else ("--json",)
        status = main(["zeronode", "ledger", part, *words, *where, *flags])
        captured = capsys.readouterr()
        if raw:
            return status, captured.out + captured.err
        return status, json.loads(captured.out)

    return run


def spoil(database: Database) -> None:
    disarm(database)
    with database.transaction() as connection:
        connection.execute(text("UPDATE ledger_entries SET note = 'x' WHERE number = 2"))


def test_check(call: Call, database: Database) -> None:
    status, report = call("check")
    assert (status, report["holds"], report["entries"], report["days"]) == (0, True, 4, 2)
    assert report["users"] == {"points": 3 * 36_000, "tickets": 1}
    assert report["anchored_days"] is None
    status, words = call("check", raw=True)
    assert status == 0
    assert "everything holds" in words
    assert "37 1440/2880 points, 1 tickets" in words
    assert "not compared with the chain" in words
    spoil(database)
    status, report = call("check")
    assert (status, report["holds"]) == (1, False)
    assert report["problem_count"] == len(report["problems"]) == 1
    status, words = call("check", raw=True)
    assert status == 1
    assert "1 things do NOT hold:\n  entry 2: its hash" in words


def test_show(call: Call) -> None:
    status, found = call("show")
    assert (status, found["entries"], found["day"]) == (0, 4, FIRST + 1)
    status, words = call("show", raw=True)
    assert status == 0
    assert found["head"] in words
    status, found = call("show", f"0x{BOB.hex().upper()}", "--after", "3")
    assert status == 0
    assert (found["points"], found["tickets"]) == (36_000, 1)
    assert [entry["number"] for entry in found["entries"]] == [4]
    status, words = call("show", f"user:0x{BOB.hex()}", raw=True)
    assert status == 0
    assert "  12 1440/2880 points\n  1 tickets\n" in words
    assert f"2024-10-06 00:02:00  12 1440/2880 points  uptime:0x{BOB.hex()}:{FIRST + 1}" in words


def test_prove_and_verify(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "proof.json"
    for words in (
        ("--entry", "2"),
        (f"0x{ALICE.hex()}",),
        (f"0x{ALICE.hex()}", "--day", str(FIRST)),
    ):
        status, proof = call("prove", *words)
        assert status == 0
        file.write_text(json.dumps(proof))
        status, verdict = call("verify", str(file))
        assert status == 0
        assert verdict == {"holds": True, "root": proof["root"], "anchored": False, "problem": ""}
    assert proof["balance"]["balance"] == 36_000
    status, said = call("verify", str(file), raw=True)
    assert status == 0
    assert f"had 12 1440/2880 points when day {FIRST} was closed" in said
    proof["balance"]["balance"] += 1
    for body in (json.dumps(proof), "{", "[" * 100_000, "[]", " " * 300_000):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(body.encode())))
        status, verdict = call("verify", "-")
        assert (status, verdict["holds"]) == (1, False)
    file.write_text(json.dumps(proof))
    status, said = call("verify", str(file), raw=True)
    assert status == 1
    assert "does NOT hold: balance not under the root" in said


@pytest.mark.parametrize(
    "words",
    [
        ("prove",),
        ("prove", f"0x{ALICE.hex()}", "--entry", "1"),
        ("prove", "--entry", "4"),
        ("prove", "--entry", "99"),
        ("prove", f"0x{ALICE.hex()}", "--unit", "tickets"),
        ("prove", f"0x{ALICE.hex()}", "--day", "5"),
        ("show", "é"),
        ("verify", "missing.json"),
        ("check", "--deployment", "missing.json"),
    ],
    ids=str,
)
def test_what_cannot_be_done(call: Call, words: tuple[str, ...]) -> None:
    status, found = call(*words)
    assert status != 0
    assert found["error"]


def test_books_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = f"sqlite:///{tmp_path / 'missing.sqlite'}"
    assert main(["zeronode", "ledger", "check", "--zeronode-database", where]) == 2
    assert "No such file" in capsys.readouterr().err
    assert not (tmp_path / "missing.sqlite").exists()
    with pytest.raises(SystemExit):
        raise SystemExit(main(["zeronode", "ledger", "prove", "--entry", "x"]))


@pytest.mark.integration
async def test_roots_are_compared_with_the_chain(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with network(0, 1) as net:
        calls = ZeroNodeCalls(net.deployment)
        client = ZeroNodeClient(net.rpc, net.deployment)
        manager = net.providers[0].manager
        database = Database.open(
            database_url, compute_ledger_id(net.deployment.network_id, SERVICE)
        )
        today = (await client.head()).timestamp // net.preset.day_seconds
        await fill_books(database, today - 3)
        path = tmp_path / "deployment.json"
        write_deployment(path, net.deployment)
        where = ["--deployment", str(path), "--rpc", net.running.url]

        async def run(*words: str) -> tuple[int, Any]:
            status = await trio.to_thread.run_sync(
                main, ["zeronode", "ledger", *words, *where, "--json"]
            )
            return status, json.loads(capsys.readouterr().out)

        books = ("--zeronode-database", database_url)
        status, found = await run("check", *books)
        assert status == 2
        assert "no service that the chain lists" in found["error"]

        # It was listed before, with a wallet that it has lost.
        for call in (
            calls.add_service(Wallet(b"o" * 20), SERVICE),
            calls.retire_service(0),
            calls.add_service(manager.wallet, SERVICE),
        ):
            await net.execute(net.funder, call, "listing")
        finalize(net)
        status, found = await run("check", *books)
        assert (status, found["anchored_days"]) == (0, 0)

        await anchor(net, database, client)
        status, found = await run("check", *books)
        assert (status, found["days"], found["anchored_days"]) == (0, 2, 2)

        await trio.to_thread.run_sync(main, ["zeronode", "ledger", "prove", "--entry", "1", *books])
        proof = tmp_path / "proof.json"
        proof.write_text(capsys.readouterr().out)
        status, verdict = await run("verify", str(proof))
        assert (status, verdict["anchored"]) == (0, True)

        # Whoever owns the database makes other books, sound ones: the chain knows better.
        rewritten = f"sqlite:///{tmp_path / 'rewritten.sqlite'}"
        other = Database.open(rewritten, compute_ledger_id(net.deployment.network_id, SERVICE))
        lines = Line("issue:mission", Unit.TICKETS, -9), Line("draw:1", Unit.TICKETS, 9)
        with other.transaction() as connection:
            post(connection, Transfer("more", "mission", lines), 0)
        await fill_books(other, today - 3)
        with other.reading() as connection:
            assert check_books(connection).holds
        other.close()
        status, found = await run("check", "--zeronode-database", rewritten)
        assert (status, found["problem_count"], found["anchored_days"]) == (1, 2, 0)
        assert all("the chain has the root" in problem for problem in found["problems"])
        await trio.to_thread.run_sync(
            main, ["zeronode", "ledger", "prove", "--entry", "2", "--zeronode-database", rewritten]
        )
        proof.write_text(capsys.readouterr().out)
        status, verdict = await run("verify", str(proof))
        assert (status, verdict["holds"]) == (1, False)
        database.close()


def finalize(net: Network) -> None:
    for _ in range(4):
        net.running.chain.mine(net.running.chain.head().timestamp + 1)


async def anchor(net: Network, database: Database, client: ZeroNodeClient) -> None:
    """Put all roots onto the chain."""
    duty = Anchoring(
        AsyncDatabase(database),
        client,
        net.providers[0].manager,
        lambda: TimeMs(0),
        pause_seconds=0.01,
    )

    async def mine() -> None:
        while True:
            finalize(net)
            await trio.sleep(0.02)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mine)
            while await duty.step() < 2:
                await trio.sleep(0.02)
            nursery.cancel_scope.cancel()

"""What somebody hostile tries on a service: nothing of it may cost anybody else anything."""

import logging
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import trio

from chain.zeronode_client import ZeroNodeClient
from p2p_node.zeronode import tokens
from p2p_node.zeronode.accounts import Account, find_account_of_key
from p2p_node.zeronode.anchoring import Anchoring
from p2p_node.zeronode.beat_writer import BeatWriter
from p2p_node.zeronode.client import ServiceRefusal
from p2p_node.zeronode.database import AsyncDatabase, Database
from p2p_node.zeronode.day_roots import Prover
from p2p_node.zeronode.errors import DatabaseError, KeyReusedError
from p2p_node.zeronode.ledger import Unit, user_account
from p2p_node.zeronode.setting_list import ZERONODE_SETTINGS
from p2p_node.zeronode.uptime_book import Receipt, stretches_of
from p2p_node.zeronode.web_settings import find_household
from protocols.types import NodeKey, TimeMs, Wallet
from protocols.uptime import Stretch
from tests.p2p_node.zeronode.books import BOB, FIRST, fill_books
from tests.p2p_node.zeronode.serving import RULES, Serving, serve
from tests.p2p_node.zeronode.test_web import (
    QUICK,
    exchange,
    is_well,
    read_rest,
    serving,
    status_of,
)

pytestmark = pytest.mark.integration


async def test_request_with_two_lengths_is_refused_and_nothing_after_it_is_read() -> None:
    # A proxy that goes by Content-Length takes all of this for one request.
    data = (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 44\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\nGET /who HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    async with serving() as server:
        answer = await exchange(server, data)
        assert status_of(answer) == 400
        assert answer.count(b"HTTP/1.1") == 1
        assert server.counters.refused["two lengths of one body"] == 1
        assert await is_well(server)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
    ],
)
def test_a_household_has_one_ipv4_address_or_a_whole_ipv6_network(
    one: str, other: str, is_same: bool
) -> None:
    assert (find_household(one) == find_household(other)) is is_same


async def test_who_has_many_addresses_has_no_more_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = iter(range(1, 10_000))
    monkeypatch.setattr(
        "p2p_node.zeronode.web.normalise_address", lambda _: f"2001:db8::{next(seen):x}"
    )
    async with serving() as server:
        streams = [await trio.open_tcp_stream("127.0.0.1", server.port) for _ in range(80)]
        with trio.fail_after(5):
            while not server.counters.refused["too many connections"] >= 80 - 64:
                await trio.sleep(0.01)
        assert server.counters.connections <= 64
        for stream in streams:
            await trio.aclose_forcefully(stream)


async def test_keys_of_nobody_use_up_no_nonces(
    service: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "MAX_SPENT", 3)
    async with service.client(1, 1) as client, service.client(2) as stranger:
        for _ in range(4):
            with pytest.raises(ServiceRefusal, match="key is not bound"):
                await stranger.account()
        assert (await client.account())["wallet"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("https://ZeroNode.Example", "https://zeronode.example"),
        ("https://zeronode.example:443/", "https://zeronode.example"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("https://zeronode.example:8443", "https://zeronode.example:8443"),
        ("http://[::1]:8750", "http://[::1]:8750"),
    ],
)
def test_public_url_is_what_browsers_call_the_service(text: str, found: str) -> None:
    (setting,) = (each for each in ZERONODE_SETTINGS if each.name == "zeronode_public_url")
    assert setting.parse(text) == found


async def test_database_that_fails_ends_a_session_with_a_word(
    service: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with service.client(1, 1) as client:

        async def fail(*_: Any) -> Account | None:
            raise DatabaseError("it is away")

        monkeypatch.setattr(service.service.reading, "read", fail)
        with caplog.at_level(logging.ERROR), pytest.raises(Exception, match="1011 service failed"):
            async with client.session(bytes(16)) as session:
                await session.answer()
    assert "it is away" in caplog.text
    assert "Traceback" not in caplog.text


class Away:
    """A database whose server is being started anew."""

    async def read(self, *_: Any) -> Any:
        raise DatabaseError("it is away")


async def test_database_that_is_away_does_not_end_the_anchoring() -> None:
    client = ZeroNodeClient(Mock(), Mock())
    database: Any = Away()
    anchoring = Anchoring(database, client, Mock(), lambda: TimeMs(0))
    assert await anchoring.step() == 0


async def test_beats_that_wait_for_the_database_at_the_end_are_written(tmp_path: Path) -> None:
    opened = Database.open(f"sqlite:///{tmp_path / 'books.sqlite'}")
    database = AsyncDatabase(opened)
    now, wallet = TimeMs(1_800_000_000_000), Wallet(bytes(20))
    writer = BeatWriter(database, NodeKey(bytes(32)), RULES, lambda: now)
    held = threading.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.run, lambda _: held.wait(10))
        await trio.sleep(0.05)
        nursery.start_soon(writer.record, Receipt(wallet, Stretch(TimeMs(now - 5_000), now)))
        nursery.start_soon(writer.run)
        await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
        held.set()
    with opened.reading() as connection:
        assert stretches_of(connection, wallet, 0, RULES.day_of(now))
    opened.close()


LIMITS = """
import resource, sys
from p2p_node.zeronode.open_files import make_room
soft, hard, wanted = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(make_room(wanted), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "found"),
    [
        (1_024, 20_000, 8_000, "8000 8512 20000"),
        (1_024, 4_096, 8_000, "3584 4096 4096"),
        (9_000, 20_000, 8_000, "8000 9000 20000"),
        (256, 256, 8_000, "128 256 256"),
    ],
)
def test_connections_leave_files_to_the_books(
    soft: int, hard: int, wanted: int, found: str
) -> None:
    arguments = [sys.executable, "-c", LIMITS, str(soft), str(hard), str(wanted)]
    ran = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == found


async def test_second_header_has_no_more_time_than_the_first() -> None:
    async with serving(replace(QUICK, idle_seconds=60, header_seconds=0.3)) as server:
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await stream.receive_some()
            await trio.sleep(0.5)
            await stream.send_all(b"GET / HTTP/1.1\r\n")
            with trio.fail_after(3):
                assert await read_rest(stream) == b""
        assert server.counters.refused["header too slow"] == 1


async def test_key_that_is_revoked_while_it_says_hello_earns_nothing(
    service: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner, reading = service.service, service.service.reading.read
    async with service.client(1, 1) as client, service.client(2, 1) as other:
        await client.facts()

        async def read(function: Any, *arguments: Any) -> Any:
            found = await reading(function, *arguments)
            if function is find_account_of_key and arguments == (client.key,):
                monkeypatch.setattr(inner.reading, "read", reading)
                await other.call("DELETE", f"/v1/account/keys/{client.key.hex()}")
            return found

        monkeypatch.setattr(inner.reading, "read", read)
        async with client.session(bytes(16)) as session:
            assert [(await session.answer()).paid_ms for _ in range(3)] == [0, 0, 0]


@pytest.mark.parametrize("name", ["settle_gates", "find_day"])
async def test_duty_that_cannot_go_on_ends_nothing_else(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> Any:
        raise KeyReusedError("a fault of ours")

    monkeypatch.setattr(f"p2p_node.zeronode.closing.{name}", fail)
    async with serve(tmp_path) as running, running.client(1, 1) as client:
        await trio.sleep(0.1)
        assert (await client.account())["wallet"]
    assert "a fault of ours" in caplog.text


async def test_who_asks_for_many_proofs_holds_up_nobody_else(
    service: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = threading.Event()

    def be_slow(*_: Any) -> dict[str, Any]:
        never.wait(0.1)
        return {"entries": [], "proofs": []}

    monkeypatch.setattr("p2p_node.zeronode.api_ledger._list_entries", be_slow)
    async with service.client(1, 1) as greedy, service.client(2, 2) as other:
        for client in (greedy, other):
            await client.account()
        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(greedy.call, "GET", "/v1/account/ledger")
            await trio.sleep(0.2)
            with trio.fail_after(2):
                await other.call("GET", "/v1/account/ledger")
            nursery.cancel_scope.cancel()
        with trio.fail_after(5):
            while len(service.service.turns):
                await trio.sleep(0.05)


async def test_balance_that_never_was_is_denied_at_no_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Database.open(f"sqlite:///{tmp_path / 'books.sqlite'}")
    await fill_books(opened)
    read = Mock(side_effect=AssertionError("all balances were read"))
    monkeypatch.setattr("p2p_node.zeronode.day_roots._read_balances", read)
    with opened.reading() as connection:
        prover = Prover()
        for account, day in (
            (user_account(Wallet(b"\x77" * 20)), FIRST),
            (user_account(BOB), FIRST),
        ):
            assert prover.prove_balance(connection, account, Unit.POINTS, day) is None
        with pytest.raises(AssertionError, match="all balances"):
            prover.prove_balance(connection, user_account(BOB), Unit.POINTS, FIRST + 1)
    opened.close()

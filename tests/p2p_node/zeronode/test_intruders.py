"""What somebody hostile tries on a service: nothing of it may cost anybody else anything."""

import logging
from typing import Any

import pytest
import trio

from p2p_node.zeronode import tokens
from p2p_node.zeronode.accounts import Account
from p2p_node.zeronode.client import ServiceRefusal
from p2p_node.zeronode.errors import DatabaseError
from p2p_node.zeronode.setting_list import ZERONODE_SETTINGS
from p2p_node.zeronode.web_settings import find_household
from tests.p2p_node.zeronode.serving import Serving
from tests.p2p_node.zeronode.test_web import exchange, is_well, serving, status_of

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

        monkeypatch.setattr(service.service.database, "read", fail)
        with caplog.at_level(logging.ERROR), pytest.raises(Exception, match="1011 service failed"):
            async with client.session(bytes(16)) as session:
                await session.answer()
    assert "it is away" in caplog.text
    assert "Traceback" not in caplog.text

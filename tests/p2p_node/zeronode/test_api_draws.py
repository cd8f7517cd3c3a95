"""Draws over HTTP: listed, entered once per request, and their file byte for byte."""

import coincurve
import httpx
import pytest
import trio
from sqlalchemy import Connection, insert

from p2p_node.zeronode import draws
from p2p_node.zeronode.client import ServiceRefusal
from p2p_node.zeronode.draw_schedule import Occasion
from p2p_node.zeronode.draw_tables import draw_transcripts
from p2p_node.zeronode.draws import Frozen, State
from p2p_node.zeronode.ledger import Line, Transfer, Unit, post, user_account
from protocols.draw_transcript import Reveal, make_transcript, read_transcript, sign_transcript
from protocols.lucky_draw import Source, SourceKind, build_ticket_tree, compute_commitment
from protocols.signing import wallet_of_public_key
from protocols.types import Digest, TimeMs, Wallet
from tests.p2p_node.zeronode.drawing_world import DRAW, PLAN
from tests.p2p_node.zeronode.serving import Serving, make_wallet

pytestmark = pytest.mark.integration

SEED = b"s" * 32
EVIDENCE = b"e" * 32


def give(connection: Connection, wallet: Wallet, tickets: int) -> None:
    account = user_account(wallet)
    lines = (Line("issue:campaign", Unit.TICKETS, -tickets), Line(account, Unit.TICKETS, tickets))
    post(connection, Transfer("gift", "campaign", lines), 1)


def address_of(number: int) -> Wallet:
    public = coincurve.PrivateKey(make_wallet(number)).public_key
    return wallet_of_public_key(public.format(compressed=False))


async def open_one(serving: Serving) -> None:
    now = serving.service.now()
    occasion = Occasion(DRAW, TimeMs(now - 1_000), TimeMs(now + 60_000), PLAN)
    await serving.service.database.run(draws.open_draw, occasion, SEED)


async def test_tickets_go_in_over_http(service: Serving) -> None:
    await open_one(service)
    wallet = address_of(5)
    async with service.client(1, 5) as client:
        await service.service.database.run(give, wallet, 3)
        (listed,) = (await client.request("GET", "/v1/draws"))["draws"]
        assert (listed["id"], listed["state"], listed["frozen"]) == (DRAW, "open", None)
        assert "server_seed" not in listed
        standing = await client.account()
        assert standing["next_draw"] == {"id": DRAW, "closes_ms": listed["closes_ms"]}

        path = f"/v1/draws/{DRAW}/entries"
        entry = {"tickets": 2, "request": "request-1"}
        first = await client.call("POST", path, entry)
        assert first == {"draw": DRAW, "first_ticket": 0, "tickets": 2, "tickets_left": 1}
        assert await client.call("POST", path, entry) == first
        for body, status in (
            ({"tickets": 1, "request": "request-1"}, 409),
            ({"tickets": 2, "request": "request-2"}, 409),
            ({"tickets": 0, "request": "request-3"}, 400),
            ({"tickets": 1, "request": "x"}, 400),
            ({"tickets": 1}, 400),
        ):
            with pytest.raises(ServiceRefusal) as refused:
                await client.call("POST", path, body)
            assert refused.value.status == status
        for missing in ("/v1/draws/other-1", "/v1/draws/other-1/transcript"):
            with pytest.raises(ServiceRefusal) as refused:
                await client.request("GET", missing)
            assert (refused.value.status, refused.value.reason) == (404, "no such draw")
        with pytest.raises(ServiceRefusal) as refused:
            await client.request("GET", f"/v1/draws/{DRAW}/transcript")
        assert refused.value.reason == "draw has no transcript yet"
        own = (await client.call("GET", f"/v1/draws/{DRAW}"))["own"]
        assert own == [{"first_ticket": 0, "tickets": 2}]
        assert (await client.request("GET", f"/v1/draws/{DRAW}"))["own"] is None


async def test_the_file_comes_as_it_was_signed(service: Serving) -> None:
    await open_one(service)
    wallet = address_of(5)
    async with service.client(1, 5) as client:
        await service.service.database.run(give, wallet, 3)
        entry = {"tickets": 3, "request": "request-1"}
        await client.call("POST", f"/v1/draws/{DRAW}/entries", entry)
        content = await service.service.database.run(end, service)
        found = await client.request("GET", f"/v1/draws/{DRAW}")
    assert (found["state"], found["missed"]) == ("paying", False)
    terms = read_transcript(content).terms
    assert found["frozen"]["commitment"] == compute_commitment(terms).hex()
    assert found["frozen"]["root"] == terms.root.hex()
    assert found["key"] == terms.key.hex()
    assert found["seed_hash"] == terms.seed_hash.hex()
    async with httpx.AsyncClient() as plain:
        answer = await plain.get(f"{service.url}/v1/draws/{DRAW}/transcript")
    assert answer.content == content
    assert answer.headers["content-type"].startswith("application/json")


def end(connection: Connection, serving: Serving) -> bytes:
    """Take the draw to its end, without a chain."""
    draw = draws.close(connection, draws.require_draw(connection, DRAW))
    identity = serving.service.identity
    entries = draws.read_entries(connection, DRAW)
    frozen = Frozen(Digest(bytes(32)), Source(SourceKind.BEACON, 7), TimeMs(draw.closes_ms + 9))
    key = draws.freeze(connection, draw, frozen).terms(identity.network, identity.service).key
    root = Digest(build_ticket_tree(key, entries).root)
    draw = draws.require_draw(connection, DRAW)
    draw = draws.freeze(connection, draw, Frozen(root, frozen.source, frozen.reveal_by_ms))
    draw = draws.note_committed(connection, draw, 5)
    terms = draw.terms(identity.network, identity.service)
    transcript = make_transcript(terms, entries, 5, Reveal(SEED, EVIDENCE))
    content = sign_transcript(identity.node_key, transcript)
    assert draws.finish(connection, draw, content, False, 1).state is State.PAYING
    return content


async def test_a_large_file_comes_whole_over_a_slow_line(service: Serving) -> None:
    """And several at once share one copy of it."""
    content = bytes(range(256)) * 40_000

    def store(connection: Connection) -> None:
        for draw in ("big-1", "big-2", "big-3"):
            connection.execute(insert(draw_transcripts).values(draw=draw, content=content, at_ms=1))

    await service.service.database.run(store)
    cache = service.service.transcripts
    host, port = service.url.removeprefix("http://").split(":")
    stream = await trio.open_tcp_stream(host, int(port))
    async with stream:
        await stream.send_all(b"GET /v1/draws/big-1/transcript HTTP/1.1\r\nHost: x\r\n\r\n")
        received = await stream.receive_some(10)
        first = await cache.read("big-1")
        assert await cache.read("big-1") is first
        for draw in ("big-2", "big-3"):
            assert await cache.read(draw) == content
        assert await cache.read("big-1") is not first
        with trio.fail_after(60):
            while not received.endswith(content):
                received += await stream.receive_some(1 << 20)
    assert received.startswith(b"HTTP/1.1 200")
    assert b"content-length: %d" % len(content) in received[:2000].lower()

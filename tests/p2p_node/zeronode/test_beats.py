"""Beats over a real WebSocket: what earns nothing, and a service that stays up whatever is sent."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import trio

from p2p_node.zeronode.client import ClientSession, ServiceRefusal, ZeroNodeClient
from p2p_node.zeronode.client_socket import SocketRefused, open_socket
from p2p_node.zeronode.uptime_book import stretches_of
from p2p_node.zeronode.web_socket import SocketClosed
from protocols.types import Wallet
from protocols.uptime import Stretch, total_ms
from protocols.zeronode_frames import Beat, Challenge, Credit, Hello
from tests.p2p_node.zeronode.serving import RULES, Serving, make_key, make_wallet, serve

pytestmark = pytest.mark.integration

BOOT = bytes(16)
OTHER_BOOT = bytes(15) + b"\1"


async def read_stretches(service: Serving, wallet: Wallet) -> tuple[Stretch, ...]:
    today = service.service.rules.day_of(service.service.now())
    return await service.service.database.read(stretches_of, wallet, today - 1, today)


def beats_url(service: Serving) -> str:
    return service.url.replace("http", "ws") + "/v1/beats"


async def start_chain(session: ClientSession) -> Challenge:
    """Answer once, and wait for the next challenge, whose answer would earn."""
    assert (await session.answer()).reason == "first beat"
    return await session.wait_for_challenge()


async def next_credit(session: ClientSession) -> Credit:
    """Wait for a credit, whatever challenges come before it."""
    while True:
        frame = await session.receive()
        if isinstance(frame, Credit):
            return frame


async def answer_until(session: ClientSession, condition: Callable[[Credit], bool]) -> Credit:
    """Answer, also what came meanwhile, until a credit is as wanted."""
    with trio.fail_after(20):
        while True:
            frame = await session.receive()
            if isinstance(frame, Challenge):
                await session.socket.send(session.make_beat(frame).encode())
            elif isinstance(frame, Credit) and condition(frame):
                return frame


async def receive_all(session: ClientSession) -> None:
    while True:
        await session.receive()


async def answer_all(session: ClientSession, told: list[int]) -> None:
    while True:
        told.append((await session.answer()).paid_ms)


Spoil = Callable[[ClientSession, Challenge], Beat]


def forge_key(session: ClientSession, challenge: Challenge) -> Beat:
    other = ClientSession(session.socket, make_key(77), session._facts, BOOT)
    return other.make_beat(challenge)


def forge_boot(session: ClientSession, challenge: Challenge) -> Beat:
    other = ClientSession(session.socket, session._key, session._facts, OTHER_BOOT)
    return other.make_beat(challenge)


def forge_nonce(session: ClientSession, challenge: Challenge) -> Beat:
    return session.make_beat(replace(challenge, nonce=bytes(32)))


def run_ahead(session: ClientSession, challenge: Challenge) -> Beat:
    return session.make_beat(replace(challenge, seq=challenge.seq + 1))


def go_back(session: ClientSession, challenge: Challenge) -> Beat:
    return session.make_beat(replace(challenge, seq=challenge.seq - 1))


def mix_up(session: ClientSession, challenge: Challenge) -> Beat:
    return session.make_beat(replace(challenge, sid=bytes(16)))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (forge_key, "forged"),
        (forge_boot, "forged"),
        (forge_nonce, "forged"),
        (run_ahead, "wrong sequence"),
        (go_back, "replayed"),
        (mix_up, "wrong session"),
    ],
)
async def test_beat_that_is_not_the_answer_earns_nothing(
    service: Serving, spoil: Spoil, reason: str
) -> None:
    async with service.client(1) as client:
        wallet = await client.sign_in(make_wallet(1))
        async with client.session(BOOT) as session:
            challenge = await start_chain(session)
            await session.socket.send(spoil(session, challenge).encode())
            credit = await next_credit(session)
            assert (credit.paid_ms, credit.reason) == (0, reason)
            # What was wrong ends the chain: also the right answer only begins a new one.
            await session.socket.send(session.make_beat(challenge).encode())
            assert (await next_credit(session)).paid_ms == 0
        assert await read_stretches(service, wallet) == ()
        assert service.running.beats.refused[reason] == 1


async def test_replayed_beat_earns_nothing(service: Serving) -> None:
    async with service.client(1) as client:
        wallet = await client.sign_in(make_wallet(1))
        async with client.session(BOOT) as session:
            beat = session.make_beat(await start_chain(session))
            await session.socket.send(beat.encode())
            paid = (await next_credit(session)).paid_ms
            assert paid > 0
            await session.socket.send(beat.encode())
            credit = await next_credit(session)
            assert (credit.paid_ms, credit.reason) == (0, "replayed")
        # Nor does it count in a session of another connection.
        async with client.session(BOOT) as session:
            await session.wait_for_challenge()
            await session.socket.send(beat.encode())
            assert (await next_credit(session)).reason == "wrong session"
        assert total_ms(await read_stretches(service, wallet)) == paid


async def test_late_beat_earns_nothing_and_silence_ends_the_session(tmp_path: Path) -> None:
    rules = replace(RULES, answer_ms=100)
    async with serve(tmp_path, rules=rules) as service, service.client(1) as client:
        wallet = await client.sign_in(make_wallet(1))
        async with client.session(BOOT) as session:
            late = session.make_beat(await start_chain(session))
            await trio.sleep(0.15)
            await session.socket.send(late.encode())
            credit = await next_credit(session)
            assert (credit.paid_ms, credit.reason) == (0, "late")
            await session.wait_for_challenge()
            with pytest.raises(ServiceRefusal, match="unresponsive"):
                await receive_all(session)
        assert await read_stretches(service, wallet) == ()
        assert service.running.beats.missed == 2
        assert service.running.beats.ended == {"unresponsive": 1}


async def test_unbound_key_earns_once_it_is_bound(service: Serving) -> None:
    async with service.client(1) as client, client.session(BOOT) as session:
        assert session.welcome is not None
        assert (session.welcome.bound, session.welcome.earning) == (False, False)
        assert "not signed in" in session.welcome.reason
        for _ in range(2):
            credit = await session.answer()
            assert (credit.paid_ms, credit.earning, credit.account) == (0, False, None)
        wallet = await client.sign_in(make_wallet(1))
        found = [await session.answer() for _ in range(4)]
        assert found[-1].earning
        assert found[-1].paid_ms > 0
        # Taking the key away ends it at once, in the same session.
        paid = total_ms(await read_stretches(service, wallet))
        await client.call("DELETE", f"/v1/account/keys/{client.key.hex()}")
        found = [await session.answer() for _ in range(3)]
        assert not any(credit.paid_ms for credit in found[1:])
        assert total_ms(await read_stretches(service, wallet)) - paid < 1000
        with pytest.raises(ServiceRefusal, match="not bound"):
            await client.account()


async def test_copied_key_earns_no_more_than_one(service: Serving) -> None:
    async with service.client(1) as client, service.client(1) as copy:
        wallet = await client.sign_in(make_wallet(1))
        started = service.service.now()
        async with client.session(BOOT) as session:
            for _ in range(2):
                await session.answer()
            async with copy.session(OTHER_BOOT) as other:
                with pytest.raises(ServiceRefusal, match="replaced") as caught:
                    await receive_all(session)
                assert caught.value.retry_ms == 60_000
                for _ in range(2):
                    await other.answer()
                async with client.session(BOOT) as again:
                    for _ in range(3):
                        await again.answer()
                    with pytest.raises(ServiceRefusal, match="replaced"):
                        await receive_all(other)
                    account = await client.account()
                    assert account["status"] == {"earning": True, "reason": "two copies"}
        stretches = await read_stretches(service, wallet)
        assert 0 < total_ms(stretches) <= service.service.now() - started


async def test_two_keys_of_an_account_earn_no_more_than_one(service: Serving) -> None:
    async with service.client(1, 1) as first, service.client(2, 1) as second:
        async with first.session(BOOT) as one:
            await one.answer()
            assert (await one.answer()).paid_ms > 0
            async with second.session(BOOT) as two:
                await two.answer()
                assert (await two.answer()).paid_ms > 0
                credit = await answer_until(one, lambda each: not each.earning)
                assert credit.paid_ms == 0
                assert "another" in credit.reason or credit.reason == "late"
            # The other one has left, so this one earns again.
            await answer_until(one, lambda each: each.earning and each.paid_ms > 0)
        wallet = Wallet(bytes.fromhex((await first.account())["wallet"][2:]))
        stretches = await read_stretches(service, wallet)
        assert total_ms(stretches) <= stretches[-1].end_ms - stretches[0].start_ms


async def test_restart_resumes_without_paying_twice(tmp_path: Path) -> None:
    started = None
    told = 0
    for _ in range(2):
        async with serve(tmp_path) as service, service.client(1) as client:
            started = started or service.service.now()
            if await client.request("GET", f"/v1/keys/{client.key.hex()}") == {"bound": False}:
                wallet = await client.sign_in(make_wallet(1))
            async with client.session(BOOT) as session:
                found = [await session.answer() for _ in range(4)]
                assert found[0].paid_ms == 0
                told += sum(credit.paid_ms for credit in found)
                service.stop.cancel()
                more: list[int] = []
                with trio.CancelScope(shield=True), pytest.raises(SocketClosed):
                    await answer_all(session, more)
                told += sum(more)
    async with serve(tmp_path) as service:
        kept = total_ms(await read_stretches(service, wallet))
        # All that a client was told of is there; the last beat may be without its answer.
        assert told <= kept <= told + 2 * RULES.max_credit_ms
        assert kept <= service.service.now() - started


async def greet(client: ZeroNodeClient, text: str) -> str:
    async with open_socket(client.url.replace("http", "ws") + "/v1/beats") as socket:
        await socket.receive()
        await socket.send(text)
        answer: str = json.loads(await socket.receive())["reason"]
        with pytest.raises(SocketClosed):
            await socket.receive()
        return answer


HELLO = Hello(key=make_key(1).verify_key.encode(), boot=BOOT, agent="x", sig=bytes(64)).encode()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("[" * 1000, "too many brackets"),
        ("[]", "not an object"),
        ("{}", "unknown frame"),
        ('{"t":"beat","sid":"' + "0" * 32 + '","seq":1,"sig":"' + "0" * 128 + '"}', "out of turn"),
        (HELLO, "bad node signature"),
        (HELLO.replace('"v":1', '"v":2'), "bad field"),
        (HELLO.replace('"v":1', '"v":1,"more":1'), "wrong fields"),
        (HELLO + " " * 1000, "oversized"),
    ],
)
async def test_hello_that_is_none_is_refused(service: Serving, text: str, reason: str) -> None:
    async with service.client(1) as client:
        assert await greet(client, text) == reason
        assert service.running.beats.refused == {reason: 1}
        assert not service.running.web.bugs
        async with client.session(BOOT):
            pass


async def test_silence_after_the_greeting_is_refused(tmp_path: Path) -> None:
    rules = replace(RULES, hello_ms=100)
    async with serve(tmp_path, rules=rules) as service, open_socket(beats_url(service)) as socket:
        await socket.receive()
        assert json.loads(await socket.receive())["reason"] == "no hello"


@pytest.mark.parametrize(
    ("text", "reason"),
    [(HELLO, "out of turn"), ("nonsense", "not JSON"), ("x" * 2000, "oversized")],
)
async def test_frame_that_breaks_the_rules_ends_the_session(
    service: Serving, text: str, reason: str
) -> None:
    async with service.client(1, 1) as client, client.session(BOOT) as session:
        await session.answer()
        await session.socket.send(text)
        with pytest.raises(ServiceRefusal, match=reason):
            await receive_all(session)
        assert service.running.beats.refused == {reason: 1}


async def test_flood_of_beats_ends_the_session(service: Serving) -> None:
    async with service.client(1, 1) as client, client.session(BOOT) as session:
        beat = session.make_beat(await session.wait_for_challenge())
        for _ in range(10):
            await session.socket.send(beat.encode())
        with pytest.raises(ServiceRefusal, match="unresponsive"):
            await receive_all(session)
        assert service.running.beats.refused["replayed"] == RULES.max_misses


async def test_sessions_of_an_address_are_limited(tmp_path: Path) -> None:
    limits = replace(RULES.limits, sessions_per_address=2)
    async with (
        serve(tmp_path, rules=replace(RULES, limits=limits)) as service,
        service.client(1) as one,
        service.client(2) as two,
        service.client(3) as three,
    ):
        async with one.session(BOOT), two.session(BOOT):
            with pytest.raises(ServiceRefusal, match="address has as many") as caught:
                async with three.session(BOOT):
                    pass
            assert caught.value.retry_ms == 60_000
        async with three.session(BOOT):
            pass


async def test_pages_of_others_may_not_open_sessions(service: Serving) -> None:
    url = beats_url(service)
    with pytest.raises(SocketRefused) as caught:
        async with open_socket(url, [(b"Origin", b"https://evil.example")]):
            pass
    assert caught.value.status == 403
    assert service.running.web.refused == {"unknown origin": 1}
    async with open_socket(url, [(b"Origin", service.url.encode())]) as socket:
        assert json.loads(await socket.receive())["t"] == "greet"


async def test_clients_that_vanish_leave_their_place(service: Serving) -> None:
    async with service.client(1, 1) as client:
        for _ in range(3):
            async with client.session(BOOT) as session:
                await session.wait_for_challenge()
                await trio.aclose_forcefully(session.socket.stream)
        with trio.fail_after(5):
            while len(service.service.sessions):
                await trio.sleep(0.01)
        async with httpx.AsyncClient() as http:
            assert (await http.get(service.url + "/v1/service")).status_code == 200
        assert not service.running.web.bugs

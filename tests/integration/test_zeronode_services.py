"""Two ZeroNode services over real sockets: one account at both, then its home moves. Both together
pay for every second once."""

import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio

from p2p_node.net import open_network
from p2p_node.net.api import Network
from p2p_node.net.settings import NetworkSettings
from p2p_node.zeronode.accounts import wallet_text
from p2p_node.zeronode.client import ServiceRefusal, ZeroNodeClient, wallet_of_secret
from p2p_node.zeronode.day_roots import last_day
from p2p_node.zeronode.homes import find_home
from p2p_node.zeronode.ledger import Unit, balance, entry_by_key, iterate_entries, user_account
from p2p_node.zeronode.ledger_check import check_books
from p2p_node.zeronode.parts import Service
from p2p_node.zeronode.receipts import ReceiptExchange, Speaker
from p2p_node.zeronode.service import Duty
from p2p_node.zeronode.uptime_book import stretches_of
from protocols.types import NodeKey, Wallet
from protocols.uptime import seconds
from protocols.uptime_gossip import UPTIME_TOPIC, ServiceView
from tests.p2p_node.zeronode.serving import (
    NETWORK,
    Serving,
    make_key,
    make_wallet,
    serve,
)
from tests.p2p_node.zeronode.serving import (
    RULES as QUICK_RULES,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

RULES = replace(QUICK_RULES, day_ms=20_000, close_delay_ms=4_000, batch_ms=300)
NODES = (97, 98)
LISTED = frozenset(NodeKey(bytes(make_key(node).verify_key)) for node in NODES)
KEY, WALLET = 5, 7
ALICE: Wallet = wallet_of_secret(make_wallet(WALLET))


@dataclass
class Pair:
    """Both services, and the account's client at each."""

    serving: Sequence[Serving]
    clients: Sequence[ZeroNodeClient]


def make_duties(network: Network) -> Callable[[Service], Sequence[Duty]]:
    def make(service: Service) -> Sequence[Duty]:
        service.listed = lambda: LISTED

        async def exchange() -> None:
            speaker = Speaker(service.identity.node_key, service.public_url, RULES)
            view = ServiceView(NETWORK, LISTED, RULES)
            await ReceiptExchange(
                service.database, network, speaker, lambda: view, service.clock
            ).run()

        return (exchange,)

    return make


@asynccontextmanager
async def open_pair(directory: Path) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        serving: list[Serving] = []
        networks: list[Network] = []
        for node in NODES:
            network = await stack.enter_async_context(
                open_network(
                    NetworkSettings(
                        seed=bytes(make_key(node)),
                        network=NETWORK.hex()[:16],
                        listen=("/ip4/127.0.0.1/tcp/0",),
                        bootstrap=networks[0].addresses if networks else (),
                    )
                )
            )
            networks.append(network)
            place = directory / str(node)
            place.mkdir()
            serving.append(
                await stack.enter_async_context(
                    serve(place, rules=RULES, node=node, make_duties=make_duties(network))
                )
            )
        with trio.fail_after(20):
            for network in networks:
                await network.wait_for_peers(1, topic=UPTIME_TOPIC)
        clients = [
            await stack.enter_async_context(ZeroNodeClient.open(each.url, make_key(KEY)))
            for each in serving
        ]
        yield Pair(serving, clients)


async def answer(client: ZeroNodeClient, for_seconds: float) -> int:
    """Hold a session for so long; return the milliseconds that it was told to be paid for."""
    told, deadline = 0, trio.current_time() + for_seconds
    async with client.session(secrets.token_bytes(16)) as session:
        while trio.current_time() < deadline:
            told += (await session.answer()).paid_ms
    return told


async def wait_for_day(serving: Serving) -> int:
    """Wait for the beginning of a day; return it."""
    clock = serving.service.clock
    day = RULES.day_of(clock.now()) + 1
    await clock.sleep_until(RULES.day_start(day))
    return day


async def test_one_account_at_two_services_is_paid_once(tmp_path: Path) -> None:
    async with open_pair(tmp_path) as pair:
        first, second = pair.serving
        at_first, at_second = pair.clients
        day = await wait_for_day(first)
        await at_first.sign_in(make_wallet(WALLET))
        told = await answer(at_first, 2)

        # The second knows where the account is at home before it signs in there.
        with trio.fail_after(10):
            while await second.service.database.read(find_home, ALICE) is None:
                await trio.sleep(0.05)
        await at_second.sign_in(make_wallet(WALLET))
        standing = await at_second.account()
        assert standing["home"] is False
        assert standing["home_service"] == first.service.identity.service.hex()
        with pytest.raises(ServiceRefusal, match="the account is at home elsewhere") as refused:
            await at_second.call("POST", "/v1/account/check-in")
        assert refused.value.status == 409
        assert first.url in str(refused.value)
        checked_in = (await at_first.call("POST", "/v1/account/check-in"))["units"]

        # At both at once, as two browsers or a copy would.
        both: list[int] = []

        async def note(client: ZeroNodeClient) -> None:
            both.append(await answer(client, 2))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(note, at_first)
            nursery.start_soon(note, at_second)

        # Then the home moves; whoever asks twice gets the same.
        goal = second.service.identity.service.hex()
        left = await at_first.call("POST", "/v1/account/departure", {"to": goal})
        assert left == await at_first.call("POST", "/v1/account/departure", {"to": goal})
        assert left["url"] == second.url
        for _ in range(2):
            arrived = await at_second.call("POST", "/v1/arrivals", {"departure": left["departure"]})
        assert arrived["points_units"] == checked_in
        assert arrived["is_home"] is True
        with pytest.raises(ServiceRefusal, match="the account is at home elsewhere"):
            await at_first.call("POST", "/v1/account/check-in")
        # It has checked in today, wherever that was.
        assert (await at_second.account())["streak"]["checked_in"] is True
        told += await answer(at_second, 1.5)
        assert RULES.day_of(second.service.now()) == day

        with trio.fail_after(40):
            for serving in pair.serving:
                while await _last_closed(serving) < day:
                    await trio.sleep(0.1)
        known = [
            await serving.service.database.read(stretches_of, ALICE, day, day)
            for serving in pair.serving
        ]
        assert known[0] == known[1]
        paid = seconds(known[1])
        # Time at both counts once: less than both were told, more than one alone.
        assert (told + max(both)) // 1000 - 2 <= paid < (told + sum(both)) // 1000
        key = f"uptime:{wallet_text(ALICE)}:{day}"
        entries = [
            await serving.service.database.read(entry_by_key, key) for serving in pair.serving
        ]
        assert entries[0] is None
        assert entries[1] is not None
        holds = [
            await serving.service.database.read(balance, user_account(ALICE), Unit.POINTS)
            for serving in pair.serving
        ]
        assert holds == [0, checked_in + 10 * paid]
        total = 0
        for serving in pair.serving:
            report = await serving.service.database.read(check_books)
            assert report.problems == ()
            total += report.totals[Unit.POINTS]
            assert not serving.running.web.bugs
        assert total == checked_in + 10 * paid
        kinds = [
            [entry.transfer.kind for entry in await _entries(serving)] for serving in pair.serving
        ]
        assert kinds == [["check-in", "departure"], ["arrival", "uptime"]]


async def _last_closed(serving: Serving) -> int:
    closed = await serving.service.database.read(last_day)
    return -1 if closed is None else closed.summary.day


async def _entries(serving: Serving) -> list:  # type: ignore[type-arg]
    return await serving.service.database.read(lambda connection: list(iterate_entries(connection)))

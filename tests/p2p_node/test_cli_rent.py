"""`kaisar rent` on a chain: search, money and receipts, from the offer to the last unit."""

import csv
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import trio

from chain.deployment import write_deployment
from chain.rental_calls import RentalCalls
from chain.rental_client import RentalClient
from p2p_node.cli import main
from p2p_node.keystore import LIGHT_KDF, PASSWORD_VARIABLE, Keystore
from p2p_node.rental import renter_market
from p2p_node.rental.renter_book import LeaseBook
from protocols.leases import Lease, LeaseState, compute_escrow
from protocols.params import TOKEN
from protocols.types import Digest, Epoch
from tests.chain.network import PRESET, Network, Person, network

PRICE = TOKEN // 3600
"""A KAI per hour, as near as it gets."""

CAPABILITY = Digest(b"\x55" * 32)
FUNDS = 1000 * TOKEN

PEER = "12D3KooWPSkUVSevSFc9cKhFjHnZvnjpCaBoqsuGAhneRTbQmqwX"

EASY = replace(PRESET, lease_accept_seconds=600)


@dataclass
class Market:
    """A chain with providers that offer, and a renter with flags to be it."""

    net: Network
    renter: Person
    flags: list[str]
    data_dir: Path
    capsys: pytest.CaptureFixture[str]

    @property
    def rental(self) -> RentalClient:
        return RentalClient(self.net.rpc, self.net.deployment)

    async def kaisar(self, *words: str, status: int = 0) -> str:
        """Run an action of `kaisar rent`; return what it wrote to standard output, or to error
        where it fails."""
        found = await trio.to_thread.run_sync(main, ["rent", *words, *self.flags])
        out, err = self.capsys.readouterr()
        assert found == status, err
        return err if status else out

    async def ask(self, *words: str) -> Any:
        return json.loads(await self.kaisar(*words, "--json"))

    async def tokens(self) -> int:
        return await self.net.client.token_balance(self.renter.signer.address)

    async def accept(self, lease_id: int) -> None:
        lease = await self.rental.lease(lease_id)
        assert lease is not None
        for call in RentalCalls(self.net.deployment).accept(lease):
            await self.net.execute(self.provider(lease).manager, call, f"acceptance {lease_id}")

    def provider(self, lease: Lease) -> Person:
        return self.net.providers[lease.provider]

    async def accept_when_open(self, lease_id: int) -> None:
        while await self.rental.lease_count() < lease_id:
            await trio.sleep(0.02)
        await self.accept(lease_id)

    async def open(self, *words: str, lease: int) -> Any:
        """Open a lease while its provider waits for it."""
        result: list[Any] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.accept_when_open, lease)
            result.append(await self.ask("open", *words, "--yes", "--no-deploy"))
        return result[0]


@asynccontextmanager
async def open_market(
    directory: Path, capsys: pytest.CaptureFixture[str], prices: tuple[int, ...] = (PRICE,)
) -> AsyncIterator[Market]:
    """A market in epoch 1; the last provider is the renter, and offers nothing."""
    async with (
        network(4, len(prices) + 1, preset=EASY) as net,
        trio.open_nursery() as nursery,
    ):

        async def make_blocks() -> None:
            while True:
                net.running.chain.mine(net.running.chain.head().timestamp + 1)
                # Ten seconds of the chain in one of ours: acceptance has a minute even so.
                await trio.sleep(0.1)

        # They registered in any order.
        net.providers.sort(key=lambda person: person.index)
        net.enter(1)
        nursery.start_soon(make_blocks)
        calls = RentalCalls(net.deployment)
        for person, price in zip(net.providers, prices, strict=False):
            gift = net.calls.transfer(person.signer.address, FUNDS)
            await net.execute(net.funder, gift, f"a gift to {person.index}")
            offer = calls.offer(price, 60, 7200, CAPABILITY)
            await net.execute(person.manager, offer, f"offer of {person.index}")
        renter = net.providers[-1]
        gift = net.calls.transfer(renter.signer.address, FUNDS)
        await net.execute(net.funder, gift, "a gift to the renter")
        data_dir = directory / "renter"
        await trio.to_thread.run_sync(
            lambda: Keystore.create(
                data_dir, "secret", private_key=renter.private_key, kdf=LIGHT_KDF
            )
        )
        write_deployment(directory / "deployment.json", net.deployment)
        flags = ["--data-dir", str(data_dir), "--rpc", net.running.url]
        flags += ["--deployment", str(directory / "deployment.json")]
        capsys.readouterr()
        yield Market(net, renter, flags, data_dir, capsys)
        nursery.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "secret")


async def test_a_lease_from_opening_to_receipt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_market(tmp_path, capsys) as market:
        before = await market.tokens()
        assert "is on the chain" not in await market.kaisar("status")
        opened = await market.open("0", "--seconds", "3600", lease=1)
        lease = await market.rental.lease(1)
        assert lease is not None
        escrow = compute_escrow(3600, lease.terms)
        assert (opened["lease"], opened["state"], opened["escrow"]) == (1, "active", str(escrow))
        assert await market.tokens() == before - escrow

        (note,) = LeaseBook(market.data_dir, market.net.deployment.network_id).notes()
        assert (note.id, note.public_key) == (1, lease.key)

        (shown,) = (await market.ask("status"))["leases"]
        assert (shown["state"], shown["lease"], shown["provider"]) == ("active", 1, 0)
        assert 0 < shown["seconds_left"] <= 3600
        assert "`kaisar rent" not in await market.kaisar("status", "1")

        more = await market.ask("extend", "--hours", "0.5", "--yes")
        assert more["seconds"] == 5400
        assert int(more["cost"]) == compute_escrow(5400, lease.terms) - escrow
        assert "expected at most 1,800 s more" in await market.kaisar(
            "extend", "1", "--hours", "1", "--yes", status=1
        )

        ended = await market.ask("end")
        assert ended["state"] == "settled"
        (receipt,) = (await market.ask("receipts"))["receipts"]
        after = await market.tokens()
        assert before - after == int(receipt["paid"]) + int(receipt["fee"])
        assert int(receipt["paid"]) == receipt["charged_seconds"] * PRICE
        assert int(receipt["paid"]) + int(receipt["fee"]) + int(receipt["refund"]) == int(
            receipt["escrow"]
        )
        whats = [each["what"] for each in receipt["transactions"]]
        assert whats == ["opened", "accepted", "extended", "ended", "settled"]
        assert receipt["transactions"][0]["tx"] == opened["tx"]
        assert receipt["transactions"][3]["tx"] == ended["tx"]

        await market.kaisar("receipts", "--csv", str(tmp_path / "receipts.csv"))
        with (tmp_path / "receipts.csv").open() as file:
            (row,) = csv.DictReader(file)
        assert (row["lease"], row["paid"]) == ("1", receipt["paid"])
        assert "it is settled" in await market.kaisar("end", "1", status=1)
        assert "there is no active lease" in await market.kaisar(
            "extend", "--hours", "1", "--yes", status=1
        )


async def test_what_is_not_accepted_is_reclaimed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_market(tmp_path, capsys) as market:
        before = await market.tokens()

        async def pass_time() -> None:
            while await market.rental.lease_count() < 1:
                await trio.sleep(0.02)
            market.net.enter(3)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pass_time)
            words = ("open", "0", "--seconds", "600", "--yes", "--no-deploy")
            said = await market.kaisar(*words, status=1)
        assert "`kaisar rent reclaim 1` returns everything" in said
        assert "it is reserved; `kaisar rent reclaim` is for it" in await market.kaisar(
            "end", "1", status=1
        )
        assert "kaisar rent reclaim" in await market.kaisar("status")

        refund = (await market.ask("reclaim"))["refund"]
        assert await market.tokens() == before
        (receipt,) = (await market.ask("receipts", "1"))["receipts"]
        assert (receipt["refund"], receipt["paid"], receipt["state"]) == (refund, "0", "reclaimed")
        assert "owed nothing" in await market.kaisar("withdraw", status=1)


async def test_what_is_refused_before_anything_is_paid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_market(tmp_path, capsys, (PRICE, 10**6 * TOKEN)) as market:
        before = await market.tokens()

        async def refuse(*words: str, status: int = 1) -> str:
            return await market.kaisar("open", *words, "--no-deploy", status=status)

        assert "either its number or --best" in await refuse("--seconds", "60", status=2)
        assert "expected --hours or --seconds" in await refuse("0", status=2)
        assert "expected 60 … 7,200 s" in await refuse("0", "--seconds", "59", "--yes")
        assert "it offers nothing now" in await refuse("7", "--seconds", "60", "--yes")
        assert "tokens: found" in await refuse("1", "--seconds", "60", "--yes")
        assert "--max-price" in await refuse("0", "--seconds", "60", "--yes", "--max-price", "0.5")
        assert "no machine that can be leased now fits" in await refuse(
            "--best", "--seconds", "60", "--yes", "--min-score", "30000"
        )
        assert "--yes: expected" in await refuse("0", "--seconds", "60", status=2)
        assert "there is no opening to go on with" in await refuse("--resume", "--yes")
        assert await market.tokens() == before
        assert LeaseBook(market.data_dir, market.net.deployment.network_id).notes() == []


async def test_an_opening_that_was_cut_off_is_gone_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_market(tmp_path, capsys) as market:
        book = LeaseBook(market.data_dir, market.net.deployment.network_id)
        node_key = (await market.net.client.providers())[0].node_key
        # As if it had been killed between the key and the payment.
        note = book.make(
            provider=0,
            provider_key=node_key,
            seconds=3600,
            price=PRICE,
            minimum=600,
            template="base",
            now=int(time.time()),
        )
        (shown,) = (await market.ask("status"))["leases"]
        assert (shown["state"], shown["lease"], shown["name"]) == ("opening", None, note.name)
        assert "--resume` goes on with it first" in await market.kaisar(
            "open", "0", "--seconds", "60", "--yes", "--no-deploy", status=1
        )
        resumed = await market.open("--resume", lease=1)
        assert (resumed["lease"], resumed["name"]) == (1, note.name)

        # As if it had been killed between the payment and its note: nothing is paid again.
        (found,) = book.notes()
        book._write(replace(found, id=None))
        before = await market.tokens()
        again = await market.ask("open", "--resume", "--yes", "--no-deploy")
        assert (again["lease"], again["tx"]) == (1, None)
        assert await market.tokens() == before
        assert await market.rental.lease_count() == 1

        # And one that never came onto the chain can be given up.
        other = book.make(
            provider=0,
            provider_key=node_key,
            seconds=3600,
            price=PRICE,
            minimum=600,
            template="base",
            now=int(time.time()),
        )
        assert "nothing was paid" in await market.kaisar("reclaim", other.name)
        states = {each["name"]: each["state"] for each in (await market.ask("status"))["leases"]}
        assert states == {note.name: "active", other.name: "failed"}


async def test_the_presence_of_a_provider_that_does_not_answer_is_not_confirmed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been away since the last epoch that was judged, and keeps its bond otherwise."""
    async with open_market(tmp_path, capsys) as market:
        await market.open("0", "--seconds", "3600", lease=1)
        monkeypatch.setattr("p2p_node.rental.renter_session.MEET_SECONDS", 0.5)
        monkeypatch.setenv("KAISAR_BOOTSTRAP", f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}")
        ended = await market.ask("end")
        assert ended["state"] == "ended"


async def test_an_endpoint_that_lags_does_not_interrupt_an_opening(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be gone on with by another payment."""
    async with open_market(tmp_path, capsys) as market:
        find, times = renter_market.Market.find_by_key, []

        async def find_late(self: Any, note: Any, renter: Any) -> Lease | None:
            times.append(note)
            # Before the payment, and twice after it.
            return None if len(times) <= 3 else await find(self, note, renter)

        monkeypatch.setattr(renter_market.Market, "find_by_key", find_late)
        opened = await market.open("0", "--seconds", "600", lease=1)
        assert opened["lease"] == 1
        assert await market.rental.lease_count() == 1


async def test_a_stranger_that_names_the_key_of_a_lease_is_not_taken_for_its_renter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The key stands on the chain; a lease of the stranger's own would get commands and files."""
    async with open_market(tmp_path, capsys, (PRICE, 1)) as market:
        net = market.net
        book = LeaseBook(market.data_dir, net.deployment.network_id)
        node_key = (await net.client.providers())[0].node_key
        note = book.make(
            provider=0,
            provider_key=node_key,
            seconds=3600,
            price=PRICE,
            minimum=600,
            template="base",
            now=int(time.time()),
        )
        stranger = net.providers[1].manager
        for call in RentalCalls(net.deployment).open(1, 60, 1, note.public_key):
            await net.execute(stranger, call, "a lease in another's name")
        (shown,) = (await market.ask("status"))["leases"]
        assert shown["lease"] is None
        opened = await market.open("--resume", lease=2)
        assert (opened["lease"], opened["provider"]) == (2, 0)


async def test_the_best_value_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with open_market(tmp_path, capsys, (4 * PRICE, PRICE, 2 * PRICE)) as market:
        net = market.net
        assert "Left out: 3 not seen in a settled epoch yet." in await market.kaisar(
            "search", "--offline"
        )
        reports = await net.sign_reports(Epoch(1), [[4000, 900, 3000, 1]] * 3)
        await net.execute(net.funder, await net.bundle(Epoch(1), reports), "bundle")
        net.enter(2)

        listing = await market.ask("search", "--offline", "--seconds", "3600")
        assert [each["provider"] for each in listing["providers"]] == [2, 0, 1]
        best = listing["providers"][0]
        assert (best["proven"]["score"], best["proven"]["epochs_seen"]) == (3000, 1)
        assert best["price_per_second"] == str(2 * PRICE)
        assert int(best["quote"]["escrow"]) == 7200 * PRICE + 7200 * PRICE * 500 // 10_000
        assert int(best["proven"]["operations_per_second_least"]) > 0

        words = ("search", "--offline", "--min-score", "1000", "--max-price", "3")
        narrow = await market.ask(*words)
        assert [each["provider"] for each in narrow["providers"]] == [2]
        assert narrow["hidden"] | {"score": 1, "price": 1} == narrow["hidden"]
        text = await market.kaisar(*words)
        assert "1 by price" in text
        assert "not asked" in text

        opened = await market.open("--best", "--offline", "--seconds", "3600", lease=1)
        assert opened["provider"] == 2
        left = await market.ask("search", "--offline")
        assert [each["provider"] for each in left["providers"]] == [0, 1]
        assert left["hidden"]["leased"] == 1
        assert "it is leased now" in await market.kaisar(
            "open", "2", "--seconds", "600", "--yes", "--no-deploy", status=1
        )
        assert "bootstrap: found nothing" in await market.kaisar(
            "search", "--vram", "24GB", status=2
        )


async def test_what_is_contested_waits_for_the_checkers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_market(tmp_path, capsys) as market:
        before = await market.tokens()
        await market.open("0", "--seconds", "7200", lease=1)
        ended = await market.ask("end", "--contest")
        assert ended["state"] == "ended"
        assert int(ended["came_back"]) > 0
        lease = await market.rental.lease(1)
        assert lease is not None
        assert lease.state is LeaseState.ENDED
        assert "is judged by the checkers for another" in await market.kaisar("end", status=1)
        market.net.enter(3)
        settled = await market.ask("end")
        assert settled["state"] == "settled"
        assert before - await market.tokens() == int(settled["paid"]) + int(settled["fee"])


async def test_absences_are_judged_before_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_market(tmp_path, capsys) as market:
        net = market.net
        before = await market.tokens()
        await market.open("0", "--seconds", "3600", lease=1)
        # Two epochs in which the checkers see nobody, then one that is under way.
        for epoch in (1, 2):
            if epoch > 1:
                net.enter(epoch, 10)
            reports = await net.sign_reports(Epoch(epoch), [[]] * 3)
            bundle = await net.bundle(Epoch(epoch), reports)
            await net.execute(net.funder, bundle, f"bundle {epoch}")
        net.enter(3, PRESET.grace_seconds + 10)

        judged = await market.ask("judge")
        assert judged["judged_until"] == 3
        assert judged["away_seconds"] > 600
        ended = json.loads(await market.kaisar("end", "--json"))
        # The provider was away in the last closed epoch: its presence since is not confirmed.
        assert ended["state"] == "ended"
        net.enter(4, PRESET.grace_seconds + 10)
        settled = await market.ask("end")
        (receipt,) = (await market.ask("receipts"))["receipts"]
        assert settled["state"] == "settled"
        assert receipt["away_seconds"] == judged["away_seconds"]
        assert receipt["charged_seconds"] == receipt["used_seconds"] - receipt["away_seconds"]
        assert before - await market.tokens() == int(receipt["paid"]) + int(receipt["fee"])

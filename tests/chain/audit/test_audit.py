"""Audits of a network on the devchain: every epoch equal, and what is altered found."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from typing import Any

import trio

from chain.abi import get_interface
from chain.audit.auditing import audit_epochs
from chain.audit.judging import Verdict
from chain.client import ChainClient
from chain.hexes import to_hex
from chain.records import Call, SlotKind
from chain.rpc import Rpc
from protocols.committee import compute_committee
from protocols.params import LANES, TOKEN
from protocols.reports import (
    Report,
    SignedReport,
    compute_domain_separator,
    compute_report_digest,
)
from protocols.signing import sign_digest
from protocols.types import Digest, Epoch, Seat, Shard
from tests.chain.audit.proxy import altering, altering_call
from tests.chain.backends import CHAIN_ID, FUNDER
from tests.chain.network import FIRST_SHARD, PRESET, Network, Person, network

RIGHT, WRONG = (10, 20, 30), (1_000, 2_000, 3_000)
LIAR, TRAITOR = 3, 0
"""Indices of checkers."""


SHORT = replace(PRESET, ring_epochs=6, unstake_delay_seconds=5_000)
"""A ring that goes round within a test."""


def silent(what: str, done: int, total: int) -> None:
    """Nobody watches."""


def wait_for_finality(net: Network) -> None:
    for _ in range(3):
        net.running.chain.mine(net.running.chain.head().timestamp + 1)


async def audit(net: Network, *epochs: int, url: str | None = None) -> list[Verdict]:
    wait_for_finality(net)
    with closing(Rpc(url or net.running.url)) as rpc:
        client = ChainClient(rpc, net.deployment)
        return await audit_epochs(client, [Epoch(epoch) for epoch in epochs], silent)


async def settle(
    net: Network,
    epoch: int,
    times: int,
    *,
    scores: Sequence[int] = RIGHT,
    liar: int | None = None,
    fraud: int = 0,
    away: int = 0,
) -> int | None:
    """Whoever is active contributes for the `times`-th time and reports, and a bundle is sent.

    The liar reports nonsense; its seat is returned. `fraud` and `away` are maps of lanes.
    """
    net.enter(epoch)
    active = [slot.index for slot in await net.client.checkers() if slot.is_active(Epoch(epoch))]
    async with trio.open_nursery() as nursery:
        for index in active:
            nursery.start_soon(net.contribute, checker(net, index), times)
    seed = await net.client.seed(Epoch(epoch))
    committee = compute_committee(seed, FIRST_SHARD, len(net.checkers), net.preset.seats)
    reports = [
        sign(net, index, seat, epoch, WRONG if index == liar else scores, fraud, away)
        for seat, index in enumerate(committee)
        if index in active
    ]
    await net.execute(net.funder, await net.bundle(Epoch(epoch), reports), f"bundle {epoch}")
    return committee.index(liar) if liar is not None else None


def sign(
    net: Network,
    index: int,
    seat: int,
    epoch: int,
    scores: Sequence[int],
    fraud: int = 0,
    away: int = 0,
) -> SignedReport:
    report = Report(
        epoch=Epoch(epoch),
        shard=FIRST_SHARD,
        scores=(*scores, *[0] * (LANES - len(scores))),
        online=(1 << len(scores)) - 1 & ~away,
        fraud=fraud,
        evidence=Digest(b"\x11" * 32),
    )
    domain = compute_domain_separator(CHAIN_ID, net.deployment.address("Consensus"))
    digest = compute_report_digest(domain, report)
    key = checker(net, index).private_key
    return SignedReport(Seat(seat), report, sign_digest(key, digest))


async def claim(net: Network, epochs: Sequence[int]) -> None:
    """Everybody's rewards of these epochs, by the funder."""
    for person in net.providers:
        call = net.calls.claim_provider(person.index, [Epoch(epoch) for epoch in epochs])
        await net.execute(net.funder, call, f"claim of provider {person.index}")
    items: dict[int, list[tuple[Epoch, Shard, Seat]]] = {}
    for epoch in map(Epoch, epochs):
        bundle = await net.client.bundle(epoch, FIRST_SHARD)
        for report in bundle.reports if bundle else ():
            item = (epoch, FIRST_SHARD, Seat(report.seat))
            if await net.client.checker_reward(report.checker, *item):
                items.setdefault(report.checker, []).append(item)
    for checker, own in items.items():
        await net.execute(net.funder, net.calls.claim_checker(checker, own), f"claim of {checker}")


def checker(net: Network, index: int) -> Person:
    return next(person for person in net.checkers if person.index == index)


async def assert_equal(net: Network, *epochs: int) -> list[Verdict]:
    verdicts = await audit(net, *epochs)
    for verdict in verdicts:
        assert verdict.difference is None, str(verdict.difference)
    return verdicts


async def test_every_epoch_is_equal() -> None:
    async with network() as net:
        await settle(net, 1, 1)
        await settle(net, 2, 2, liar=LIAR)
        # Nobody does anything in the third: its pools are carried on.
        net.enter(3)
        await settle(net, 4, 3, scores=(5, 0, 7))
        net.enter(5, 200)
        await claim(net, [1, 2, 4])
        verdicts = await assert_equal(net, 0, 1, 2, 3, 4)
        # Everything was looked at.
        assert [verdict.is_closed for verdict in verdicts] == [False, True, True, True, True]
        counts = verdicts[2].counts
        assert counts["Consensus.scores"] == LANES
        assert counts["Consensus.signer"] == counts["Consensus.bundle.units"] == 4
        assert counts["Rewards.provider_reward"] == counts["Rewards.ProviderPaid.amount"] == 3
        assert counts["Rewards.checker_reward"] == 4
        # The wrong report earned nothing, so three were paid.
        assert counts["Rewards.CheckerPaid.amount"] == 3
        assert counts["Rewards.paid"] == 6
        assert verdicts[3].counts["Rewards.EpochClosed.provider_carry"] == 1


def altered_log(contract: str, event: str, byte: int) -> Callable[[list[Any], Any], Any]:
    """Flip the lowest bit of one byte of an event's data, counted from its end."""
    topic = to_hex(get_interface(contract).events[event].topic)

    def change(_: list[Any], logs: Any) -> Any:
        for log in logs:
            if log["topics"][0] == topic:
                data = bytearray.fromhex(log["data"][2:])
                data[-1 - byte] ^= 1
                log["data"] = to_hex(bytes(data))
        return logs

    return change


def altered_input(function: str, byte: int) -> Callable[[list[Any], Any], Any]:
    """Flip the lowest bit of one byte of a call's data, counted from its beginning."""
    selector = to_hex(get_interface("Consensus").functions[function].selector)

    def change(_: list[Any], transaction: Any) -> Any:
        if transaction["input"].startswith(selector):
            data = bytearray.fromhex(transaction["input"][2:])
            data[byte] ^= 1
            transaction["input"] = to_hex(bytes(data))
        return transaction

    return change


WORD = 32


async def test_whatever_is_altered_is_found() -> None:
    """One bit of one answer at a time."""
    async with network() as net:
        await settle(net, 1, 1, liar=LIAR)
        net.enter(2, 200)
        await claim(net, [1])
        await assert_equal(net, 1)
        url = net.running.url
        cases: list[tuple[AbstractContextManager[str], str]] = [
            (altering_call(url, "Consensus", "scores", 15 * WORD), "Consensus.scores"),
            (altering_call(url, "Consensus", "scores", 0), "Consensus.scores"),
            (altering_call(url, "Consensus", "bundle", 3 * WORD), "Consensus.bundle.online"),
            (altering_call(url, "Consensus", "bundle", 2 * WORD), "Consensus.bundle.fraud"),
            (altering_call(url, "Consensus", "bundle", 0), "Consensus.bundle.units"),
            (altering_call(url, "Consensus", "totals", WORD), "Consensus.totals.provider_total"),
            (altering_call(url, "Consensus", "totals", 0), "Consensus.totals.checker_total"),
            (altering_call(url, "Beacon", "seed", 31), "Beacon.seed"),
            (altering_call(url, "Rewards", "provider_reward", 0), "Rewards.provider_reward"),
            (altering_call(url, "Rewards", "checker_reward", 0), "Rewards.checker_reward"),
            (altering_call(url, "Rewards", "provider_claimed", 0), "Rewards.provider_claimed"),
            (altering_call(url, "Rewards", "checker_claimed", 0), "Rewards.checker_claimed"),
            *(
                (altering(url, "eth_getLogs", altered_log(contract, event, byte)), field)
                for contract, event, byte, field in (
                    ("Beacon", "SeedFrozen", 0, "Beacon.SeedFrozen.seed"),
                    ("Consensus", "BundleAccepted", WORD, "Consensus.BundleAccepted.total"),
                    ("Registry", "Registered", WORD + 8, "Consensus.BundleAccepted.units"),
                    ("Rewards", "EpochClosed", 3 * WORD, "Rewards.EpochClosed.provider_pool"),
                    ("Rewards", "EpochClosed", 0, "Rewards.EpochClosed.checker_carry"),
                    ("Rewards", "ProviderPaid", WORD, "Rewards.ProviderPaid.amount"),
                    ("Rewards", "CheckerPaid", WORD, "Rewards.CheckerPaid.delegators"),
                )
            ),
            *(
                (altering(url, "eth_getTransactionByHash", altered_input("submit", byte)), field)
                for byte, field in (
                    # The median of lane 0, then within the last report.
                    (4 + 2 * WORD + 31, "Consensus.median"),
                    (-1, "Consensus.signer"),
                    (-WORD - 1, "Consensus.signer"),
                )
            ),
        ]
        for altered, field in cases:
            with altered as altered_url:
                (verdict,) = await audit(net, 1, url=altered_url)
            assert verdict.difference is not None, field
            found = verdict.difference
            assert f"{found.contract}.{found.field}" == field
            assert found.place.epoch == 1


async def test_penalties_and_delegations_are_equal_too() -> None:
    """Wrong reports, a ban, fraud, equivocation, delegated stake and its part of the rewards."""
    async with network(preset=SHORT) as net:

        async def send(manager: Any, call: Call) -> None:
            await net.execute(manager, call, "step")

        await send(net.funder, net.calls.approve(net.deployment.address("Delegation"), 10**30))
        await send(net.funder, delegation(net, "deposit", TRAITOR, 1, 500 * TOKEN))
        terms = delegation(net, "set_commission", TRAITOR, 2_500)
        await send(checker(net, TRAITOR).manager, terms)
        warmup = net.preset.ring_epochs + 1
        for epoch in range(1, warmup + 1):
            # Once the liar is banned there are three.
            seat = await settle(net, epoch, epoch, liar=LIAR if epoch < 3 else None)
            if seat is not None:
                await send(
                    net.funder, net.calls.record_wrong(Epoch(epoch), FIRST_SHARD, Seat(seat))
                )
        await send(net.funder, delegation(net, "activate", FUNDER.address, TRAITOR, 1))
        marked = Epoch(warmup + 1)
        await settle(net, marked, marked, fraud=0b100)
        await send(net.funder, net.calls.slash_fraud(marked, FIRST_SHARD, 2))
        net.enter(marked + 1, 200)
        await claim(net, [marked - 2, marked - 1, marked])
        reports = [sign(net, TRAITOR, 0, marked, scores) for scores in (RIGHT, WRONG)]
        proof = net.calls.prove_equivocation(TRAITOR, *reports)
        await send(net.funder, proof)
        net.enter(marked + 2, 200)
        verdicts = await assert_equal(net, *range(marked + 1))
        assert verdicts[1].is_expired
        assert "Consensus.scores" not in verdicts[1].counts
        assert verdicts[1].counts["Consensus.signer"] == 4
        banned = verdicts[2].counts
        assert banned["Penalties.WrongRecorded.banned_until"] == 1
        last = verdicts[marked]
        assert not last.is_expired
        assert last.counts["Penalties.FraudPunished.slashed"] == 1
        assert last.counts["Penalties.Equivocated.evidence"] == 1
        assert last.counts["Rewards.CheckerPaid.delegators"] == 3
        slot = await net.client.slot(SlotKind.CHECKER, TRAITOR)
        assert slot.stake == 0


def delegation(net: Network, function: str, *arguments: object) -> Call:
    shape = get_interface("Delegation").functions[function]
    return Call(net.deployment.address("Delegation"), shape.encode(arguments))

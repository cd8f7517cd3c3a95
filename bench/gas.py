"""Gas of the contracts, from the receipts of real transactions under london rules.

The claims, everything included (21,000, calldata, signatures, storage, events):

- settling a full shard of 256 providers costs at most 1,600 gas per provider with 11 reports and
  1,200 with 7;
- proving an equivocation at most 150,000, registering 250,000, claiming 24 epochs at once 300,000.

What is measured is the steady state: the ring has wrapped, so scores overwrite scores, and so does
every other word that a bundle writes; epochs are closed by somebody before they are claimed. All
256 lanes are in use; scores are 15-bit numbers, and the reports on one provider lie within 2 % of
its true score.

    python -m bench.gas [--json PATH]

With anvil on the PATH, the receipts are anvil's; otherwise py-evm's.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from bench.evm import open_evm
from bench.gas_leases import Leases
from bench.gas_world import (
    CHECKERS,
    PROVIDERS,
    RING_EPOCHS,
    SEATS,
    SEED,
    SHARD,
    SPREAD,
    World,
    make_people,
)
from bench.gas_zeronode import measure_zeronode
from chain.compile import ARTEFACTS_DIR, DEPLOYED
from chain.records import Call
from protocols.params import MAX_SCORE, TOKEN
from protocols.types import Digest, Epoch

LAST: Final = 2 * RING_EPOCHS + 2
"""The last epoch of ordinary bundles: the ring has wrapped and been filled once more."""

CLAIMED: Final = 24
"""Epochs of the large claims."""

WRONG_SEAT: Final = 3
MARKED_LANE: Final = 5
DELEGATED: Final = 100 * TOKEN

SUBMIT_LIMITS: Final = {7: 1_200, 11: 1_600}
"""Gas per provider that the project holds itself to."""

LIMITS: Final = {
    "register_provider": 250_000,
    "register_checker": 250_000,
    "prove_equivocation": 150_000,
    f"claim_provider_{CLAIMED}_epochs": 300_000,
    f"claim_checker_{CLAIMED}_epochs": 300_000,
}
"""Gas of whole transactions, likewise."""

PEERS: Final = (
    ("Chainlink OCR2 aggregator, one report, 11 signatures", 177_300),
    ("Chainlink OCR3 ECDSA verifier, one report, 11 signatures", 97_800),
    ("Wormhole core, one message, 13 signatures", 198_000),
)
"""Published contracts, compiled and measured elsewhere by the project; one value each, not 256."""


def measure() -> dict[str, Any]:
    """Run everything; return the figures."""
    people = make_people()
    with open_evm([person.key for person in people]) as evm:
        world = World(evm, people)
        actions = {
            "register_provider": world.register("provider", world.providers),
            "register_checker": world.register("checker", world.checkers),
        }
        actions |= _delegate(world)
        leases = Leases(world)
        first, steady, others = _fill_ring(world, leases)
        actions |= others | _claims(world) | leases.finish() | _penalties(world)
        actions |= measure_zeronode(world)
        return {
            "submit": _per_provider(steady),
            "submit_first": _per_provider(first),
            "actions": actions,
            "sizes": _sizes(),
            "setting": {
                "providers": PROVIDERS,
                "ring_epochs": RING_EPOCHS,
                "spread": SPREAD,
                "seed": SEED,
                "evm": f"{evm.name}, london",
                "python": platform.python_version(),
            },
        }


def _delegate(world: World) -> dict[str, int]:
    """Entrust stake to the last checker, and add to stakes."""
    delegator = world.providers[0]
    world.give_and_approve(delegator, "Delegation", DELEGATED)
    world.give_and_approve(delegator, "Registry", DELEGATED)
    since = world.since(CHECKERS - 1)
    deposit = world.call("Delegation", "deposit", CHECKERS - 1, since, DELEGATED)
    return {
        "delegation_deposit": world.send(deposit, delegator),
        "top_up_provider": world.send(
            world.call("Registry", "top_up_provider", 0, TOKEN), delegator
        ),
    }


def _fill_ring(
    world: World, leases: Leases
) -> tuple[dict[int, int], dict[int, int], dict[str, int]]:
    """Settle epoch after epoch: the first and the dearest steady bundle by size, and the rest."""
    actions = dict([world.contribute()])
    first: dict[int, int] = {}
    steady: dict[int, int] = {}
    for epoch in map(Epoch, range(1, LAST + 1)):
        world.enter(epoch)
        actions |= dict([world.contribute()])
        for seats in SEATS:
            gas = world.submit(seats, epoch, world.make_reports(seats, epoch))
            first.setdefault(seats, gas)
            if epoch > RING_EPOCHS:
                steady[seats] = max(gas, steady.get(seats, 0))
        if epoch > 2:
            # The epoch before the last one: the last one's grace is not over.
            actions["close_1_epoch"] = world.send(world.call("Rewards", "close"), world.operator)
        if epoch == LAST - 2:
            actions |= leases.begin()
    return first, steady, actions


def _claims(world: World) -> dict[str, int]:
    """Claims of closed epochs, of one and of many; the words they mark were marked before."""
    world.enter(LAST + 2)
    world.send(world.call("Rewards", "close"), world.operator)
    epochs = [Epoch(e) for e in range(LAST - CLAIMED + 1, LAST + 1)]
    checker = 1
    items = [(epoch, SHARD, world.seat_of(checker, epoch)) for epoch in epochs]
    before = Epoch(epochs[0] - 1)
    calls = world.calls
    claims = {
        "claim_provider_first": calls.claim_provider(7, [before]),
        f"claim_provider_{CLAIMED}_epochs": calls.claim_provider(7, epochs),
        "claim_provider_next_first": calls.claim_provider(8, [before]),
        "claim_provider_1_epoch": calls.claim_provider(8, epochs[:1]),
        "claim_checker_first": calls.claim_checker(
            checker, [(before, SHARD, world.seat_of(checker, before))]
        ),
        f"claim_checker_{CLAIMED}_epochs": calls.claim_checker(checker, items),
    }
    gas = {name: world.send(call, world.operator) for name, call in claims.items()}
    del gas["claim_provider_next_first"]
    since = world.since(CHECKERS - 1)
    delegator = world.providers[0]
    activate = world.call("Delegation", "activate", delegator.wallet, CHECKERS - 1, since)
    gas["delegation_activate"] = world.send(activate, world.operator)
    return gas


def _penalties(world: World) -> dict[str, int]:
    """A last bundle with a wrong report and a provider marked by everybody; and two reports by one
    checker."""
    epoch = Epoch(world.epoch + 1)
    world.enter(epoch)
    world.contribute()
    reports = world.make_reports(CHECKERS, epoch, fraud=1 << MARKED_LANE)
    wrong = replace(
        reports[WRONG_SEAT].report,
        scores=tuple(world.random.randrange(MAX_SCORE) for _ in range(PROVIDERS)),
    )
    liar = world.seats(epoch)[WRONG_SEAT]
    reports[WRONG_SEAT] = world.sign(CHECKERS, WRONG_SEAT, world.checkers[liar], wrong)
    marked = world.submit(CHECKERS, epoch, reports)
    calls, operator = world.calls, world.operator
    seats = world.seats(epoch)

    def contradict(checker: int) -> Call:
        one = reports[seats.index(checker)]
        other = replace(one.report, evidence=Digest(world.random.randbytes(32)))
        two = world.sign(CHECKERS, one.seat, world.checkers[checker], other)
        return calls.prove_equivocation(checker, one, two)

    return {
        "submit_11_with_fraud": marked,
        "slash_fraud": world.send(calls.slash_fraud(epoch, SHARD, MARKED_LANE), operator),
        "record_wrong": world.send(calls.record_wrong(epoch, SHARD, WRONG_SEAT), operator),
        "prove_equivocation": world.send(contradict(0), operator),
        "prove_equivocation_delegated": world.send(contradict(CHECKERS - 1), operator),
    }


def _per_provider(gas: dict[int, int]) -> dict[str, dict[str, float]]:
    return {
        str(seats): {"gas": total, "per_provider": round(total / PROVIDERS, 1)}
        for seats, total in gas.items()
    }


def _sizes() -> dict[str, int]:
    return {
        name: json.loads((ARTEFACTS_DIR / f"{name}.json").read_text("utf-8"))["deployed_size"]
        for name in DEPLOYED
    }


def find_exceeded(result: dict[str, Any]) -> list[str]:
    """Name everything that costs more than its limit."""
    return [
        f"submit with {seats} reports"
        for seats, limit in SUBMIT_LIMITS.items()
        if result["submit"][str(seats)]["per_provider"] > limit
    ] + [name for name, limit in LIMITS.items() if result["actions"][name] > limit]


def render(result: dict[str, Any]) -> str:
    """Return the table for people."""
    lines = [f"{result['setting']['evm']}", "", "submit: 256 providers, everything included", ""]
    lines += [f"{'reports':>8} {'gas':>10} {'per provider':>13} {'limit':>7} {'first write':>12}"]
    for seats, row in result["submit"].items():
        limit = SUBMIT_LIMITS.get(int(seats), "")
        fresh = result["submit_first"][seats]["gas"]
        cells = f"{seats:>8} {row['gas']:>10,} {row['per_provider']:>13,}"
        lines += [f"{cells} {limit:>7} {fresh:>12,}"]
    lines += ["", "published peers"]
    lines += [f"{gas:>10,}  {what}" for what, gas in PEERS]
    lines += ["", "other transactions", f"{'gas':>10} {'limit':>9}"]
    for name, gas in result["actions"].items():
        limit = f"{LIMITS[name]:,}" if name in LIMITS else ""
        lines.append(f"{gas:>10,} {limit:>9}  {name}")
    lines += ["", "deployed bytes"]
    lines += [f"{size:>10,}  {name}" for name, size in result["sizes"].items()]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; the exit status is 1 when a limit is exceeded."""
    parser = argparse.ArgumentParser(prog="python -m bench.gas", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args(arguments)
    result = measure()
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(render(result))
    exceeded = find_exceeded(result)
    for name in exceeded:
        print(f"limit exceeded: {name}", file=sys.stderr)
    return 1 if exceeded else 0


if __name__ == "__main__":
    sys.exit(main())

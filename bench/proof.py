"""Gas and proof of every kind of transaction, as peaq would charge for them.

The claim: what costs much is led by its own gas, not by the proof that validators are shown:
deployments, registrations, bundles, claims of many epochs. One that is led by its proof, because it
does little in many contracts, pays for no more than a quarter of a million gas. Each fits into an
extrinsic many times over.

Each transaction runs in a block of its own on py-evm under London's rules, with a full shard of 256
providers, 11 reports and a ring that has wrapped; what it touches is noted while it runs, and
counted as peaq's fork of frontier counts (chain/budget.py).

    python -m bench.proof [--json PATH] [--markdown]
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from chain.abi import get_interface
from chain.budget import Cost
from chain.calls import Calls
from chain.deploy_plan import DeploymentOptions, plan_deployment
from chain.deployment import Contract, Deployment
from chain.networks import PEAQ
from chain.records import Call, SlotKind
from chain.rental_calls import RentalCalls
from chain.signer import KeySigner
from chain.simulation import SimulatedChain
from chain.zeronode_calls import ZeroNodeCalls
from protocols.committee import compute_committee
from protocols.hashing import keccak256
from protocols.params import LANES, MAINNET, TOKEN
from protocols.reports import (
    Report,
    SignedReport,
    compute_domain_separator,
    compute_report_digest,
    low_median,
)
from protocols.signing import sign_digest
from protocols.types import Digest, Epoch, NodeKey, Seat, Shard, Wallet

PROVIDERS = LANES
CHECKERS = 16
CLAIMED = 24
RING_EPOCHS = CLAIMED + 4
SEED = 1337
GENESIS = 1_800_000_000
SHARD = Shard(0)

PRESET = replace(MAINNET, name="proof", ring_epochs=RING_EPOCHS)
DEPLOYER = Wallet(keccak256(b"deployer")[12:])

FRAUD_LANE = 9
WRONG_SEAT = 3
EQUIVOCATOR = 5
DELEGATED = 6
"""Who is punished, and who is trusted."""

LEASE_PRICE = TOKEN // 1000

SMALL = 250_000
"""Gas below which a transaction may be led by its proof."""


@dataclass
class Bench:
    """A network on a simulated chain, and what its transactions cost, by kind."""

    random: random.Random = field(default_factory=lambda: random.Random(SEED))
    costs: dict[str, Cost] = field(default_factory=dict)
    secrets: dict[int, bytes] = field(default_factory=dict)
    seats: dict[int, list[tuple[Epoch, Shard, Seat]]] = field(default_factory=dict)
    """Checker -> the reports it had in bundles."""

    def __post_init__(self) -> None:
        self.chain = SimulatedChain(PEAQ.chain_id, GENESIS)
        self.chain.prepare(DEPLOYER)
        options = DeploymentOptions(PRESET, reward_fund=10**8 * TOKEN)
        plan = plan_deployment(DEPLOYER, 0, GENESIS, options)
        for step in plan.steps:
            self.costs[step.label] = self.chain.take(DEPLOYER, step)
        contracts = {
            name: Contract(address, Digest(bytes(32))) for name, address in plan.addresses.items()
        }
        self.deployment = Deployment(PEAQ.chain_id, GENESIS, 1, contracts, PRESET)
        self.calls = Calls(self.deployment)
        self.domain = compute_domain_separator(PEAQ.chain_id, self.deployment.address("Consensus"))
        self.keys = [keccak256(f"checker {i}".encode()) for i in range(CHECKERS)]
        self.checkers = [KeySigner(key).address for key in self.keys]
        self.providers = [
            Wallet(keccak256(f"provider {i}".encode())[12:]) for i in range(PROVIDERS)
        ]

    def run(self, sender: Wallet, call: Call, label: str) -> None:
        """Execute a call, and keep its cost if it is the dearest of its kind."""
        cost = self.chain.execute(sender, call, label).cost
        known = self.costs.get(label)
        if known is None or cost.evm_gas > known.evm_gas:
            self.costs[label] = cost

    def view(self, contract: str, function: str, *arguments: object) -> tuple[Any, ...]:
        shape = get_interface(contract).functions[function]
        output = self.chain.view(self.deployment.address(contract), shape.encode(arguments))
        return shape.decode(output)

    def enter(self, epoch: int) -> None:
        self.chain.timestamp = GENESIS + epoch * PRESET.epoch_seconds + 1

    def register(self) -> None:
        for kind, people, stake in (
            (SlotKind.PROVIDER, self.providers, PRESET.min_provider_stake),
            (SlotKind.CHECKER, self.checkers, PRESET.min_checker_stake),
        ):
            for wallet in people:
                self.run(DEPLOYER, self.calls.transfer(wallet, stake), "transfer of tokens")
                # Random key and binding: like real ones they have hardly a zero byte.
                key = NodeKey(self.random.randbytes(32))
                binding = self.random.randbytes(64)
                approve, register = self.calls.register(kind, key, binding, stake)
                self.run(wallet, approve, "approval")
                self.run(wallet, register, f"registration of a {kind.name.lower()}")

    def contribute(self) -> None:
        """Let every checker contribute to the seeds; the first of an epoch freezes one."""
        for index, wallet in enumerate(self.checkers):
            opened, following = self.secrets.get(index), self.random.randbytes(32)
            if opened is None:
                call, label = self.calls.commit(index, keccak256(following)), "seed: commitment"
            else:
                call = self.calls.contribute(index, opened, keccak256(following))
                label = "seed: first contribution" if index == 0 else "seed: contribution"
            self.run(wallet, call, label)
            self.secrets[index] = following

    def submit(self, epoch: Epoch, label: str, *, is_odd: bool = False) -> None:
        """Settle the shard; an odd bundle marks a lane for fraud and has one wrong report."""
        (seed,) = self.view("Beacon", "seed", epoch)
        members = compute_committee(Digest(seed), SHARD, CHECKERS, PRESET.seats)
        true = [self.random.randrange(8_000, 32_000) for _ in range(LANES)]
        online = self.random.getrandbits(LANES)
        reports = []
        for seat, member in enumerate(map(int, members)):
            self.seats.setdefault(member, []).append((epoch, SHARD, Seat(seat)))
            report = self._report(epoch, true, online)
            if is_odd:
                report = replace(report, fraud=1 << FRAUD_LANE)
                if seat == WRONG_SEAT:
                    report = replace(report, scores=tuple(score // 2 for score in report.scores))
            reports.append(self._sign(Seat(seat), member, report))
        medians = [
            low_median(lane) for lane in zip(*(each.report.scores for each in reports), strict=True)
        ]
        self.run(self.checkers[0], self.calls.submit(epoch, SHARD, medians, reports), label)

    def _report(self, epoch: Epoch, true: Sequence[int], online: int) -> Report:
        scores = [round(score * (1 + self.random.uniform(-0.02, 0.02))) for score in true]
        return Report(
            epoch=epoch,
            shard=SHARD,
            scores=tuple(scores),
            online=online,
            fraud=0,
            evidence=Digest(self.random.randbytes(32)),
        )

    def _sign(self, seat: Seat, member: int, report: Report) -> SignedReport:
        digest = compute_report_digest(self.domain, report)
        return SignedReport(seat, report, sign_digest(self.keys[member], digest))

    def claim(self, last: int) -> None:
        """Claim the epochs of a day; whoever comes first closes them for everybody."""
        epochs = [Epoch(epoch) for epoch in range(last - CLAIMED + 1, last + 1)]
        self.run(DEPLOYER, self.calls.close_epochs(), f"closing of {last} epochs")
        for provider, claimed in ((7, epochs[:1]), (8, epochs)):
            label = f"claim of a provider, {_count(claimed, 'epoch')}"
            self.run(DEPLOYER, self.calls.claim_provider(provider, claimed), label)
        own = self.seats.keys() - {DELEGATED}
        busiest = max(own, key=lambda checker: len(self.seats[checker]))
        items = [item for item in self.seats[busiest] if item[0] >= epochs[0]]
        for claimed in (items[:1], items[1:]):
            label = f"claim of a checker, {_count(claimed, 'report')}"
            self.run(DEPLOYER, self.calls.claim_checker(busiest, claimed), label)

    def entrust(self) -> None:
        """Delegate to a checker, and leave it again."""
        amount = 500 * TOKEN
        delegator = self.providers[0]
        self.run(DEPLOYER, self.calls.transfer(delegator, 3 * amount), "transfer of tokens")
        delegation = self.deployment.address("Delegation")
        self.run(delegator, self.calls.approve(delegation, 3 * amount), "approval")
        _, since = self.view("Registry", "checker_tenant", DELEGATED)
        where = (DELEGATED, since)
        deposit = self._call("Delegation", "deposit", *where, amount)
        self.run(delegator, deposit, "delegation: deposit")
        set_commission = self._call("Delegation", "set_commission", DELEGATED, 2_000)
        self.run(self.checkers[DELEGATED], set_commission, "delegation: commission")

    def activate(self) -> None:
        """Let what was deposited count."""
        _, since = self.view("Registry", "checker_tenant", DELEGATED)
        activate = self._call("Delegation", "activate", self.providers[0], DELEGATED, since)
        self.run(DEPLOYER, activate, "delegation: activation")

    def leave(self, last: int) -> None:
        """Share in what the checker earned, and take some of the stake back."""
        _, since = self.view("Registry", "checker_tenant", DELEGATED)
        items = [item for item in self.seats[DELEGATED] if item[0] >= last - 1]
        claim = self.calls.claim_checker(DELEGATED, items)
        self.run(DEPLOYER, claim, f"claim with delegators, {_count(items, 'report')}")
        collect = self._call("Delegation", "collect", self.providers[0], DELEGATED, since)
        self.run(DEPLOYER, collect, "delegation: collection")
        undelegate = self._call("Delegation", "undelegate", DELEGATED, since, 100 * TOKEN)
        self.run(self.providers[0], undelegate, "delegation: leaving")

    def punish(self, epoch: Epoch) -> None:
        """Prove what was wrong in an odd bundle, and two reports of one checker."""
        self.run(DEPLOYER, self.calls.slash_fraud(epoch, SHARD, FRAUD_LANE), "penalty: fraud")
        wrong = self.calls.record_wrong(epoch, SHARD, Seat(WRONG_SEAT))
        self.run(DEPLOYER, wrong, "penalty: wrong report")
        first, second = (
            self._sign(Seat(0), EQUIVOCATOR, self._report(epoch, [9_000] * LANES, 1))
            for _ in range(2)
        )
        proof = self.calls.prove_equivocation(EQUIVOCATOR, first, second)
        self.run(DEPLOYER, proof, "penalty: equivocation")

    def rent(self) -> None:
        """Make leases; the last one runs on."""
        rental, owner, renter = RentalCalls(self.deployment), self.providers[1], self.providers[2]
        for wallet in (owner, renter):
            self.run(DEPLOYER, self.calls.transfer(wallet, 100 * TOKEN), "transfer of tokens")
        offer = rental.offer(LEASE_PRICE, 60, 10**6, Digest(self.random.randbytes(32)))
        self.run(owner, offer, "lease: offer")
        seconds = 4 * PRESET.epoch_seconds
        for number in (1, 2, 3):
            key = NodeKey(self.random.randbytes(32))
            approve, opening = rental.open(1, seconds, LEASE_PRICE, key)
            self.run(renter, approve, "approval")
            self.run(renter, opening, "lease: opening")
            if number == 1:
                self.run(renter, rental.reclaim(number), "lease: reclaim")
                continue
            bond = seconds * LEASE_PRICE * PRESET.lease_penalty_bps // 10_000
            self.run(owner, self.calls.approve(self.deployment.address("Rental"), bond), "approval")
            self.run(owner, self._call("Rental", "accept", number), "lease: acceptance")
            if number == 2:
                end = rental.end(number, confirmed=True)
                self.run(renter, end, "lease: end, confirmed")
        self.run(DEPLOYER, rental.withdraw(owner), "lease: withdrawal")

    def finish_renting(self) -> None:
        """Bring the last lease to its end."""
        rental, owner, renter = RentalCalls(self.deployment), self.providers[1], self.providers[2]
        approve = self.calls.approve(self.deployment.address("Rental"), 10 * TOKEN)
        self.run(renter, approve, "approval")
        self.run(renter, self._call("Rental", "extend", 3, 600), "lease: extension")
        self.run(DEPLOYER, rental.judge(3, 1), "lease: judging 1 epoch")
        self.run(renter, rental.end(3, confirmed=False), "lease: end")
        self.chain.timestamp += 2 * PRESET.epoch_seconds
        self.run(owner, rental.settle(3), "lease: settlement")
        self.run(DEPLOYER, rental.sweep_fees(), "lease: fees")

    def steer(self) -> None:
        """Change a parameter by way of the time lock, and pause."""
        value = PRESET.min_provider_stake + TOKEN
        self.run(DEPLOYER, self._call("Steward", "propose", 0, value), "steward: proposal")
        self.chain.timestamp += PRESET.steward_delay_seconds
        self.run(DEPLOYER, self._call("Steward", "execute", 0), "steward: execution")
        self.run(DEPLOYER, self._call("Steward", "pause"), "steward: pause")

    def anchor(self) -> None:
        """Let a service of ZeroNode that is listed say something."""
        calls, service = ZeroNodeCalls(self.deployment), self.providers[3]
        key, root, draw, commitment = (self.random.randbytes(32) for _ in range(4))
        self.run(DEPLOYER, calls.add_service(service, NodeKey(key)), "zeronode: listing")
        day = self.chain.timestamp // PRESET.day_seconds - 1
        self.run(service, calls.anchor(day, Digest(root)), "zeronode: root of a day")
        commit = calls.commit_draw(Digest(draw), Digest(commitment))
        self.run(service, commit, "zeronode: commitment of a draw")

    def _call(self, contract: str, function: str, *arguments: object) -> Call:
        shape = get_interface(contract).functions[function]
        return Call(self.deployment.address(contract), shape.encode(arguments))


def _count(items: Sequence[object], what: str) -> str:
    return f"{len(items)} {what}{'' if len(items) == 1 else 's'}"


def measure() -> dict[str, Cost]:
    """Run everything; return the costs by kind."""
    bench = Bench()
    bench.register()
    bench.entrust()
    last = RING_EPOCHS + 4
    for number in range(1, last + 1):
        bench.enter(number)
        if number == RING_EPOCHS + 2:
            bench.activate()
        bench.contribute()
        wrapped = number > RING_EPOCHS
        label = "bundle of 11 reports" if wrapped else "bundle, first in ring"
        if number == last:
            label = "bundle, first mark of fraud"
        bench.submit(Epoch(number), label, is_odd=number == last)
        if number == last - 1:
            bench.rent()
    bench.enter(last + 1)
    bench.chain.timestamp += PRESET.grace_seconds
    bench.finish_renting()
    bench.enter(last + 4)
    bench.claim(last)
    bench.leave(last)
    bench.punish(Epoch(last))
    bench.steer()
    bench.anchor()
    return bench.costs


def is_within(cost: Cost) -> bool:
    """Whether a transaction keeps to the claim."""
    rule = PEAQ.proof_rule
    if rule is None:
        return True
    is_led = cost.is_led_by_proof(rule) and cost.effective_gas(rule) >= SMALL
    return not is_led and 10 * cost.proof_bytes < rule.max_proof_bytes


def render(costs: dict[str, Cost], *, markdown: bool) -> list[str]:
    """Return the table."""
    rows = [
        (
            name,
            f"{cost.evm_gas:,}",
            f"{cost.proof_bytes:,}",
            f"{4 * cost.proof_bytes / cost.evm_gas:.0%}",
            f"{cost.effective_gas(PEAQ.proof_rule):,}",
        )
        for name, cost in costs.items()
    ]
    headers = ("transaction", "EVM gas", "proof, bytes", "4 · proof / gas", "gas paid")
    if markdown:
        lines = ["| " + " | ".join(headers) + " |", "| --- | ---: | ---: | ---: | ---: |"]
        return lines + ["| " + " | ".join(row) + " |" for row in rows]
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    return [
        "  ".join(
            text.ljust(width) if place == 0 else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (headers, *rows)
    ]


def main(arguments: list[str] | None = None) -> int:
    """Command line; the exit status is 1 when a transaction breaks the claim."""
    parser = argparse.ArgumentParser(prog="python -m bench.proof", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--markdown", action="store_true", help="print a table for the docs")
    options = parser.parse_args(arguments)
    costs = measure()
    if options.json:
        result = {
            "costs": {name: asdict(cost) for name, cost in costs.items()},
            "setting": {
                "providers": PROVIDERS,
                "seats": PRESET.seats,
                "ring_epochs": RING_EPOCHS,
                "seed": SEED,
                "evm": "py-evm, london",
                "python": platform.python_version(),
            },
        }
        options.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print("\n".join(render(costs, markdown=options.markdown)))
    broken = [name for name, cost in costs.items() if not is_within(cost)]
    for name in broken:
        print(f"led by its proof, or too large: {name}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

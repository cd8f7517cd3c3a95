"""Gas and proof of every kind of transaction, as peaq would charge for them.

The claim: no transaction of ours costs more by the proof that validators are shown than by its own
gas, but for those that do next to nothing; and each fits into an extrinsic many times over.

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
from chain.signer import KeySigner
from chain.simulation import SimulatedChain
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

SMALL = 150_000
"""Gas below which a transaction may be led by its proof."""


@dataclass
class Bench:
    """A network on a simulated chain, and what its transactions cost, by kind."""

    random: random.Random = field(default_factory=lambda: random.Random(SEED))
    costs: dict[str, Cost] = field(default_factory=dict)
    secrets: dict[int, bytes] = field(default_factory=dict)

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

    def submit(self, epoch: Epoch, label: str) -> None:
        (seed,) = self.view("Beacon", "seed", epoch)
        members = compute_committee(Digest(seed), SHARD, CHECKERS, PRESET.seats)
        true = [self.random.randrange(8_000, 32_000) for _ in range(LANES)]
        online = self.random.getrandbits(LANES)
        reports = [
            self._sign(epoch, Seat(seat), member, true, online)
            for seat, member in enumerate(members)
        ]
        medians = [
            low_median(lane) for lane in zip(*(each.report.scores for each in reports), strict=True)
        ]
        self.run(self.checkers[0], self.calls.submit(epoch, SHARD, medians, reports), label)

    def _sign(
        self, epoch: Epoch, seat: Seat, member: int, true: Sequence[int], online: int
    ) -> SignedReport:
        scores = [round(score * (1 + self.random.uniform(-0.02, 0.02))) for score in true]
        report = Report(
            epoch=epoch,
            shard=SHARD,
            scores=tuple(scores),
            online=online,
            fraud=0,
            evidence=Digest(self.random.randbytes(32)),
        )
        digest = compute_report_digest(self.domain, report)
        return SignedReport(seat, report, sign_digest(self.keys[member], digest))

    def claim(self, last: int) -> None:
        """Claim a day's epochs, once where nobody claimed before and once where somebody did."""
        epochs = [Epoch(epoch) for epoch in range(last - CLAIMED + 1, last + 1)]
        for label, claimed in (
            ("claim of a provider, 1 epoch", epochs[:1]),
            (f"claim of a provider, {len(epochs) - 1} epochs", epochs[1:]),
        ):
            self.run(DEPLOYER, self.calls.claim_provider(7, claimed), label)


def measure() -> dict[str, Cost]:
    """Run everything; return the costs by kind."""
    bench = Bench()
    bench.register()
    last = RING_EPOCHS + 2
    for number in range(1, last + 1):
        bench.enter(number)
        bench.contribute()
        wrapped = number > RING_EPOCHS
        bench.submit(Epoch(number), "bundle of 11 reports" if wrapped else "bundle, first in ring")
    bench.enter(last + 2)
    bench.claim(last)
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

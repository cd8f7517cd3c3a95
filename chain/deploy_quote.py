"""What a deployment costs at a chain's prices: pure arithmetic on a simulated plan."""

from collections.abc import Sequence
from dataclasses import dataclass

from chain.budget import compute_gas_limit
from chain.fees import Fees
from chain.networks import ChainPreset
from chain.simulation import SimulatedStep
from chain.transactions import GAS_MARGIN_PERCENT, MAX_GAS


@dataclass(frozen=True, slots=True)
class QuotedStep:
    """One transaction with its price, in wei.

    `gas` is what is paid for where proof counts as well, `gas_limit` what is reserved for it.
    `expected` is the price at today's base fee, `most` that of the whole limit at the highest
    price that is offered.
    """

    number: int
    simulated: SimulatedStep
    gas: int
    gas_limit: int
    expected: int
    most: int

    @property
    def fits(self) -> bool:
        """Whether the limit covers the gas."""
        return self.gas <= self.gas_limit


@dataclass(frozen=True, slots=True)
class Quote:
    """All transactions that are left to send, and what the wallet has. Prices in wei per gas."""

    chain: ChainPreset
    base_fee: int
    fees: Fees
    balance: int
    steps: tuple[QuotedStep, ...]

    @property
    def price(self) -> int:
        """What a unit of gas is expected to cost."""
        return min(self.fees.max_fee, self.base_fee + self.fees.tip)

    @property
    def is_cheap(self) -> bool:
        """Whether the endpoint names less than is known as this chain's least price."""
        return self.base_fee < self.chain.min_gas_price

    @property
    def expected(self) -> int:
        """What everything is expected to cost."""
        return sum(step.expected for step in self.steps)

    @property
    def most(self) -> int:
        """What everything costs at most, unless an attempt has to be replaced by a dearer one."""
        return sum(step.most for step in self.steps)

    @property
    def needed(self) -> int:
        """What the wallet must hold: chains ask for a transaction's most before they take it."""
        spent = needed = 0
        for step in self.steps:
            needed = max(needed, spent + step.most)
            spent += step.expected
        return needed

    @property
    def is_enough(self) -> bool:
        """Whether the wallet can pay."""
        return self.balance >= self.needed

    @property
    def fits(self) -> bool:
        """Whether every transaction fits into the chain's bounds."""
        return all(step.fits for step in self.steps)


def quote_steps(
    simulated: Sequence[SimulatedStep],
    chain: ChainPreset,
    *,
    base_fee: int,
    fees: Fees,
    balance: int,
    first: int = 0,
) -> Quote:
    """Quote the steps of a plan from number `first` on.

    `fees` is what the first attempt offers (`chain.fees.compute_first_offer`).
    """
    price = min(fees.max_fee, base_fee + fees.tip)
    ceiling = min(MAX_GAS, chain.max_transaction_gas)
    steps = []
    for number, each in enumerate(simulated):
        if number < first:
            continue
        gas = each.cost.effective_gas(chain.proof_rule)
        limit = compute_gas_limit(gas, GAS_MARGIN_PERCENT, ceiling)
        steps.append(QuotedStep(number, each, gas, limit, gas * price, limit * fees.max_fee))
    return Quote(chain, base_fee, fees, balance, tuple(steps))

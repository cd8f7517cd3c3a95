"""EIP-1559 prices: the first offer, and what a replacement must offer. Pure arithmetic, in wei."""

from dataclasses import dataclass
from typing import Final

BUMP_PERCENT: Final = 20
"""By how much each replacement raises tip and cap. geth and anvil ask for 10 %, peaq's pool for
any higher tip; Chainlink's default is 20 % as well (facts: chain.md §6)."""

BASE_FEE_HEADROOM: Final = 2
"""The first offer stands this multiple of the base fee: six full blocks in a row."""

DEFAULT_MIN_TIP: Final = 10**9
"""Never zero: a type-2 transaction without a tip has priority 0 on peaq and may wait for ever."""

DEFAULT_MAX_FEE: Final = 10**14
"""A cap of 100,000 gwei per gas, a hundred times peaq's documented price: beyond it something is
wrong with the chain or with the endpoint, and no bundle is worth it."""


@dataclass(frozen=True, slots=True)
class Fees:
    """Prices per gas: `tip` for the block's maker, `max_fee` for everything together."""

    tip: int
    max_fee: int


@dataclass(frozen=True, slots=True)
class FeePolicy:
    """Bounds of what this wallet offers, in wei per gas: 0 < `min_tip` ≤ `max_fee`."""

    min_tip: int = DEFAULT_MIN_TIP
    max_fee: int = DEFAULT_MAX_FEE


def compute_first_offer(policy: FeePolicy, base_fee: int, suggested_tip: int) -> Fees:
    """Offer the suggested tip, at least the policy's, on top of twice the base fee."""
    tip = min(max(suggested_tip, policy.min_tip), policy.max_fee)
    return Fees(tip, min(BASE_FEE_HEADROOM * base_fee + tip, policy.max_fee))


def compute_replacement(policy: FeePolicy, previous: Fees, base_fee: int) -> Fees | None:
    """Raise both prices by BUMP_PERCENT, or more if the base fee asks for it.

    None when the policy's cap does not allow it: pools refuse a replacement that raises less.
    """
    tip = _raise(previous.tip)
    max_fee = max(_raise(previous.max_fee), BASE_FEE_HEADROOM * base_fee + tip)
    if max_fee > policy.max_fee:
        max_fee = _raise(previous.max_fee)
    return None if max_fee > policy.max_fee else Fees(tip, max_fee)


def _raise(price: int) -> int:
    return -(-price * (100 + BUMP_PERCENT) // 100)

"""Every balance there is, and what each step may move between them.

A step names the transfers that it is expected to make, in order. They are worked out here, token
fees included, and compared with every balance there is: so money that is created, lost, paid twice
or paid to the wrong wallet shows after the very step that did it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import boa
from boa import BoaError
from eth_utils import keccak

from tests.chain.contracts.world import World, wallet

CONTRACTS = ("registry", "steward", "beacon", "consensus", "rewards", "delegation", "penalties")
TREASURY = "treasury"

Flow = tuple[str, str, int]
"""From whom to whom, and how much is sent."""


@dataclass
class Treasury:
    """Watches the token of a world; parties are people, contracts and the one who deployed."""

    net: World
    people: Sequence[str]
    fee_percent: int = 0
    balances: dict[str, int] = field(default_factory=dict)
    supply: int = 0

    def __post_init__(self) -> None:
        self.addresses = {name: getattr(self.net, name).address for name in CONTRACTS}
        self.addresses |= {person: wallet(person) for person in self.people}
        self.addresses[TREASURY] = boa.env.eoa
        slot = self.net.token.compiler_data.storage_layout["storage_layout"]["balanceOf"]["slot"]
        self.places = {
            name: int.from_bytes(
                keccak(slot.to_bytes(32, "big") + bytes(12) + bytes.fromhex(address[2:])), "big"
            )
            for name, address in self.addresses.items()
        }
        self.balances = self.read()
        assert self.balances["registry"] == self.net.token.balanceOf(self.net.registry)
        self.supply = int(self.net.token.totalSupply())

    def read(self) -> dict[str, int]:
        """All balances, straight from storage: asking the token takes most of the time else."""
        token = self.net.token.address
        return {name: boa.env.get_storage(token, place) for name, place in self.places.items()}

    def fee(self, amount: int) -> int:
        return amount * self.fee_percent // 100

    def net_of(self, amount: int) -> int:
        """What arrives when an amount is sent."""
        return amount - self.fee(amount)

    def expect(self, *flows: Flow) -> None:
        """Look whether exactly these transfers were made since the last look."""
        for sender, receiver, amount in flows:
            self.balances[sender] -= amount
            self.balances[receiver] += self.net_of(amount)
            self.supply -= self.fee(amount)
        found = self.read()
        moved = {
            name: (found[name], self.balances[name])
            for name in found
            if found[name] != self.balances[name]
        }
        assert not moved, f"found and expected: {moved}"
        assert int(self.net.token.totalSupply()) == self.supply == sum(found.values())


def attempt(caller: str, call: Callable[..., Any], *arguments: object) -> tuple[bool, Any]:
    """Call as somebody; tell whether it went through, and what it returned.

    A refusal must be one of the contracts' own, in words; anything else fails the test.
    """
    with boa.env.prank(wallet(caller)):
        try:
            return True, call(*arguments)
        except BoaError as error:
            return False, reason_of(error)


def reason_of(error: BoaError) -> str:
    """The words of a refusal: one of ours, or that the token would not move what was asked."""
    frame = error.stack_trace.last_frame
    reason = frame if isinstance(frame, str) else frame.pretty_vm_reason
    if not isinstance(frame, str) and frame.error_detail == "external call failed":
        return frame.error_detail
    assert ": " in str(reason), f"not a refusal of ours: {reason}"
    return str(reason)

"""Gas of leases, beside the bundles that they are judged by."""

from typing import Final

from bench.gas_world import EPOCH_SECONDS, World
from chain.rental_calls import RentalCalls
from chain.rental_words import unpack_lease
from protocols.leases import Lease
from protocols.params import TOKEN
from protocols.types import Digest, NodeKey

PROVIDER: Final = 9
RENTER: Final = 10
"""Another provider's wallet, which rents."""

FIRST: Final = 8
"""Who offers first, and has the lease that is reclaimed."""

PRICE: Final = TOKEN // 1000
SECONDS: Final = 2 * EPOCH_SECONDS
KEY: Final = NodeKey(bytes(range(100, 132)))


class Leases:
    """One lease that runs over several epochs, and others that end before."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._calls = RentalCalls(world.whole)
        self._provider = world.providers[PROVIDER]
        self._renter = world.providers[RENTER]
        self._ids = 0

    def begin(self) -> dict[str, int]:
        """Start a lease in the epoch that is; the gas of what that takes."""
        world, calls = self._world, self._calls
        capability = Digest(bytes(range(200, 232)))
        for person in (world.providers[FIRST], self._provider, self._renter):
            world.give_and_approve(person, "Rental", 1_000 * TOKEN)
        offer = calls.offer(PRICE, 60, 10 * SECONDS, capability)
        world.send(offer, world.providers[FIRST])
        # The first lease of all, which is reclaimed.
        self._open(FIRST)
        gas = {
            "lease_offer": world.send(offer, self._provider),
            "lease_offer_again": world.send(offer, self._provider),
            "lease_reclaim": world.send(calls.reclaim(self._ids), self._renter),
            "lease_open": self._open(PROVIDER),
        }
        gas["lease_accept"] = self._accept()
        # At once: the minimum is charged.
        end = calls.end(self._ids, confirmed=True)
        gas["lease_end_confirmed"] = world.send(end, self._renter)
        withdraw = calls.withdraw(self._provider.wallet)
        gas["lease_withdraw"] = world.send(withdraw, world.operator)
        self._open(PROVIDER)
        gas["lease_accept_next"] = self._accept()
        _, extend = calls.extend(self._read(), SECONDS)
        gas["lease_extend"] = world.send(extend, self._renter)
        return gas

    def finish(self) -> dict[str, int]:
        """Bring it to its end, some epochs later."""
        world, calls = self._world, self._calls
        gas = {"lease_judge_1_epoch": world.send(calls.judge(self._ids, 1), world.operator)}
        before = self._read().judged_until
        collect = world.send(calls.collect(self._ids), self._provider)
        gas[f"lease_collect_{self._read().judged_until - before}_epochs"] = collect
        gas["lease_end"] = world.send(calls.end(self._ids, confirmed=False), self._renter)
        world.enter(world.epoch + 2)
        before = self._read().judged_until
        settle = world.send(calls.settle(self._ids), self._provider)
        gas[f"lease_settle_{self._read().judged_until - before}_epochs"] = settle
        gas["lease_sweep_fees"] = world.send(calls.sweep_fees(), world.operator)
        return gas

    def _open(self, provider: int) -> int:
        self._ids += 1
        _, call = self._calls.open(provider, SECONDS, PRICE, KEY)
        return self._world.send(call, self._renter)

    def _accept(self) -> int:
        _, call = self._calls.accept(self._read())
        return self._world.send(call, self._provider)

    def _read(self) -> Lease:
        (words,) = self._world.read("Rental", "lease", self._ids)
        lease = unpack_lease(self._ids, words, self._world.whole.preset)
        if lease is None:
            raise RuntimeError(f"lease {self._ids}: not there")
        return lease

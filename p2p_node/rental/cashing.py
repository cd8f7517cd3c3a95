"""Getting paid: judging, collecting and settling what the final block says is due.

Every step follows from the chain alone, so a restart repeats none and leaves out none. Anybody may
settle; a provider does so for itself, and takes no harm if somebody was faster.
"""

import logging
from typing import Final

import trio

from chain.errors import ChainError, ObsoleteError
from chain.records import Call
from p2p_node.display import format_amount
from p2p_node.rental.chain_view import ChainView
from p2p_node.rental.keeping import LeaseKeeper
from protocols.errors import LocalError
from protocols.lease_keeping import MAX_JUDGED, MoneyStep, choose_money_step
from protocols.leases import Lease, LeaseState

logger = logging.getLogger(__name__)

TRANSACTION_SECONDS: Final = 600.0

LONGEST_RETRY_SECONDS: Final = 300.0

BROKEN_SECONDS: Final = 900.0
"""After so long without a runner, a lease that nobody can use is ended: the renter would pay for
nothing, and the bond is the smaller loss."""


class Cashier:
    """Sends the transactions that move a provider's earnings."""

    def __init__(self, keeper: LeaseKeeper) -> None:
        self._keeper = keeper
        self._may_be_owed = True

    async def run(self) -> None:
        """Do what is due, one transaction after the other, until cancelled."""
        pause = min(LONGEST_RETRY_SECONDS, self._keeper.node.preset.epoch_seconds / 4)
        while True:
            view = await self._keeper.wait_for_look()
            if not await self._do_due(view):
                await trio.sleep(pause)

    async def _do_due(self, view: ChainView) -> bool:
        """Tell whether all went well."""
        for number in list(self._keeper.rows):
            each = view.leases.get(number)
            if each is None or each.final is None:
                continue
            try:
                await self._see_to(each.final, view)
            except ObsoleteError:
                logger.debug("lease %d: somebody else was faster", number)
            except (ChainError, LocalError) as error:
                self._keeper.warn(f"the money of lease {number} waits: {error}")
                return False
        try:
            await self._withdraw()
        except (ChainError, LocalError) as error:
            self._keeper.warn(f"earnings not paid out yet: {error}")
            return False
        return True

    async def _see_to(self, lease: Lease, view: ChainView) -> None:
        keeper, calls = self._keeper, self._keeper.contract.calls
        if lease.state is LeaseState.SETTLED:
            await keeper.set_settled(lease.id)
            self._may_be_owed = True
            logger.info("lease %d is settled", lease.id)
            return
        await self._end_if_broken(lease, view)
        step = choose_money_step(lease, keeper.node.watcher.timeline, view.final_time)
        judged = f"lease {lease.id} from epoch {lease.judged_until} on"
        if step is MoneyStep.JUDGE:
            await self._execute(f"judgement of {judged}", calls.judge(lease.id, MAX_JUDGED))
        if step is MoneyStep.COLLECT:
            await self._execute(f"earnings of {judged}", calls.collect(lease.id))
            self._may_be_owed = True
        if step is MoneyStep.SETTLE:
            await self._execute(f"settlement of lease {lease.id}", calls.settle(lease.id), lease)

    async def _end_if_broken(self, lease: Lease, view: ChainView) -> None:
        runner = self._keeper.runners
        is_broken = (
            runner.runner is None
            and runner.problem
            and trio.current_time() - runner.missing_since >= BROKEN_SECONDS
        )
        if is_broken and lease.is_usable(view.now):
            logger.error("lease %d is ended, it cannot be served: %s", lease.id, runner.problem)
            call = self._keeper.contract.calls.end(lease.id, confirmed=False)
            await self._execute(f"end of lease {lease.id}", call)

    async def _withdraw(self) -> None:
        if not self._may_be_owed:
            return
        wallet = self._keeper.wallet
        owed = await self._keeper.contract.reader.owed(wallet)
        if owed:
            call = self._keeper.contract.calls.withdraw(wallet)
            await self._execute(f"payment of {format_amount(owed)}", call)
        self._may_be_owed = False

    async def _execute(self, label: str, call: Call, lease: Lease | None = None) -> None:
        """Execute a call; with a lease, only as long as nobody has settled that."""
        reader = self._keeper.contract.reader

        async def is_settled() -> bool:
            newest = lease and await reader.lease(lease.id)
            return newest is not None and newest.state is LeaseState.SETTLED

        receipt = await self._keeper.node.transactions.execute(
            call,
            label=label,
            deadline=trio.current_time() + TRANSACTION_SECONDS,
            is_obsolete=is_settled,
        )
        logger.info("%s: %d gas", label, receipt.gas_used)

"""Keeping leases: what the chain says, what the store remembers, what runs, made one.

Nothing of a renter's runs before its lease is final and active. It stops with the newest block that
says that the lease is over, and is wiped once that is final. After a restart, leases that go on are
adopted, and everything that belongs to none is wiped.
"""

import logging
from dataclasses import replace
from typing import Final

import trio

from chain.errors import ChainError
from chain.outage import Outage
from p2p_node.clock import MAX_DRIFT_MS
from p2p_node.node import Node
from p2p_node.rental.chain_view import ChainLooker, ChainView, LeaseView
from p2p_node.rental.contract import RentalContract
from p2p_node.rental.device_hold import DeviceHold, RentedDevices
from p2p_node.rental.lease_book import LeaseBook, LeaseRow
from p2p_node.rental.lease_log import LeaseLog
from p2p_node.rental.places import Place
from p2p_node.rental.runner import EnclosureError
from p2p_node.rental.runner_finding import ChooseRunner, RunnerFinder
from p2p_node.rental.tenancy import Tenancy
from protocols.errors import LocalError
from protocols.lease_keeping import LeaseStage, choose_reservation, find_stage
from protocols.leases import Lease, LeaseState

logger = logging.getLogger(__name__)

LOGS_DIRECTORY: Final = "lease-logs"

LOOKS_PER_EPOCH: Final = 40
LONGEST_PAUSE_SECONDS: Final = 3.0
"""Between two looks at the chain; a lease outlasts its end by as much at most, and a block."""

IDLE_PAUSE_SECONDS: Final = 300.0
"""Where nothing is rented out: only a lease that the store does not know could be there."""

STOP_SECONDS: Final = 10.0
"""For ending what runs when the node ends; what is left is ended with the next start."""

MAX_TOLD: Final = 64

FIND_SECONDS: Final = 10.0
"""For reading a lease that somebody names in an access."""


class LeaseKeeper:
    """Everything this provider knows and does about its leases, but for transactions.

    `run` must be running. `runners` is how it keeps renters apart, and `tenancy` who is here now.
    """

    def __init__(
        self,
        node: Node,
        contract: RentalContract,
        provider: int,
        devices: RentedDevices,
        choose_runner: ChooseRunner,
    ) -> None:
        self.node = node
        self.contract = contract
        self.provider = provider
        self.wallet = node.identity.wallet
        self.book = LeaseBook(node.store.store)
        self.rows: dict[int, LeaseRow] = {}
        """Leases that still need something, by their number."""
        self.view: ChainView | None = None
        self.tenancy: Tenancy | None = None
        self.runners = RunnerFinder(
            node.data_dir, choose_runner, self._wanted_runner, self._is_nobody_here
        )
        self.refused: set[int] = set()
        """Leases that could not be accepted; they are not tried again."""
        self.accepted: set[int] = set()
        """Leases whose acceptance is in a block, which the next look may still be without."""
        self._devices = devices
        self._hold: DeviceHold | None = None
        self._looked = trio.Event()
        self._deploying = trio.Lock()
        self._finding = trio.CapacityLimiter(2)
        self._outage = Outage(logger, "leases are not looked at")
        self._is_adopted = False
        self._is_cleared = False
        self._told: set[str] = set()
        self._looker = ChainLooker(
            node.chain, contract.reader, node.clock, provider=provider, wallet=self.wallet
        )

    @property
    def pause(self) -> float:
        """Seconds until the next look."""
        if not self.contract.settings.is_on and not self.rows:
            return IDLE_PAUSE_SECONDS
        return min(LONGEST_PAUSE_SECONDS, self.node.preset.epoch_seconds / LOOKS_PER_EPOCH)

    def leased(self) -> int:
        """Return the lease that has this machine by the newest block; 0 for none.

        One that has just ended has it until its processes are gone.
        """
        view = self.view
        if view is None:
            return 0
        for number, each in view.leases.items():
            newest = each.newest
            if newest is not None and self._is_mine(newest) and newest.is_usable(view.now):
                return number
        return self.tenancy.lease_id if self._hold and self.tenancy else 0

    async def run(self) -> None:
        """Keep leases until cancelled; then everything of the renter's is stopped, not wiped."""
        self.rows = {row.id: row for row in await self.book.unfinished()}
        await self.runners.find()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.runners.watch)
            try:
                while True:
                    await self._look(nursery)
                    await trio.sleep(self.pause)
            finally:
                with trio.move_on_after(STOP_SECONDS, shield=True):
                    await self._stop()

    async def wait_for_look(self) -> ChainView:
        """Wait for the next look at the chain."""
        await self._looked.wait()
        view = self.view
        if view is None:
            raise LocalError("a look at the chain without a view")
        return view

    async def find(self, number: int) -> LeaseView:
        """Return what the chain says about any lease; ChainError, also when that takes too long."""
        view = self.view
        if view is not None and number in view.leases:
            return view.leases[number]
        if view is not None and not 0 < number <= view.count:
            return LeaseView(None, None)
        with trio.move_on_after(FIND_SECONDS):
            async with self._finding:
                return await self._looker.find(number)
        raise ChainError("lease not read in time")

    def find_wanted(self) -> Lease | None:
        """Return the reservation to accept now: the one chosen before, or else another one."""
        view = self.view
        if view is None or self.runners.runner is None:
            return None
        unwiped = [row for row in self.rows.values() if not row.wiped]
        if unwiped:
            chosen = view.leases.get(unwiped[0].id)
            if chosen is None or unwiped[0].id in self.accepted:
                return None
            return self._still_reserved(chosen)
        if not self.contract.settings.is_on:
            return None
        both = [
            lease
            for each in view.leases.values()
            if (lease := self._still_reserved(each)) is not None and lease.id not in self.refused
        ]
        return choose_reservation(both, provider=self.provider, wallet=self.wallet, now=view.now)

    async def choose(self, lease: Lease) -> None:
        """Remember that this lease is to be accepted, before anything is sent."""
        await self.book.choose(lease.id)
        self.rows.setdefault(lease.id, LeaseRow(lease.id))

    async def drop(self, number: int, *, refuse: bool) -> None:
        """Forget a lease that did not come about."""
        await self.book.drop(number)
        self.rows.pop(number, None)
        self.accepted.discard(number)
        if refuse:
            self.refused.add(number)
            self._looker.forget(number)

    async def set_settled(self, number: int) -> None:
        """Remember that a lease's money was divided."""
        await self.book.set_settled(number)
        self._update(number, settled=True)

    async def deploy(self, tenancy: Tenancy, place: Place) -> None:
        """Begin to make a renter's place ready, unless that goes on or is done.

        It is in the store before anything is made.
        """
        async with self._deploying:
            if tenancy.can_deploy:
                await self.book.set_place(tenancy.lease_id, place.encode())
                self._update(tenancy.lease_id, place=place.encode())
                tenancy.deploy(place)

    # Looking.

    async def _look(self, nursery: trio.Nursery) -> None:
        known = set(self.rows)
        try:
            if not self._is_adopted:
                known |= await self._find_current()
                self._is_adopted = True
            self.view = await self._looker.look(known)
        except ChainError as error:
            self._outage.note(error)
            self._go_by_the_clock()
        else:
            self._outage.end()
        view = self.view
        if view is None:
            return
        for row in list(self.rows.values()):
            if not row.wiped and row.id in view.leases:
                await self._keep(row, view, nursery)
        if not self._is_cleared:
            self._is_cleared = await self._clear_leftovers()
        self._looked.set()
        self._looked = trio.Event()

    async def _find_current(self) -> set[int]:
        """Take up a lease that the store does not know: its data directory may be a new one."""
        reader = self.contract.reader
        number = await reader.current_lease(self.provider)
        lease = await reader.lease(number) if number else None
        if lease is None or lease.id in self.rows or not self._is_mine(lease):
            return set()
        if lease.state is LeaseState.ACTIVE and not any(
            not each.wiped for each in self.rows.values()
        ):
            logger.warning("lease %d is this machine's, and not in its store", lease.id)
            await self.choose(lease)
            return {lease.id}
        return set()

    def _go_by_the_clock(self) -> None:
        """Without the chain, the end of a lease comes all the same, as late as clocks differ."""
        if self.view is not None:
            late = (self.node.clock.now() - MAX_DRIFT_MS) // 1000
            self.view = replace(self.view, now=max(self.view.now, late))

    async def _keep(self, row: LeaseRow, view: ChainView, nursery: trio.Nursery) -> None:
        each = view.leases[row.id]
        stage = find_stage(each.final, each.newest, final_time=view.final_time, now=view.now)
        if stage is LeaseStage.LIVE:
            await self._host(row, nursery)
        elif stage is LeaseStage.STOPPED:
            if self._is_here(row.id):
                logger.info("lease %d is over", row.id)
                await self._stop()
        elif stage is LeaseStage.OVER:
            await self._end(row, each.final)
        elif each.final is not None and each.final.accept_by < view.final_time:
            await self.drop(row.id, refuse=True)

    async def _host(self, row: LeaseRow, nursery: trio.Nursery) -> None:
        """See to it that the renter can come in."""
        runner = self.runners.runner
        if runner is None or self._is_here(row.id):
            return
        hold = DeviceHold(self._devices, row.id)
        nursery.start_soon(hold.run)
        log = LeaseLog(self.node.data_dir / LOGS_DIRECTORY / f"{row.id}.log")
        self._hold = hold
        self.tenancy = Tenancy(row.id, runner, log, nursery, hold.wait)
        logger.info("lease %d has begun", row.id)
        place = self._place_of(row)
        if place is not None:
            self.tenancy.deploy(place)

    async def _end(self, row: LeaseRow, final: Lease | None) -> None:
        """Leave nothing of the renter's, and remember that nothing is left."""
        if final is not None and not final.started_at:
            await self.drop(row.id, refuse=False)
            return
        if self._is_here(row.id):
            logger.info("lease %d is over", row.id)
            await self._stop()
        try:
            await self._wipe(row)
        except (EnclosureError, OSError) as error:
            self.warn(f"lease {row.id}: its workspace is not wiped yet: {error}")
            return
        await self.book.set_wiped(row.id)
        self._update(row.id, wiped=True, place=None)
        if self.tenancy is not None and self.tenancy.lease_id == row.id:
            self.tenancy = None
        logger.info("lease %d: nothing of it is left here", row.id)

    async def _wipe(self, row: LeaseRow) -> None:
        runner, tenancy = self.runners.runner, self.tenancy
        if tenancy is not None and tenancy.lease_id == row.id:
            await tenancy.wipe()
        elif runner is not None:
            await runner.wipe(row.id)
        elif row.place is not None:
            raise EnclosureError(self.runners.problem)
        await LeaseLog(self.node.data_dir / LOGS_DIRECTORY / f"{row.id}.log").remove()

    async def _stop(self) -> None:
        if self.tenancy is not None and not self.tenancy.is_stopped:
            try:
                await self.tenancy.stop()
            except EnclosureError as error:
                self.warn(f"lease {self.tenancy.lease_id}: not stopped: {error}")
        if self._hold is not None:
            self._hold.end()
            self._hold = None

    async def _clear_leftovers(self) -> bool:
        """Wipe what belongs to no lease of ours; tell whether that is done."""
        runner = self.runners.runner
        if runner is None:
            return False
        alive = {row.id for row in self.rows.values() if not row.wiped}
        try:
            for number in await runner.leftovers():
                if number not in alive:
                    logger.warning("wiping what was left of lease %d", number)
                    await runner.wipe(number)
        except (EnclosureError, OSError) as error:
            self.warn(f"what earlier leases left is not wiped yet: {error}")
            return False
        return True

    def _wanted_runner(self) -> str | None:
        """Say which runner is needed; None for none."""
        for row in self.rows.values():
            place = self._place_of(row)
            if place is not None and not row.wiped:
                # Only what made the place can adopt it, or wipe it.
                return place.runner
        settings = self.contract.settings
        return settings.runner if settings.is_on or self.rows else None

    def _is_nobody_here(self) -> bool:
        return all(row.wiped for row in self.rows.values())

    def _place_of(self, row: LeaseRow) -> Place | None:
        if row.place is None:
            return None
        try:
            return Place.decode(row.place)
        except LocalError as error:
            self.warn(f"lease {row.id} has to be deployed anew: {error}")
            return None

    def _is_here(self, number: int) -> bool:
        tenancy = self.tenancy
        return tenancy is not None and tenancy.lease_id == number and not tenancy.is_stopped

    def _is_mine(self, lease: Lease) -> bool:
        return (lease.provider, lease.provider_wallet) == (self.provider, self.wallet)

    def _still_reserved(self, each: LeaseView) -> Lease | None:
        """The final lease, while both blocks say that it is only reserved."""
        both = (each.final, each.newest)
        if all(one is not None and one.state is LeaseState.RESERVED for one in both):
            return each.final
        return None

    def _update(self, number: int, **changes: object) -> None:
        if number in self.rows:
            row = replace(self.rows[number], **changes)  # type: ignore[arg-type]
            if row.is_done:
                del self.rows[number]
                self.accepted.discard(number)
            else:
                self.rows[number] = row

    def warn(self, text: str) -> None:
        """Say something once."""
        if text not in self._told:
            if len(self._told) >= MAX_TOLD:
                self._told.clear()
            self._told.add(text)
            logger.warning("%s", text)

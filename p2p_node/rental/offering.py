"""Offering the machine: what it is, at what price, on the chain for as long as that holds."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from chain.errors import ChainError
from chain.records import Call
from p2p_node.display import format_amount
from p2p_node.net.api import RequestStream
from p2p_node.rental.keeping import LeaseKeeper
from p2p_node.rental.runner import Limits, Runner, Template
from p2p_node.rental.settings import (
    HOUR,
    MEGABYTE,
    RentalSettings,
    RentalSettingsError,
    format_duration,
)
from p2p_node.workloads.backend import DeviceInfo, DeviceKind
from p2p_node.workloads.host_facts import count_cores, read_host_facts
from protocols.codec import encode
from protocols.errors import LocalError, RemoteError
from protocols.lease_offers import (
    CAPABILITY_PROTOCOL,
    Capability,
    OfferedGpu,
    OfferedTemplate,
    compute_capability_digest,
    encode_capability,
)
from protocols.leases import Offer

logger = logging.getLogger(__name__)

TRANSACTION_SECONDS: Final = 600.0
RETRY_SECONDS: Final = 30.0

MEMORY_PARTS: Final = (3, 4)
"""Of the host's memory, what a renter gets where the settings do not say; the rest is left for the
node and the system."""

ReadTemplates = Callable[[], Mapping[str, Template]]
"""Reads what the operator lets renters deploy; LocalError for a file that cannot be meant."""

GiveReceipts = Callable[[], Sequence[bytes]]
"""Gives the sealed receipts of the newest epoch's transfers."""


def choose_limits(settings: RentalSettings, data_dir: Path) -> Limits:
    """Say how much of the host a renter gets, with what the settings leave to the host.

    RentalSettingsError for more than the host has. Reads files of /proc.
    """
    host_cores = count_cores()
    host_memory = read_host_facts(data_dir).memory_total
    part, parts = MEMORY_PARTS
    cores = settings.cores or host_cores
    memory = settings.memory_bytes or (host_memory and host_memory * part // parts)
    if cores is None or memory is None:
        name = "rental_cores" if cores is None else "rental_memory"
        raise RentalSettingsError(
            f"{name}: found auto, expected a number: this system does not say how much it has"
        )
    if host_cores is not None and cores > host_cores:
        raise RentalSettingsError(
            f"rental_cores: found {cores}, expected at most the {host_cores} of this host"
        )
    if host_memory is not None and memory > host_memory:
        raise RentalSettingsError(
            f"rental_memory: found {memory // MEGABYTE}, expected at most the "
            f"{host_memory // MEGABYTE} MB of this host"
        )
    return Limits(cores, memory, settings.disk_bytes, settings.processes, settings.network)


def describe_capability(
    runner: Runner,
    limits: Limits,
    cpu: str | None,
    devices: Sequence[DeviceInfo],
    templates: Mapping[str, Template],
) -> Capability:
    """Put together what the offer says; only templates that the runner serves are in it.

    RentalSettingsError when that is none.
    """
    served = [each for _, each in sorted(templates.items()) if runner.refusal(each) is None]
    if not served:
        reasons = sorted({str(runner.refusal(each)) for each in templates.values()})
        raise RentalSettingsError(
            f"rental_templates: found none that {runner.name} can serve here, expected at least "
            f"one ({'; '.join(reasons) or 'the file is empty'})"
        )
    return Capability(
        runner=runner.name,
        cpu=cpu or "",
        cores=limits.cores,
        memory=limits.memory_bytes,
        disk=limits.disk_bytes,
        processes=limits.processes,
        network=limits.network,
        gpus=tuple(
            OfferedGpu(each.name, each.memory_bytes)
            for each in devices
            if each.kind is DeviceKind.GPU
        ),
        templates=tuple(
            OfferedTemplate(each.name, each.image, each.ports, each.summary) for each in served
        ),
    )


@dataclass(frozen=True, slots=True)
class Deal:
    """What is offered now: the limits of a place, and the document that says so."""

    limits: Limits
    document: bytes

    def matches(self, offer: Offer, settings: RentalSettings) -> bool:
        """Tell whether the chain has just this offer."""
        return (offer.price, offer.minimum_seconds, offer.maximum_seconds, offer.capability) == (
            settings.price,
            settings.minimum_seconds,
            settings.maximum_seconds,
            compute_capability_digest(self.document),
        )


class Offerer:
    """Keeps the offer on the chain as the settings and the host have it.

    It is looked at once an epoch, and whenever the runner changes.
    """

    def __init__(
        self,
        keeper: LeaseKeeper,
        devices: Sequence[DeviceInfo],
        read_templates: ReadTemplates,
    ) -> None:
        self._keeper = keeper
        self._settings = keeper.contract.settings
        self._devices = devices
        self._read_templates = read_templates
        self.give_receipts: GiveReceipts = tuple
        self._told = ""
        self.deal: Deal | None = None

    def serve(self) -> None:
        """Answer whoever asks what is behind the offer."""
        self._keeper.node.network.serve(CAPABILITY_PROTOCOL, self._answer)

    async def run(self) -> None:
        """Offer the machine, or withdraw what was offered, until cancelled."""
        while True:
            changed = self._keeper.runners.changed
            if self._settings.is_on and self._keeper.runners.is_unknown:
                await changed.wait()
                continue
            pause = float(self._keeper.node.preset.epoch_seconds)
            try:
                self.deal = await self._make_deal()
                await self._bring_about()
            except ChainError as error:
                # A provider that has just registered becomes active with the next epoch.
                self._tell(logging.INFO, f"the offer is not on the chain yet: {error}")
                pause = min(pause / 4, RETRY_SECONDS)
            with trio.move_on_after(pause):
                await changed.wait()

    async def _make_deal(self) -> Deal | None:
        settings, keeper = self._settings, self._keeper
        runner = keeper.runners.runner
        if not settings.is_on or runner is None:
            return None
        data_dir = keeper.node.data_dir
        try:
            settings.require_sense(keeper.node.preset.max_lease_seconds)
            limits = await trio.to_thread.run_sync(choose_limits, settings, data_dir)
            facts = await trio.to_thread.run_sync(read_host_facts, data_dir)
            templates = await trio.to_thread.run_sync(self._read_templates)
            capability = describe_capability(runner, limits, facts.cpu, self._devices, templates)
            return Deal(limits, encode_capability(capability))
        except LocalError as error:
            self._tell(logging.ERROR, f"this machine is not rented out: {error}")
            return None

    async def _bring_about(self) -> None:
        keeper, settings, deal = self._keeper, self._settings, self.deal
        there = await keeper.contract.reader.offer(keeper.provider)
        if there is not None and there.wallet != keeper.wallet:
            there = None
        if deal is None:
            if there is not None:
                await self._execute(
                    "withdrawal of the offer", keeper.contract.calls.withdraw_offer()
                )
                logger.info("this machine is no longer offered for rent")
            return
        if there is not None and deal.matches(there, settings):
            return
        digest = compute_capability_digest(deal.document)
        call = keeper.contract.calls.offer(
            settings.price, settings.minimum_seconds, settings.maximum_seconds, digest
        )
        await self._execute(f"offer {digest.hex()[:16]} at {settings.price}", call)
        logger.info(
            "this machine is offered for rent: %s per hour, %s … %s",
            format_amount(settings.price * HOUR),
            format_duration(settings.minimum_seconds),
            format_duration(settings.maximum_seconds),
        )

    async def _execute(self, label: str, call: Call) -> None:
        deadline = trio.current_time() + TRANSACTION_SECONDS
        await self._keeper.node.transactions.execute(
            call, label=label, deadline=deadline, confirmations=1
        )

    async def _answer(self, stream: RequestStream) -> None:
        await stream.receive(0)
        if self.deal is None:
            raise RemoteError("nothing is offered here")
        await stream.send(self.deal.document)
        await stream.send(encode(list(self.give_receipts())))

    def _tell(self, level: int, text: str) -> None:
        if text != self._told:
            self._told = text
            logger.log(level, "%s", text)

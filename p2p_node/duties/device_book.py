"""What a checker keeps of its providers' device reports: in memory, bounded, unscored."""

from collections import OrderedDict
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from p2p_node.workloads.attestation.policy import Policy
from p2p_node.workloads.attestation.verify import AttestedDevice
from protocols.device_facts import DeviceFacts
from protocols.types import Epoch, NodeKey

MAX_RECORDS: Final = 1024
"""Reports kept, one per provider: those of a checker's shards in one epoch."""

MAX_DEVICES: Final = 16 * MAX_RECORDS


class Label(StrEnum):
    """What a report is worth."""

    REPORTED = "reported"
    ATTESTED = "attested"


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """A provider's report as a checker keeps it.

    `devices` are the GPUs that proved who they are; with `REPORTED`, `reason` says why they are
    not enough.
    """

    provider: int
    node_key: NodeKey
    epoch: Epoch
    label: Label
    reason: str
    facts: DeviceFacts
    devices: tuple[AttestedDevice, ...] = ()


class DeviceBook:
    """The checker's side: the newest report of each provider, and which chip belongs to whom."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self._records: OrderedDict[NodeKey, DeviceRecord] = OrderedDict()
        self._owners: OrderedDict[bytes, tuple[NodeKey, Epoch]] = OrderedDict()

    def add(self, record: DeviceRecord) -> DeviceRecord:
        """Keep a record, and return it as it is kept.

        Chips that another node showed in the same epoch attest nothing: one GPU stands behind two
        identities. The first one keeps its label.
        """
        shared = [
            device
            for device in record.devices
            if (owner := self._owners.get(device.device_id)) is not None
            and owner[0] != record.node_key
            and owner[1] == record.epoch
        ]
        if shared:
            record = replace(record, label=Label.REPORTED, reason="device of another node")
        for device in record.devices:
            if device not in shared:
                self._owners[device.device_id] = record.node_key, record.epoch
                self._owners.move_to_end(device.device_id)
        self._records[record.node_key] = record
        self._records.move_to_end(record.node_key)
        while len(self._records) > MAX_RECORDS:
            self._records.popitem(last=False)
        while len(self._owners) > MAX_DEVICES:
            self._owners.popitem(last=False)
        return record

    def get(self, provider: NodeKey) -> DeviceRecord | None:
        """The newest report of a provider that is still kept."""
        return self._records.get(provider)

    def records(self) -> tuple[DeviceRecord, ...]:
        """All of them, the oldest first."""
        return tuple(self._records.values())

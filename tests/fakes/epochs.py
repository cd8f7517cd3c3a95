"""An `EpochSource` in memory: a chain that the test moves by hand."""

from chain.errors import TimedOutError
from chain.records import NO_EXIT, Head, SlotRecord
from protocols.hashing import keccak256
from protocols.signing import sign_binding
from protocols.types import Digest, Epoch, NodeKey, Wallet

CHAIN_ID = 31337
REGISTRY = Wallet(b"\x11" * 20)


def make_slot(
    index: int,
    node_key,
    wallet: Wallet,
    *,
    created: int = 0,
    joined: int = 0,
    exits: int = NO_EXIT,
    stake: int = 10**20,
    binding: bytes | None = None,
) -> SlotRecord:
    """A slot whose binding holds, unless another is given."""
    return SlotRecord(
        index=index,
        wallet=wallet,
        node_key=NodeKey(bytes(node_key.verify_key)),
        binding=binding or sign_binding(node_key, CHAIN_ID, REGISTRY, wallet),
        created_epoch=Epoch(created),
        joined_epoch=Epoch(joined),
        exit_epoch=Epoch(exits),
        stake_units=stake // 10**18,
        stake=stake,
    )


class FakeEpochSource:
    """Answers what the watcher asks; `timestamp` is the newest block's."""

    def __init__(self, timestamp: int) -> None:
        self.timestamp = timestamp
        self.number = 1
        self.provider_slots: list[SlotRecord] = []
        self.checker_slots: list[SlotRecord] = []
        self.fails = False
        self.seed_reads: list[Epoch] = []

    async def head(self) -> Head:
        if self.fails:
            raise TimedOutError("the test says so")
        return Head(self.number, bytes(32), self.timestamp, 0)

    async def seed(self, epoch: Epoch) -> Digest:
        self.seed_reads.append(epoch)
        return keccak256(b"seed", epoch.to_bytes(8, "big"))

    async def providers(self) -> list[SlotRecord]:
        return list(self.provider_slots)

    async def checkers(self) -> list[SlotRecord]:
        return list(self.checker_slots)

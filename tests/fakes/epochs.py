"""An `EpochSource` in memory: a chain that the test moves by hand."""

from chain.client import BlockTag
from chain.errors import ChainError, RefusedError, TimedOutError
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
        since_epoch=Epoch(joined),
        scored_stake=stake,
    )


class FakeEpochSource:
    """Answers what the watcher asks; `timestamp` is the newest block's.

    From block `forked_at` on, hashes depend on `branch`, as seeds do.
    """

    def __init__(self, timestamp: int) -> None:
        self.timestamp = timestamp
        self.number = 1
        self.provider_slots: list[SlotRecord] = []
        self.checker_slots: list[SlotRecord] = []
        self.fails = False
        self.seed_reads: list[Epoch] = []
        self.blocks_read: list[BlockTag] = []
        self.branch = b""
        self.forked_at = 0
        self.seed_on_every_branch = False
        self.final: Head | None = None
        self.knows_finality = True
        self.error: ChainError | None = None

    async def head(self, block: BlockTag = "latest") -> Head:
        if self.fails:
            raise TimedOutError("the test says so")
        if self.error is not None:
            raise self.error
        return self._find(block)

    async def seed(self, epoch: Epoch, block: BlockTag = "latest") -> Digest:
        self.seed_reads.append(epoch)
        self.blocks_read.append(block)
        branch = b"" if self.seed_on_every_branch else self.branch
        return keccak256(b"seed", branch, epoch.to_bytes(8, "big"))

    async def providers(self, block: BlockTag = "latest") -> list[SlotRecord]:
        return list(self.provider_slots)

    async def checkers(self, block: BlockTag = "latest") -> list[SlotRecord]:
        return list(self.checker_slots)

    def _find(self, block: BlockTag) -> Head:
        if block == "finalized":
            if not self.knows_finality:
                raise RefusedError(-32602, "unknown block tag")
            if self.final is not None:
                return self.final
        number = block if isinstance(block, int) else self.number
        branch = self.branch if number >= self.forked_at else b""
        return Head(number, keccak256(branch, number.to_bytes(8, "big")), self.timestamp, 0)

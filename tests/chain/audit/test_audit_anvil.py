"""A score that is altered in a contract's storage, on a chain that lets one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from chain.hexes import to_hex
from protocols.hashing import keccak256
from protocols.types import Epoch, Wallet
from tests.chain.audit.test_audit import RIGHT, audit, claim, settle
from tests.chain.backends import ETHER, AnvilBackend, running_anvil
from tests.chain.network import FIRST_SHARD, Network, network

BEFORE_SCORES = 4
"""Words of a bundle's entry in front of its scores."""

MAX_SLOT = 64
"""Words that Consensus keeps of its own at most, beside its maps."""


@dataclass(frozen=True)
class Head:
    timestamp: int


@dataclass(frozen=True)
class AnvilChain:
    """anvil, whose clock the test moves."""

    backend: AnvilBackend

    @property
    def url(self) -> str:
        return self.backend.url

    @property
    def chain(self) -> "AnvilChain":
        return self

    def head(self) -> Head:
        block = self.backend.request("eth_getBlockByNumber", "latest", False)
        assert isinstance(block, dict)
        return Head(int(block["timestamp"], 16))

    def mine(self, timestamp: int) -> None:
        self.backend.request("evm_setNextBlockTimestamp", timestamp)
        self.backend.request("evm_mine")

    def has_pending(self) -> bool:
        status = self.backend.request("txpool_status")
        assert isinstance(status, dict)
        return int(status["pending"], 16) > 0


@contextmanager
def serve_anvil(rich: Sequence[Wallet]) -> Iterator[AnvilChain]:
    with running_anvil() as backend:
        for wallet in rich:
            backend.request("anvil_setBalance", to_hex(wallet), hex(1000 * ETHER))
        yield AnvilChain(backend)


def find_scores(backend: AnvilBackend, net: Network, epoch: int) -> int:
    """Return where in its storage Consensus keeps the first sixteen scores of an epoch."""
    consensus = to_hex(net.deployment.address("Consensus"))
    key = FIRST_SHARD * net.preset.ring_epochs + epoch % net.preset.ring_epochs
    packed = sum(score << 16 * lane for lane, score in enumerate(RIGHT))
    for slot in range(MAX_SLOT):
        entry = int.from_bytes(keccak256(slot.to_bytes(32, "big"), key.to_bytes(32, "big")), "big")
        place = entry + BEFORE_SCORES
        word = backend.request("eth_getStorageAt", consensus, hex(place), "latest")
        assert isinstance(word, str)
        if int(word, 16) == packed:
            return place
    raise AssertionError("no scores in any map of Consensus")


async def test_a_score_that_was_altered_on_the_chain_is_found() -> None:
    async with network(serve=serve_anvil) as net:
        assert isinstance(net.running, AnvilChain)
        backend = net.running.backend
        await settle(net, 1, 1)
        await settle(net, 2, 2)
        net.enter(3, 200)
        await claim(net, [1, 2])
        for verdict in await audit(net, 0, 1, 2):
            assert verdict.difference is None, str(verdict.difference)

        consensus = to_hex(net.deployment.address("Consensus"))
        place = find_scores(backend, net, 1)
        word = backend.request("eth_getStorageAt", consensus, hex(place), "latest")
        assert isinstance(word, str)
        # One more for the provider in lane 1.
        altered = to_hex((int(word, 16) + (1 << 16)).to_bytes(32, "big"))
        backend.request("anvil_setStorageAt", consensus, hex(place), altered)
        backend.mine()
        assert (await net.client.scores(Epoch(1), FIRST_SHARD) or ())[1] == RIGHT[1] + 1

        first, second = await audit(net, 1, 2)
        assert second.is_equal
        assert first.difference is not None
        assert str(first.difference) == (
            f"Consensus.scores (epoch 1, shard 0, lane 1): found {RIGHT[1] + 1}, "
            f"expected {RIGHT[1]}"
        )

"""Typed reads from ZeroNodeAnchor and from the collection whose holders' uptime counts twice.

What somebody is paid for is read at `finalized`, or at the number of a block that is: `latest` may
be taken back.
"""

from dataclasses import dataclass
from typing import Any, Final

from chain.abi import get_interface
from chain.answers import parse_head
from chain.client import BlockTag, call_view
from chain.deployment import Deployment
from chain.errors import MalformedAnswerError, RevertedError
from chain.hexes import parse_hex_bytes, to_hex
from chain.records import Head, Receipt
from chain.rpc import JsonRpc
from protocols.types import Digest, Epoch, NodeKey, Wallet

PAGE: Final = 64
"""Services per page, as in ZeroNodeAnchor.vy."""

MAX_SERVICES: Final = 1_024
"""Services that there can be at most, as there."""

MAX_TOKENS: Final = 100
"""Tokens of one wallet that are looked up at most: each is a request."""

_NOBODY: Final = bytes(20)
_NOTHING: Final = bytes(32)
_ERC721: Final = bytes.fromhex("80ac58cd")
_ENUMERABLE: Final = bytes.fromhex("780e9d63")
_SUPPORTS: Final = bytes.fromhex("01ffc9a7")


@dataclass(frozen=True, slots=True)
class Service:
    """A ZeroNode service that the owner listed. Times in Unix seconds."""

    index: int
    wallet: Wallet
    node_key: NodeKey
    added_at: int
    retired_at: int
    """0 while it is active."""

    @property
    def is_active(self) -> bool:
        """Whether it may send roots and commitments."""
        return self.retired_at == 0


@dataclass(frozen=True, slots=True)
class DrawCommitment:
    """What a service committed to for a draw, and the time of the block, in Unix seconds."""

    commitment: Digest
    committed_at: int


class ZeroNodeClient:
    """Reads one deployment through one endpoint.

    Every method raises the errors of `Rpc.request`: UnavailableError (try again), RefusedError,
    RevertedError, and MalformedAnswerError when the answer is not what the contract gives.
    """

    def __init__(self, rpc: JsonRpc, deployment: Deployment) -> None:
        self._rpc = rpc
        self.deployment = deployment

    async def services(self, block: BlockTag = "latest") -> tuple[Service, ...]:
        """Return all services that were ever listed, in order of their index."""
        services: list[Service] = []
        while len(services) <= MAX_SERVICES:
            (page,) = await self._read(block, "ZeroNodeAnchor", "services", len(services), PAGE)
            services += [_to_service(len(services) + i, values) for i, values in enumerate(page)]
            if len(page) < PAGE:
                return tuple(services)
        raise MalformedAnswerError(f"ZeroNodeAnchor.services: more than {MAX_SERVICES} services")

    async def service_of(self, wallet: Wallet, block: BlockTag = "latest") -> int | None:
        """Return the index of the active service that has this wallet, or None."""
        is_there, index = await self._read(block, "ZeroNodeAnchor", "service_index", wallet)
        return int(index) if is_there else None

    async def root_of(self, service: int, day: int, block: BlockTag = "latest") -> Digest | None:
        """Return the root that a service anchored for a day, or None."""
        (root,) = await self._read(block, "ZeroNodeAnchor", "root_of", service, day)
        return None if root == _NOTHING else Digest(root)

    async def draw_of(
        self, service: int, draw: Digest, block: BlockTag = "latest"
    ) -> DrawCommitment | None:
        """Return what a service committed to for a draw, or None."""
        ((commitment, committed_at),) = await self._read(
            block, "ZeroNodeAnchor", "draw_of", service, draw
        )
        return DrawCommitment(Digest(commitment), committed_at) if committed_at else None

    async def owner(self, block: BlockTag = "latest") -> Wallet:
        """Return who lists the services."""
        (owner,) = await self._read(block, "ZeroNodeAnchor", "owner")
        return _wallet(owner)

    async def heir(self, block: BlockTag = "latest") -> Wallet | None:
        """Return whom ownership is offered to, or None."""
        (heir,) = await self._read(block, "ZeroNodeAnchor", "heir")
        found = _wallet(heir)
        return None if found == _NOBODY else found

    async def owner_of(self, token: int, block: BlockTag = "finalized") -> Wallet | None:
        """Return who owns a token of the collection, or None when there is no such token."""
        try:
            (owner,) = await self._read(block, "Nft", "ownerOf", token)
        except RevertedError:
            return None
        found = _wallet(owner)
        return None if found == _NOBODY else found

    async def tokens_of(self, wallet: Wallet, block: BlockTag = "finalized") -> tuple[int, ...]:
        """Return tokens that a wallet owns, MAX_TOKENS at most; none if the collection does not
        enumerate them (ERC-721 leaves that open)."""
        nft = self.deployment.address("Nft")
        if not await supports_interface(self._rpc, nft, _ENUMERABLE):
            return ()
        (count,) = await self._read(block, "Nft", "balanceOf", wallet)
        tokens: list[int] = []
        for place in range(min(count, MAX_TOKENS)):
            try:
                (token,) = await self._read(block, "Nft", "tokenOfOwnerByIndex", wallet, place)
            except RevertedError:
                # `finalized` moved on between two reads, and a token left.
                break
            tokens.append(int(token))
        return tuple(tokens)

    async def beacon_seed(self, epoch: Epoch, block: BlockTag = "latest") -> Digest:
        """Return the seed of an epoch that began, among the last 256; RevertedError for others."""
        (seed,) = await self._read(block, "Beacon", "seed", epoch)
        return Digest(seed)

    async def head(self, block: BlockTag = "latest") -> Head:
        """Return number, hash, timestamp and base fee of a block."""
        tag = to_hex(block) if isinstance(block, int) else block
        return parse_head(await self._rpc.request("eth_getBlockByNumber", tag, False))

    async def first_final_block(self, timestamp: int) -> Head | None:
        """Return the first block whose time is `timestamp` (Unix seconds) or later; None while
        there is none among the finalized ones.

        Blocks before the deployment's first are not looked at. Twice log₂ of the blocks back to it
        are read at most.
        """
        low = last = await self.head("finalized")
        step = 1
        # Steps back that double, then halves: what is asked for is nearly always recent.
        while low.timestamp >= timestamp:
            if low.number <= self.deployment.block:
                return low
            last = low
            low = await self.head(max(self.deployment.block, low.number - step))
            step *= 2
        return None if low is last else await self._narrow(low.number, last, timestamp)

    async def _narrow(self, before: int, last: Head, timestamp: int) -> Head:
        """Halve the blocks between `before`, which is too early, and `last`, which is not."""
        while last.number - before > 1:
            middle = await self.head((before + last.number) // 2)
            if middle.timestamp < timestamp:
                before = middle.number
            else:
                last = middle
        return last

    async def _read(
        self, block: BlockTag, contract: str, function: str, *arguments: object
    ) -> tuple[Any, ...]:
        return await call_view(self._rpc, self.deployment, block, contract, function, *arguments)


def find_minted(deployment: Deployment, receipt: Receipt) -> int | None:
    """Return the token of the collection that a transaction made, or None."""
    shape = get_interface("Nft").events["Transfer"]
    for log in receipt.logs:
        if log.address == deployment.address("Nft") and log.topics[:1] == (shape.topic,):
            values = shape.decode(log.topics, log.data)
            if _wallet(values["sender"]) == _NOBODY:
                return int(values["token_id"])
    return None


async def is_collection(rpc: JsonRpc, address: Wallet) -> bool:
    """Tell whether there is an ERC-721 collection at an address (ERC-165)."""
    return await supports_interface(rpc, address, _ERC721)


async def supports_interface(rpc: JsonRpc, address: Wallet, interface: bytes) -> bool:
    """Tell whether the contract at an address says that it has an interface (ERC-165)."""
    call = {"to": to_hex(address), "data": to_hex(_SUPPORTS + interface + bytes(28))}
    try:
        answer = await rpc.octets("eth_call", call, "latest")
    except RevertedError:
        return False
    return answer == (1).to_bytes(32, "big")


def _to_service(index: int, values: Any) -> Service:
    wallet, node_key, added_at, retired_at = values
    return Service(index, _wallet(wallet), NodeKey(node_key), added_at, retired_at)


def _wallet(address: str) -> Wallet:
    return Wallet(parse_hex_bytes(address, 20))

"""ZeroNodeAnchor and the collection by calls, reads and events, on the devchain and on anvil."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import pytest
from eth_abi.abi import encode

from chain.abi import get_interface
from chain.deployment import verify_deployment
from chain.errors import MalformedAnswerError, RevertedError, WrongChainError
from chain.events import decode_event
from chain.hexes import to_hex
from chain.records import Call, Receipt
from chain.rpc import JsonRpc
from chain.transactions import TransactionManager
from chain.zeronode_calls import ZeroNodeCalls
from chain.zeronode_client import (
    MAX_SERVICES,
    DrawCommitment,
    Service,
    ZeroNodeClient,
    is_collection,
)
from chain.zeronode_events import (
    AnchorOffered,
    AnchorTransferred,
    DrawCommitted,
    RootAnchored,
    ServiceAdded,
    ServiceRetired,
)
from protocols.errors import LocalError
from protocols.types import Digest, Epoch, NodeKey, Wallet
from tests.chain.audit.test_audit_anvil import serve_anvil
from tests.chain.network import Network, Running, network, serve_devchain
from tests.chain.samples import DEPLOYMENT

Serve = Callable[[Sequence[Wallet]], AbstractContextManager[Running]]

KEY, OTHER_KEY = NodeKey(b"\x71" * 32), NodeKey(b"\x72" * 32)
ROOT, DRAW, COMMITMENT = (Digest(bytes([number]) * 32) for number in (0x51, 0x52, 0x53))
ON_BOTH = pytest.mark.parametrize("serve", [serve_devchain, serve_anvil], ids=["devchain", "anvil"])


class Scene:
    """A network whose funder owns the anchor, and two people who run services or hold tokens."""

    def __init__(self, net: Network) -> None:
        self.net = net
        self.client = ZeroNodeClient(net.rpc, net.deployment)
        self.calls = ZeroNodeCalls(net.deployment)
        self.owner = net.funder
        self.one, self.two = (person.manager for person in net.providers)
        self._labels = 0

    async def do(self, manager: TransactionManager, call: Call) -> tuple[Receipt, object]:
        """Send a call; its receipt, and what ZeroNodeAnchor reported in it."""
        self._labels += 1
        receipt = await self.net.execute(manager, call, f"step {self._labels}")
        events = [
            event
            for log in receipt.logs
            if (event := decode_event(self.net.deployment, log)) is not None
        ]
        return receipt, events[0] if events else None

    def finalize(self) -> None:
        """Make so many blocks that everything before is final."""
        for _ in range(8):
            chain = self.net.running.chain
            chain.mine(chain.head().timestamp + 1)

    async def day_ago(self) -> int:
        """A day that is over."""
        head = await self.client.head()
        return head.timestamp // self.net.preset.day_seconds - 1


@ON_BOTH
async def test_services_anchor_roots_and_commit_to_draws(serve: Serve) -> None:
    async with network(0, 2, serve=serve) as net:
        scene = Scene(net)
        client, calls = scene.client, scene.calls
        assert await client.services() == ()
        assert await client.owner() == scene.owner.wallet
        receipt, event = await scene.do(scene.owner, calls.add_service(scene.one.wallet, KEY))
        assert event == ServiceAdded(0, scene.one.wallet, KEY)
        added = (await client.head(receipt.block_number)).timestamp
        _, event = await scene.do(scene.owner, calls.add_service(scene.two.wallet, OTHER_KEY))
        assert event == ServiceAdded(1, scene.two.wallet, OTHER_KEY)
        assert await client.service_of(scene.two.wallet) == 1
        assert await client.service_of(scene.owner.wallet) is None

        day = await scene.day_ago()
        assert await client.root_of(0, day) is None
        _, event = await scene.do(scene.one, calls.anchor(day, ROOT))
        assert event == RootAnchored(0, day, ROOT)
        assert await client.root_of(0, day) == ROOT
        assert await client.root_of(1, day) is None
        with pytest.raises(RevertedError) as refused:
            await scene.do(scene.one, calls.anchor(day, Digest(b"\x99" * 32)))
        assert refused.value.revert_reason == "anchor: day has its root"

        assert await client.draw_of(1, DRAW) is None
        receipt, event = await scene.do(scene.two, calls.commit_draw(DRAW, COMMITMENT))
        assert event == DrawCommitted(1, DRAW, COMMITMENT)
        committed = (await client.head(receipt.block_number)).timestamp
        assert await client.draw_of(1, DRAW) == DrawCommitment(COMMITMENT, committed)
        assert await client.draw_of(0, DRAW) is None

        receipt, event = await scene.do(scene.owner, calls.retire_service(0))
        assert event == ServiceRetired(0)
        retired = (await client.head(receipt.block_number)).timestamp
        first, second = await client.services()
        assert first == Service(0, scene.one.wallet, KEY, added, retired)
        assert (first.is_active, second.is_active) == (False, True)
        with pytest.raises(RevertedError) as refused:
            await scene.do(scene.one, calls.anchor(day - 1, ROOT))
        assert refused.value.revert_reason == "anchor: caller is no active service"
        assert await client.root_of(0, day) == ROOT

        _, event = await scene.do(scene.owner, calls.offer_ownership(scene.two.wallet))
        assert event == AnchorOffered(scene.owner.wallet, scene.two.wallet)
        _, event = await scene.do(scene.two, calls.accept_ownership())
        assert event == AnchorTransferred(scene.owner.wallet, scene.two.wallet)
        assert await client.owner() == scene.two.wallet
        assert await client.beacon_seed(Epoch(0)) == await net.client.seed(Epoch(0))


@ON_BOTH
async def test_tokens_and_their_owners(serve: Serve) -> None:
    async with network(0, 2, serve=serve) as net:
        scene = Scene(net)
        client, calls = scene.client, scene.calls
        one, two = scene.one.wallet, scene.two.wallet
        for wallet in (one, one, two):
            await scene.do(scene.owner, calls.mint(wallet))
        before = await client.head()
        # The last one is not final yet.
        assert await client.owner_of(3) is None
        assert await client.owner_of(3, "latest") == two
        scene.finalize()
        assert [await client.owner_of(token) for token in (1, 2, 3, 4, 0, 2**256 - 1)] == [
            *(one, one, two, None, None, None)
        ]
        assert await client.tokens_of(one) == (1, 2)
        assert await client.tokens_of(scene.owner.wallet) == ()
        await scene.do(scene.one, calls.transfer(one, two, 1))
        assert await client.owner_of(1, before.number) == one
        assert await client.owner_of(1, "latest") == two
        assert sorted(await client.tokens_of(two, "latest")) == [1, 3]
        with pytest.raises(RevertedError) as refused:
            await scene.do(scene.one, calls.mint(one))
        assert refused.value.revert_reason == "nft: caller is not the minter"

        deployment = net.deployment
        assert await is_collection(net.rpc, deployment.address("Nft"))
        for name in ("Token", "Beacon"):
            assert not await is_collection(net.rpc, deployment.address(name))
        assert not await is_collection(net.rpc, one)
        # The transfers of a collection, of which there can be any number, are nobody's news.
        events = await net.client.events(deployment.block, "latest")
        nft = deployment.address("Nft")
        assert not [log for _, log in events if log.address == nft]
        assert [event for event, _ in events if isinstance(event, AnchorTransferred)] == [
            AnchorTransferred(Wallet(bytes(20)), scene.owner.wallet)
        ]


@ON_BOTH
async def test_the_first_final_block_of_a_time(serve: Serve) -> None:
    async with network(0, 2, serve=serve) as net:
        client = ZeroNodeClient(net.rpc, net.deployment)
        chain = net.running.chain
        for gap in (1, 30, 1, 1, 7, 100, 2, 1, 1, 1, 1):
            chain.mine(chain.head().timestamp + gap)
        last = await client.head("finalized")
        heads = [
            await client.head(number) for number in range(net.deployment.block, last.number + 1)
        ]
        times = [head.timestamp for head in heads]
        for moment in range(times[0] - 2, times[-1] + 1):
            expected = next(head for head in heads if head.timestamp >= moment)
            assert await client.first_final_block(moment) == expected
        assert await client.first_final_block(times[-1] + 1) is None
        assert (await client.head()).timestamp > times[-1]


async def test_a_chain_with_other_days_is_refused() -> None:
    async with network(0, 2) as net:
        await verify_deployment(net.rpc, net.deployment)
        other = replace(net.deployment, preset=replace(net.preset, day_seconds=61))
        with pytest.raises(WrongChainError, match=r"ZeroNodeAnchor.day_seconds: found 60 on the"):
            await verify_deployment(net.rpc, other)


@pytest.mark.parametrize("value", [bytes(32), b"\x01" * 31, b""])
def test_what_means_nothing_is_not_sent(value: bytes) -> None:
    calls = ZeroNodeCalls(DEPLOYMENT)
    with pytest.raises(LocalError, match=r"root: found .*, expected 32 bytes, not zeros"):
        calls.anchor(1, Digest(value))
    with pytest.raises(LocalError, match="commitment: found"):
        calls.commit_draw(DRAW, Digest(value))


class Inventor(JsonRpc):
    """An endpoint that makes up a whole page of services, whichever is asked for."""

    def __init__(self) -> None:
        self.asked = 0

    async def request(self, method: str, *parameters: object) -> object:
        self.asked += 1
        (kind,) = get_interface("ZeroNodeAnchor").functions["services"].outputs
        service = ("0x" + "11" * 20, b"\x22" * 32, 1, 0)
        return to_hex(encode([kind], [[service] * 64]))

    def close(self) -> None:
        """Nothing is open."""


async def test_more_services_than_there_can_be_are_not_believed() -> None:
    rpc = Inventor()
    with pytest.raises(MalformedAnswerError, match="more than 1024 services"):
        await ZeroNodeClient(rpc, DEPLOYMENT).services()
    assert rpc.asked == MAX_SERVICES // 64 + 1

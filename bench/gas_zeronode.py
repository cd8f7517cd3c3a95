"""Gas of what ZeroNode's services send."""

from bench.gas_world import World
from chain.zeronode_calls import ZeroNodeCalls
from protocols.types import Digest, NodeKey


def measure_zeronode(world: World) -> dict[str, int]:
    """List a service that is not the first, and let it anchor a root and commit to a draw."""
    calls, service = ZeroNodeCalls(world.whole), world.providers[0]
    today = world.evm.now() // world.whole.preset.day_seconds

    def digest() -> Digest:
        return Digest(world.random.randbytes(32))

    first, listing = (
        calls.add_service(person.wallet, NodeKey(digest()))
        for person in (world.providers[1], service)
    )
    world.send(first, world.operator)
    return {
        "zeronode_add_service": world.send(listing, world.operator),
        "zeronode_anchor": world.send(calls.anchor(today - 1, digest()), service),
        "zeronode_commit_draw": world.send(calls.commit_draw(digest(), digest()), service),
    }

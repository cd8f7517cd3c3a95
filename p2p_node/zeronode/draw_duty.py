"""The duty of holding draws, put together for a service that runs."""

from collections.abc import Awaitable, Callable
from contextlib import aclosing

from chain.deployment import Deployment
from chain.transactions import TransactionManager
from chain.zeronode_calls import ZeroNodeCalls
from chain.zeronode_client import ZeroNodeClient
from p2p_node.zeronode.draw_anchor import ChainAnchor
from p2p_node.zeronode.draw_schedule import read_draws
from p2p_node.zeronode.drawing import Drawing
from p2p_node.zeronode.parts import Service
from p2p_node.zeronode.randomness import BeaconSeeds, DrandRelays
from protocols.lucky_draw import SourceKind


def make_draw_duty(
    service: Service,
    chain: ZeroNodeClient,
    deployment: Deployment,
    transactions: TransactionManager,
) -> Callable[[], Awaitable[None]]:
    """Read the file of draws, and return what holds them until it is cancelled.

    Without a file no draw is opened, but those that were go on to their end. Raises DrawsError.
    """
    settings = service.settings
    schedules = () if settings.draws is None else read_draws(settings.draws)

    async def hold() -> None:
        async with aclosing(DrandRelays(settings.drand)) as drand:
            beacon = BeaconSeeds(chain, deployment.genesis, deployment.preset.epoch_seconds)
            drawing = Drawing(
                service.database,
                schedules,
                service.identity.node_key,
                service.identity.network,
                ChainAnchor(
                    chain,
                    ZeroNodeCalls(deployment),
                    transactions,
                    service.identity.service,
                    service.clock,
                ),
                {SourceKind.DRAND: drand, SourceKind.BEACON: beacon},
                service.clock,
                service.random,
            )
            await drawing.run()

    return hold

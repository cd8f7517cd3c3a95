"""Joins the pure gossip rules to the network: one judge per topic, verified messages to a sink."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from p2p_node.net.judgement import ACCEPT, Judge, Judgement
from p2p_node.watcher import Watcher
from protocols.envelopes import Verified
from protocols.gossip import GossipMemory, NetworkView
from protocols.types import TimeMs
from protocols.wire import Message

MessageT = TypeVar("MessageT", bound=Message)


class Rule(Protocol[MessageT]):
    """A gossip rule of `protocols.gossip`: returns what it accepts, raises what it refuses."""

    def __call__(
        self, memory: GossipMemory, view: NetworkView, data: bytes, now: TimeMs
    ) -> Verified[MessageT]:
        """Judge `data` as of `now`."""


SinkT = TypeVar("SinkT", bound=Message)


def make_judge(
    rule: Rule[SinkT],
    sink: Callable[[Verified[SinkT]], None],
    *,
    memory: GossipMemory,
    watcher: Watcher,
) -> Judge:
    """Build the judge of one topic: the rule decides, and what it accepts goes to `sink`.

    `sink` must only take note, as the network waits for the judgement. The rule's refusals are
    raised through: the network turns them into ignore or reject and counts their reasons.
    """

    def judge(data: bytes, _sender: bytes) -> Judgement:
        sink(rule(memory, watcher.view, data, watcher.clock.now()))
        return ACCEPT

    return judge

"""A ZeroNode service as a process of its own, for the tests of the extension.

    python -m tests.integration.chromium.run_service DIRECTORY PORT NODE RULES

NODE is the number of the service's key. RULES is JSON: fields of ZeroNodeRules that differ from
`minimal`. The same directory again is a restart of the same service.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import trio

from p2p_node.clock import Clock
from p2p_node.zeronode.parts import ServiceIdentity
from p2p_node.zeronode.service import open_service, run_service
from p2p_node.zeronode.settings import ZeroNodeSettings
from protocols.types import NodeKey
from protocols.zeronode_rules import MINIMAL_RULES
from tests.integration.chromium.services import (
    CHAIN_ID,
    LISTED,
    NETWORK,
    database_url,
    node_key,
    service_key,
)


async def main(directory: Path, port: int, node: int, changes: str) -> None:
    settings = ZeroNodeSettings(database=database_url(directory), listen=f"127.0.0.1:{port}")
    identity = ServiceIdentity(node_key(node), NETWORK, CHAIN_ID)
    rules = replace(MINIMAL_RULES, **json.loads(changes))
    async with open_service(settings, identity, rules, Clock(), directory) as service:
        service.listed = lambda: frozenset(NodeKey(service_key(each)) for each in LISTED)
        await run_service(service, on_listening=lambda running: print(running.url, flush=True))


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])

"""A node in a process of its own, for tests that kill it.

Run as `python -m tests.p2p_node.net.peer_process NUMBER PORT BOOTSTRAP…`: prints its address once
it listens, answers the protocol "echo", follows the topic "announce", and runs until killed.
"""

import sys

import trio

from p2p_node.net import ACCEPT, NetworkSettings, RequestStream, open_network
from p2p_node.net.settings import NetworkTimes


async def _echo(stream: RequestStream) -> None:
    await stream.send(await stream.receive(1000))


async def _sleep(stream: RequestStream) -> None:
    await trio.sleep_forever()


async def main(number: int, port: int, bootstrap: list[str]) -> None:
    settings = NetworkSettings(
        seed=number.to_bytes(32, "big"),
        network="test",
        listen=(f"/ip4/127.0.0.1/tcp/{port}",),
        bootstrap=tuple(bootstrap),
        times=NetworkTimes(heartbeat=0.2, retry_most=0.5, discovery=1.0),
    )
    async with open_network(settings) as network:
        network.serve("echo", _echo)
        network.serve("sleep", _sleep)
        network.subscribe("announce", lambda data, sender: ACCEPT, deliver=False)
        print(network.addresses[0], flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])

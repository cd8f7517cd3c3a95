"""Commands for enclosures of any kind, and what they say."""

import trio

from p2p_node.rental.runner import Command, Enclosure


def shell(script: str, terminal: tuple[int, int] | None = None, **environment: str) -> Command:
    pairs = {name.encode(): value.encode() for name, value in environment.items()}
    return Command((b"sh", b"-c", script.encode()), pairs, terminal=terminal)


async def read_all(stream: trio.abc.ReceiveStream | None) -> bytes:
    assert stream is not None
    return b"".join([bytes(part) async for part in stream])


async def read_until(stream: trio.abc.ReceiveStream, wanted: bytes) -> bytes:
    found = b""
    with trio.fail_after(20):
        while wanted not in found:
            part = await stream.receive_some()
            assert part, found
            found += part
    return found


async def run(enclosure: Enclosure, script: str, **environment: str) -> tuple[int, bytes, bytes]:
    """Run to the end; status, standard output, standard error."""
    return await run_command(enclosure, shell(script, None, **environment))


async def run_command(enclosure: Enclosure, command: Command) -> tuple[int, bytes, bytes]:
    process = await enclosure.start(command)
    out: list[bytes] = []
    errors: list[bytes] = []

    async def read(stream: trio.abc.ReceiveStream | None, to: list[bytes]) -> None:
        to.append(await read_all(stream))

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, process.stdout, out)
            nursery.start_soon(read, process.stderr, errors)
            status = await process.wait()
    await process.aclose()
    return status, out[0], errors[0]


def python(script: str) -> Command:
    """A program of Python's, inside."""
    return Command((b"python3", b"-c", script.encode()), {})

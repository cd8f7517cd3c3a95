"""One ZeroNode service with 2,000 sessions beside a bare hypercorn, in one run.

    python -m bench.zeronode [--json PATH] [--sessions N] [--seconds S] [--interval FROM TO]

The claim: one process holds 2,000 signed sessions on two cores, and misses no deadline that is not
its client's.

Ours is the whole service with the rules of mainnet, SQLite on the disk: each session has a key and
an account of its own, is challenged every 12 to 22 s, and what its beats earn is durable before it
is told. The peer is hypercorn under Trio with an application of a few lines that sends as many
messages of the same sizes at the same times, and neither signs, judges nor writes anything. Clients
run in two processes of their own, and sign with PyNaCl; those of the peer only send.

CPU is that of the serving process with all its threads, per session, in permille of a core; memory
is what its resident set grew by from before the first session, per session. A deadline is missed by
the service when a beat was refused that its client sent in time, or when a challenge came later
than its rules allow. Sessions of which a client was too slow itself are counted beside it.
"""

import argparse
import json
import logging
import multiprocessing
import os
import platform
import random
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import trio
from nacl.signing import SigningKey

from p2p_node.clock import Clock
from p2p_node.zeronode.accounts import bind_key, open_account
from p2p_node.zeronode.client import ClientSession, ServiceFacts, ServiceRefusal
from p2p_node.zeronode.client_socket import open_socket
from p2p_node.zeronode.homes import claim_home
from p2p_node.zeronode.parts import Service, ServiceIdentity
from p2p_node.zeronode.service import Running, open_service, run_service
from p2p_node.zeronode.settings import ZeroNodeSettings
from p2p_node.zeronode.web_socket import SocketClosed
from protocols.types import NetworkId, NodeKey, Wallet
from protocols.zeronode_frames import Challenge, Credit
from protocols.zeronode_rules import MAINNET_RULES, ZeroNodeRules

SESSIONS = 2000
SECONDS = 60
CLIENT_PROCESSES = 2
CONNECTS_PER_SECOND = 60
"""Of each client process: as fast as one core signs people's hellos and looks their accounts up."""

READY_WITHIN = 60.0
SLACK_MS = 1000
"""By which a challenge may come later than its time and the session still earn all of it: a beat
earns 30 s at most, and challenges are 22 s apart at most."""

CHALLENGE_CHARS, BEAT_CHARS, CREDIT_CHARS = 330, 205, 75
"""Sizes of the three messages of a turn, for the peer."""

_NETWORK = NetworkId(bytes(32))
_NODE = SigningKey(b"service".rjust(32, b"\0"))
_FACTS = ServiceFacts(_NETWORK, NodeKey(bytes(_NODE.verify_key)), 1, {})


def client_key(number: int) -> SigningKey:
    """The key of one extension."""
    return SigningKey(number.to_bytes(32, "big"))


def make_rules(interval: tuple[float, float]) -> ZeroNodeRules:
    """Rules of mainnet with limits that let everybody come from one address."""
    most = 1_000_000
    limits = replace(
        MAINNET_RULES.limits,
        sessions_per_address=most,
        sessions_per_subnet=most,
        sessions=most,
        requests_per_minute=most,
    )
    least_ms, most_ms = (int(each * 1000) for each in interval)
    return replace(
        MAINNET_RULES, challenge_min_ms=least_ms, challenge_max_ms=most_ms, limits=limits
    )


# The serving sides. Each tells its port, and answers every message with what it has used so far.


def _bind_all(connection: Any, service: Service, sessions: int) -> None:
    now = service.clock.started_at
    for number in range(1, sessions + 1):
        wallet = Wallet(number.to_bytes(20, "big"))
        open_account(connection, wallet, now)
        claim_home(connection, wallet, service.identity.service, service.rules, now)
        key = NodeKey(bytes(client_key(number).verify_key))
        bind_key(connection, wallet, key, service.rules, now)


async def serve_ours(
    sessions: int, interval: tuple[float, float], folder: Path, parent: Connection
) -> None:
    """A service in which everybody has signed in."""
    settings = ZeroNodeSettings(
        database=f"sqlite:///{folder / 'zeronode.sqlite'}", listen="127.0.0.1:0"
    )
    identity = ServiceIdentity(_NODE, _NETWORK, 1)
    opened = open_service(settings, identity, make_rules(interval), Clock(), folder)
    async with opened as service, trio.open_nursery() as nursery:
        await service.database.run(_bind_all, service, sessions)

        def start(running: Running) -> None:
            port = int(running.url.rpartition(":")[2])
            nursery.start_soon(_report, parent, port, lambda: _count(service, running))

        await run_service(service, on_listening=start)


def _count(service: Service, running: Running) -> dict[str, Any]:
    beats = running.beats
    return {
        "sessions": len(service.sessions),
        "beats": beats.beats,
        "missed": beats.missed,
        "refused": dict(beats.refused),
        "commits": service.writer.commits,
        "bugs": dict(running.web.bugs),
    }


async def serve_plain(interval: tuple[float, float], parent: Connection) -> None:
    """hypercorn, with as many messages of the same size."""
    from hypercorn.config import Config
    from hypercorn.trio import serve

    async def talk(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            raise RuntimeError("not a WebSocket")
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            await send({"type": "websocket.send", "text": "c" * CHALLENGE_CHARS})
            if (await receive())["type"] == "websocket.disconnect":
                return
            await send({"type": "websocket.send", "text": "d" * CREDIT_CHARS})
            await trio.sleep(random.uniform(*interval))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": message["type"] + ".complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        await talk(scope, receive, send)

    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    async with trio.open_nursery() as nursery:
        run = partial(serve, app, config, mode="asgi")
        (bound,) = await nursery.start(run)
        port = int(str(bound).rpartition(":")[2])
        nursery.start_soon(_report, parent, port, dict)


async def _report(parent: Connection, port: int, count: Callable[[], dict[str, Any]]) -> None:
    parent.send(port)
    while True:
        await trio.lowlevel.wait_readable(parent.fileno())
        parent.recv()
        parent.send({"cpu": time.process_time(), "memory": read_memory(), **count()})


def read_memory() -> int:
    """Bytes of this process's resident set."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


# The clients.


@dataclass
class Seen:
    """What the sessions of one client process saw."""

    connected: int = 0
    beats: int = 0
    paid_ms: int = 0
    slow_clients: int = 0
    """Beats that the client itself sent too late."""
    missed: int = 0
    """Beats refused, sessions ended and challenges late that are the service's fault."""
    reasons: list[str] = field(default_factory=list)
    credit_ms: list[int] = field(default_factory=list)
    """From a beat's sending to its credit."""


async def be_ours(port: int, number: int, interval: tuple[float, float], seen: Seen) -> None:
    """One extension, for ever."""
    async with open_socket(f"ws://127.0.0.1:{port}/v1/beats") as socket:
        session = ClientSession(socket, client_key(number), _FACTS, random.randbytes(16))
        await session.greet()
        seen.connected += 1
        await answer_ours(session, interval, seen)


async def answer_ours(session: ClientSession, interval: tuple[float, float], seen: Seen) -> None:
    """Answer every challenge, and look at the clock."""
    last: float | None = None
    while True:
        frame = await session.receive()
        came = time.monotonic()
        if not isinstance(frame, Challenge):
            raise RuntimeError(f"no challenge but {frame}")
        beat = session.make_beat(frame)
        await session.socket.send(beat.encode())
        sent = time.monotonic()
        is_slow = (sent - came) * 1000 > frame.answer_ms // 2
        seen.slow_clients += is_slow
        credit = await session.receive()
        if not isinstance(credit, Credit):
            raise RuntimeError(f"no credit but {credit}")
        seen.beats += 1
        seen.paid_ms += credit.paid_ms
        seen.credit_ms.append(int((time.monotonic() - sent) * 1000))
        is_late = last is not None and came - last > interval[1] + SLACK_MS / 1000
        if not is_slow and (is_late or (last is not None and credit.paid_ms == 0)):
            seen.missed += 1
            seen.reasons.append(credit.reason or "challenge came late")
        last = came


async def be_plain(port: int, number: int, interval: tuple[float, float], seen: Seen) -> None:
    """One client of the peer, for ever."""
    async with open_socket(f"ws://127.0.0.1:{port}/") as socket:
        seen.connected += 1
        while True:
            await socket.receive()
            await socket.send("b" * BEAT_CHARS)
            await socket.receive()
            seen.beats += 1


Client = Callable[[int, int, tuple[float, float], Seen], Awaitable[None]]


async def run_clients(
    client: Client,
    port: int,
    numbers: Sequence[int],
    interval: tuple[float, float],
    parent: Connection,
) -> None:
    """Connect one after another, tell when all are there, and what was seen when asked."""
    seen = Seen()

    async def run(number: int) -> None:
        try:
            await client(port, number, interval, seen)
        except (ServiceRefusal, SocketClosed) as error:
            seen.missed += 1
            seen.reasons.append(str(error) or "connection lost")

    async with trio.open_nursery() as nursery:
        for number in numbers:
            nursery.start_soon(run, number)
            await trio.sleep(1 / CONNECTS_PER_SECOND)
        while seen.connected < len(numbers) and not seen.missed:
            await trio.sleep(0.1)
        parent.send("connected")
        while True:
            await trio.lowlevel.wait_readable(parent.fileno())
            parent.recv()
            parent.send(asdict(seen))
            seen.credit_ms.clear()


# Both.


def _live(task: Callable[[Connection], Awaitable[None]], parent: Connection) -> None:
    """The life of a process; it is killed in the end."""
    logging.disable(logging.CRITICAL)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    trio.run(task, parent)


class Processes:
    """Processes that are killed in the end."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("fork")
        self._running: list[Any] = []

    def start(self, task: Callable[[Connection], Awaitable[None]]) -> Connection:
        """Start one, and return the pipe to it."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_live, args=(task, theirs), daemon=True)
        process.start()
        theirs.close()
        self._running.append(process)
        return ours

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running:
            process.kill()
            process.join()


def hear(pipe: Connection, within: float) -> Any:
    """Wait for a message. Raises RuntimeError, also when the process has ended."""
    if not pipe.poll(within):
        raise RuntimeError("a process did not answer in time")
    try:
        return pipe.recv()
    except EOFError:
        raise RuntimeError("a process has failed") from None


def ask(pipe: Connection) -> Any:
    """Have a process tell what it counted."""
    pipe.send("tell")
    return hear(pipe, READY_WITHIN)


def measure(
    serve: Callable[[Connection], Awaitable[None]],
    client: Client,
    sessions: int,
    seconds: float,
    interval: tuple[float, float],
) -> dict[str, Any]:
    """Hold so many sessions for so long."""
    with Processes() as processes:
        server = processes.start(serve)
        port = hear(server, READY_WITHIN + sessions / 20)
        before = ask(server)
        clients = [
            processes.start(
                partial(
                    run_clients,
                    client,
                    port,
                    range(1 + place, sessions + 1, CLIENT_PROCESSES),
                    interval,
                )
            )
            for place in range(CLIENT_PROCESSES)
        ]
        for pipe in clients:
            hear(pipe, READY_WITHIN + 2 * sessions / CONNECTS_PER_SECOND)
        # Until the last one has its first turn behind it.
        time.sleep(min(interval[1], seconds))
        settled = [ask(pipe) for pipe in clients]
        first, started = ask(server), time.monotonic()
        time.sleep(seconds)
        last, wall = ask(server), time.monotonic() - started
        seen = [ask(pipe) for pipe in clients]
    times = sorted(each for one in seen for each in one["credit_ms"])
    beats = sum(one["beats"] for one in seen) - sum(one["beats"] for one in settled)
    return {
        "sessions": sessions,
        "turns_per_s": round(beats / wall, 1),
        "cpu_share": round((last["cpu"] - first["cpu"]) / wall, 4),
        "cpu_permille_per_session": round((last["cpu"] - first["cpu"]) / wall / sessions * 1e3, 4),
        "cpu_ms_per_turn": round((last["cpu"] - first["cpu"]) / max(beats, 1) * 1e3, 3),
        "memory_kb_per_session": round((last["memory"] - before["memory"]) / sessions / 1024, 1),
        "connecting_cpu_ms": round((first["cpu"] - before["cpu"]) / sessions * 1e3, 2),
        "missed": sum(one["missed"] for one in seen),
        "slow_clients": sum(one["slow_clients"] for one in seen),
        "reasons": sorted({reason for one in seen for reason in one["reasons"]})[:10],
        "credit_ms": {
            "median": times[len(times) // 2],
            "p99": times[len(times) * 99 // 100],
            "worst": times[-1],
        }
        if times
        else None,
        "server": {name: last[name] for name in last if name not in ("cpu", "memory")},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure both, print, and return 1 when a deadline was missed or a session is lost."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="PATH")
    parser.add_argument("--sessions", type=int, default=SESSIONS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument(
        "--interval", type=float, nargs=2, default=(12.0, 22.0), metavar=("FROM", "TO")
    )
    options = parser.parse_args(arguments)
    interval = (options.interval[0], options.interval[1])
    size, seconds = options.sessions, options.seconds
    plain = measure(partial(serve_plain, interval), be_plain, size, seconds, interval)
    with tempfile.TemporaryDirectory() as folder:
        serve = partial(serve_ours, size, interval, Path(folder))
        ours = measure(serve, be_ours, size, seconds, interval)
    result = {
        "ours": ours,
        "plain_hypercorn": plain,
        "cpu_ratio": round(ours["cpu_share"] / max(plain["cpu_share"], 1e-9), 2),
        "memory_ratio": round(
            ours["memory_kb_per_session"] / max(plain["memory_kb_per_session"], 1e-9), 2
        ),
        "missed": ours["missed"],
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}",
    }
    for name, side in (("ours", ours), ("plain hypercorn", plain)):
        print(
            f"{name:16} {side['sessions']} sessions, {side['turns_per_s']} turns/s: "
            f"{side['cpu_share'] * 100:.1f} % of a core "
            f"({side['cpu_permille_per_session']:.3f} permille and "
            f"{side['memory_kb_per_session']:.1f} KB a session)"
        )
    if ours["credit_ms"]:
        print(f"durable credit after {ours['credit_ms']} ms")
    print(
        f"deadlines missed: {ours['missed']} (limit 0), slow clients: {ours['slow_clients']}; "
        f"CPU {result['cpu_ratio']} and memory {result['memory_ratio']} times plain hypercorn"
    )
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    is_whole = ours["server"]["sessions"] == size and not ours["server"]["bugs"]
    return 0 if is_whole and not ours["missed"] else 1


if __name__ == "__main__":
    sys.exit(main())

"""A machine rented for real: nodes, sandbox, and `kaisar rent` from the quote to the receipt."""

import fcntl
import hashlib
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from p2p_node.testnet.processes import Child
from tests import require
from tests.integration.renting import Done, RentalWorld, rental_world

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

FLAGS = (
    *("--rental-price", "3.6", "--rental-minimum", "5s", "--rental-maximum", "1h"),
    *("--rental-runner", "bubblewrap", "--rental-disk", "500"),
)
CONNECTIONS = 20

SERVER = """
import socket, threading
listener = socket.create_server(("127.0.0.1", 7000), backlog=64)
print("listening", flush=True)
def echo(connection):
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)
while True:
    threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()
"""


async def test_a_lease_is_used_in_every_way(tmp_path: Path) -> None:
    require.program("bubblewrap")
    async with rental_world(tmp_path, *FLAGS) as world:
        flags = ("--seconds", "900", "--yes", "--json")
        refused = await world.rent("open", "0", flags=(*flags, "--template", "none"))
        assert (refused.status, "nothing was paid" in refused.err) == (1, True), refused.err
        opened = await world.rent("open", "0", flags=flags)
        assert opened.status == 0, opened.err + world.provider.tail(40)
        assert "(reported)" in opened.err
        assert opened.json["lease"] == 1
        assert opened.json["state"] == "active"
        assert opened.json["template"] == "base"
        assert "deploying base" in opened.err
        uses = (run_commands, copy_files, sit_at_a_shell, forward_a_port, show_status_and_logs)
        for use in uses:
            await use(world, tmp_path)
        extended = await world.rent("extend", flags=("--seconds", "60", "--yes", "--json"))
        assert extended.status == 0, extended.err
        assert extended.json["seconds"] == 960
        ended = await world.rent("end", flags=("--json",))
        assert ended.status == 0, ended.err
        assert ended.json["state"] == "settled"
        refused = await world.rent("run", "--", "true")
        assert (refused.status, "there is no active lease" in refused.err) == (125, True)
        await check_receipt(world)


async def run_commands(world: RentalWorld, tmp_path: Path) -> None:
    script = "cat; echo out; echo err >&2; echo $COLOUR; exit 7"
    flags = ("--env", "COLOUR=red and blue")
    done = await world.rent("run", "--", "sh", "-c", script, flags=flags, stdin=b"in\n")
    assert (done.status, done.out) == (7, b"in\nout\nred and blue\n"), done.err
    assert done.err.endswith("err\n")
    killed = await world.rent("run", "--", "sh", "-c", "kill -9 $$")
    assert killed.status == 128 + 9
    missing = await world.rent("run", "--", "no-such-program", flags=("--json",))
    assert missing.status == 125
    assert missing.json["exit_status"] is None
    assert missing.json["error"]


async def copy_files(world: RentalWorld, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "deep").mkdir(parents=True)
    (project / "deep" / "data.bin").write_bytes(os.urandom(3_000_000))
    (project / "main.sh").write_text("mkdir -p out && sha256sum deep/data.bin > out/sum.txt\n")
    done = await world.rent(
        "run",
        "--",
        "sh",
        "main.sh",
        flags=(
            *("--upload", str(project)),
            *("--fetch", f"out:{tmp_path / 'results'}", "--json"),
        ),
    )
    assert done.status == 0, done.err
    digest = hashlib.sha256((project / "deep" / "data.bin").read_bytes()).hexdigest()
    assert (tmp_path / "results" / "sum.txt").read_text().startswith(digest)
    assert done.json["uploaded"][0]["bytes"] == 3_000_000 + len((project / "main.sh").read_bytes())
    fetched = await world.rent("fetch", "deep/data.bin", str(tmp_path / "back"))
    assert fetched.status == 0, fetched.err
    assert (tmp_path / "back" / "data.bin").read_bytes() == (
        project / "deep" / "data.bin"
    ).read_bytes()
    missing = await world.rent("fetch", "nowhere", str(tmp_path / "back"))
    assert missing.status == 1
    assert "no such path" in missing.err
    nothing = await world.rent("upload", str(tmp_path / "nothing"))
    assert (nothing.status, "there is no such file" in nothing.err) == (1, True)


async def sit_at_a_shell(world: RentalWorld, tmp_path: Path) -> None:
    said, status = await trio.to_thread.run_sync(
        type_into,
        world,
        [(b"$ ", b"stty size; tty; echo sum $((40 + 2))\r"), (b"sum 42", b"exit 5\r")],
    )
    assert status == 5, said
    assert b"33 77" in said
    assert b"/dev/pts/" in said


def type_into(world: RentalWorld, lines: list[tuple[bytes, bytes]]) -> tuple[bytes, int]:
    """Type into a shell on a terminal, each line once something was said; return all, and its
    exit status."""
    terminal, end = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    process = subprocess.Popen(
        world.command("shell"),
        stdin=end,
        stdout=end,
        stderr=end,
        env=world.environment,
        start_new_session=True,
    )
    os.close(end)
    said = b""
    deadline = time.monotonic() + 120
    try:
        while time.monotonic() < deadline:
            if lines and lines[0][0] in said:
                os.write(terminal, lines.pop(0)[1])
            if select.select([terminal], [], [], 0.2)[0]:
                try:
                    said += os.read(terminal, 4096)
                except OSError:
                    # The other end is closed.
                    break
        else:
            process.kill()
    finally:
        os.close(terminal)
    return said, process.wait(30)


async def forward_a_port(world: RentalWorld, tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(SERVER)
    uploaded = await world.rent("upload", str(tmp_path / "server.py"))
    assert uploaded.status == 0, uploaded.err
    started = await world.rent("run", "--", "python3", "server.py", flags=("--detach",))
    assert started.status == 0, started.err
    with trio.fail_after(60):
        while b"listening" not in (await world.rent("logs")).out:
            await trio.sleep(0.5)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    child = Child(
        "forward",
        world.command("forward", [f"{port}:7000"]),
        tmp_path / "forward.log",
        world.environment,
    )
    world.household.start(child)
    await world.until_line(child, "is here: 127.0.0.1:")
    sums: list[int] = []
    arrived = trio.Event()

    async def talk(number: int) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(b"hello")
            assert await stream.receive_some(5) == b"hello"
            sums.append(number)
            if len(sums) == CONNECTIONS:
                arrived.set()
            # All are open at once.
            await arrived.wait()
            await stream.send_all(bytes([number]) * 10_000)
            await stream.send_eof()
            back = b"".join([part async for part in stream])
            assert back == bytes([number]) * 10_000

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for number in range(CONNECTIONS):
                nursery.start_soon(talk, number)
    assert child.process is not None
    child.process.send_signal(signal.SIGINT)
    assert await world.until_exit(child) == 130


async def show_status_and_logs(world: RentalWorld, tmp_path: Path) -> None:
    shown = await world.rent("status", flags=("--json",))
    assert shown.status == 0, shown.err
    assert shown.json["place"]["template"] == "base", shown.json
    assert shown.json["leases"][0]["seconds_left"] > 0
    text = await world.rent("status")
    assert b"there, as the provider says" in text.out


async def check_receipt(world: RentalWorld) -> None:
    receipts = (await world.rent("receipts", flags=("--json",))).json["receipts"]
    (receipt,) = receipts
    paid, fee, refund = (int(receipt[name]) for name in ("paid", "fee", "refund"))
    assert paid + fee + refund == int(receipt["escrow"])
    assert paid == receipt["charged_seconds"] * int(receipt["price_per_second"])
    whats = [each["what"] for each in receipt["transactions"]]
    assert whats == ["opened", "accepted", "extended", "ended", "settled"]


async def test_who_does_not_hold_the_key_is_refused(tmp_path: Path) -> None:
    require.program("bubblewrap")
    async with rental_world(tmp_path, *FLAGS) as world:
        opened = await world.rent(
            "open", "0", flags=("--seconds", "300", "--yes", "--no-deploy", "--json")
        )
        assert opened.status == 0, opened.err
        not_deployed = await world.rent("run", "--", "true")
        assert (not_deployed.status, "not deployed" in not_deployed.err) == (125, True)
        # The same lease, with a key that nobody paid with.
        folder = tmp_path / "renter" / "leases" / opened.json["name"]
        (folder / "lease.key").unlink()
        (folder / "lease.key").write_text("11" * 32)
        (folder / "lease.key").chmod(0o600)
        forged = await world.rent("run", "--", "true")
        assert (forged.status, "not the key" in forged.err) == (125, True)


async def test_a_provider_that_dies_cuts_what_runs_there_and_blocks_no_refund(
    tmp_path: Path,
) -> None:
    require.program("bubblewrap")
    async with rental_world(tmp_path, *FLAGS) as world:
        before = await world.chain.token_balance(world.renter)
        opened = await world.rent("open", "0", flags=("--seconds", "900", "--yes", "--json"))
        assert opened.status == 0, opened.err + world.provider.tail(40)
        child = Child(
            "run",
            world.command("run", ["--", "sh", "-c", "echo begun; sleep 600"]),
            tmp_path / "run.log",
            world.environment,
        )
        world.household.start(child)
        await world.until_line(child, "begun")
        assert world.provider.process is not None
        assert child.process is not None
        world.provider.process.kill()
        assert await world.until_exit(child) == 125
        said = child.log.read_text()
        assert "the connection to provider 0 was cut" in said
        assert "kaisar rent end --contest 1" in said
        ended = await world.rent("end", flags=("--contest", "--json"))
        assert ended.status == 0, ended.err
        # Most of the time was not used, and came back at once, with nobody's consent.
        assert int(ended.json["came_back"]) > int(opened.json["escrow"]) // 2
        settled: Done | None = None
        with trio.fail_after(120):
            while settled is None or settled.status != 0:
                settled = await world.rent("end", flags=("--json",))
                await trio.sleep(2)
        assert settled.json["state"] == "settled"
        paid = before - await world.chain.token_balance(world.renter)
        assert paid == int(settled.json["paid"]) + int(settled.json["fee"])


async def test_an_opening_that_is_killed_is_gone_on_with_and_paid_once(tmp_path: Path) -> None:
    require.program("bubblewrap")
    async with rental_world(tmp_path, *FLAGS) as world:
        before = await world.chain.token_balance(world.renter)
        leases = tmp_path / "renter" / "leases"
        flags = ("--seconds", "600", "--yes", "--no-deploy")

        async def kill_when(condition: Callable[[], Awaitable[bool]], *words: str) -> None:
            command = world.command("open", words, *flags)
            child = Child("open", command, tmp_path / "open.log", world.environment)
            world.household.start(child)
            with trio.fail_after(60):
                while not await condition():
                    await trio.sleep(0.02)
            assert child.process is not None
            child.process.kill()
            child.process.wait()

        async def has_key() -> bool:
            return bool(list(leases.glob("*/lease.json")))

        async def is_paid() -> bool:
            return await world.rental.lease_count() > 0

        await kill_when(has_key, "0")
        await kill_when(is_paid, "--resume")
        (name,) = [each.name for each in leases.iterdir()]
        opened = await world.rent("open", "--resume", flags=(*flags, "--json"))
        assert opened.status == 0, opened.err + world.provider.tail(40)
        assert (opened.json["name"], opened.json["state"]) == (name, "active")
        assert await world.rental.lease_count() == 1
        paid = before - await world.chain.token_balance(world.renter)
        assert paid == int(opened.json["escrow"])

"""What every enclosure does, the fake one and those that isolate."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from p2p_node.rental.runner import Command, Enclosure, Runner, WorkloadError
from tests import require
from tests.fakes.enclosure import FAKE_LIMITS, FAKE_TEMPLATE, fake_runner
from tests.p2p_node.rental.boxes import bubblewrap_runner, docker_runner
from tests.p2p_node.rental.commands import read_all, read_until, run, shell

pytestmark = pytest.mark.integration

LEASE = 7


@pytest.fixture(params=["fake", "bubblewrap", "docker", "docker-relay"])
async def runner(request: pytest.FixtureRequest, data_dir: Path) -> AsyncIterator[Runner]:
    if request.param == "fake":
        async with fake_runner(data_dir) as made:
            yield made
    elif request.param == "bubblewrap":
        require.program("bubblewrap")
        async with bubblewrap_runner(data_dir) as made:
            yield made
    else:
        require.program("docker")
        async with docker_runner(data_dir, relays=request.param == "docker-relay") as made:
            yield made


@pytest.fixture
async def enclosure(runner: Runner) -> Enclosure:
    return await runner.prepare(LEASE, FAKE_TEMPLATE, FAKE_LIMITS, print)


async def test_output_errors_and_status_come_back(enclosure: Enclosure) -> None:
    status, out, errors = await run(
        enclosure, 'echo "$GREETING"; echo oops >&2; exit 7', GREETING="hi"
    )
    assert (status, out, errors) == (7, b"hi\n", b"oops\n")


async def test_a_command_starts_in_the_workspace(enclosure: Enclosure) -> None:
    (enclosure.workspace / "sub").mkdir()
    if enclosure.owner is not None:
        os.chown(enclosure.workspace / "sub", *enclosure.owner)
    status, out, errors = await run(enclosure, "cd sub && echo made > file && cd ~ && cat sub/file")
    assert (status, out) == (0, b"made\n"), errors
    assert (enclosure.workspace / "sub" / "file").read_text() == "made\n"
    process = await enclosure.start(Command((b"pwd",), {}, directory=b"sub"))
    assert (await read_all(process.stdout)).endswith(b"/sub\n")
    await process.wait()
    await process.aclose()


@pytest.mark.parametrize(
    ("argv", "directory"),
    [(b"no-such-program", b""), (b"/etc/passwd", b""), (b"sh", b"nowhere")],
)
async def test_what_cannot_be_started_is_refused(
    enclosure: Enclosure, argv: bytes, directory: bytes
) -> None:
    with pytest.raises(WorkloadError, match="cannot start"):
        await enclosure.start(Command((argv,), {}, directory=directory))


async def test_the_end_of_input_arrives_while_output_goes_on(enclosure: Enclosure) -> None:
    process = await enclosure.start(shell("cat; echo end"))
    await process.stdin.send_all(b"some")
    await process.stdin.aclose()
    assert await read_all(process.stdout) == b"someend\n"
    assert await process.wait() == 0
    await process.aclose()


async def test_output_that_nobody_reads_stops_the_writer(enclosure: Enclosure) -> None:
    process = await enclosure.start(shell("head -c 3000000 /dev/zero; echo end >&2"))
    with trio.move_on_after(0.3) as waited:
        await process.wait()
    assert waited.cancelled_caught
    assert len(await read_all(process.stdout)) == 3_000_000
    assert await process.wait() == 0
    await process.aclose()


async def test_a_signal_reaches_the_whole_group(enclosure: Enclosure) -> None:
    process = await enclosure.start(shell("sleep 1000 & echo up; wait"))
    await read_until(process.stdout, b"up")
    await process.send_signal(signal.SIGTERM)
    with trio.fail_after(20):
        assert await process.wait() == -signal.SIGTERM
        # The end of output: the sleeper, which has it open as well, is gone.
        assert await read_all(process.stdout) == b""
    await process.send_signal(signal.SIGTERM)
    await process.aclose()


async def test_a_terminal_has_its_size_its_keys_and_its_end(enclosure: Enclosure) -> None:
    command = shell(
        'stty size; trap "stty size; exit 3" WINCH; echo up; while :; do sleep 0.05; done', (33, 77)
    )
    process = await enclosure.start(command)
    assert process.stderr is None
    assert b"33 77" in await read_until(process.stdout, b"up")
    await process.resize(44, 88)
    await read_until(process.stdout, b"44 88")
    assert await process.wait() == 3
    assert await read_all(process.stdout) == b""
    await process.aclose()


async def test_a_node_that_ignores_signals_passes_that_on_to_nobody(runner: Runner) -> None:
    ignored = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
    before = [signal.signal(number, signal.SIG_IGN) for number in ignored]
    try:
        enclosure = await runner.prepare(LEASE, FAKE_TEMPLATE, FAKE_LIMITS, print)
        for number in ignored:
            status, _, _ = await run(enclosure, f"kill -{int(number)} $$; exit 7")
            assert status == -number
    finally:
        for number, handler in zip(ignored, before, strict=True):
            signal.signal(number, handler)


async def test_control_c_interrupts_what_runs_in_a_terminal(enclosure: Enclosure) -> None:
    process = await enclosure.start(shell("echo up; sleep 1000", (24, 80)))
    await read_until(process.stdout, b"up")

    async def press(scope: trio.CancelScope) -> None:
        # A shell that is just becoming its last command may miss the first one.
        with scope:
            while True:
                await process.stdin.send_all(b"\x03")
                await trio.sleep(0.5)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            pressing = trio.CancelScope()
            nursery.start_soon(press, pressing)
            assert await process.wait() == -signal.SIGINT
            pressing.cancel()
    await process.aclose()


async def test_closing_the_input_of_a_terminal_types_the_end_of_file(enclosure: Enclosure) -> None:
    process = await enclosure.start(shell("stty -echo; echo up; cat; echo end", (24, 80)))
    await read_until(process.stdout, b"up")
    await process.stdin.send_all(b"line\n")
    await process.stdin.aclose()
    assert b"line\r\nend" in await read_all(process.stdout)
    await process.aclose()


SERVER = """
import socket, sys
server = socket.create_server(("127.0.0.1", {port}))
print("up", flush=True)
while True:
    connection, _ = server.accept()
    data = connection.recv(100)
    connection.sendall(data.upper())
    connection.close()
"""


async def test_a_server_inside_is_reached_by_its_port(
    enclosure: Enclosure, unused_tcp_port: int
) -> None:
    script = SERVER.format(port=unused_tcp_port)
    process = await enclosure.start(Command((b"python3", b"-c", script.encode()), {}))
    await read_until(process.stdout, b"up")
    answers: list[bytes] = []

    async def ask(number: int) -> None:
        stream = await enclosure.connect(unused_tcp_port)
        await stream.send_all(b"hello %d" % number)
        await stream.send_eof()
        answers.append(await read_all(stream))
        await stream.aclose()

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(ask, number)
    assert sorted(answers) == sorted(b"HELLO %d" % number for number in range(20))
    await process.aclose()
    with pytest.raises(WorkloadError, match="nobody listens"):
        await enclosure.connect(unused_tcp_port)


async def test_a_stop_ends_all_and_keeps_the_files(enclosure: Enclosure) -> None:
    (await run(enclosure, "echo kept > file"))
    processes = [await enclosure.start(shell("sleep 1000")) for _ in range(3)]
    with trio.fail_after(20):
        await enclosure.stop()
        assert [await process.wait() for process in processes] == [-9, -9, -9]
    for process in processes:
        await process.aclose()
    assert await run(enclosure, "cat file") == (0, b"kept\n", b"")


async def test_usage_counts_processes_and_files(enclosure: Enclosure) -> None:
    process = await enclosure.start(shell("head -c 200000 /dev/zero > zeros; echo up; sleep 1000"))
    await read_until(process.stdout, b"up")
    usage = await enclosure.usage()
    assert usage.disk_bytes >= 200_000
    assert usage.processes >= 1
    await process.aclose()


async def test_preparing_again_adopts_and_wiping_removes(runner: Runner) -> None:
    first = await runner.prepare(LEASE, FAKE_TEMPLATE, FAKE_LIMITS, print)
    await run(first, "echo kept > file")
    again = await runner.prepare(LEASE, FAKE_TEMPLATE, FAKE_LIMITS, print)
    assert (await run(again, "cat file"))[1] == b"kept\n"
    await runner.prepare(11, FAKE_TEMPLATE, FAKE_LIMITS, print)
    assert await runner.leftovers() == [LEASE, 11]
    await runner.wipe(LEASE)
    assert not first.workspace.exists()
    assert await runner.leftovers() == [11]
    await runner.wipe(LEASE)
    wiped = await runner.prepare(11, FAKE_TEMPLATE, FAKE_LIMITS, print)
    await wiped.wipe()
    # A renter that was a moment too late brings nothing back.
    with pytest.raises(WorkloadError, match="lease is over"):
        await wiped.start(shell("echo > file"))
    assert await runner.leftovers() == []


async def test_closing_a_process_kills_it(enclosure: Enclosure) -> None:
    process = await enclosure.start(shell("sleep 1000 & echo up; wait"))
    await read_until(process.stdout, b"up")
    await process.aclose()
    with trio.fail_after(20):
        assert await process.wait() == -signal.SIGKILL

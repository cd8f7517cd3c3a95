"""What runs over a channel: connections over real sockets, and commands."""

import fcntl
import os
import pty
import signal
import socket
import struct
import termios
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import pytest
import trio

from p2p_node.net import Network, RequestStream, StreamEndedError
from p2p_node.rental.channel import Channel
from p2p_node.rental.pumps import (
    GAVE_UP,
    ConnectionCutError,
    RunFailedError,
    drive_process,
    pump_connection,
    pump_process,
)
from p2p_node.rental.runner import Command
from protocols.errors import MalformedError
from protocols.lease_frames import FrameKind, encode_exit, encode_resize, encode_signal
from tests.fakes.enclosure import FAKE_LIMITS, FAKE_TEMPLATE, FakeEnclosure, fake_runner
from tests.p2p_node.net.conftest import open_nodes, times, until

Handler = Callable[[Channel], Awaitable[object]]


@asynccontextmanager
async def open_pair(
    handler: Handler, **changes: Any
) -> AsyncIterator[tuple[Network, Network, list[BaseException]]]:
    """Two real nodes; the second one serves channels with `handler`. Its failures are listed."""
    failures: list[BaseException] = []

    async def handle(stream: RequestStream) -> None:
        try:
            await handler(Channel(stream))
        except BaseException as error:
            failures.append(error)
            raise

    with trio.fail_after(60):
        async with open_nodes(2, **changes) as (renter, provider):
            provider.serve("lease", handle, lasting=True)
            yield renter, provider, failures


@asynccontextmanager
async def open_channel(renter: Network, provider: Network) -> AsyncIterator[Channel]:
    async with renter.open_stream(provider.node_key, "lease", inf) as stream:
        yield Channel(stream)


# Connections.


@asynccontextmanager
async def listening(serve: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[int]:
    """A TCP server; yields its port."""
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def forwarding(
    serve: Callable[[trio.SocketStream], Awaitable[None]],
) -> AsyncIterator[tuple[int, Network, list[BaseException]]]:
    """A local port that leads through two nodes to `serve`; with what went wrong on both sides."""
    async with listening(serve) as target:

        async def connect(channel: Channel) -> None:
            await pump_connection(channel, await trio.open_tcp_stream("127.0.0.1", target))

        async with open_pair(connect) as (renter, provider, failures):

            async def carry(connection: trio.SocketStream) -> None:
                try:
                    async with open_channel(renter, provider) as channel:
                        await pump_connection(channel, connection)
                except (ConnectionCutError, StreamEndedError) as error:
                    failures.append(error)

            async with listening(carry) as port:
                yield port, provider, failures


async def read_all(stream: trio.SocketStream) -> bytes:
    parts = [part async for part in stream]
    return b"".join(parts)


async def echo(stream: trio.SocketStream) -> None:
    # A test may have reset the connection.
    with suppress(trio.BrokenResourceError):
        async for part in stream:
            await stream.send_all(part)


async def answer_at_the_end(stream: trio.SocketStream) -> None:
    data = await read_all(stream)
    await stream.send_all(data[::-1])


@pytest.mark.integration
async def test_each_direction_ends_by_itself() -> None:
    async with forwarding(answer_at_the_end) as (port, provider, failures):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(b"abc" * 100_000)
            await stream.send_eof()
            assert await read_all(stream) == b"cba" * 100_000
        await until(lambda: provider.counters.streams_served == 1)
        assert not failures


@pytest.mark.integration
async def test_twenty_connections_at_once_get_what_is_theirs() -> None:
    size = 2_000_000

    async def use(port: int, number: int) -> None:
        data = bytes([number]) * size
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:

            async def send() -> None:
                await stream.send_all(data)
                await stream.send_eof()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                assert await read_all(stream) == data

    async with forwarding(echo) as (port, provider, failures):
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(use, port, number)
        assert not failures
        assert provider.counters.streams_served == 20
        assert provider.counters.connections_closed == 0


@pytest.mark.integration
async def test_who_does_not_read_holds_up_nobody_else() -> None:
    """Twenty connections are full in both directions, and a further one is as quick as ever."""
    async with forwarding(echo) as (port, provider, failures):
        full: list[trio.SocketStream] = []

        async def fill(stream: trio.SocketStream) -> None:
            with trio.move_on_after(2):
                while True:
                    await stream.send_all(bytes(1 << 20))

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                stream = await trio.open_tcp_stream("127.0.0.1", port)
                full.append(stream)
                nursery.start_soon(fill, stream)
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            with trio.fail_after(5):
                await stream.send_all(b"hello")
                assert await stream.receive_some(10) == b"hello"
        assert not failures
        assert provider.counters.connections_closed == 0
        # Whoever reads after all gets everything that was sent in order.
        assert not any(await full[0].receive_some(1 << 20))
        for stream in full:
            await trio.aclose_forcefully(stream)
        await until(lambda: len(failures) >= 20)


@pytest.mark.integration
async def test_a_reset_goes_through() -> None:
    async def abort(stream: trio.SocketStream) -> None:
        await stream.receive_some(1)
        # Closing then resets the connection.
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await trio.aclose_forcefully(stream)

    async with forwarding(abort) as (port, provider, failures):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(bytes(100_000))
            with pytest.raises(trio.BrokenResourceError):
                await read_all(stream)
        await until(lambda: len(failures) == 2)
        assert provider.counters.refused["lease", "connection reset"] == 1


@pytest.mark.integration
async def test_a_cut_channel_resets_the_connection() -> None:
    async def cut(channel: Channel) -> None:
        await channel.receive_frame()
        raise ConnectionCutError("connection reset")

    async with open_pair(cut) as (renter, provider, failures):

        async def carry(connection: trio.SocketStream) -> None:
            with pytest.raises(StreamEndedError):
                async with open_channel(renter, provider) as channel:
                    await pump_connection(channel, connection)

        async with listening(carry) as port, await trio.open_tcp_stream("127.0.0.1", port) as end:
            await end.send_all(b"x")
            with pytest.raises(trio.BrokenResourceError):
                await end.receive_some(1)
        assert len(failures) == 1


@pytest.mark.integration
@pytest.mark.parametrize("frame", [encode_exit(0), b"\2x", encode_resize(1, 1)])
async def test_a_frame_that_is_out_of_place_ends_a_connection(frame: bytes) -> None:
    async with listening(echo) as target:

        async def connect(channel: Channel) -> None:
            await pump_connection(channel, await trio.open_tcp_stream("127.0.0.1", target))

        async with open_pair(connect) as (renter, provider, failures):
            async with open_channel(renter, provider) as channel:
                await channel.send_encoded(frame)
                with pytest.raises(StreamEndedError):
                    await channel.receive_frame()
            assert [type(error) for error in failures] == [MalformedError]


# Commands.


@asynccontextmanager
async def serving(
    tmp_path: Path,
    *argv: str,
    terminal: tuple[int, int] | None = None,
    keep: list[bytes] | None = None,
) -> AsyncIterator[tuple[Network, Network, list[BaseException], FakeEnclosure]]:
    """Two nodes, of which the second runs a command in a fake enclosure for each channel."""
    async with fake_runner(tmp_path) as runner:
        enclosure = await runner.prepare(1, FAKE_TEMPLATE, FAKE_LIMITS, print)
        assert isinstance(enclosure, FakeEnclosure)

        async def note(data: bytes) -> None:
            await trio.lowlevel.checkpoint()
            if keep is not None:
                keep.append(data)

        async def run(channel: Channel) -> None:
            command = Command(tuple(map(os.fsencode, argv)), {}, terminal=terminal)
            await pump_process(channel, await enclosure.start(command), keep=note)

        async with open_pair(run) as (renter, provider, failures):
            yield renter, provider, failures, enclosure


@asynccontextmanager
async def running(
    tmp_path: Path,
    *argv: str,
    terminal: tuple[int, int] | None = None,
    keep: list[bytes] | None = None,
) -> AsyncIterator[tuple[Channel, list[BaseException]]]:
    """A channel to a command, and what failed on the provider's side."""
    async with (
        serving(tmp_path, *argv, terminal=terminal, keep=keep) as (renter, provider, failures, _),
        open_channel(renter, provider) as channel,
    ):
        yield channel, failures


@dataclass
class Standard:
    """Pipes in place of standard input, output and error, and what was written to them."""

    stdin: int
    stdout: int
    stderr: int
    out: list[bytes] = field(default_factory=list)
    errors: list[bytes] = field(default_factory=list)

    async def drive(self, channel: Channel) -> int:
        return await drive_process(channel, self.stdin, self.stdout, self.stderr)


@asynccontextmanager
async def standard_streams(given: bytes | None = b"") -> AsyncIterator[Standard]:
    """Standard input has `given` and ends, or has nothing and does not."""
    (stdin, feed), (out, stdout), (errors, stderr) = (os.pipe() for _ in range(3))
    standard = Standard(stdin, stdout, stderr)

    async def collect(descriptor: int, parts: list[bytes]) -> None:
        async with trio.lowlevel.FdStream(descriptor) as stream:
            async for part in stream:
                parts.append(part)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect, out, standard.out)
        nursery.start_soon(collect, errors, standard.errors)
        if given is not None:
            await trio.to_thread.run_sync(os.write, feed, given)
            os.close(feed)
        try:
            yield standard
        finally:
            for descriptor in (stdout, stderr, *(() if given is not None else (feed,))):
                os.close(descriptor)
            # A thread of drive_process may wait for it still; now it has seen its end.
            await trio.to_thread.run_sync(os.read, stdin, 1)
            os.close(stdin)


@pytest.mark.integration
async def test_input_output_errors_and_status_go_through(tmp_path: Path) -> None:
    kept: list[bytes] = []
    async with running(tmp_path, "sh", "-c", "cat; echo oh >&2; exit 7", keep=kept) as (
        channel,
        failures,
    ):
        async with standard_streams(b"hello\n") as standard:
            assert await standard.drive(channel) == 7
        assert (b"".join(standard.out), b"".join(standard.errors)) == (b"hello\n", b"oh\n")
        assert sorted(b"".join(kept).split()) == [b"hello", b"oh"]
        assert not failures


@pytest.mark.integration
async def test_much_output_is_complete_before_the_status(tmp_path: Path) -> None:
    async with running(tmp_path, "sh", "-c", "head -c 5000000 /dev/zero") as (channel, _):
        async with standard_streams() as standard:
            assert await standard.drive(channel) == 0
        assert sum(map(len, standard.out)) == 5_000_000


@pytest.mark.integration
async def test_a_command_that_leaves_a_child_behind_still_ends(tmp_path: Path) -> None:
    async with running(tmp_path, "sh", "-c", "echo started; sleep 50 &") as (channel, _):
        async with standard_streams() as standard:
            with trio.fail_after(10):
                assert await standard.drive(channel) == 0
        assert b"".join(standard.out) == b"started\n"


@pytest.mark.integration
async def test_a_command_need_not_read_its_input(tmp_path: Path) -> None:
    async with running(tmp_path, "sh", "-c", "exec 0<&-; sleep 0.2; exit 3") as (channel, _):
        for _ in range(40):
            await channel.send_frame(FrameKind.DATA, bytes(100_000))
        await channel.send_frame(FrameKind.END)
        kind, _payload = await channel.receive_frame()
        assert kind is FrameKind.EXIT


@pytest.mark.integration
async def test_signals_reach_the_command(tmp_path: Path) -> None:
    async with running(tmp_path, "sh", "-c", "echo ready; sleep 50") as (channel, _):
        async with standard_streams(None) as standard, trio.open_nursery() as nursery:

            async def interrupt() -> None:
                await until(lambda: standard.out)
                os.kill(os.getpid(), signal.SIGTERM)

            nursery.start_soon(interrupt)
            status = await standard.drive(channel)
        assert status == -signal.SIGTERM


@pytest.mark.integration
async def test_the_second_interrupt_gives_up_and_the_command_ends(tmp_path: Path) -> None:
    script = "trap 'echo no' INT; echo $$; while :; do sleep 0.05; done"
    async with serving(tmp_path, "sh", "-c", script) as (renter, provider, failures, _):
        async with (
            open_channel(renter, provider) as channel,
            standard_streams(None) as standard,
            trio.open_nursery() as nursery,
        ):

            async def interrupt() -> None:
                await until(lambda: standard.out)
                os.kill(os.getpid(), signal.SIGINT)
                await until(lambda: b"no" in b"".join(standard.out))
                os.kill(os.getpid(), signal.SIGINT)

            nursery.start_soon(interrupt)
            assert await standard.drive(channel) == GAVE_UP
        process = int(b"".join(standard.out).split()[0])
        await until(lambda: not is_running(process))
        await until(lambda: failures)
        assert [type(error) for error in failures] == [StreamEndedError]


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.integration
async def test_a_terminal_has_the_size_that_it_is_given(tmp_path: Path) -> None:
    script = "stty size; read line; stty size; echo got $line"
    async with running(tmp_path, "sh", "-c", script, terminal=(10, 20)) as (channel, _):
        shown = b""

        async def read_until(text: bytes) -> None:
            nonlocal shown
            with trio.fail_after(10):
                while text not in shown:
                    kind, payload = await channel.receive_frame()
                    assert kind is FrameKind.DATA
                    shown += payload

        await read_until(b"10 20")
        await channel.send_encoded(encode_resize(30, 40))
        await channel.send_frame(FrameKind.DATA, b"word\r")
        await read_until(b"30 40")
        await read_until(b"got word")


@pytest.mark.integration
async def test_our_own_terminal_is_raw_meanwhile_and_its_size_is_passed_on(tmp_path: Path) -> None:
    def set_size(rows: int, columns: int) -> None:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    master, terminal = pty.openpty()
    set_size(11, 22)
    before = termios.tcgetattr(terminal)
    # Without isig even the command's own terminal takes Ctrl-C for a key like others.
    script = "stty -isig -echo; echo ready; read line; stty size; echo got $line; exit 5"
    async with running(tmp_path, "sh", "-c", script, terminal=(1, 1)) as (channel, _):
        async with standard_streams() as standard, trio.open_nursery() as nursery:

            async def type_something() -> None:
                await until(lambda: b"ready" in b"".join(standard.out))
                assert termios.tcgetattr(terminal) != before
                set_size(33, 44)
                os.kill(os.getpid(), signal.SIGWINCH)
                os.write(master, b"x\x03y\r")

            nursery.start_soon(type_something)
            status = await drive_process(
                channel, terminal, standard.stdout, standard.stderr, terminal=True
            )
        shown = b"".join(standard.out)
    assert termios.tcgetattr(terminal) == before
    assert status == 5
    assert b"33 44" in shown
    assert b"got x\x03y" in shown
    # A thread of drive_process waits for a key still.
    os.close(master)
    os.close(terminal)


@pytest.mark.integration
async def test_nobody_reads_the_output_any_more(tmp_path: Path) -> None:
    async with running(tmp_path, "sh", "-c", "while echo y; do :; done") as (channel, _):
        read, write = os.pipe()
        os.close(read)
        with trio.fail_after(10):
            assert await drive_process(channel, None, write, write) == -signal.SIGPIPE
        os.close(write)


@pytest.mark.integration
async def test_output_is_read_to_the_end_after_the_provider_has_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As with a pager: the command is long over, and somebody types on."""
    monkeypatch.setattr("p2p_node.net.mux_stream._ABANDONED_FOR", 0.1)

    async def answer(channel: Channel) -> None:
        for _ in range(4):
            await channel.send_frame(FrameKind.DATA, bytes(100_000))
        await channel.send_encoded(encode_exit(4))

    status = 0
    (stdin, feed), (out, stdout) = os.pipe(), os.pipe()
    async with (
        open_pair(answer, times=times(keepalive=0.1)) as (renter, provider, _),
        open_channel(renter, provider) as channel,
        trio.open_nursery() as nursery,
    ):

        async def drive() -> None:
            nonlocal status
            status = await drive_process(channel, stdin, stdout, 2)
            os.close(stdout)

        nursery.start_soon(drive)
        for _ in range(8):
            os.write(feed, b"typed")
            await trio.sleep(0.1)
        os.close(feed)
        async with trio.lowlevel.FdStream(out) as stream:
            assert len(b"".join([part async for part in stream])) == 400_000
    assert status == 4
    os.close(stdin)


@pytest.mark.integration
@pytest.mark.parametrize(
    "frames",
    [
        [encode_signal(200)],
        [b"\2", b"\0x"],
        [encode_exit(0)],
        [b"\2x"],
    ],
)
async def test_a_frame_that_is_out_of_place_ends_a_command(
    tmp_path: Path, frames: list[bytes]
) -> None:
    async with running(tmp_path, "sh", "-c", "sleep 50") as (channel, failures):
        for frame in frames:
            await channel.send_encoded(frame)
        with pytest.raises(StreamEndedError):
            await channel.receive_frame()
    assert [type(error) for error in failures] == [MalformedError]


@pytest.mark.integration
async def test_a_renter_that_leaves_hangs_up(tmp_path: Path) -> None:
    script = "trap 'echo bye > left; exit' HUP; echo ready; while :; do sleep 0.05; done"
    async with serving(tmp_path, "sh", "-c", script) as (renter, provider, failures, enclosure):
        async with open_channel(renter, provider) as channel:
            await channel.receive_frame()
        await until(lambda: failures)
        assert (enclosure.workspace / "left").read_text() == "bye\n"


async def read_frames(channel: Channel) -> None:
    while True:
        await channel.receive_frame()


@pytest.mark.integration
@pytest.mark.parametrize(
    ("frames", "error"),
    [
        ([b"\x0bno such program"], RunFailedError),
        ([encode_signal(1)], MalformedError),
        ([b"\2"], MalformedError),
    ],
)
async def test_a_provider_that_cannot_or_does_not(
    frames: list[bytes], error: type[Exception]
) -> None:
    async def answer(channel: Channel) -> None:
        for frame in frames:
            await channel.send_encoded(frame)
        with pytest.raises(StreamEndedError):
            await read_frames(channel)

    async with (
        open_pair(answer) as (renter, provider, _),
        open_channel(renter, provider) as channel,
    ):
        with pytest.raises(error):
            await drive_process(channel, None, 1, 2)


@pytest.mark.integration
async def test_a_command_that_was_left_running_there_is_done_here() -> None:
    async def answer(channel: Channel) -> None:
        await channel.send_frame(FrameKind.DONE)

    async with (
        open_pair(answer) as (renter, provider, _),
        open_channel(renter, provider) as channel,
    ):
        assert await drive_process(channel, None, 1, 2) == 0

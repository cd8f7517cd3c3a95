"""What runs over a granted stream: a TCP connection, or a command with its input and output.

A stream of a lease has its own flow control, so whoever reads slowly holds up only what is theirs.
"""

import os
import signal
import socket
import struct
import termios
import tty
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from math import inf

import trio

from p2p_node.net.errors import StreamEndedError
from p2p_node.rental.channel import Channel
from p2p_node.rental.runner import Process
from p2p_node.rental.together import run_together
from protocols.errors import MalformedError, RemoteError
from protocols.lease_frames import (
    FrameKind,
    decode_exit,
    decode_resize,
    decode_signal,
    decode_text,
    encode_exit,
    encode_resize,
    encode_signal,
    require_empty,
)

HANG_UP_SECONDS = 5.0
"""A command whose renter is gone has so long after SIGHUP."""

LAST_OUTPUT_SECONDS = 1.0
"""After a command's end its output is read until nothing comes for so long: a process that it left
behind may keep the pipe open for ever."""

_CHUNK = 128 << 10
_INPUT_FRAMES = 16
"""Frames of input that a command has not read; then signals have to wait behind them as well."""


class ConnectionCutError(RemoteError):
    """A forwarded connection ended in disorder, here or there."""


# TCP connections.


async def pump_connection(channel: Channel, connection: trio.abc.HalfCloseableStream) -> None:
    """Carry a connection over a channel until both directions have ended; closes the connection.

    Each direction ends by itself. Whatever goes wrong on one side resets the connection on the
    other. Raises ConnectionCutError for a connection that was reset, here or there, and what
    Channel raises.
    """
    try:
        await run_together(
            partial(_to_channel, channel, connection), partial(_from_channel, channel, connection)
        )
    except trio.BrokenResourceError:
        _let_reset(connection)
        with suppress(RemoteError):
            await channel.fail("connection reset")
        raise ConnectionCutError("connection reset", "on this side") from None
    except BaseException:
        _let_reset(connection)
        raise
    finally:
        await trio.aclose_forcefully(connection)


async def _to_channel(channel: Channel, connection: trio.abc.HalfCloseableStream) -> None:
    while data := await connection.receive_some(_CHUNK):
        await channel.send_frame(FrameKind.DATA, data)
    # The kernel tells of a reset once: if the other task has been told, this one sees an end that
    # is none, and is cancelled here.
    await trio.lowlevel.checkpoint()
    await channel.send_frame(FrameKind.END)


async def _from_channel(channel: Channel, connection: trio.abc.HalfCloseableStream) -> None:
    while True:
        kind, payload = await channel.receive_frame()
        if kind is FrameKind.DATA:
            await connection.send_all(payload)
        elif kind is FrameKind.END:
            require_empty(payload)
            await connection.send_eof()
            return
        elif kind is FrameKind.FAILURE:
            raise ConnectionCutError("connection reset", f"there: {decode_text(payload)[:200]}")
        else:
            raise MalformedError("unexpected frame", kind.name)


def _let_reset(connection: trio.abc.HalfCloseableStream) -> None:
    """Have the closing of a socket reset its connection: its data are not complete."""
    if isinstance(connection, trio.SocketStream):
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


# Commands, on the provider's side.


async def pump_process(
    channel: Channel, process: Process, *, keep: Callable[[bytes], Awaitable[None]] | None = None
) -> int:
    """Carry a command's input and output over a channel, and its exit status; returns that.

    `keep` is given all output as well, for the logs. The process is closed in any case: when the
    renter is gone it gets SIGHUP, and is killed if it does not end in time. Raises what Channel
    raises.
    """
    pump = _ProcessPump(channel, process, keep)
    try:
        return await pump.run()
    except RemoteError:
        with trio.move_on_after(HANG_UP_SECONDS):
            await process.send_signal(signal.SIGHUP)
            await process.wait()
        raise
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + HANG_UP_SECONDS):
            await process.aclose()


class _ProcessPump:
    """One run of `pump_process`."""

    def __init__(
        self,
        channel: Channel,
        process: Process,
        keep: Callable[[bytes], Awaitable[None]] | None,
    ) -> None:
        self._channel = channel
        self._process = process
        self._keep = keep
        self._ended = False
        self._reading: set[trio.CancelScope] = set()
        self._listening = trio.CancelScope()
        self._to_input, self._input = trio.open_memory_channel[memoryview](_INPUT_FRAMES)

    async def run(self) -> int:
        status = 0

        async def wait() -> None:
            nonlocal status
            status = await self._process.wait()
            self._ended = True
            for scope in self._reading:
                scope.deadline = trio.current_time() + LAST_OUTPUT_SECONDS

        async def follow() -> None:
            outputs = [partial(self._carry, self._process.stdout, FrameKind.DATA)]
            if self._process.stderr is not None:
                outputs.append(partial(self._carry, self._process.stderr, FrameKind.ERRORS))
            await run_together(wait, *outputs)
            self._listening.cancel()

        await run_together(follow, self._listen, self._feed)
        await self._channel.send_encoded(encode_exit(status))
        return status

    async def _carry(self, output: trio.abc.ReceiveStream, kind: FrameKind) -> None:
        while True:
            data = await self._read(output)
            if not data:
                return
            if self._keep is not None:
                await self._keep(data)
            await self._channel.send_frame(kind, data)

    async def _read(self, output: trio.abc.ReceiveStream) -> bytes:
        """The next output; empty at its end, or when none comes after the command's end."""
        deadline = trio.current_time() + LAST_OUTPUT_SECONDS if self._ended else inf
        with trio.CancelScope(deadline=deadline) as scope:
            self._reading.add(scope)
            try:
                return bytes(await output.receive_some(_CHUNK))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return b""
            finally:
                self._reading.discard(scope)
        return b""

    async def _listen(self) -> None:
        with self._listening:
            async with self._to_input:
                while await self._take_frame():
                    pass
            # No more input is no reason to overlook that the renter goes.
            while True:
                await self._take_frame()

    async def _take_frame(self) -> bool:
        """Do what a frame says; False after the end of the input."""
        kind, payload = await self._channel.receive_frame()
        if kind is FrameKind.DATA:
            try:
                await self._to_input.send(payload)
            except trio.ClosedResourceError:
                raise MalformedError("unexpected frame", "DATA after END") from None
            except trio.BrokenResourceError:
                # The command has closed its input.
                return True
        elif kind is FrameKind.END:
            require_empty(payload)
            return False
        elif kind is FrameKind.SIGNAL:
            number = decode_signal(payload)
            if number not in signal.valid_signals():
                raise MalformedError("no such signal", str(number))
            await self._process.send_signal(number)
        elif kind is FrameKind.RESIZE:
            await self._process.resize(*decode_resize(payload))
        else:
            raise MalformedError("unexpected frame", kind.name)
        return True

    async def _feed(self) -> None:
        """Hand input to the command; what it does not want any more is thrown away."""
        with self._input:
            try:
                async for data in self._input:
                    await self._process.stdin.send_all(data)
                await self._process.stdin.aclose()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return


# Commands, on the renter's side.


class RunFailedError(RemoteError):
    """The provider could not run a command to its end."""


GAVE_UP = 130
"""Exit status of a command that its user did not wait for, as shells have it for Ctrl-C."""


async def drive_process(
    channel: Channel, stdin: int | None, stdout: int, stderr: int, *, terminal: bool = False
) -> int:
    """Sit at a command over a channel: its input and output are these file descriptors.

    Returns its exit status, or −n for death by signal n; 0 for one that was left running there.
    With `terminal`, `stdin` is one: it is put into raw mode meanwhile, and changes of its size go
    to the command. Without, SIGINT and SIGTERM go to the command, and a second SIGINT gives up:
    GAVE_UP. Call it in the main thread. Raises RunFailedError, and what Channel raises.

    Threads that wait for `stdin` or `stdout` are left behind; they end with the process.
    """
    seat = _Seat(channel, stdin, stdout, stderr)
    if terminal and stdin is not None:
        with raw_terminal(stdin):
            return await seat.run(seat.follow_size)
    return await seat.run(seat.pass_signals)


@contextmanager
def raw_terminal(terminal: int) -> Iterator[None]:
    """Have every key of a terminal handed on as it is for as long as the block lasts."""
    before = termios.tcgetattr(terminal)
    tty.setraw(terminal)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


class _Seat:
    """One run of `drive_process`."""

    def __init__(self, channel: Channel, stdin: int | None, stdout: int, stderr: int) -> None:
        self._channel = channel
        self._stdin = stdin
        self._outputs = {FrameKind.DATA: stdout, FrameKind.ERRORS: stderr}
        self._status: int | None = None
        self._showing = trio.CancelScope()
        self._rest = trio.CancelScope()

    async def run(self, attend: Callable[[], Awaitable[None]]) -> int:
        """Until the command's end; `attend` runs beside it."""

        async def show() -> None:
            with self._showing:
                self._status = await self._show_output()
            self._rest.cancel()

        async def rest() -> None:
            # Where nobody takes input any more the output says why, and some may be left.
            with self._rest, suppress(StreamEndedError):
                await run_together(self._read_input, attend)

        await run_together(show, rest)
        if self._status is None:
            raise RunFailedError("run ended without a status")
        return self._status

    async def _read_input(self) -> None:
        while self._stdin is not None:
            # Another thread than the others' waits there, possibly for ever.
            data = await trio.to_thread.run_sync(
                _read, self._stdin, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
            )
            if not data:
                break
            await self._channel.send_frame(FrameKind.DATA, data)
        await self._channel.send_frame(FrameKind.END)

    async def _show_output(self) -> int:
        while True:
            kind, payload = await self._channel.receive_frame()
            if kind in self._outputs:
                await self._show(kind, payload)
            elif kind is FrameKind.EXIT:
                return decode_exit(payload)
            elif kind is FrameKind.DONE:
                require_empty(payload)
                return 0
            elif kind is FrameKind.FAILURE:
                raise RunFailedError("run failed", decode_text(payload))
            else:
                raise MalformedError("unexpected frame", kind.name)

    async def _show(self, kind: FrameKind, data: memoryview) -> None:
        descriptor = self._outputs[kind]
        if descriptor < 0:
            return
        taken = await trio.to_thread.run_sync(
            _write, descriptor, data, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
        )
        if not taken:
            # As if the command itself wrote to the pipe that nobody reads any more.
            self._outputs[kind] = -1
            await self._channel.send_encoded(encode_signal(signal.SIGPIPE))

    async def follow_size(self) -> None:
        """Tell the command of every new size of the terminal."""
        with trio.open_signal_receiver(signal.SIGWINCH) as changes:
            async for _ in changes:
                with suppress(OSError):
                    size = os.get_terminal_size(self._stdin or 0)
                    await self._channel.send_encoded(encode_resize(size.lines, size.columns))

    async def pass_signals(self) -> None:
        """Hand SIGINT and SIGTERM on; the second SIGINT ends everything."""
        interrupted = False
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for number in signals:
                if number == signal.SIGINT and interrupted:
                    self._status = GAVE_UP
                    self._showing.cancel()
                    return
                interrupted = interrupted or number == signal.SIGINT
                await self._channel.send_encoded(encode_signal(number))


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _CHUNK)
    except OSError:
        # A terminal that was hung up.
        return b""


def _write(descriptor: int, data: memoryview) -> bool:
    """Write all of it; False when nobody reads."""
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError:
        return False
    return True

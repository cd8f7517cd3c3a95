"""One renter's time on this machine: its place, its streams, what runs for it, and their end.

A place is made ready in a task of its own, so that a renter whose stream breaks while an image is
fetched finds it further along. Everything else that goes on for a renter is under a cancel scope
of the tenancy: `stop` ends all of it.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from enum import StrEnum
from typing import Final

import trio

from p2p_node.rental.lease_log import LeaseLog
from p2p_node.rental.places import Place
from p2p_node.rental.runner import (
    Command,
    Enclosure,
    EnclosureError,
    Process,
    Runner,
    WorkloadError,
)
from protocols.errors import LocalError, RemoteError

logger = logging.getLogger(__name__)

MAX_STREAMS: Final = 96
"""Streams of one lease at once."""

MAX_DETACHED: Final = 64
"""Detached commands of one lease at once, whose pipes this node holds open: a lease may have a
thousand processes, and a node often no more than a thousand files."""

MAX_TRANSFERS: Final = 4
"""Uploads and fetches of one lease at once: listing a large tree takes hundreds of megabytes."""

LEAVE_SECONDS: Final = 20.0
"""How long the end of a tenancy waits for what is being ended."""

MAX_LISTENED_LINES: Final = 256

OUTPUT_BYTES: Final = 64 << 10

OVER: Final = "the lease is over"


class TenancyState(StrEnum):
    """Whether the renter's place is there."""

    EMPTY = "not deployed"
    PREPARING = "preparing"
    READY = "ready"
    FAILED = "failed"
    STOPPED = "stopped"


class TooManyStreams(RemoteError):
    """The lease has as many streams, transfers or detached commands as it may have."""


class Tenancy:
    """One lease while its renter may be here. `nursery` outlives it; `log` is its own.

    `get_devices` returns once the machine's devices are free for the renter.
    """

    def __init__(
        self,
        lease_id: int,
        runner: Runner,
        log: LeaseLog,
        nursery: trio.Nursery,
        get_devices: Callable[[], Awaitable[None]],
    ) -> None:
        self.lease_id = lease_id
        self.runner = runner
        self.log = log
        self.state = TenancyState.EMPTY
        self.place: Place | None = None
        self.enclosure: Enclosure | None = None
        self.problem = ""
        """Why the place is not ready, when it FAILED; or what last stopped what ran in it."""
        self.streams = 0
        self.detached = 0
        self.transfers = 0
        self._lines = 0
        """Lines on their way into the log."""
        self._nursery = nursery
        self._get_devices = get_devices
        self._scopes: set[trio.CancelScope] = set()
        self._left = trio.Event()
        self._listeners: set[trio.MemorySendChannel[str]] = set()

    @property
    def is_stopped(self) -> bool:
        """Whether it is over, as far as is known."""
        return self.state is TenancyState.STOPPED

    @property
    def can_deploy(self) -> bool:
        """Whether a place is still to be made ready."""
        return self.state in (TenancyState.EMPTY, TenancyState.FAILED)

    def deploy(self, place: Place) -> None:
        """Begin to make the place ready, if it `can_deploy`."""
        if self.can_deploy:
            self._enter(TenancyState.PREPARING)
            self.place = place
            self._nursery.start_soon(self._run_scoped, self._prepare, place)

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[trio.MemoryReceiveChannel[str]]:
        """Get what is said from now on, line by line, until the preparation is over.

        Whoever reads too slowly misses some.
        """
        send, receive = trio.open_memory_channel[str](MAX_LISTENED_LINES)
        with send, receive:
            if self.state is TenancyState.PREPARING:
                self._listeners.add(send)
            else:
                send.close()
            try:
                yield receive
            finally:
                self._listeners.discard(send)

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[trio.CancelScope]:
        """One stream of the renter's, which ends when the tenancy does: look whether the scope was
        cancelled. TooManyStreams beyond MAX_STREAMS."""
        if self.streams >= MAX_STREAMS:
            raise TooManyStreams("too many streams of a lease", f"{MAX_STREAMS} at once")
        self.streams += 1
        try:
            with trio.CancelScope() as scope:
                self._scopes.add(scope)
                if self.is_stopped:
                    scope.cancel()
                try:
                    yield scope
                finally:
                    self._leave(scope)
        finally:
            self.streams -= 1

    async def start(self, command: Command) -> Process:
        """Start a command; NOT_DEPLOYED is the caller's to look for."""
        enclosure = self.enclosure
        if enclosure is None or self.is_stopped:
            raise WorkloadError("cannot start", OVER if self.is_stopped else "not deployed")
        return await enclosure.start(command)

    async def start_detached(self, command: Command) -> None:
        """Start a command whose output goes to the log, and that nobody waits for."""
        if self.detached >= MAX_DETACHED:
            raise TooManyStreams("too many detached commands", f"{MAX_DETACHED} at once")
        self.detached += 1
        try:
            process = await self.start(command)
        except BaseException:
            self.detached -= 1
            raise
        self._nursery.start_soon(self._run_scoped, self._see_through, process, _name(command))

    @contextmanager
    def transfer(self) -> Iterator[None]:
        """One upload or fetch; TooManyStreams beyond MAX_TRANSFERS."""
        if self.transfers >= MAX_TRANSFERS:
            raise TooManyStreams("too many transfers", f"{MAX_TRANSFERS} at once: try again")
        self.transfers += 1
        try:
            yield
        finally:
            self.transfers -= 1

    async def stop(self) -> None:
        """End every stream and process of the renter's; the files stay. May be called again."""
        self._enter(TenancyState.STOPPED)
        for scope in self._scopes:
            scope.cancel()
        enclosure = self.enclosure
        if enclosure is not None:
            await enclosure.stop()
        # A preparation that is given up cleans up after itself, and nothing else may do so then.
        with trio.move_on_after(LEAVE_SECONDS):
            while self._scopes:
                await self._left.wait()
        if self.enclosure is not None and self.enclosure is not enclosure:
            await self.enclosure.stop()

    async def wipe(self) -> None:
        """`stop`, and remove everything of the renter's, its log too. EnclosureError, OSError."""
        await self.stop()
        await self.runner.wipe(self.lease_id)
        self.enclosure = None
        await self.log.remove()

    def say(self, line: str) -> None:
        """Tell the renter something: those who listen, and the log."""
        logger.info("lease %d: %s", self.lease_id, line)
        for listener in self._listeners:
            try:
                listener.send_nowait(line)
            except trio.WouldBlock:
                continue
        if not self.is_stopped and self._lines < MAX_LISTENED_LINES:
            self._lines += 1
            self._nursery.start_soon(self._keep_line, line)

    async def _keep_line(self, line: str) -> None:
        try:
            await self.log.say(line)
        finally:
            self._lines -= 1

    async def _prepare(self, place: Place) -> None:
        try:
            await self._get_devices()
            self.enclosure = await self.runner.prepare(
                self.lease_id, place.template, place.limits, self.say
            )
            if place.template.command:
                arguments = tuple(part.encode() for part in place.template.command)
                await self.start_detached(Command(arguments, {}))
        except (WorkloadError, LocalError, OSError) as error:
            # LocalError: the host's, which has to go on for everybody else.
            self.problem = str(error)
            logger.warning("lease %d: not deployed: %s", self.lease_id, error)
            self._enter(TenancyState.FAILED)
        else:
            self._enter(TenancyState.READY)

    async def _see_through(self, process: Process, name: str) -> None:
        try:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(process.stdin.aclose)
                    nursery.start_soon(self._keep_output, process.stdout)
                    if process.stderr is not None:
                        nursery.start_soon(self._keep_output, process.stderr)
                status = await process.wait()
                await self.log.say(f"{name}: {describe_status(status)}")
            finally:
                self.detached -= 1
                with trio.CancelScope(shield=True):
                    await process.aclose()
        except EnclosureError as error:
            logger.warning("lease %d: %s: %s", self.lease_id, name, error)

    async def _keep_output(self, stream: trio.abc.ReceiveStream) -> None:
        try:
            while data := await stream.receive_some(OUTPUT_BYTES):
                await self.log.append(bytes(data))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # What it wrote until then is in the log.
            return

    async def _run_scoped(self, work: Callable[..., Awaitable[None]], *arguments: object) -> None:
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            if self.is_stopped:
                scope.cancel()
            try:
                await work(*arguments)
            finally:
                self._leave(scope)

    def _leave(self, scope: trio.CancelScope) -> None:
        self._scopes.discard(scope)
        self._left.set()
        self._left = trio.Event()

    def _enter(self, state: TenancyState) -> None:
        self.state = state
        if state is not TenancyState.PREPARING:
            while self._listeners:
                self._listeners.pop().close()


def describe_status(status: int) -> str:
    """Say how a command ended."""
    return f"ended by signal {-status}" if status < 0 else f"exit status {status}"


def _name(command: Command) -> str:
    text = command.argv[0].decode("utf-8", "replace")
    return "".join(mark if mark.isprintable() else "?" for mark in text[:80])

"""Answering the streams of a lease: who may, and then what was asked for.

Whatever a renter or its workload does ends in its own stream: with a refusal, a FAILURE frame, or a
reset, each counted by its reason.
"""

import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from functools import partial
from typing import Final, NoReturn, cast

import trio

from chain.errors import ChainError
from p2p_node.net.api import RequestStream
from p2p_node.net.errors import StreamEndedError
from p2p_node.rental.beneath import NoSuchPathError
from p2p_node.rental.channel import (
    Access,
    Channel,
    Desk,
    Refusal,
    grant_access,
    read_access,
    refuse_access,
)
from p2p_node.rental.files import receive_tree, scan_tree, send_tree
from p2p_node.rental.keeping import LeaseKeeper
from p2p_node.rental.lease_log import LeaseLog
from p2p_node.rental.offering import Offerer, ReadTemplates, choose_limits
from p2p_node.rental.places import Place
from p2p_node.rental.pumps import pump_connection, pump_process
from p2p_node.rental.runner import WORKSPACE, Command, Enclosure, Limits, WorkloadError
from p2p_node.rental.status import describe_tenancy
from p2p_node.rental.tenancy import OVER, Tenancy, TenancyState, TooManyStreams
from p2p_node.rental.together import run_together
from p2p_node.rental.tree_writing import TreeLimits
from p2p_node.rental.trees import count_entries
from p2p_node.rental.watching import choose_max_entries
from protocols.errors import LocalError, MalformedError
from protocols.lease_frames import FrameKind, clean_text, encode_text
from protocols.lease_keeping import judge_access
from protocols.lease_messages import (
    LEASE_PROTOCOL,
    DeployRequest,
    FetchRequest,
    ForwardRequest,
    LeaseAnswerCode,
    LeasePurpose,
    LogsRequest,
    RunRequest,
    UploadRequest,
    split_strings,
)

logger = logging.getLogger(__name__)

PARTING_SECONDS: Final = 10.0
"""For telling a renter that its lease is over, before its stream is reset."""

CONNECT_SECONDS: Final = 10.0

ROOM_SECONDS: Final = 2.0
"""Between two looks at how much an upload has put on the disk."""

_NEED_A_PLACE: Final = frozenset(
    {LeasePurpose.RUN, LeasePurpose.UPLOAD, LeasePurpose.FETCH, LeasePurpose.FORWARD}
)


class Visit:
    """One stream of a renter that may come in."""

    def __init__(self, access: Access, tenancy: Tenancy, stream: RequestStream, desk: Desk) -> None:
        self.access = access
        self.tenancy = tenancy
        self.channel: Channel | None = None
        self._stream = stream
        self._desk = desk

    async def grant(self) -> Channel:
        """Let the renter know, and return what frames go over."""
        self.channel = await grant_access(self._stream, self._desk, self.access)
        return self.channel

    async def refuse(self, code: LeaseAnswerCode, detail: str = "") -> NoReturn:
        """Raise AccessRefused once the renter knows why."""
        await refuse_access(self._stream, self._desk, self.access, code, detail)

    async def tell(self, problem: str) -> None:
        """Tell the renter as the last word what went wrong."""
        if self.channel is None:
            await self.refuse(LeaseAnswerCode.FAILED, problem)
        await self.channel.fail(problem)


Perform = Callable[[Visit], Awaitable[None]]


class LeaseServer:
    """Serves the lease protocol for one provider."""

    def __init__(
        self, keeper: LeaseKeeper, offerer: Offerer, read_templates: ReadTemplates
    ) -> None:
        node = keeper.node
        self._keeper = keeper
        self._offerer = offerer
        self._read_templates = read_templates
        self._network = node.network
        self._desk = Desk(node.identity.node_key, node.watcher.view.network, node.clock.now)
        self._performers: dict[LeasePurpose, Perform] = {
            LeasePurpose.DEPLOY: self._deploy,
            LeasePurpose.STATUS: self._status,
            LeasePurpose.RUN: self._run,
            LeasePurpose.UPLOAD: self._upload,
            LeasePurpose.FETCH: self._fetch,
            LeasePurpose.FORWARD: self._forward,
            LeasePurpose.LOGS: self._logs,
        }

    def serve(self) -> None:
        """Answer from now on, for as long as the network is open."""
        self._network.serve(LEASE_PROTOCOL, self._answer, lasting=True)

    async def _answer(self, stream: RequestStream) -> None:
        access = await read_access(stream, self._desk, self._judge)
        tenancy = self._keeper.tenancy
        if tenancy is None or tenancy.lease_id != access.lease:
            # It was there when it was judged.
            await refuse_access(stream, self._desk, access, LeaseAnswerCode.EXPIRED, OVER)
        visit = Visit(access, tenancy, stream, self._desk)
        try:
            async with tenancy.stream() as scope:
                await self._perform(visit)
        except TooManyStreams as error:
            await visit.refuse(LeaseAnswerCode.TOO_MANY, error.detail)
        if scope.cancelled_caught and visit.channel is not None:
            with trio.move_on_after(PARTING_SECONDS):
                await visit.channel.fail(OVER)

    async def _perform(self, visit: "Visit") -> None:
        """Do what is asked for; whatever goes wrong, the renter is told before the stream ends."""
        try:
            await self._performers[visit.access.purpose](visit)
        except MalformedError as error:
            if visit.channel is None:
                await visit.refuse(LeaseAnswerCode.BAD_REQUEST, str(error))
            raise
        except WorkloadError as error:
            await visit.tell(str(error))
            raise
        except (LocalError, OSError) as error:
            # The host's: one renter's stream must not be more than one renter's problem.
            problem = clean_text(str(error))
            logger.warning("lease %d: %s", visit.tenancy.lease_id, problem)
            self._network.counters.refuse(LEASE_PROTOCOL, "host failed")
            await visit.tell(f"the provider's host failed: {problem}")

    async def _judge(self, access: Access) -> Refusal | None:
        keeper = self._keeper
        try:
            found = await keeper.find(access.lease)
        except ChainError as error:
            return Refusal(LeaseAnswerCode.FAILED, f"the chain does not answer, try again: {error}")
        view, tenancy = keeper.view, keeper.tenancy
        if view is None:
            return Refusal(LeaseAnswerCode.FAILED, "the provider has just started: try again")
        code = judge_access(
            found.final,
            found.newest,
            provider=keeper.provider,
            wallet=keeper.wallet,
            key=access.key,
            now=view.now,
        )
        if code is LeaseAnswerCode.NOT_ACTIVE:
            return Refusal(code, "not accepted yet, or not for good")
        if code is LeaseAnswerCode.EXPIRED:
            return Refusal(code, OVER)
        if code is not LeaseAnswerCode.GRANTED:
            return Refusal(code)
        if tenancy is None or tenancy.lease_id != access.lease or tenancy.is_stopped:
            problem = (
                keeper.runners.problem or "the provider is about to take the lease up: try again"
            )
            return Refusal(LeaseAnswerCode.FAILED, problem)
        if access.purpose in _NEED_A_PLACE and tenancy.state is not TenancyState.READY:
            return Refusal(LeaseAnswerCode.NOT_DEPLOYED, tenancy.problem or tenancy.state)
        return None

    async def _deploy(self, visit: Visit) -> None:
        request = cast(DeployRequest, visit.access.request)
        tenancy = visit.tenancy
        place = tenancy.place
        if tenancy.can_deploy or place is None:
            place = await self._choose_place(visit, request.template)
        elif place.template.name != request.template:
            await visit.refuse(
                LeaseAnswerCode.BAD_REQUEST,
                f"{place.template.name} is deployed; a lease has one template",
            )
        channel = await visit.grant()
        await self._keeper.deploy(tenancy, place)
        async with tenancy.listen() as lines:
            async for line in lines:
                await channel.send_encoded(encode_text(FrameKind.TEXT, line))
        if tenancy.state is TenancyState.READY:
            await channel.send_frame(FrameKind.DONE)
        else:
            await channel.fail(tenancy.problem or tenancy.state)

    async def _choose_place(self, visit: Visit, name: str) -> Place:
        runner, deal = visit.tenancy.runner, self._offerer.deal
        templates = await trio.to_thread.run_sync(self._read_templates)
        template = templates.get(name)
        if template is None:
            names = ", ".join(sorted(templates))
            await visit.refuse(LeaseAnswerCode.NO_SUCH_TEMPLATE, f"there are: {names}")
        problem = runner.refusal(template)
        if problem is not None:
            await visit.refuse(LeaseAnswerCode.NO_SUCH_TEMPLATE, problem)
        if deal is None:
            # Renting was switched off, and this lease is from before.
            data_dir = self._keeper.node.data_dir
            limits = choose_limits(self._keeper.contract.settings, data_dir)
        else:
            limits = deal.limits
        return Place(runner.name, template, limits)

    async def _status(self, visit: Visit) -> None:
        tenancy, view = visit.tenancy, self._keeper.view
        each = view.leases.get(tenancy.lease_id) if view else None
        usage = None
        if tenancy.enclosure is not None:
            usage = await tenancy.enclosure.usage()
        text = describe_tenancy(
            tenancy, each.newest if each else None, view.now if view else 0, usage
        )
        channel = await visit.grant()
        await channel.send_encoded(encode_text(FrameKind.TEXT, text))

    async def _run(self, visit: Visit) -> None:
        request = cast(RunRequest, visit.access.request)
        command = _read_command(request)
        if request.detached:
            await visit.tenancy.start_detached(command)
            channel = await visit.grant()
            await channel.send_frame(FrameKind.DONE)
            return
        process = await visit.tenancy.start(command)
        try:
            channel = await visit.grant()
            await pump_process(channel, process)
        finally:
            with trio.move_on_after(PARTING_SECONDS, shield=True):
                await process.aclose()

    async def _upload(self, visit: Visit) -> None:
        request = cast(UploadRequest, visit.access.request)
        enclosure, limits = _require_place(visit.tenancy)
        with visit.tenancy.transfer():
            room = await _require_room(enclosure, limits)
            entries = choose_max_entries(limits.disk_bytes)
            await _require_entries(enclosure, entries)
            channel = await visit.grant()
            # Files without content take room as well, that of the disk's list of files.
            most = TreeLimits(min(request.files, entries), request.size, room=room)
            await self._receive(request, channel, enclosure, limits, most)

    async def _receive(
        self,
        request: UploadRequest,
        channel: Channel,
        enclosure: Enclosure,
        limits: Limits,
        most: TreeLimits,
    ) -> None:
        with trio.CancelScope() as watch:

            async def receive() -> None:
                await receive_tree(
                    channel, enclosure.workspace, request.path, most, owner=enclosure.owner
                )
                watch.cancel()

            # There may be several uploads, and what runs there writes as well.
            await run_together(receive, partial(_watch_room, enclosure, limits))

    async def _fetch(self, visit: Visit) -> None:
        request = cast(FetchRequest, visit.access.request)
        enclosure, _ = _require_place(visit.tenancy)
        with visit.tenancy.transfer():
            try:
                tree = await scan_tree(enclosure.workspace, request.path)
            except NoSuchPathError as error:
                await visit.refuse(LeaseAnswerCode.NO_SUCH_PATH, str(error))
            channel = await visit.grant()
            await send_tree(channel, tree)

    async def _forward(self, visit: Visit) -> None:
        request = cast(ForwardRequest, visit.access.request)
        enclosure, _ = _require_place(visit.tenancy)
        with trio.move_on_after(CONNECT_SECONDS) as scope:
            connection = await enclosure.connect(request.port)
        if scope.cancelled_caught:
            raise WorkloadError("cannot connect", f"port {request.port} does not answer")
        async with connection:
            channel = await visit.grant()
            await pump_connection(channel, connection)

    async def _logs(self, visit: Visit) -> None:
        request = cast(LogsRequest, visit.access.request)
        log = visit.tenancy.log
        channel = await visit.grant()
        # What a busy workload writes meanwhile is for those who follow.
        end = log.end
        async with aclosing(log.read_up_to(end, max(0, end - request.tail))) as parts:
            async for data in parts:
                await channel.send_frame(FrameKind.DATA, data)
        if not request.follow:
            await channel.send_frame(FrameKind.END)
            return
        with suppress(StreamEndedError):
            # A renter that leaves would not be noticed before the next line.
            await run_together(partial(_follow, log, end, channel), partial(_drain, channel))


def _require_place(tenancy: Tenancy) -> tuple[Enclosure, Limits]:
    if tenancy.enclosure is None or tenancy.place is None:
        raise WorkloadError("not deployed")
    return tenancy.enclosure, tenancy.place.limits


async def _follow(log: LeaseLog, position: int, channel: Channel) -> None:
    while True:
        await log.wait_beyond(position)
        data, position = await log.read(position)
        if not data:
            raise WorkloadError("log cannot be read")
        await channel.send_frame(FrameKind.DATA, data)


async def _drain(channel: Channel) -> None:
    while True:
        await channel.receive_frame()


async def _require_room(enclosure: Enclosure, limits: Limits) -> int:
    """Return the bytes that are free on the lease's disk; WorkloadError for none."""
    used = (await enclosure.usage()).disk_bytes
    if used >= limits.disk_bytes:
        raise WorkloadError("disk is full", f"{used} bytes of {limits.disk_bytes} are in use")
    return limits.disk_bytes - used


async def _require_entries(enclosure: Enclosure, most: int) -> None:
    found = await trio.to_thread.run_sync(count_entries, enclosure.workspace, most)
    if found >= most:
        raise WorkloadError("disk is full", f"{most} files and directories are there at least")


async def _watch_room(enclosure: Enclosure, limits: Limits) -> None:
    while True:
        await trio.sleep(ROOM_SECONDS)
        await _require_room(enclosure, limits)


def _read_command(request: RunRequest) -> Command:
    """Translate a request; RemoteError for what is no command."""
    argv = split_strings(request.argv)
    if not argv:
        raise WorkloadError("bad command", "nothing to run")
    environment = {}
    for variable in split_strings(request.environment):
        name, equals, value = variable.partition(b"=")
        if not equals:
            raise WorkloadError("bad command", "an environment variable without a value")
        environment[name] = value
    terminal = (request.rows, request.columns) if request.rows and request.columns else None
    return Command(
        argv=argv,
        environment=environment,
        directory=request.directory or WORKSPACE,
        terminal=terminal,
    )

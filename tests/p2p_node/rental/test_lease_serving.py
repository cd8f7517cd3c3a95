"""A renter's streams: who is let in, what each is for, and what is left when the lease is over."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from nacl.signing import SigningKey

from p2p_node.rental import tenancy as tenancy_module
from p2p_node.rental.channel import AccessRefused, Channel
from p2p_node.rental.files import receive_tree, scan_tree, send_tree
from p2p_node.rental.landlord import Landlord
from p2p_node.rental.runner import EnclosureError
from p2p_node.rental.tree_writing import TreeLimits
from protocols.errors import RemoteError
from protocols.lease_frames import FrameKind, decode_exit, encode_signal
from protocols.lease_messages import (
    LEASE_PROTOCOL,
    DeployRequest,
    FetchRequest,
    ForwardRequest,
    LeaseAnswerCode,
    LeasePurpose,
    LogsRequest,
    RunRequest,
    StatusRequest,
    UploadRequest,
    join_strings,
)
from protocols.lease_offers import (
    CAPABILITY_PROTOCOL,
    MAX_CAPABILITY_BYTES,
    decode_capability,
)
from protocols.types import NodeKey, Wallet
from protocols.wire import Message
from tests.fakes.enclosure import FakeProcess
from tests.fakes.rental import FakeRental
from tests.p2p_node.rental.landlord_world import (
    PROVIDER,
    WALLET,
    World,
    open_world,
    set_jumps,
    until,
)

FOREIGN_KEY = SigningKey(b"\x66" * 32)


@pytest.fixture
def jumps(mock_clock: trio.testing.MockClock) -> trio.testing.MockClock:
    """The clock of the test; it has to be named by each."""
    set_jumps(mock_clock)
    return mock_clock


@asynccontextmanager
async def open_tenancy(
    directory: Path, seconds: int = 10_000, template: str = "base"
) -> AsyncIterator[tuple[World, Landlord, int]]:
    """A renter that has deployed."""
    async with open_world(directory) as world, world.run_landlord() as landlord:
        lease = world.open_lease(seconds)
        await until(lambda: landlord.keeper.tenancy is not None)
        frames = await ask(world, lease, LeasePurpose.DEPLOY, DeployRequest(template=template))
        assert frames[-1] == (FrameKind.DONE, b"")
        yield world, landlord, lease


async def ask(
    world: World, lease: int, purpose: LeasePurpose, request: Message, **options: Any
) -> list[tuple[FrameKind, bytes]]:
    """Open a stream and read it to its end."""
    frames: list[tuple[FrameKind, bytes]] = []
    ends = ENDS if purpose is not LeasePurpose.STATUS else {FrameKind.TEXT}
    async with world.visit(lease, purpose, request, **options) as channel:
        while not frames or frames[-1][0] not in ends:
            kind, payload = await channel.receive_frame()
            frames.append((kind, bytes(payload)))
    return frames


ENDS = {FrameKind.DONE, FrameKind.FAILURE, FrameKind.EXIT, FrameKind.END}


def make_run(*argv: str, **changes: Any) -> RunRequest:
    fields: dict[str, Any] = {
        "argv": join_strings([each.encode() for each in argv]),
        "environment": b"",
        "directory": b"",
        "rows": 0,
        "columns": 0,
        "detached": 0,
        **changes,
    }
    return RunRequest(**fields)


async def run(world: World, lease: int, *argv: str, **changes: Any) -> tuple[bytes, bytes, int]:
    """Run a command; returns its output, its errors and its status."""
    output = errors = b""
    request = make_run(*argv, **changes)
    async with world.visit(lease, LeasePurpose.RUN, request) as channel:
        await channel.send_frame(FrameKind.END)
        while True:
            kind, payload = await channel.receive_frame()
            if kind is FrameKind.DATA:
                output += payload
            elif kind is FrameKind.ERRORS:
                errors += payload
            elif kind is FrameKind.EXIT:
                return output, errors, decode_exit(payload)
            else:
                assert kind is FrameKind.END


async def read_logs(world: World, lease: int, tail: int = 1 << 20) -> bytes:
    request = LogsRequest(tail=tail, follow=0)
    frames = await ask(world, lease, LeasePurpose.LOGS, request)
    return b"".join(data for kind, data in frames if kind is FrameKind.DATA)


async def refused(
    world: World, lease: int, purpose: LeasePurpose, request: Message, **options: Any
) -> LeaseAnswerCode:
    with pytest.raises(AccessRefused) as raised:
        await ask(world, lease, purpose, request, **options)
    return raised.value.code


STATUS = (LeasePurpose.STATUS, StatusRequest())


async def test_a_command_is_run_with_its_input_output_and_status(
    tmp_path: Path, jumps: trio.testing.MockClock
) -> None:
    async with open_tenancy(tmp_path) as (world, _, lease):
        script = "echo $WHAT; echo wrong >&2; exit 3"
        environment = join_strings([b"WHAT=out=put"])
        found = await run(world, lease, "sh", "-c", script, environment=environment)
        assert found == (b"out=put\n", b"wrong\n", 3)
        async with world.visit(lease, LeasePurpose.RUN, make_run("cat")) as channel:
            await channel.send_frame(FrameKind.DATA, b"back")
            assert await channel.receive_frame() == (FrameKind.DATA, b"back")
            await channel.send_encoded(encode_signal(15))
            frames = [await channel.receive_frame()]
            while frames[-1][0] is not FrameKind.EXIT:
                frames.append(await channel.receive_frame())
            assert decode_exit(frames[-1][1]) == -15


async def test_what_cannot_be_run_is_refused(tmp_path: Path, jumps: trio.testing.MockClock) -> None:
    async with open_tenancy(tmp_path) as (world, landlord, lease):
        for request, expected in (
            (make_run("no-such-program"), LeaseAnswerCode.FAILED),
            (make_run(), LeaseAnswerCode.FAILED),
            (make_run("sh", environment=b"NOVALUE\0"), LeaseAnswerCode.FAILED),
            (make_run("sh", argv=b"no end"), LeaseAnswerCode.BAD_REQUEST),
        ):
            assert await refused(world, lease, LeasePurpose.RUN, request) is expected
        assert not landlord.keeper.node.network.counters.bugs
        assert (await run(world, lease, "true"))[2] == 0


async def test_detached_output_is_in_the_logs(
    tmp_path: Path, jumps: trio.testing.MockClock
) -> None:
    async with open_tenancy(tmp_path, template="server") as (world, _, lease):
        request = make_run("sh", "-c", "echo one; echo two >&2; exit 5", detached=1)
        assert await ask(world, lease, LeasePurpose.RUN, request) == [(FrameKind.DONE, b"")]
        follow = LogsRequest(tail=0, follow=1)
        async with world.visit(lease, LeasePurpose.LOGS, follow) as channel:
            await run(world, lease, "sh", "-c", "true")
            await ask(world, lease, LeasePurpose.RUN, make_run("echo", "three", detached=1))
            said = b""
            while b"three\n[kaisar] echo: exit status 0\n" not in said:
                kind, payload = await channel.receive_frame()
                assert kind is FrameKind.DATA
                said += payload
        log = await read_logs(world, lease)
        for line in (b"up\n", b"one\n", b"two\n", b"[kaisar] sh: exit status 5\n"):
            assert line in log
        assert await read_logs(world, lease, tail=4) == log[-4:]


async def test_files_go_there_and_come_back(tmp_path: Path, jumps: trio.testing.MockClock) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "in").mkdir(parents=True)
    target.mkdir()
    content = os.urandom(700_000)
    (source / "in" / "file").write_bytes(content)
    async with open_tenancy(tmp_path) as (world, _, lease):
        tree = await scan_tree(source)
        upload = UploadRequest(path=b"data", files=tree.files, size=tree.size)
        async with world.visit(lease, LeasePurpose.UPLOAD, upload) as channel:
            await send_tree(channel, tree)
        found = await run(world, lease, "sh", "-c", "cp -r data copy; ls data/in")
        assert found == (b"file\n", b"", 0)
        fetch = FetchRequest(path=b"copy")
        async with world.visit(lease, LeasePurpose.FETCH, fetch) as channel:
            await receive_tree(channel, target, b"", TreeLimits(100, 10**7))
        assert (target / "in" / "file").read_bytes() == content


async def test_paths_that_are_none_are_refused(
    tmp_path: Path, jumps: trio.testing.MockClock
) -> None:
    async with open_tenancy(tmp_path) as (world, landlord, lease):
        await run(world, lease, "sh", "-c", "ln -s / root")
        for path, code in (
            (b"nothing", LeaseAnswerCode.NO_SUCH_PATH),
            (b"root/etc", LeaseAnswerCode.NO_SUCH_PATH),
            (b"../..", LeaseAnswerCode.BAD_REQUEST),
        ):
            request = FetchRequest(path=path)
            assert await refused(world, lease, LeasePurpose.FETCH, request) is code
        assert not landlord.keeper.node.network.counters.bugs


async def test_a_port_is_forwarded(tmp_path: Path, jumps: trio.testing.MockClock) -> None:
    async def echo(stream: trio.SocketStream) -> None:
        async for data in stream:
            await stream.send_all(data.upper())

    async with open_tenancy(tmp_path) as (world, _, lease), trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, echo, [listener])
        forward = ForwardRequest(port=port)
        async with world.visit(lease, LeasePurpose.FORWARD, forward) as channel:
            await channel.send_frame(FrameKind.DATA, b"hello")
            assert await channel.receive_frame() == (FrameKind.DATA, b"HELLO")
            await channel.send_frame(FrameKind.END)
            assert await channel.receive_frame() == (FrameKind.END, b"")
        nursery.cancel_scope.cancel()


async def test_nobody_listening_is_said(tmp_path: Path, jumps: trio.testing.MockClock) -> None:
    async with open_tenancy(tmp_path) as (world, _, lease):
        listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
        port = listener.socket.getsockname()[1]
        await listener.aclose()
        request = ForwardRequest(port=port)
        code = await refused(world, lease, LeasePurpose.FORWARD, request)
        assert code is LeaseAnswerCode.FAILED


async def test_the_status_says_how_the_place_is(
    tmp_path: Path, jumps: trio.testing.MockClock
) -> None:
    async with open_tenancy(tmp_path, 1000, "server") as (world, _, lease):
        ((kind, text),) = await ask(world, lease, *STATUS)
        assert kind is FrameKind.TEXT
        found = json.loads(text)
        assert found["state"] == "ready"
        assert (found["template"], found["ports"]) == ("server", [8888])
        assert found["ends_at"] == world.rental.of(lease).ends_at
        assert 900 < found["seconds_left"] <= 1000
        assert found["usage"]["processes"] == 1
        assert found["limits"]["memory_bytes"] == 10**9


async def test_templates_are_chosen_once(tmp_path: Path, jumps: trio.testing.MockClock) -> None:
    async with open_tenancy(tmp_path) as (world, _, lease):
        for name, code in (("server", LeaseAnswerCode.BAD_REQUEST), ("base", None)):
            request = DeployRequest(template=name)
            if code is None:
                frames = await ask(world, lease, LeasePurpose.DEPLOY, request)
                assert frames == [(FrameKind.DONE, b"")]
            else:
                assert await refused(world, lease, LeasePurpose.DEPLOY, request) is code


async def test_a_deployment_that_fails_is_said_and_can_be_tried_again(
    tmp_path: Path, jumps: trio.testing.MockClock
) -> None:
    async with open_world(tmp_path) as world, world.run_landlord() as landlord:
        lease = world.open_lease(1000)
        await until(lambda: landlord.keeper.tenancy is not None)
        deploy = LeasePurpose.DEPLOY
        code = await refused(world, lease, deploy, DeployRequest(template="none"))
        assert code is LeaseAnswerCode.NO_SUCH_TEMPLATE
        code = await refused(world, lease, LeasePurpose.RUN, make_run("true"))
        assert code is LeaseAnswerCode.NOT_DEPLOYED
        (world.runner.root).mkdir(exist_ok=True)
        (world.runner.root / str(lease)).write_text("in the way")
        frames = await ask(world, lease, deploy, DeployRequest(template="base"))
        assert frames[-1][0] is FrameKind.FAILURE
        code = await refused(world, lease, LeasePurpose.RUN, make_run("true"))
        assert code is LeaseAnswerCode.NOT_DEPLOYED
        (world.runner.root / str(lease)).unlink()
        world.runner.enclosures.clear()
        frames = await ask(world, lease, deploy, DeployRequest(template="base"))
        assert frames[-1][0] is FrameKind.DONE


async def test_who_may_not_come_in_is_told_why_and_counted(
    tmp_path: Path, jumps: trio.testing.MockClock
) -> None:
    async with open_tenancy(tmp_path) as (world, landlord, lease):
        rental: FakeRental = world.rental
        other_key = NodeKey(bytes(FOREIGN_KEY.verify_key))
        foreign = rental.open(PROVIDER + 1, WALLET, NodeKey(bytes(FOREIGN_KEY.verify_key)))
        tenant_before = rental.open(PROVIDER, Wallet(b"\x02" * 20), other_key)
        waiting = world.open_lease()
        over = world.open_lease()
        rental.change(over, started_at=rental.now - 500, state=rental.of(lease).state)
        await trio.sleep(20)
        for number, code in (
            (999, LeaseAnswerCode.UNKNOWN_LEASE),
            (0, LeaseAnswerCode.UNKNOWN_LEASE),
            (2**64 - 1, LeaseAnswerCode.UNKNOWN_LEASE),
            (foreign, LeaseAnswerCode.NOT_MINE),
            (tenant_before, LeaseAnswerCode.NOT_MINE),
            (waiting, LeaseAnswerCode.NOT_ACTIVE),
            (over, LeaseAnswerCode.EXPIRED),
        ):
            assert await refused(world, number, *STATUS) is code, number
        code = await refused(world, lease, *STATUS, key=FOREIGN_KEY)
        assert code is LeaseAnswerCode.NOT_HOLDER
        await trio.sleep(10)
        counters = landlord.keeper.node.network.counters
        for reason in ("unknown lease", "not mine", "not active", "expired", "not holder"):
            assert counters.refused[LEASE_PROTOCOL, reason]
        assert not counters.bugs
        assert await ask(world, lease, *STATUS)


async def test_a_lease_elsewhere_waits_for_no_chain_that_is_down(
    tmp_path: Path, jumps: trio.testing.MockClock
) -> None:
    async with open_tenancy(tmp_path) as (world, _, lease):
        foreign = world.rental.open(PROVIDER + 1, WALLET, NodeKey(bytes(32)))
        await trio.sleep(20)
        world.rental.is_down = True
        assert await refused(world, foreign, *STATUS) is LeaseAnswerCode.FAILED
        assert await ask(world, lease, *STATUS)


async def test_every_stream_ends_with_the_lease(
    tmp_path: Path, jumps: trio.testing.MockClock
) -> None:
    async with open_tenancy(tmp_path) as (world, landlord, lease):
        ended: list[bytes] = []

        async def last_word(channel: Channel) -> None:
            kind, payload = await channel.receive_frame()
            while kind is not FrameKind.FAILURE:
                kind, payload = await channel.receive_frame()
            ended.append(bytes(payload))

        async def follow(purpose: LeasePurpose, request: Message) -> None:
            async with world.visit(lease, purpose, request) as channel:
                await last_word(channel)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, LeasePurpose.RUN, make_run("sleep", "10000"))
            nursery.start_soon(follow, LeasePurpose.LOGS, LogsRequest(tail=0, follow=1))
            await trio.sleep(5)
            world.rental.end(lease)
        assert ended == [b"the lease is over"] * 2
        assert await refused(world, lease, *STATUS) is LeaseAnswerCode.EXPIRED
        await until(lambda: landlord.keeper.tenancy is None)
        assert not list((world.data_dir / "lease-logs").glob("*"))


async def test_streams_of_a_lease_are_bounded(
    tmp_path: Path, jumps: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenancy_module, "MAX_STREAMS", 2)
    follow = (LeasePurpose.LOGS, LogsRequest(tail=0, follow=1))
    async with open_tenancy(tmp_path) as (world, _, lease):
        async with world.visit(lease, *follow), world.visit(lease, *follow):
            assert await refused(world, lease, *STATUS) is LeaseAnswerCode.TOO_MANY
        await trio.sleep(20)
        with trio.fail_after(100):
            while True:
                try:
                    await ask(world, lease, *STATUS)
                    break
                except RemoteError:
                    await trio.sleep(1)


async def test_detached_commands_of_a_lease_are_bounded(
    tmp_path: Path, jumps: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each keeps pipes open in the node, which has far fewer files than a lease has processes."""
    monkeypatch.setattr(tenancy_module, "MAX_DETACHED", 2)
    async with open_tenancy(tmp_path) as (world, landlord, lease):
        tenancy = landlord.keeper.tenancy
        assert tenancy is not None
        stay = (LeasePurpose.RUN, make_run("sleep", "1000", detached=1))
        assert await refused(world, lease, LeasePurpose.RUN, make_run("none", detached=1)) is (
            LeaseAnswerCode.FAILED
        )
        for _ in range(2):
            assert await ask(world, lease, *stay) == [(FrameKind.DONE, b"")]
        assert await refused(world, lease, *stay) is LeaseAnswerCode.TOO_MANY
        assert tenancy.detached == 2


async def test_a_detached_command_that_cannot_be_closed_does_not_end_the_node(
    tmp_path: Path, jumps: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def aclose(_: FakeProcess) -> None:
        raise EnclosureError("docker cannot be run: Too many open files")

    async with open_tenancy(tmp_path) as (world, landlord, lease):
        with monkeypatch.context() as patch:
            patch.setattr(FakeProcess, "aclose", aclose)
            request = make_run("true", detached=1)
            assert await ask(world, lease, LeasePurpose.RUN, request) == [(FrameKind.DONE, b"")]
            await until(lambda: not landlord.keeper.tenancy or not landlord.keeper.tenancy.detached)
            await trio.sleep(5)
        assert (await run(world, lease, "true"))[2] == 0


async def test_transfers_of_a_lease_are_bounded(
    tmp_path: Path, jumps: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenancy_module, "MAX_TRANSFERS", 1)
    fetch = (LeasePurpose.FETCH, FetchRequest(path=b""))
    upload = (LeasePurpose.UPLOAD, UploadRequest(path=b"", files=1, size=1))
    async with open_tenancy(tmp_path) as (world, _, lease), world.visit(lease, *fetch):
        for each in (fetch, upload):
            assert await refused(world, lease, *each) is LeaseAnswerCode.TOO_MANY


async def test_an_upload_brings_no_more_files_than_the_disk_may_have(
    tmp_path: Path, jumps: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Empty files take no bytes, but each takes one of the files that the host's disk can have."""
    monkeypatch.setattr("p2p_node.rental.watching.MIN_ENTRIES", 10)
    monkeypatch.setattr("p2p_node.rental.watching.MAX_ENTRIES", 10)
    source = tmp_path / "source"
    source.mkdir()
    for number in range(11):
        (source / str(number)).touch()
    async with open_tenancy(tmp_path) as (world, landlord, lease):
        tree = await scan_tree(source)
        request = UploadRequest(path=b"", files=tree.files, size=0)
        async with world.visit(lease, LeasePurpose.UPLOAD, request) as channel:
            with pytest.raises(RemoteError, match="too many files"):
                await send_tree(channel, tree)
        tenancy = landlord.keeper.tenancy
        assert tenancy is not None
        assert tenancy.enclosure is not None
        for number in range(10):
            (tenancy.enclosure.workspace / str(number)).touch()
        small = UploadRequest(path=b"", files=1, size=0)
        assert await refused(world, lease, LeasePurpose.UPLOAD, small) is LeaseAnswerCode.FAILED


async def test_the_offer_has_a_document_for_everybody(
    tmp_path: Path, jumps: trio.testing.MockClock
) -> None:
    async with open_world(tmp_path) as world, world.run_landlord() as landlord:
        await until(lambda: bool(world.wallet.sent))
        offer = world.rental.write().offers[PROVIDER]
        provider = landlord.keeper.node.network.node_key
        async with world.renter.open_stream(provider, CAPABILITY_PROTOCOL, 10) as stream:
            await stream.send(b"")
            document = await stream.receive(MAX_CAPABILITY_BYTES)
            receipts = await stream.receive(MAX_CAPABILITY_BYTES)
        found = decode_capability(document, offer.capability)
        assert (found.runner, found.cores, found.processes) == ("fake", 1, 32)
        assert [each.name for each in found.templates] == ["base", "server"]
        assert b"receipt" in receipts

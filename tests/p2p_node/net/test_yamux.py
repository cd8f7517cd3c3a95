"""The multiplexer over a connection in memory: flow control, endings, and peers that break it."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
import trio.testing
from libp2p.io.exceptions import ConnectionClosedError

from p2p_node.net.errors import StreamEndedError
from p2p_node.net.mux_stream import MuxStream
from p2p_node.net.yamux import Muxer, MuxerOptions, UnreadBudget
from p2p_node.net.yamux_wire import (
    ACK,
    DATA,
    FIN,
    HEADER,
    INITIAL_WINDOW,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
)

WINDOW = 1 << 20


class _Wire:
    """One end of a connection in memory, in place of Noise over TCP."""

    def __init__(self, *, initiator: bool) -> None:
        self.is_initiator = initiator
        self.other: _Wire | None = None
        self.tcp = self
        self.unsent = 0
        self.frames: list[bytes] = []
        self._arrived: deque[bytes] = deque()
        self._change = trio.lowlevel.ParkingLot()
        self._closed = False

    def send(self, data: bytes) -> None:
        if self._closed:
            raise ConnectionClosedError("closed")
        self.frames.append(data)
        if self.other is not None:
            self.other.feed(data)

    def feed(self, data: bytes) -> None:
        self._arrived.append(data)
        self._change.unpark_all()

    async def receive(self) -> bytes:
        while not self._arrived:
            if self._closed:
                raise ConnectionClosedError("closed")
            await self._change.park()
        return self._arrived.popleft()

    async def drain(self, stall: float) -> None:
        await trio.lowlevel.checkpoint()

    async def finish(self) -> None:
        await trio.lowlevel.checkpoint()

    def abort(self) -> None:
        self._closed = True
        if self.other is not None and not self.other._closed:
            self.other.feed(b"")
        self._change.unpark_all()


class End:
    """A muxer with what it accepted and refused."""

    def __init__(self, wire: _Wire, **changes: float) -> None:
        self.wire = wire
        self.accepted: list[MuxStream] = []
        self.refused: list[str] = []
        self.reason: str | None = None
        self.over = trio.Event()
        values = {
            "window": WINDOW,
            "max_lent": 4 * WINDOW,
            "max_inbound_streams": 8,
            "max_pending_write": WINDOW,
            "keepalive": 10.0,
            "dead": 30.0,
            "linger": 0.1,
            **changes,
        }
        self.budget = UnreadBudget(int(values.pop("most", 16 * WINDOW)))
        options = MuxerOptions(budget=self.budget, **values)  # type: ignore[arg-type]
        self.muxer = Muxer(wire, options, self.accepted.append, self.refused.append)  # type: ignore[arg-type]

    async def run(self) -> None:
        self.reason = await self.muxer.run()
        self.over.set()


@asynccontextmanager
async def pair(**changes: float) -> AsyncIterator[tuple[End, End]]:
    """Two muxers connected to each other."""
    near, far = _Wire(initiator=True), _Wire(initiator=False)
    near.other, far.other = far, near
    ends = End(near, **changes), End(far, **changes)
    async with trio.open_nursery() as nursery:
        for end in ends:
            nursery.start_soon(end.run)
        yield ends
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def alone(**changes: float) -> AsyncIterator[End]:
    """One muxer (the responder) whose peer is the test, frame by frame."""
    end = End(_Wire(initiator=False), **changes)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end.run)
        yield end
        nursery.cancel_scope.cancel()


def frame(kind: int, flags: int, stream_id: int, length: int, body: bytes = b"") -> bytes:
    return HEADER.pack(0, kind, flags, stream_id, length) + body


def sent(end: End) -> list[tuple[int, ...]]:
    """Headers of the frames an end sent: type, flags, stream, length."""
    return [HEADER.unpack_from(one)[1:] for one in end.wire.frames]


async def accepted(end: End) -> MuxStream:
    with trio.fail_after(5):
        while not end.accepted:
            await trio.testing.wait_all_tasks_blocked()
        return end.accepted.pop(0)


async def test_bytes_arrive_in_order_in_both_directions(autojump_clock: object) -> None:
    async with pair() as (near, far):
        stream = near.muxer.open_stream()
        other = await accepted(far)
        await stream.write(b"hello ")
        await stream.write(b"there")
        await other.write(b"general")
        assert await other.receive_some() == b"hello there"
        assert await stream.receive_some(3) == b"gen"
        assert await stream.receive_some() == b"eral"


async def test_a_writer_waits_for_the_window_and_goes_on(autojump_clock: object) -> None:
    total = 5 * WINDOW
    async with pair() as (near, far):
        stream = near.muxer.open_stream()
        other = await accepted(far)
        received = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.write, bytes(total))
            await trio.testing.wait_all_tasks_blocked()
            assert far.muxer._unread == WINDOW
            while received < total:
                received += len(await other.receive_some(100_000))
        assert far.budget.used == 0


async def test_window_updates_are_sent_per_half_window_not_per_read(
    autojump_clock: object,
) -> None:
    async with pair() as (near, far):
        stream = near.muxer.open_stream()
        other = await accepted(far)
        for _ in range(100):
            await stream.write(bytes(300))
            for _ in range(300):
                await other.receive_some(1)
        updates = [one for one in sent(far) if one[:2] == (WINDOW_UPDATE, 0)]
        assert updates == []
        await stream.write(bytes(WINDOW // 2))
        while other.receive_left < WINDOW // 2:
            await other.receive_some()
        await trio.testing.wait_all_tasks_blocked()
        while far.muxer._unread:
            await other.receive_some()
        updates = [one for one in sent(far) if one[:2] == (WINDOW_UPDATE, 0)]
        assert len(updates) == 1
        assert updates[0][3] >= WINDOW // 2


async def test_a_half_closed_stream_still_carries_the_answer(autojump_clock: object) -> None:
    async with pair() as (near, far):
        stream = near.muxer.open_stream()
        other = await accepted(far)
        await stream.write(b"question")
        stream.close()
        assert await other.receive_some() == b"question"
        assert await other.receive_some() == b""
        await other.write(b"answer")
        other.close()
        assert await stream.receive_some() == b"answer"
        assert await stream.receive_some() == b""
        with pytest.raises(StreamEndedError):
            await stream.write(b"more")
        assert near.muxer._streams == far.muxer._streams == {}
        assert far.muxer._inbound == 0


async def test_who_is_cancelled_within_a_write_has_the_stream_reset(
    autojump_clock: object,
) -> None:
    async with pair() as (near, far):
        stream = near.muxer.open_stream()
        other = await accepted(far)
        with trio.move_on_after(1):
            await stream.write(bytes(2 * WINDOW))
        await trio.testing.wait_all_tasks_blocked()
        assert stream.failed
        assert other.failed


async def test_who_is_cancelled_before_a_write_has_lost_nothing(autojump_clock: object) -> None:
    async with pair() as (near, far):
        stream = near.muxer.open_stream()
        other = await accepted(far)
        await trio.testing.wait_all_tasks_blocked()
        await stream.write(bytes(WINDOW))
        with trio.move_on_after(1):
            await stream.write(b"x")
        assert len(await other.receive_some()) == WINDOW
        await stream.write(b"y")
        await trio.testing.wait_all_tasks_blocked()
        assert await other.receive_some() == b"y"


async def test_a_reset_wakes_reader_and_writer_and_frees_the_buffer(
    autojump_clock: object,
) -> None:
    async with pair() as (near, far):
        stream = near.muxer.open_stream()
        other = await accepted(far)
        await stream.write(bytes(1000))
        await trio.testing.wait_all_tasks_blocked()
        assert far.budget.used == 1000
        stream.reset()
        await trio.testing.wait_all_tasks_blocked()
        assert far.budget.used == 0
        with pytest.raises(StreamEndedError):
            await other.receive_some()
        with pytest.raises(StreamEndedError):
            other.try_write(b"x")
        assert far.muxer._streams == {}


async def test_data_that_ended_in_good_order_outlives_the_connection(
    autojump_clock: object,
) -> None:
    async with pair() as (near, far):
        stream = near.muxer.open_stream()
        other = await accepted(far)
        await stream.write(b"last words")
        stream.close()
        await trio.testing.wait_all_tasks_blocked()
        near.muxer.close("closed here")
        await far.muxer.wait_ended()
        assert await other.receive_some() == b"last words"
        assert await other.receive_some() == b""


async def test_all_streams_end_with_the_connection(autojump_clock: object) -> None:
    async with pair() as (near, far):
        stream = near.muxer.open_stream()
        await accepted(far)
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                with pytest.raises(StreamEndedError):
                    await stream.receive_some()

            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            far.muxer.close("closed here")
        await near.over.wait()
        await far.over.wait()
        with pytest.raises(StreamEndedError):
            near.muxer.open_stream()
    assert (near.reason, far.reason) == ("closed by the peer", "closed here")


async def test_a_sink_gets_data_as_it_arrives_and_the_end(autojump_clock: object) -> None:
    async with pair() as (near, far):
        stream = near.muxer.open_stream()
        other = await accepted(far)
        parts: list[bytes] = []
        await stream.write(b"before")
        await trio.testing.wait_all_tasks_blocked()
        other.set_sink(parts.append)
        await stream.write(b"after")
        await trio.testing.wait_all_tasks_blocked()
        other.set_sink(None)
        await stream.write(b"kept")
        await trio.testing.wait_all_tasks_blocked()
        assert parts == [b"before", b"after"]
        other.set_sink(parts.append)
        stream.close()
        await trio.testing.wait_all_tasks_blocked()
        assert parts == [b"before", b"after", b"kept", b""]


async def test_an_abandoned_stream_is_reset_if_the_peer_does_not_close(
    autojump_clock: object,
) -> None:
    async with pair(keepalive=1.0) as (near, far):
        stream = near.muxer.open_stream()
        other = await accepted(far)
        stream.abandon()
        await trio.sleep(5)
        assert not other.failed
        await trio.sleep(10)
        assert other.failed
        assert near.muxer._streams == far.muxer._streams == {}


async def test_a_silent_peer_is_pinged_and_then_given_up(autojump_clock: object) -> None:
    async with alone() as end:
        await trio.sleep(25)
        assert [one[0] for one in sent(end)] == [PING, PING]
        await trio.sleep(10)
    assert end.reason == "dead"


async def test_a_peer_that_answers_pings_lives(autojump_clock: object) -> None:
    async with pair() as (near, far):
        await trio.sleep(1000)
        assert not near.muxer.ended
        assert not far.muxer.ended


async def test_a_probe_finds_a_dead_peer_sooner(autojump_clock: object) -> None:
    async with alone() as end:
        await end.muxer.probe(5.0)
        assert end.muxer.ended
    async with pair() as (near, _far):
        await near.muxer.probe(5.0)
        assert not near.muxer.ended


# Peers that break the rules.


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([frame(DATA, SYN, 1, WINDOW + 1)], "peer ignores the window"),
        ([frame(DATA, 0, 1, WINDOW + 1)], "peer ignores the window"),
        (
            [frame(WINDOW_UPDATE, SYN, 1, 0)]
            + [frame(DATA, 0, 1, 1 << 18, bytes(1 << 18))] * 4
            + [frame(DATA, 0, 1, 1, b"x")],
            "peer ignores the window",
        ),
        ([b"\x01" + bytes(11)], "frame header is not yamux"),
        ([frame(7, 0, 0, 0)], "frame header is not yamux"),
        ([frame(DATA, 0x100, 1, 0)], "frame header is not yamux"),
        ([b"GET / HTTP/1.1\r\n\r\n"], "frame header is not yamux"),
        ([frame(WINDOW_UPDATE, SYN, 2, 0)], "stream id is not the peer's to open"),
        ([frame(WINDOW_UPDATE, SYN, 0, 0)], "stream id is not the peer's to open"),
        ([frame(WINDOW_UPDATE, SYN, 1, 0)] * 2, "stream id is not the peer's to open"),
        ([frame(PING, SYN, 0, number) for number in range(101)], "too many pings"),
    ],
)
async def test_a_violation_ends_the_connection_with_a_reason(
    frames: list[bytes], reason: str, autojump_clock: object
) -> None:
    async with alone() as end:
        for one in frames:
            end.wire.feed(one)
        with trio.fail_after(5):
            await end.over.wait()
    assert end.reason == reason
    assert end.refused == [reason]


async def test_windows_beyond_the_protocols_are_lent_by_the_connection(
    autojump_clock: object,
) -> None:
    async with alone(max_lent=WINDOW) as end:
        for number in range(4):
            end.wire.feed(frame(WINDOW_UPDATE, SYN, 2 * number + 1, 0))
        await trio.testing.wait_all_tasks_blocked()
        lent = [one.lent for one in end.accepted]
        assert lent == [WINDOW - INITIAL_WINDOW, INITIAL_WINDOW, 0, 0]
        assert [one[3] for one in sent(end)] == lent
        # A stream that is over gives back what it had; one that is read from gets it.
        end.accepted[0].reset()
        data = bytes(INITIAL_WINDOW)
        end.wire.feed(frame(DATA, 0, 5, len(data), data))
        await trio.testing.wait_all_tasks_blocked()
        await end.accepted[2].receive_some()
        assert end.accepted[2].lent == WINDOW - INITIAL_WINDOW
        assert sent(end)[-1] == (WINDOW_UPDATE, 0, 5, WINDOW)
        assert end.accepted[2].receive_left == WINDOW
        # And whoever goes beyond what was lent breaks the rules.
        end.wire.feed(frame(DATA, 0, 7, INITIAL_WINDOW + 1))
        with trio.fail_after(5):
            await end.over.wait()
    assert end.reason == "peer ignores the window"


async def test_a_peer_that_keeps_to_its_windows_is_never_disconnected(
    autojump_clock: object,
) -> None:
    async with pair(max_inbound_streams=30, max_lent=WINDOW) as (near, far):
        streams = [near.muxer.open_stream() for _ in range(30)]

        async with trio.open_nursery() as nursery:
            for stream in streams:
                nursery.start_soon(stream.write, bytes(2 * WINDOW))
            await trio.testing.wait_all_tasks_blocked()
            assert far.muxer._unread == 30 * INITIAL_WINDOW + WINDOW
            assert not far.muxer.ended
            assert len(await far.accepted[29].receive_some()) == INITIAL_WINDOW
            nursery.cancel_scope.cancel()


async def test_unread_data_is_bounded_over_all_connections(autojump_clock: object) -> None:
    async with alone(most=WINDOW) as end:
        end.budget.used = WINDOW - 10
        end.wire.feed(frame(DATA, SYN, 1, 11, bytes(11)))
        with trio.fail_after(5):
            await end.over.wait()
        assert end.budget.used == WINDOW - 10
    assert end.reason == "too much unread data"


async def test_whoever_has_most_unread_goes_first(autojump_clock: object) -> None:
    async with alone() as greedy, alone(most=WINDOW) as modest:
        # One budget for both, as two connections of a node have it.
        greedy.muxer.options = replace(greedy.muxer.options, budget=modest.budget)
        modest.budget.holders.add(greedy.muxer)
        greedy.wire.feed(frame(DATA, SYN, 1, WINDOW - 10, bytes(WINDOW - 10)))
        await trio.testing.wait_all_tasks_blocked()
        modest.wire.feed(frame(DATA, SYN, 1, 11, bytes(11)))
        with trio.fail_after(5):
            await greedy.over.wait()
        assert not modest.muxer.ended
        assert modest.budget.used == 11
        assert modest.budget.holders == {modest.muxer}
    assert greedy.refused == [greedy.reason] == ["too much unread data"]


async def test_a_side_with_much_to_send_reads_on(autojump_clock: object) -> None:
    """Else two sides that send much to each other would both wait for the other to read."""
    async with alone(max_pending_write=WINDOW) as end:
        end.wire.unsent = 2 * WINDOW
        for part in (b"a", b"b"):
            end.wire.feed(frame(DATA, SYN if part == b"a" else 0, 1, 1, part))
            await trio.testing.wait_all_tasks_blocked()
        assert end.muxer._unread == 2
        # Only answers to the peer's own pings and openings go beyond that.
        end.wire.unsent = 2 * WINDOW + 1
        for part in (b"c", b"d"):
            end.wire.feed(frame(DATA, 0, 1, 1, part))
            await trio.testing.wait_all_tasks_blocked()
        assert end.muxer._unread == 3


async def test_streams_beyond_the_limit_are_reset(autojump_clock: object) -> None:
    async with alone() as end:
        for number in range(20):
            end.wire.feed(frame(WINDOW_UPDATE, SYN, 2 * number + 1, 0))
        await trio.testing.wait_all_tasks_blocked()
        assert len(end.accepted) == 8
        assert len(end.muxer._streams) == 8
        resets = [one for one in sent(end) if one[1] == RST]
        assert len(resets) == 12
        assert end.refused == ["too many streams"] * 12
        end.accepted[0].reset()
        end.wire.feed(frame(WINDOW_UPDATE, SYN, 101, 0))
        await trio.testing.wait_all_tasks_blocked()
        assert len(end.accepted) == 9


async def test_data_for_a_stream_that_was_reset_is_thrown_away(autojump_clock: object) -> None:
    async with alone() as end:
        end.wire.feed(frame(WINDOW_UPDATE, SYN, 1, 0))
        await trio.testing.wait_all_tasks_blocked()
        # The header and half of the body are there when the stream is reset here.
        end.wire.feed(frame(DATA, 0, 1, 100, bytes(50)))
        await trio.testing.wait_all_tasks_blocked()
        end.accepted[0].reset()
        end.wire.feed(bytes(50) + frame(DATA, FIN, 1, 10, bytes(10)))
        end.wire.feed(frame(DATA, SYN, 3, 2, b"ok"))
        await trio.testing.wait_all_tasks_blocked()
        assert not end.muxer.ended
        assert await end.accepted[1].receive_some() == b"ok"
        assert end.budget.used == 0


async def test_frames_may_be_cut_anywhere(autojump_clock: object) -> None:
    stream = (
        frame(WINDOW_UPDATE, SYN, 1, 0)
        + frame(DATA, 0, 1, 5, b"hello")
        + frame(PING, SYN, 0, 7)
        + frame(DATA, FIN, 1, 3, b"bye")
    )
    async with alone() as end:
        for position in range(len(stream)):
            end.wire.feed(stream[position : position + 1])
        await trio.testing.wait_all_tasks_blocked()
        assert await end.accepted[0].receive_some() == b"hellobye"
        assert await end.accepted[0].receive_some() == b""
        assert (PING, ACK, 0, 7) in sent(end)


def test_the_window_of_a_stream_is_at_least_the_protocols() -> None:
    assert WINDOW >= INITIAL_WINDOW

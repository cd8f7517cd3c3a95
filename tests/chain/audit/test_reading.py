"""Reading events in bounded pieces from an endpoint that refuses, exaggerates or errs."""

from collections.abc import Callable

import pytest

from chain.audit import reading
from chain.audit.chronicle import Chronicle, Entry
from chain.audit.reading import BLOCKS_PER_LOOK, read_entries
from chain.errors import ChainError, MalformedAnswerError, RefusedError
from chain.events import Funded, SeedFrozen, Slashed, Suspended
from chain.records import SlotKind
from protocols.types import Digest, Epoch, Wallet
from tests.chain.audit.scene import log_at, registered, wallet_of


class Endpoint:
    """One event in every block, in ranges of at most `most` blocks."""

    def __init__(
        self,
        most: int,
        answer: Callable[[int, int], list[Entry]] | None = None,
        refusal: ChainError | None = None,
    ) -> None:
        self.most = most
        self.refusal = refusal or RefusedError(-32005, "query returned too many logs")
        self.answer = answer
        self.asked: list[tuple[int, int]] = []

    async def events(self, first: int, last: int, *, token: bool) -> list[Entry]:
        assert not token
        if last - first >= self.most:
            raise self.refusal
        self.asked.append((first, last))
        if self.answer is not None:
            return self.answer(first, last)
        # Endpoints need not keep to the order.
        return [entry(block) for block in range(last, first - 1, -1)]


def entry(block: int) -> Entry:
    return Funded(Wallet(bytes(20)), block), log_at(block)


def silent(what: str, done: int, total: int) -> None:
    """Nobody watches."""


async def read(endpoint: Endpoint, first: int, last: int) -> list[int]:
    entries = await read_entries(endpoint, first, last, silent)  # type: ignore[arg-type]
    return [log.block_number for _, log in entries]


async def test_blocks_are_read_in_bounded_ranges_and_in_order() -> None:
    endpoint = Endpoint(BLOCKS_PER_LOOK)
    last = 2 * BLOCKS_PER_LOOK + 9
    assert await read(endpoint, 7, last) == list(range(7, last + 1))
    assert [b - a + 1 for a, b in endpoint.asked] == [BLOCKS_PER_LOOK, BLOCKS_PER_LOOK, 3]
    assert await read(Endpoint(BLOCKS_PER_LOOK), 9, 8) == []


@pytest.mark.parametrize(
    "refusal",
    [RefusedError(-32005, "too many logs"), MalformedAnswerError("longer than 9 bytes")],
)
async def test_a_refused_range_is_halved(refusal: ChainError) -> None:
    endpoint = Endpoint(300, refusal=refusal)
    assert await read(endpoint, 0, 999) == list(range(1_000))
    assert max(b - a + 1 for a, b in endpoint.asked) <= 300
    with pytest.raises(type(refusal)):
        await read(Endpoint(0, refusal=refusal), 0, 9)


async def test_logs_of_other_blocks_are_not_believed() -> None:
    for block in (4, 16):
        with pytest.raises(MalformedAnswerError, match="outside of blocks 5"):
            await read(Endpoint(100, lambda *_, block=block: [entry(block)]), 5, 15)


async def test_there_is_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_ENTRIES", 9)
    assert len(await read(Endpoint(100), 1, 9)) == 9
    with pytest.raises(MalformedAnswerError, match="more than 9"):
        await read(Endpoint(100), 1, 10)


async def test_progress_is_told() -> None:
    told: list[tuple[str, int, int]] = []
    await read_entries(Endpoint(4_000), 1, 3_000, lambda *step: told.append(step))  # type: ignore[arg-type]
    assert told == [("blocks", 2_000, 3_000), ("blocks", 3_000, 3_000)]


def test_a_history_in_the_wrong_order_is_refused() -> None:
    with pytest.raises(MalformedAnswerError, match="out of order"):
        Chronicle([entry(2), entry(2)], warmup_epochs=5)
    seed = SeedFrozen(Epoch(3), Digest(bytes(32)), Digest(bytes(32)))
    with pytest.raises(MalformedAnswerError, match="seed of epoch 3"):
        Chronicle([(seed, log_at(1)), (seed, log_at(2))], warmup_epochs=5)


def test_nobody_is_slashed_or_suspended_without_a_penalty() -> None:
    checker, wallet = registered(SlotKind.CHECKER, 0), wallet_of(SlotKind.CHECKER, 0)
    for event in (
        Slashed(SlotKind.CHECKER, 0, wallet, 1, 0),
        Suspended(0, wallet, Epoch(3), Epoch(9)),
    ):
        with pytest.raises(MalformedAnswerError, match=r"of slot 0 without a penalty, 0x7777"):
            Chronicle([(checker, log_at(1)), (event, log_at(2))], warmup_epochs=5)


def test_a_parameter_that_was_never_set() -> None:
    with pytest.raises(MalformedAnswerError, match="parameter 3"):
        Chronicle([], warmup_epochs=5).setting(3, (9, 9))

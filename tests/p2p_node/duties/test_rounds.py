"""What a checker does about an epoch whose seats a reorganisation draws anew."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from p2p_node.duties import rounds
from p2p_node.node import Node

FIRST, SECOND = cast("Any", "first view"), cast("Any", "second view")


class FakeWatcher:
    """Replaces each view after a second by the next that the test has laid down."""

    def __init__(self, replacements: Sequence[Any]) -> None:
        self._replacements = list(replacements)

    async def wait_for_replacement(self, _view: Any) -> Any:
        if not self._replacements:
            await trio.sleep_forever()
        await trio.sleep(1)
        return self._replacements.pop(0)


async def follow(
    monkeypatch: pytest.MonkeyPatch, replacements: Sequence[Any], seconds: float
) -> list[str]:
    told: list[str] = []

    async def run_epoch(_node: Node, view: Any, *_: object) -> None:
        told.append(f"{view} begins")
        try:
            await trio.sleep(seconds)
        except trio.Cancelled:
            told.append(f"{view} is given up")
            raise
        told.append(f"{view} ends")

    monkeypatch.setattr(rounds, "_run_epoch", run_epoch)
    node = cast("Node", SimpleNamespace(watcher=FakeWatcher(replacements)))
    with trio.fail_after(60):
        await rounds._follow_epoch(node, FIRST, 0, cast("Any", None))
    return told


async def test_an_epoch_ends_by_itself(autojump_clock: Any, monkeypatch: Any) -> None:
    assert await follow(monkeypatch, [], 5) == ["first view begins", "first view ends"]


async def test_it_starts_again_with_other_seats(autojump_clock: Any, monkeypatch: Any) -> None:
    assert await follow(monkeypatch, [SECOND], 5) == [
        "first view begins",
        "first view is given up",
        "second view begins",
        "second view ends",
    ]


async def test_it_is_skipped_where_it_is_too_late(autojump_clock: Any, monkeypatch: Any) -> None:
    assert await follow(monkeypatch, [None], 5) == ["first view begins", "first view is given up"]

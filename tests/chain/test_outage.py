"""What is said about an outage, and how often."""

import logging
from typing import Any

import pytest
import trio

from chain.errors import UnreachableError
from chain.outage import REPEAT_SECONDS, Outage


async def test_it_is_said_now_and_then(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    outage = Outage(logging.getLogger("test"), "the chain is not read")
    outage.end()
    for _ in range(150):
        outage.note(UnreachableError("no connection"))
        await trio.sleep(1)
    outage.end()
    outage.end()
    said = "the chain is not read: rpc unreachable: no connection"
    assert caplog.messages == [said] * (1 + int(150 // REPEAT_SECONDS)) + [
        "the chain answers again, after 150 s"
    ]

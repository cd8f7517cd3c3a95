"""An endpoint between an audit and its chain that alters what it is told to."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import requests

from chain.abi import get_interface
from tests.chain.scripted import respond, scripted


@contextmanager
def altering(url: str, method: str, change: Callable[[list[Any], Any], Any]) -> Iterator[str]:
    """Serve the chain at `url`; results of `method` become `change(parameters, result)`."""

    def answer(body: bytes) -> bytes:
        request = json.loads(body)
        reply = requests.post(url, json=request, timeout=10).json()
        if request["method"] == method and "result" in reply:
            reply["result"] = change(request["params"], reply["result"])
        return respond(json.dumps(reply).encode())

    with scripted(answer) as endpoint:
        yield endpoint.url


def altering_call(url: str, contract: str, function: str, byte: int) -> Any:
    """Flip the lowest bit of one byte of what a view answers, counted from its end."""
    selector = "0x" + get_interface(contract).functions[function].selector.hex()

    def change(parameters: list[Any], result: Any) -> Any:
        if not parameters[0]["data"].startswith(selector):
            return result
        data = bytearray.fromhex(result[2:])
        data[-1 - byte] ^= 1
        return "0x" + data.hex()

    return altering(url, "eth_call", change)

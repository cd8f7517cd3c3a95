"""The contracts' interfaces: artefacts, calls and what comes back.

Encoding goes through eth_abi directly. web3's contract objects do the same with validation and
formatting around it that costs more than the request itself, and a dozen nodes share two cores.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

from eth_abi.abi import decode as decode_values
from eth_abi.abi import encode as encode_values
from eth_abi.exceptions import DecodingError, EncodingError

from chain.errors import MalformedAnswerError
from protocols.errors import LocalError
from protocols.hashing import keccak256

CONTRACTS: Final = (
    "Token",
    "Registry",
    "Steward",
    "Beacon",
    "Consensus",
    "Rewards",
    "Delegation",
    "Penalties",
    "Rental",
    "Nft",
    "ZeroNodeAnchor",
)
"""The contracts of a deployment, in the order in which they are deployed."""

_ERROR_SELECTOR: Final = keccak256(b"Error(string)")[:4]
_PANIC_SELECTOR: Final = keccak256(b"Panic(uint256)")[:4]

_MAX_REASON = 200
"""Characters of a revert reason that are kept: it comes from somebody's contract."""


@dataclass(frozen=True, slots=True)
class Function:
    """One external function of a contract.

    `inputs` and `outputs` are canonical ABI types, with tuples spelt out.
    """

    name: str
    selector: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def encode(self, arguments: Sequence[object]) -> bytes:
        """Return the call data for `arguments`; LocalError if they do not fit the types."""
        try:
            return self.selector + encode_values(self.inputs, arguments)
        except (EncodingError, ValueError, TypeError) as error:
            raise LocalError(f"{self.name}: arguments do not fit {self.inputs}: {error}") from error

    def decode_call(self, data: bytes) -> tuple[Any, ...]:
        """Return the arguments in a call's data; MalformedAnswerError if it is no such call."""
        if data[:4] != self.selector:
            raise MalformedAnswerError(f"{self.name}: another function is called")
        try:
            return decode_values(self.inputs, data[4:])
        except (DecodingError, ValueError, OverflowError) as error:
            raise MalformedAnswerError(
                f"{self.name}: {len(data) - 4} bytes are no {self.inputs}"
            ) from error

    def decode(self, output: bytes) -> tuple[Any, ...]:
        """Return the values in `output`; MalformedAnswerError if they are not all there."""
        try:
            return decode_values(self.outputs, output)
        except (DecodingError, ValueError, OverflowError) as error:
            raise MalformedAnswerError(
                f"{self.name}: {len(output)} bytes are no {self.outputs}"
            ) from error


@dataclass(frozen=True, slots=True)
class EventShape:
    """One event: `inputs` are (name, type, indexed) in the order of the declaration."""

    name: str
    topic: bytes
    inputs: tuple[tuple[str, str, bool], ...]

    def decode(self, topics: Sequence[bytes], data: bytes) -> dict[str, Any]:
        """Return the event's values by name; MalformedAnswerError if they are not all there.

        `topics` begins with the event's own.
        """
        indexed = [(name, kind) for name, kind, is_indexed in self.inputs if is_indexed]
        plain = [(name, kind) for name, kind, is_indexed in self.inputs if not is_indexed]
        if len(topics) != 1 + len(indexed):
            raise MalformedAnswerError(f"{self.name}: {len(topics)} topics")
        try:
            values = {
                name: decode_values((kind,), topic)[0]
                for (name, kind), topic in zip(indexed, topics[1:], strict=True)
            }
            decoded = decode_values([kind for _, kind in plain], data)
        except (DecodingError, ValueError, OverflowError) as error:
            raise MalformedAnswerError(f"{self.name}: its values do not decode") from error
        return values | {name: value for (name, _), value in zip(plain, decoded, strict=True)}


@dataclass(frozen=True, slots=True)
class Interface:
    """A compiled contract: its functions and events by name, and the code that creates it."""

    name: str
    functions: Mapping[str, Function]
    events: Mapping[str, EventShape]
    constructor: tuple[str, ...]
    bytecode: bytes

    def encode_deployment(self, arguments: Sequence[object]) -> bytes:
        """Return the data of the transaction that deploys this contract."""
        try:
            return self.bytecode + encode_values(self.constructor, arguments)
        except (EncodingError, ValueError, TypeError) as error:
            raise LocalError(
                f"{self.name}: constructor arguments do not fit {self.constructor}: {error}"
            ) from error


@cache
def get_interface(name: str) -> Interface:
    """Load the interface of one of CONTRACTS; LocalError when its artefact is missing or broken."""
    artefact = resources.files("chain").joinpath("artefacts", f"{name}.json")
    try:
        parsed = json.loads(artefact.read_text(encoding="utf-8"))
        return parse_interface(name, parsed["abi"], parsed["bytecode"])
    except FileNotFoundError:
        raise LocalError(
            f"chain/artefacts/{name}.json is missing; `python -m chain.compile` makes it"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise LocalError(f"chain/artefacts/{name}.json is broken: {error!r}") from error


def parse_interface(name: str, abi: Sequence[Mapping[str, Any]], bytecode: str) -> Interface:
    """Read a JSON ABI; KeyError, TypeError or ValueError when it is not one."""
    functions: dict[str, Function] = {}
    events: dict[str, EventShape] = {}
    constructor: tuple[str, ...] = ()
    for entry in abi:
        inputs = tuple(canonical_type(item) for item in entry.get("inputs", ()))
        if entry["type"] == "function":
            function_name = entry["name"]
            functions[function_name] = Function(
                name=f"{name}.{function_name}",
                selector=keccak256(_signature(function_name, inputs))[:4],
                inputs=inputs,
                outputs=tuple(canonical_type(item) for item in entry["outputs"]),
            )
        elif entry["type"] == "event":
            events[entry["name"]] = EventShape(
                name=entry["name"],
                topic=keccak256(_signature(entry["name"], inputs)),
                inputs=tuple(
                    (item["name"], kind, bool(item["indexed"]))
                    for item, kind in zip(entry["inputs"], inputs, strict=True)
                ),
            )
        elif entry["type"] == "constructor":
            constructor = inputs
    return Interface(
        name, functions, events, constructor, bytes.fromhex(bytecode.removeprefix("0x"))
    )


def canonical_type(item: Mapping[str, Any]) -> str:
    """Spell out an ABI type, tuples included: (uint256,bytes32)[16]."""
    kind: str = item["type"]
    if not kind.startswith("tuple"):
        return kind
    inner = ",".join(canonical_type(component) for component in item["components"])
    return f"({inner}){kind.removeprefix('tuple')}"


def decode_revert_reason(data: bytes) -> str | None:
    """Return the reason in a revert's data; None when it carries none.

    Control characters are taken out and the length is capped: a contract chose the text.
    """
    try:
        if data[:4] == _ERROR_SELECTOR:
            (reason,) = decode_values(("string",), data[4:])
            return "".join(c for c in reason[:_MAX_REASON] if c.isprintable())
        if data[:4] == _PANIC_SELECTOR:
            (code,) = decode_values(("uint256",), data[4:])
            return f"panic {code:#x}"
    except (DecodingError, ValueError, OverflowError):
        return None
    return None


def _signature(name: str, inputs: Sequence[str]) -> bytes:
    return f"{name}({','.join(inputs)})".encode()

"""What a provider says that a renter gets: the document behind an offer's capability digest.

The document is canonical JSON. Its keccak256 is on the chain with the offer, and the document
itself comes from the provider: over a stream of CAPABILITY_PROTOCOL it answers an empty message
with it. So it cannot say something else to somebody else, and needs no signature.

What it says is the provider's word. What the machine can do is shown by proofs, epoch by epoch.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeVar

from protocols.errors import LocalError, MalformedError
from protocols.hashing import keccak256
from protocols.types import Digest

CAPABILITY_PROTOCOL: Final = "capability"
"""Short name of the stream protocol."""

CAPABILITY_VERSION: Final = 1

MAX_CAPABILITY_BYTES: Final = 32 << 10
MAX_CAPABILITY_TEXT: Final = 256
MAX_OFFERED_GPUS: Final = 16
MAX_OFFERED_TEMPLATES: Final = 32
MAX_OFFERED_PORTS: Final = 16

_MAX_NUMBER: Final = 2**63 - 1
_MAX_PORT: Final = 65_535

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class OfferedGpu:
    """One GPU: its name and its memory in bytes."""

    name: str
    memory: int


@dataclass(frozen=True, slots=True)
class OfferedTemplate:
    """What can be deployed: a name, the image behind it, the TCP ports that it serves."""

    name: str
    image: str
    ports: tuple[int, ...]
    summary: str


@dataclass(frozen=True, slots=True)
class Capability:
    """Everything that a renter is offered. Memory and disk are in bytes.

    `runner` is what keeps the renter apart from the host; `cores` … `processes` are its limits;
    `network` tells whether it reaches anything but the tunnel.
    """

    runner: str
    cpu: str
    cores: int
    memory: int
    disk: int
    processes: int
    network: bool
    gpus: tuple[OfferedGpu, ...]
    templates: tuple[OfferedTemplate, ...]


def encode_capability(capability: Capability) -> bytes:
    """Encode canonically; LocalError if that is longer than anybody takes."""
    fields = {"version": CAPABILITY_VERSION, **asdict(capability)}
    data = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode("ascii")
    if len(data) > MAX_CAPABILITY_BYTES:
        raise LocalError(
            f"the offer's description has {len(data)} bytes, expected at most "
            f"{MAX_CAPABILITY_BYTES}: fewer or shorter templates"
        )
    return data


def compute_capability_digest(data: bytes) -> Digest:
    """Return what stands on the chain for an encoded capability."""
    return keccak256(data)


def decode_capability(data: bytes, digest: Digest) -> Capability:
    """Decode what a provider sent; MalformedError unless it is what its offer names."""
    if compute_capability_digest(data) != digest:
        raise MalformedError("capability of another offer")
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        raise MalformedError("capability is no JSON") from None
    if _read_number(fields, "version", _MAX_NUMBER) != CAPABILITY_VERSION:
        raise MalformedError("capability of another version")
    return Capability(
        runner=_read_text(fields, "runner"),
        cpu=_read_text(fields, "cpu"),
        cores=_read_number(fields, "cores", _MAX_NUMBER),
        memory=_read_number(fields, "memory", _MAX_NUMBER),
        disk=_read_number(fields, "disk", _MAX_NUMBER),
        processes=_read_number(fields, "processes", _MAX_NUMBER),
        network=_read(fields, "network", bool),
        gpus=_read_items(fields, "gpus", MAX_OFFERED_GPUS, _read_gpu),
        templates=_read_items(fields, "templates", MAX_OFFERED_TEMPLATES, _read_template),
    )


def _read_gpu(item: object) -> OfferedGpu:
    return OfferedGpu(_read_text(item, "name"), _read_number(item, "memory", _MAX_NUMBER))


def _read_template(item: object) -> OfferedTemplate:
    return OfferedTemplate(
        name=_read_text(item, "name"),
        image=_read_text(item, "image"),
        ports=_read_items(item, "ports", MAX_OFFERED_PORTS, _check_port),
        summary=_read_text(item, "summary"),
    )


def _check_port(item: object) -> int:
    if type(item) is not int or not 0 < item <= _MAX_PORT:
        raise MalformedError("bad capability", "port")
    return item


def _read_items(
    fields: object, name: str, most: int, read: Callable[[object], ItemT]
) -> tuple[ItemT, ...]:
    items = _read(fields, name, list)
    if len(items) > most:
        raise MalformedError("bad capability", name)
    return tuple(map(read, items))


def _read_text(fields: object, name: str) -> str:
    text: str = _read(fields, name, str)
    # It ends up on terminals.
    if len(text) > MAX_CAPABILITY_TEXT or not text.isprintable():
        raise MalformedError("bad capability", name)
    return text


def _read_number(fields: object, name: str, most: int) -> int:
    number: int = _read(fields, name, int)
    if not 0 <= number <= most:
        raise MalformedError("bad capability", name)
    return number


def _read(fields: object, name: str, kind: type) -> Any:
    value = fields.get(name) if isinstance(fields, dict) else None
    # bool is an int for isinstance.
    if type(value) is not kind:
        raise MalformedError("bad capability", name)
    return value

"""What a node says about its own machine. `docs/spec/device.md` is this file in words.

Facts are *reported*: the node signs them, and nobody can check them. They help people to find out
why a machine is slow; no score, price or verdict is ever made of one.

Encoded, facts are the array [version, note, host, software, GPUs]; host, software and each GPU are
arrays of their fields in the order below. A fact that is not known is the empty text, so that
every state of knowledge has one encoding.
"""

from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from protocols.codec import Value, decode, encode
from protocols.errors import LocalError, MalformedError
from protocols.wire import Form, Text, Uint

MAX_GPUS = 16
"""GPUs of one host: as many devices as a commitment may list."""

MAX_TEXT = 64
"""Characters of a fact; the longest GPU name that NVML may return is below 96, in use below 40."""

MAX_NOTE = 200

MAX_FACTS_BYTES = 16 << 10
"""Sixteen GPUs of some 600 bytes, and what is said about the host."""

FACTS_VERSION = 1

FactsT = TypeVar("FactsT")


def _number() -> Any:
    return field(default=None, metadata={"form": Uint((1 << 64) - 1)})


def _text() -> Any:
    return field(default=None, metadata={"form": Text(MAX_TEXT)})


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """One GPU as NVML describes it; None where the card or the driver does not say.

    Bytes, MHz, milliwatts and degrees Celsius. `cuda_capability` is 90 for 9.0. ECC counts are of
    errors since the driver was loaded (`volatile`) and in the life of the card (`aggregate`).
    `throttle_reasons` are NVML's bits. Switches are 0 or 1, `compute_mode` is NVML's number.
    """

    name: str | None = _text()
    uuid: str | None = _text()
    pci: str | None = _text()
    vbios: str | None = _text()
    cuda_capability: int | None = _number()
    memory_total: int | None = _number()
    memory_free: int | None = _number()
    sm_clock: int | None = _number()
    sm_clock_max: int | None = _number()
    memory_clock: int | None = _number()
    memory_clock_max: int | None = _number()
    power_draw: int | None = _number()
    power_limit: int | None = _number()
    power_limit_default: int | None = _number()
    temperature: int | None = _number()
    temperature_slowdown: int | None = _number()
    throttle_reasons: int | None = _number()
    ecc: int | None = _number()
    ecc_corrected_volatile: int | None = _number()
    ecc_uncorrected_volatile: int | None = _number()
    ecc_uncorrected_aggregate: int | None = _number()
    retirement_pending: int | None = _number()
    remap_pending: int | None = _number()
    remap_failed: int | None = _number()
    persistence: int | None = _number()
    compute_mode: int | None = _number()
    mig: int | None = _number()
    processes: int | None = _number()
    process_memory: int | None = _number()


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The machine around the GPUs. `cores` are those that this process may use; sizes in bytes;
    the disk is that of the data directory; `container` and `hypervisor` are hints."""

    cpu: str | None = _text()
    cores: int | None = _number()
    memory_total: int | None = _number()
    memory_available: int | None = _number()
    disk_total: int | None = _number()
    disk_free: int | None = _number()
    kernel: str | None = _text()
    machine: str | None = _text()
    container: str | None = _text()
    hypervisor: str | None = _text()


@dataclass(frozen=True, slots=True)
class SoftwareFacts:
    """Versions. `cuda` is what the driver supports (13000 for 13.0), `cupy_cuda` what CuPy was
    built for; `confidential` is 1 where confidential computing is on."""

    kaisar: str | None = _text()
    python: str | None = _text()
    numpy: str | None = _text()
    blas: str | None = _text()
    cupy: str | None = _text()
    cupy_cuda: int | None = _number()
    driver: str | None = _text()
    cuda: int | None = _number()
    confidential: int | None = _number()


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """Everything that one node reports. `note` says in words why there are no GPUs, if so."""

    note: str = ""
    host: HostFacts = field(default_factory=HostFacts)
    software: SoftwareFacts = field(default_factory=SoftwareFacts)
    gpus: tuple[GpuFacts, ...] = ()


def encode_facts(facts: DeviceFacts) -> bytes:
    """Encode facts. Raises LocalError for one that breaks its limits."""
    problem = Text(MAX_NOTE).find_problem(facts.note)
    if problem is not None:
        raise LocalError(f"facts.note: {problem}")
    if len(facts.gpus) > MAX_GPUS:
        raise LocalError(f"facts: {len(facts.gpus)} GPUs, at most {MAX_GPUS}")
    return encode(
        [
            FACTS_VERSION,
            facts.note,
            _to_values(facts.host),
            _to_values(facts.software),
            [_to_values(gpu) for gpu in facts.gpus],
        ]
    )


def decode_facts(data: bytes) -> DeviceFacts:
    """Parse facts. Raises MalformedError for anything but the encoding of some."""
    values = decode(data, MAX_FACTS_BYTES)
    if len(values) != 5:
        raise MalformedError("wrong field count", f"{len(values)} in facts")
    version, note, host, software, gpus = values
    if version != FACTS_VERSION:
        raise MalformedError("wrong version", "of facts")
    if not isinstance(note, str) or Text(MAX_NOTE).find_problem(note) is not None:
        raise MalformedError("bad field", "facts.note")
    if not isinstance(gpus, list) or len(gpus) > MAX_GPUS:
        raise MalformedError("bad field", "facts.gpus")
    return DeviceFacts(
        note,
        _from_values(HostFacts, host),
        _from_values(SoftwareFacts, software),
        tuple(_from_values(GpuFacts, gpu) for gpu in gpus),
    )


def _to_values(facts: Any) -> list[Value]:
    values: list[Value] = []
    for declared in fields(facts):
        value = getattr(facts, declared.name)
        problem = None if value is None else _find_problem(declared.metadata["form"], value)
        if problem is not None:
            raise LocalError(f"{type(facts).__name__}.{declared.name}: {problem}")
        values.append("" if value is None else value)
    return values


def _from_values(kind: type[FactsT], values: Value) -> FactsT:
    declared = fields(kind)  # type: ignore[arg-type]
    if not isinstance(values, list) or len(values) != len(declared):
        raise MalformedError("bad field", f"{kind.__name__}: not an array of {len(declared)}")
    parsed: list[Any] = []
    for value, each in zip(values, declared, strict=True):
        problem = None if value == "" else _find_problem(each.metadata["form"], value)
        if problem is not None:
            raise MalformedError("bad field", f"{kind.__name__}.{each.name}: {problem}")
        parsed.append(None if value == "" else value)
    return kind(*parsed)


def _find_problem(form: Form, value: object) -> str | None:
    return "found nothing, written as a text" if value == "" else form.find_problem(value)

"""The measurement report that a GPU signs: SPDM 1.1 GET_MEASUREMENTS and its answer, parsed.

    request   37 bytes   version 0x11, code 0xE0, param1 (bit 0: signed), param2 (0xFF: all),
                         nonce (32, the asker's), slot
    response             version 0x11, code 0x60, param1, param2, block count,
                         record length (3), record, nonce (32, the device's),
                         opaque length (2), opaque data, signature (96: r ‖ s, big-endian)

Lengths are little-endian. The signature is ECDSA P-384 with SHA-384 over request ‖ response
without the signature itself. Nothing here is verified beyond its form.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from p2p_node.workloads.attestation.errors import AttestationRejected

REQUEST_BYTES: Final = 37
NONCE_BYTES: Final = 32
SIGNATURE_BYTES: Final = 96

MAX_REPORT_BYTES: Final = 8192
"""Room that NVML's structure has for the report (NVML_CC_GPU_ATTESTATION_REPORT_SIZE)."""

_VERSION: Final = 0x11
_GET_MEASUREMENTS: Final = 0xE0
_MEASUREMENTS: Final = 0x60
_SIGNED: Final = 0x01
_ALL_BLOCKS: Final = 0xFF
_DMTF: Final = 0x01


class OpaqueField(IntEnum):
    """Fields of the opaque data that are used here; every other number is kept as it is."""

    DRIVER_VERSION = 3
    VBIOS_VERSION = 6
    FWID = 20


@dataclass(frozen=True, slots=True)
class MeasurementReport:
    """A parsed report.

    `nonce` is the asker's; `measurements` the blocks by index (1 …), each a digest of firmware or
    of a register; `opaque` the other fields by number; `signed` what `signature` covers.
    """

    nonce: bytes
    measurements: Mapping[int, bytes]
    opaque: Mapping[int, bytes]
    signed: bytes
    signature: bytes

    @property
    def driver(self) -> str:
        """The driver's version, such as 550.90.07; empty when the report has none."""
        value = self.opaque.get(OpaqueField.DRIVER_VERSION, b"")
        return _printable(value.partition(b"\0")[0])

    @property
    def vbios(self) -> str:
        """The VBIOS version, such as 96.00.9f.00.01; empty when the report has none.

        It is two little-endian words: the first four parts, and the fifth in the low byte.
        """
        value = self.opaque.get(OpaqueField.VBIOS_VERSION, b"")
        if len(value) != 8:
            return ""
        return ".".join(f"{byte:02x}" for byte in (*reversed(value[:4]), value[4]))

    @property
    def fwid(self) -> bytes | None:
        """Digest of the firmware that the signing key belongs to, None when the report has none."""
        return self.opaque.get(OpaqueField.FWID)


def parse_report(data: bytes) -> MeasurementReport:
    """Parse a report. Raises AttestationRejected unless every byte has its place in it."""
    if len(data) > MAX_REPORT_BYTES:
        raise AttestationRejected("report oversized", f"{len(data)} bytes")
    reader = _Reader(data)
    _expect(reader.take(1)[0], _VERSION, "request version")
    _expect(reader.take(1)[0], _GET_MEASUREMENTS, "request code")
    if not reader.take(1)[0] & _SIGNED:
        raise AttestationRejected("report unsigned", "the request asks for no signature")
    _expect(reader.take(1)[0], _ALL_BLOCKS, "measurements asked for")
    nonce = reader.take(NONCE_BYTES)
    reader.take(1)
    _expect(reader.take(1)[0], _VERSION, "response version")
    _expect(reader.take(1)[0], _MEASUREMENTS, "response code")
    reader.take(2)
    blocks = reader.take(1)[0]
    record = reader.take(int.from_bytes(reader.take(3), "little"))
    reader.take(NONCE_BYTES)
    opaque = reader.take(int.from_bytes(reader.take(2), "little"))
    signature = reader.take(SIGNATURE_BYTES)
    reader.require_end()
    return MeasurementReport(
        nonce=nonce,
        measurements=_parse_record(record, blocks),
        opaque=_parse_opaque(opaque),
        signed=data[:-SIGNATURE_BYTES],
        signature=signature,
    )


class _Reader:
    """Takes bytes from the front; never more than there are."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        if count > len(self._data) - self._at:
            raise AttestationRejected("report truncated", f"{len(self._data)} bytes")
        self._at += count
        return self._data[self._at - count : self._at]

    @property
    def is_empty(self) -> bool:
        return self._at == len(self._data)

    def require_end(self) -> None:
        if not self.is_empty:
            extra = len(self._data) - self._at
            raise AttestationRejected("report has a tail", f"{extra} bytes")


def _parse_record(data: bytes, blocks: int) -> dict[int, bytes]:
    """Each block: index (1), specification (1: DMTF), size (2), then type (1), size (2), value."""
    reader, found = _Reader(data), dict[int, bytes]()
    for _ in range(blocks):
        index = reader.take(1)[0]
        _expect(reader.take(1)[0], _DMTF, "measurement specification")
        block = _Reader(reader.take(int.from_bytes(reader.take(2), "little")))
        block.take(1)
        value = block.take(int.from_bytes(block.take(2), "little"))
        block.require_end()
        if index == 0 or index in found:
            raise AttestationRejected("bad measurement index", str(index))
        found[index] = value
    reader.require_end()
    return found


def _parse_opaque(data: bytes) -> dict[int, bytes]:
    """Each field: number (2), size (2), value."""
    reader, found = _Reader(data), dict[int, bytes]()
    while not reader.is_empty:
        number = int.from_bytes(reader.take(2), "little")
        value = reader.take(int.from_bytes(reader.take(2), "little"))
        if number in found:
            raise AttestationRejected("opaque field twice", str(number))
        found[number] = value
    return found


def _expect(found: int, expected: int, what: str) -> None:
    if found != expected:
        raise AttestationRejected(
            "report of another form", f"{what}: found 0x{found:02x}, expected 0x{expected:02x}"
        )


def _printable(value: bytes) -> str:
    """The text of a device's field; empty unless it is printable ASCII."""
    return value.decode("ascii") if value.isascii() and value.decode("ascii").isprintable() else ""

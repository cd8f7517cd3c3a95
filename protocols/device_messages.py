"""How a checker asks a provider for its device report. `docs/spec/device.md` says why."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from protocols.codec import decode, encode
from protocols.device_facts import MAX_FACTS_BYTES, MAX_GPUS
from protocols.errors import LocalError, MalformedError
from protocols.types import Digest, NodeKey
from protocols.wire import Bytes, Message, blob, fixed, list_of, text

DEVICE_PROTOCOL = "device"
"""Stream protocol of the device report."""

MAX_CERTIFICATES = 5
"""From the key that signs reports up to the maker's root."""

MAX_CHAIN_BYTES = 0x1400
MAX_REPORT_BYTES = 0x2000
"""What NVML has room for."""

MAX_ATTESTATION_BYTES = MAX_REPORT_BYTES + MAX_CHAIN_BYTES + 64

ROOT_BYTES = 32

ATTESTATION_TAG = b"kaisar/attestation/1"


@dataclass(frozen=True, slots=True)
class DeviceRequest(Message):
    """Asks the provider of a job for its device report. `job` is the digest of the job's body."""

    KIND: ClassVar[int] = 18
    MAX_BYTES: ClassVar[int] = 64

    job: Digest = fixed(32)


@dataclass(frozen=True, slots=True)
class DeviceReport(Message):
    """What the provider says of its devices, and what its devices say themselves.

    `facts` as in `device_facts`; `attestations` one per GPU that signs (`encode_attestation`),
    in the order of the facts' GPUs as far as they sign; `detail` says why there are none.
    """

    KIND: ClassVar[int] = 19
    MAX_BYTES: ClassVar[int] = MAX_FACTS_BYTES + MAX_GPUS * (MAX_ATTESTATION_BYTES + 8) + 256

    job: Digest = fixed(32)
    facts: bytes = blob(MAX_FACTS_BYTES)
    attestations: tuple[bytes, ...] = list_of(Bytes(0, MAX_ATTESTATION_BYTES), MAX_GPUS)
    detail: str = text(128)


def compute_attestation_nonce(roots: Sequence[bytes], provider: NodeKey) -> bytes:
    """Return the nonce that a GPU has to sign: it binds the chip to one job and one node.

    SHA-256(ATTESTATION_TAG ‖ count, one byte ‖ the work root of each device as the job's
    commitment lists them, 32 bytes each ‖ the provider's node key). Nobody knows the roots before
    the work is done, and the node key is the provider's libp2p identity, so that a report can
    neither be made in advance nor shown by another node.
    """
    if not 1 <= len(roots) <= MAX_GPUS or any(len(root) != ROOT_BYTES for root in roots):
        raise LocalError(f"{len(roots)} roots, expected 1 … {MAX_GPUS} of {ROOT_BYTES} bytes")
    parts = (ATTESTATION_TAG, bytes([len(roots)]), *roots, provider)
    return hashlib.sha256(b"".join(parts)).digest()


def encode_attestation(report: bytes, chain: Sequence[bytes]) -> bytes:
    """Put one GPU's report and its DER certificates, the leaf first, into one byte string.

    Raises LocalError above the limits.
    """
    if _find_misfit(report, chain) is not None:
        raise LocalError(f"attestation: {_find_misfit(report, chain)}")
    return encode([report, list(chain)])


def decode_attestation(data: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    """Take report and certificates apart again. Raises MalformedError."""
    values = decode(data, MAX_ATTESTATION_BYTES)
    if len(values) != 2:
        raise MalformedError("wrong field count", f"{len(values)} in an attestation")
    report, chain = values
    if not isinstance(report, bytes) or not isinstance(chain, list):
        raise MalformedError("bad field", "attestation")
    certificates = tuple(each for each in chain if isinstance(each, bytes))
    if len(certificates) != len(chain):
        raise MalformedError("bad field", "attestation: a certificate that is no byte string")
    misfit = _find_misfit(report, certificates)
    if misfit is not None:
        raise MalformedError("bad field", f"attestation: {misfit}")
    return report, certificates


def _find_misfit(report: bytes, chain: Sequence[bytes]) -> str | None:
    if len(report) > MAX_REPORT_BYTES:
        return f"report of {len(report)} bytes, at most {MAX_REPORT_BYTES}"
    if len(chain) > MAX_CERTIFICATES:
        return f"{len(chain)} certificates, at most {MAX_CERTIFICATES}"
    size = sum(map(len, chain))
    return f"chain of {size} bytes, at most {MAX_CHAIN_BYTES}" if size > MAX_CHAIN_BYTES else None

"""The certificate chain behind a report: from the signing key up to a pinned root.

Certificates are DER, the leaf first, the root last. All keys are on P-384 and all signatures are
ECDSA with SHA-384; anything else is refused. Times are Unix seconds given by the caller.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import NameOID, SignatureAlgorithmOID

from p2p_node.workloads.attestation.errors import AttestationRejected
from p2p_node.workloads.attestation.report import SIGNATURE_BYTES

MAX_CHAIN_BYTES: Final = 0x1400
"""Room that NVML's structure has for the chain (NVML_GPU_ATTESTATION_CERT_CHAIN_SIZE)."""

MAX_CERTIFICATES: Final = 5
"""Firmware, chip, provisioner, model, root: what Hopper and Blackwell have."""

NVIDIA_DEVICE_ROOT: Final = bytes.fromhex(
    "102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48"
)
"""SHA-256 of NVIDIA's self-signed "NVIDIA Device Identity CA" (DER, 527 bytes, serial
2d3670b1ca100411c1fec0e82a065b54). Computed from the root that NVIDIA's nvtrust ships with its
local GPU verifier. A hash pins a certificate as well as a copy of it does."""

FWID_BYTES: Final = 48

_DICE_EXTENSIONS: Final = ("2.23.133.5.4.1", "2.23.133.5.4.1.1")
_FWID_HEAD: Final = bytes.fromhex("303d06096086480165030402020430")
"""DER of a FWID with SHA-384 up to its 48 bytes: SEQUENCE { OID sha384, OCTET STRING }."""


@dataclass(frozen=True, slots=True)
class TrustedChain:
    """A chain that ends in a trusted root and holds at the moment asked about."""

    certificates: tuple[x509.Certificate, ...]

    @property
    def ueid(self) -> str:
        """Serial number of the leaf, hexadecimal: what NVIDIA's own verifier calls the UEID."""
        return f"{self.certificates[0].serial_number:x}"

    @property
    def model(self) -> str:
        """Common name of the leaf, such as "GH100 A01 GSP FMC LF"."""
        names = self.certificates[0].subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(names[0].value) if names else ""

    @property
    def device_id(self) -> bytes:
        """32 bytes that are the same for every report of one chip, and for no other's.

        SHA-256 of the public key that belongs to the chip itself: the leaf's issuer where its
        name has a serial number (its key then is in one chip only, and outlives an exchange of
        the firmware that the leaf stands for), else the leaf.
        """
        issuer = self.certificates[1]
        is_one_chip = bool(issuer.subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER))
        owner = issuer if is_one_chip else self.certificates[0]
        key = owner.public_key()
        return hashlib.sha256(
            key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        ).digest()

    def has_fwid(self, fwid: bytes) -> bool:
        """Tell whether the leaf was issued for the firmware with this digest."""
        return len(fwid) == FWID_BYTES and any(
            isinstance(extension.value, x509.UnrecognizedExtension)
            and _FWID_HEAD + fwid in extension.value.value
            for extension in _read_extensions(self.certificates[0])
            if extension.oid.dotted_string in _DICE_EXTENSIONS
        )


def split_pem_chain(data: bytes) -> tuple[bytes, ...]:
    """Turn the concatenated PEM that NVML returns into DER certificates, in their order.

    Raises AttestationRejected when it is none.
    """
    if len(data) > MAX_CHAIN_BYTES:
        raise AttestationRejected("chain oversized", f"{len(data)} bytes")
    try:
        found = x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise AttestationRejected("chain is not PEM", str(error)) from error
    return tuple(certificate.public_bytes(Encoding.DER) for certificate in found)


def verify_chain(chain: Sequence[bytes], *, now: int, roots: Collection[bytes]) -> TrustedChain:
    """Verify a chain of DER certificates at Unix time `now` against SHA-256 hashes of roots.

    Raises AttestationRejected. Revocation is the caller's (`policy`).
    """
    if not 2 <= len(chain) <= MAX_CERTIFICATES:
        raise AttestationRejected("chain length", f"{len(chain)} certificates")
    if sum(map(len, chain)) > MAX_CHAIN_BYTES:
        raise AttestationRejected("chain oversized", f"{sum(map(len, chain))} bytes")
    root = hashlib.sha256(chain[-1])
    if root.digest() not in roots:
        raise AttestationRejected("unknown root", root.hexdigest())
    moment = datetime.fromtimestamp(now, UTC)
    issuer = _parse(chain[-1])
    _verify_link(issuer, issuer)
    trusted = [issuer]
    # From the root down, and the signature first: nothing is read from a certificate that no
    # trusted key signed.
    for data in reversed(chain[:-1]):
        certificate = _parse(data)
        _verify_link(certificate, issuer)
        trusted.insert(0, certificate)
        issuer = certificate
    for position, certificate in enumerate(trusted):
        _verify_validity(certificate, moment)
        _verify_purpose(certificate, position)
    return TrustedChain(tuple(trusted))


def verify_report_signature(leaf: x509.Certificate, signed: bytes, signature: bytes) -> None:
    """Check the leaf's raw ECDSA P-384 signature (r ‖ s, 48 bytes each).

    Raises AttestationRejected.
    """
    key = _require_p384(leaf)
    half = SIGNATURE_BYTES // 2
    r, s = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
    try:
        key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature as error:
        raise AttestationRejected("bad report signature") from error


def _parse(data: bytes) -> x509.Certificate:
    try:
        certificate = x509.load_der_x509_certificate(data)
    except (ValueError, x509.InvalidVersion, CryptographyDeprecationWarning) as error:
        # The warning is an error where all are, as in tests.
        raise AttestationRejected("bad certificate", str(error)[:100]) from error
    # The signature is a string of bits, and the count of those not used is in no signature: with
    # another count the same certificate would have a second form.
    if not data.endswith(b"\0" + certificate.signature):
        raise AttestationRejected("bad certificate", "signature of a broken byte")
    return certificate


def _require_p384(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise AttestationRejected("bad certificate", str(error)[:100]) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise AttestationRejected("key of another kind")
    return key


def _verify_link(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    """The issuer's key signed it, with our only algorithm, and it names that issuer."""
    if certificate.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA384:
        raise AttestationRejected("signature of another kind")
    key = _require_p384(issuer)
    try:
        signed = certificate.tbs_certificate_bytes
        key.verify(certificate.signature, signed, ec.ECDSA(hashes.SHA384()))
        # Once more, for what else it compares: the names, and the two places of the algorithm.
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise AttestationRejected("certificate not issued by the next") from error


def _verify_validity(certificate: x509.Certificate, moment: datetime) -> None:
    name = certificate.subject.rfc4514_string()[:100]
    if moment < certificate.not_valid_before_utc:
        raise AttestationRejected("certificate not valid yet", name)
    if moment > certificate.not_valid_after_utc:
        raise AttestationRejected("certificate expired", name)


def _verify_purpose(certificate: x509.Certificate, position: int) -> None:
    """The leaf signs reports and is no authority; every other one is, for as many below it."""
    basic = usage = None
    name = certificate.subject.rfc4514_string()[:100]
    for extension in _read_extensions(certificate):
        if isinstance(extension.value, x509.BasicConstraints):
            basic = extension.value
        elif isinstance(extension.value, x509.KeyUsage):
            usage = extension.value
        elif extension.critical:
            raise AttestationRejected("critical extension not known", extension.oid.dotted_string)
    if position == 0:
        if basic is not None and basic.ca:
            raise AttestationRejected("leaf is an authority", name)
        if usage is None or not usage.digital_signature:
            raise AttestationRejected("key is not for signing reports", name)
        return
    if basic is None or not basic.ca:
        raise AttestationRejected("issuer is no authority", name)
    if usage is None or not usage.key_cert_sign:
        raise AttestationRejected("issuer may not sign certificates", name)
    if basic.path_length is not None and position - 1 > basic.path_length:
        raise AttestationRejected("chain longer than its issuer allows", name)


def _read_extensions(certificate: x509.Certificate) -> x509.Extensions:
    try:
        return certificate.extensions
    except (ValueError, x509.DuplicateExtension) as error:
        raise AttestationRejected("bad certificate", str(error)[:100]) from error

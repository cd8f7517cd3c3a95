"""A device maker for tests: its own root, chain, leaf and reports, each part open to change."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from p2p_node.workloads.attestation.policy import Policy
from p2p_node.workloads.attestation.verify import Evidence

NOW = 1_800_000_000
START = NOW - 1000
END = NOW + 1000
NONCE = bytes(range(32))
FWID = b"\xf1" * 48
DRIVER = "580.65.06"
VBIOS = "96.00.9f.00.01"
MEASUREMENTS = {1: bytes(48), 2: b"\x02" * 48, 5: b"\x05" * 48}
OPAQUE = {3: DRIVER.encode() + b"\0", 6: bytes.fromhex("009f009601000000"), 20: FWID, 25: b"U"}

FWID_EXTENSION = bytes.fromhex("3041020101303d06096086480165030402020430") + FWID


@cache
def key(name: str) -> ec.EllipticCurvePrivateKey:
    """A key on P-384 that is always the same within a run."""
    return ec.generate_private_key(ec.SECP384R1())


Name = tuple[str, str | None]
"""Common name and serial number."""


@dataclass(frozen=True)
class Spec:
    """One certificate to be made; the defaults are those of an authority."""

    name: Name
    issuer: Name
    serial: int
    key: ec.EllipticCurvePrivateKey
    issuer_key: ec.EllipticCurvePrivateKey
    is_authority: bool | None = True
    path_length: int | None = None
    signs_certificates: bool = True
    signs_data: bool = False
    has_usage: bool = True
    start: int = START
    end: int = END
    hash: type[hashes.HashAlgorithm] = hashes.SHA384
    extra: tuple[tuple[str, bool, bytes], ...] = ()

    def make(self) -> bytes:
        """Make it, as DER."""
        builder = (
            x509.CertificateBuilder()
            .subject_name(_x509_name(self.name))
            .issuer_name(_x509_name(self.issuer))
            .serial_number(self.serial)
            .public_key(self.key.public_key())
            .not_valid_before(datetime.fromtimestamp(self.start, UTC))
            .not_valid_after(datetime.fromtimestamp(self.end, UTC))
        )
        if self.is_authority is not None:
            builder = builder.add_extension(
                x509.BasicConstraints(self.is_authority, self.path_length), critical=True
            )
        if self.has_usage:
            builder = builder.add_extension(
                x509.KeyUsage(
                    digital_signature=self.signs_data,
                    key_cert_sign=self.signs_certificates,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    crl_sign=False,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
        for oid, critical, value in self.extra:
            extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.issuer_key, self.hash()).public_bytes(Encoding.DER)


def assemble(unsigned: bytes, issuer_key: ec.EllipticCurvePrivateKey) -> bytes:
    """Sign the inner part of a certificate, whatever it says."""

    def der(tag: int, content: bytes) -> bytes:
        size = len(content)
        length = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big")
        return bytes([tag]) + length + content

    signature = issuer_key.sign(unsigned, ec.ECDSA(hashes.SHA384()))
    algorithm = bytes.fromhex("300a06082a8648ce3d040303")
    return der(0x30, unsigned + algorithm + der(0x03, b"\0" + signature))


def _x509_name(name: Name) -> x509.Name:
    common, serial = name
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if serial is not None:
        parts.append(x509.NameAttribute(NameOID.SERIAL_NUMBER, serial))
    return x509.Name(parts)


LEAF: Name = ("GX1 FMC", "AA01")
CHIP: Name = ("GX1 BROM", "BB02")
PROVISIONER: Name = ("GX1 Provisioner", None)
MODEL: Name = ("GX1 Identity", None)
ROOT: Name = ("Test Device CA", None)

SPECS: tuple[Spec, ...] = (
    Spec(
        LEAF,
        CHIP,
        0xAA01,
        key("leaf"),
        key("chip"),
        is_authority=None,
        signs_certificates=False,
        signs_data=True,
        extra=(("2.23.133.5.4.1", False, FWID_EXTENSION),),
    ),
    Spec(CHIP, PROVISIONER, 0xBB02, key("chip"), key("provisioner"), path_length=0),
    Spec(PROVISIONER, MODEL, 0xCC03, key("provisioner"), key("model")),
    Spec(MODEL, ROOT, 0xDD04, key("model"), key("root")),
    Spec(ROOT, ROOT, 0xEE05, key("root"), key("root")),
)


def make_chain(change: Callable[[int, Spec], Spec] = lambda _, spec: spec) -> tuple[bytes, ...]:
    """Make the chain, each certificate as `change` (its place in the chain, its spec) says."""
    return tuple(_make_once(change(place, spec)) for place, spec in enumerate(SPECS))


@cache
def _make_once(spec: Spec) -> bytes:
    """Signatures are different every time, and the root is pinned by its hash."""
    return spec.make()


def change_one(place: int, **changes: object) -> tuple[bytes, ...]:
    """Make the chain with one certificate changed."""
    return make_chain(lambda at, spec: replace(spec, **changes) if at == place else spec)  # type: ignore[arg-type]


CHAIN = make_chain()


def fingerprint(certificate: bytes) -> bytes:
    """SHA-256 of a certificate."""
    return x509.load_der_x509_certificate(certificate).fingerprint(hashes.SHA256())


POLICY = Policy(roots=frozenset({fingerprint(CHAIN[-1])}))


def pem(chain: tuple[bytes, ...]) -> bytes:
    """The chain as NVML returns it."""
    parsed = [x509.load_der_x509_certificate(each) for each in chain]
    return b"".join(each.public_bytes(Encoding.PEM) for each in parsed)


def public_key_info(signing: ec.EllipticCurvePrivateKey) -> bytes:
    """DER of a public key."""
    return signing.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def block(index: int, value: bytes, specification: int = 1) -> bytes:
    """One measurement block."""
    body = b"\x01" + len(value).to_bytes(2, "little") + value
    return bytes([index, specification]) + len(body).to_bytes(2, "little") + body


def opaque_field(number: int, value: bytes) -> bytes:
    """One field of the opaque data."""
    return number.to_bytes(2, "little") + len(value).to_bytes(2, "little") + value


def make_unsigned(
    nonce: bytes = NONCE,
    *,
    request: bytes = b"\x11\xe0\x01\xff",
    response: bytes = b"\x11\x60\x00\x00",
    blocks: int | None = None,
    record: bytes | None = None,
    opaque: bytes | None = None,
) -> bytes:
    """Lay a report out, without its signature."""
    if record is None:
        record = b"".join(block(index, value) for index, value in MEASUREMENTS.items())
    if opaque is None:
        opaque = b"".join(opaque_field(number, value) for number, value in OPAQUE.items())
    count = len(MEASUREMENTS) if blocks is None else blocks
    return b"".join(
        (
            request,
            nonce,
            b"\0",
            response,
            bytes([count]),
            len(record).to_bytes(3, "little"),
            record,
            b"\x77" * 32,
            len(opaque).to_bytes(2, "little"),
            opaque,
        )
    )


def sign(unsigned: bytes, signing: ec.EllipticCurvePrivateKey = SPECS[0].key) -> bytes:
    """Append the signature."""
    r, s = decode_dss_signature(signing.sign(unsigned, ec.ECDSA(hashes.SHA384())))
    return unsigned + r.to_bytes(48, "big") + s.to_bytes(48, "big")


def make_report(nonce: bytes = NONCE, **parts: object) -> bytes:
    """Make a signed report."""
    return sign(make_unsigned(nonce, **parts))  # type: ignore[arg-type]


EVIDENCE = Evidence(make_report(), CHAIN)

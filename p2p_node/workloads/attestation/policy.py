"""What an operator adds to the pinned root: revoked certificates and accepted firmware.

A TOML file, all parts optional; nothing is fetched from anywhere:

    roots = ["<sha256>"]              # further roots, as SHA-256 of their DER

    [revoked]
    serials = ["41431d480fe5e87274"]  # serial numbers, hexadecimal
    fingerprints = ["<sha256>"]       # SHA-256 of the DER of certificates

    [[reference]]                     # one per driver and VBIOS that are accepted
    driver = "550.90.07"
    vbios = "96.00.9f.00.01"
    [reference.measurements]          # block number = accepted values, hexadecimal
    2 = ["8048dfd1…"]

Without [revoked], and without any [[reference]], verdicts say "not checked". With references, a
driver and VBIOS that none of them names are refused; blocks that a reference leaves out may hold
anything, since some are registers whose value means nothing.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from p2p_node.workloads.attestation.certificates import NVIDIA_DEVICE_ROOT
from p2p_node.workloads.attestation.errors import AttestationRejected
from p2p_node.workloads.attestation.report import MeasurementReport
from protocols.errors import LocalError

POLICY_FILE: Final = "attestation.toml"
"""Its name in a node's data directory."""

MAX_POLICY_BYTES: Final = 4 << 20
"""Room for some ten thousand revoked certificates."""

_HEX: Final = re.compile(r"[0-9a-f]+")


class PolicyError(LocalError):
    """The operator's file cannot be meant: names the field, what was found, what is expected."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The accepted values of each block that matters, for one driver and VBIOS."""

    driver: str
    vbios: str
    measurements: Mapping[int, frozenset[bytes]]


@dataclass(frozen=True, slots=True)
class Policy:
    """What a checker trusts and refuses. `None` means that nothing was configured."""

    roots: frozenset[bytes] = frozenset({NVIDIA_DEVICE_ROOT})
    revoked_serials: frozenset[int] | None = None
    revoked_fingerprints: frozenset[bytes] | None = None
    references: tuple[Reference, ...] | None = None

    def check_revocation(self, certificates: Iterable[x509.Certificate]) -> bool:
        """Look the chain up in the lists; False when there are none.

        Raises AttestationRejected for a revoked certificate.
        """
        if self.revoked_serials is None or self.revoked_fingerprints is None:
            return False
        for certificate in certificates:
            if (
                certificate.serial_number in self.revoked_serials
                or certificate.fingerprint(hashes.SHA256()) in self.revoked_fingerprints
            ):
                raise AttestationRejected(
                    "certificate revoked", certificate.subject.rfc4514_string()[:100]
                )
        return True

    def check_measurements(self, report: MeasurementReport) -> bool:
        """Compare the report with the references; False when there are none.

        Raises AttestationRejected when no reference accepts it.
        """
        if self.references is None:
            return False
        version = (report.driver, report.vbios)
        candidates = [each for each in self.references if (each.driver, each.vbios) == version]
        if not candidates:
            raise AttestationRejected("no reference measurements", " ".join(version)[:100])
        misfits = [_find_misfit(each, report) for each in candidates]
        if None not in misfits:
            raise AttestationRejected("measurement not accepted", f"block {misfits[0]}")
        return True


def read_policy(path: Path) -> Policy:
    """Read the operator's file; the default policy when there is none. Raises PolicyError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_POLICY_BYTES + 1)
    except FileNotFoundError:
        return Policy()
    except OSError as error:
        raise PolicyError(f"{path}: {error.strerror}") from error
    if len(data) > MAX_POLICY_BYTES:
        raise PolicyError(f"{path}: longer than {MAX_POLICY_BYTES} bytes")
    try:
        return parse_policy(data.decode())
    except (PolicyError, UnicodeDecodeError) as error:
        raise PolicyError(f"{path}: {error}") from None


def parse_policy(text: str) -> Policy:
    """Parse the text of the file. Raises PolicyError."""
    try:
        top = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"not TOML: {error}") from error
    _require_fields("the file", top, {"roots", "revoked", "reference"})
    serials = fingerprints = references = None
    if "revoked" in top:
        revoked = _as_table("revoked", top["revoked"])
        _require_fields("revoked", revoked, {"serials", "fingerprints"})
        serials = frozenset(
            int(digits, 16) for digits in _as_hexes("revoked.serials", revoked.get("serials", []))
        )
        fingerprints = _as_hashes("revoked.fingerprints", revoked.get("fingerprints", []))
    if "reference" in top:
        references = tuple(
            _parse_reference(each) for each in _as_list("reference", top["reference"])
        )
    roots = _as_hashes("roots", top.get("roots", []))
    return Policy(frozenset({NVIDIA_DEVICE_ROOT}) | roots, serials, fingerprints, references)


def _find_misfit(reference: Reference, report: MeasurementReport) -> int | None:
    return next(
        (
            index
            for index, accepted in reference.measurements.items()
            if report.measurements.get(index) not in accepted
        ),
        None,
    )


def _parse_reference(value: object) -> Reference:
    table = _as_table("reference", value)
    _require_fields("reference", table, {"driver", "vbios", "measurements"})
    measurements = {}
    for index, accepted in _as_table("measurements", table.get("measurements")).items():
        if not index.isascii() or not index.isdigit() or not 1 <= int(index) <= 255:
            raise PolicyError(f"measurements: found {index!r}, expected block numbers 1 … 255")
        values = _as_hexes(f"measurements.{index}", accepted)
        if any(len(digits) % 2 for digits in values):
            raise PolicyError(f"measurements.{index}: found an odd number of digits")
        measurements[int(index)] = frozenset(bytes.fromhex(digits) for digits in values)
    return Reference(
        driver=_as_text("driver", table.get("driver")),
        vbios=_as_text("vbios", table.get("vbios")),
        measurements=measurements,
    )


def _require_fields(where: str, table: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        raise PolicyError(f"{where}: found {unknown[0]}, expected {', '.join(sorted(known))}")


def _as_table(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PolicyError(f"{name}: found {type(value).__name__}, expected a table")
    return value


def _as_list(name: str, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise PolicyError(f"{name}: found {type(value).__name__}, expected a list")
    return value


def _as_text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise PolicyError(f"reference.{name}: found {value!r}, expected a text")
    return value.lower()


def _as_hexes(name: str, value: object) -> list[str]:
    found = []
    for each in _as_list(name, value):
        digits = str(each).lower().replace(":", "")
        if not isinstance(each, str) or not _HEX.fullmatch(digits):
            raise PolicyError(f"{name}: found {each!r}, expected hexadecimal digits")
        found.append(digits)
    return found


def _as_hashes(name: str, value: object) -> frozenset[bytes]:
    digits = _as_hexes(name, value)
    if any(len(each) != 64 for each in digits):
        raise PolicyError(f"{name}: found a value of another length, expected 64 digits each")
    return frozenset(bytes.fromhex(each) for each in digits)

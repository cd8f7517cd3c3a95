"""The whole judgement of one GPU's evidence: form, nonce, chain, signature, firmware, policy."""

from dataclasses import dataclass

from p2p_node.workloads.attestation.certificates import verify_chain, verify_report_signature
from p2p_node.workloads.attestation.errors import AttestationRejected
from p2p_node.workloads.attestation.policy import Policy
from p2p_node.workloads.attestation.report import parse_report


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a device hands over: its report, and DER certificates from the leaf to the root."""

    report: bytes
    chain: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class AttestedDevice:
    """A device that proved to be NVIDIA's, and that it answered this very nonce.

    `device_id` is the same for every report of one chip and for no other's; `ueid` and `model` are
    for people. `revocation` and `measurements` tell whether the operator's lists were consulted.
    """

    device_id: bytes
    ueid: str
    model: str
    driver: str
    vbios: str
    revocation_checked: bool
    measurements_checked: bool

    def describe(self) -> str:
        """One line for logs."""
        checked = {True: "checked", False: "not checked"}
        return (
            f"{self.model} {self.ueid}, driver {self.driver}, VBIOS {self.vbios}, "
            f"revocation {checked[self.revocation_checked]}, "
            f"measurements {checked[self.measurements_checked]}"
        )


def verify_attestation(
    evidence: Evidence, *, nonce: bytes, now: int, policy: Policy
) -> AttestedDevice:
    """Judge the evidence at Unix time `now` for the 32-byte `nonce` that was asked for.

    Raises AttestationRejected with the first thing that is wrong. It shows that the holder of the
    chip's key answered this nonce; not where that chip is, nor how fast it is.
    """
    report = parse_report(evidence.report)
    if report.nonce != nonce:
        raise AttestationRejected("wrong nonce")
    chain = verify_chain(evidence.chain, now=now, roots=policy.roots)
    verify_report_signature(chain.certificates[0], report.signed, report.signature)
    # The leaf's key is made for one firmware; a report that names another one is refused.
    if report.fwid is not None and not chain.has_fwid(report.fwid):
        raise AttestationRejected("firmware is not the leaf's")
    return AttestedDevice(
        device_id=chain.device_id,
        ueid=chain.ueid,
        model=chain.model,
        driver=report.driver,
        vbios=report.vbios,
        revocation_checked=policy.check_revocation(chain.certificates),
        measurements_checked=policy.check_measurements(report),
    )

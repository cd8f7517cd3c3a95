"""On the provider: have every GPU sign the nonce, and see that it did."""

from dataclasses import dataclass

from p2p_node.workloads.attestation.certificates import split_pem_chain
from p2p_node.workloads.attestation.errors import AttestationRejected, AttestationUnavailableError
from p2p_node.workloads.attestation.report import parse_report
from p2p_node.workloads.attestation.verify import Evidence
from p2p_node.workloads.nvml import GpuSource


@dataclass(frozen=True, slots=True)
class Collected:
    """The evidence of each GPU that signed, by NVML's number; `detail` says why others did not."""

    evidence: dict[int, Evidence]
    detail: str = ""


def collect_evidence(source: GpuSource, count: int, nonce: bytes) -> Collected:
    """Have the first `count` GPUs sign `nonce`, one after the other. Blocks.

    Nothing is raised for a GPU that does not sign, or signs something else.
    """
    found: dict[int, Evidence] = {}
    detail = "" if count else "no GPU"
    for index in range(count):
        try:
            found[index] = _collect(source, index, nonce)
        except (AttestationUnavailableError, AttestationRejected) as error:
            detail = detail or str(error)
    return Collected(found, detail)


def _collect(source: GpuSource, index: int, nonce: bytes) -> Evidence:
    report, chain = source.attest(index, nonce)
    if parse_report(report).nonce != nonce:
        # A binding that loses the nonce would make every report look forged to the checker.
        raise AttestationUnavailableError(f"GPU {index}: signed another nonce than the one given")
    return Evidence(report, split_pem_chain(chain))

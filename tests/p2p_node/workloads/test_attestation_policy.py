"""The operator's lists: revoked certificates, accepted firmware, further roots."""

from pathlib import Path

import pynvml
import pytest

from p2p_node.workloads.attestation.certificates import (
    MAX_CERTIFICATES,
    MAX_CHAIN_BYTES,
    NVIDIA_DEVICE_ROOT,
)
from p2p_node.workloads.attestation.errors import AttestationRejected
from p2p_node.workloads.attestation.policy import (
    MAX_POLICY_BYTES,
    Policy,
    PolicyError,
    parse_policy,
    read_policy,
)
from p2p_node.workloads.attestation.report import MAX_REPORT_BYTES
from p2p_node.workloads.attestation.verify import AttestedDevice, verify_attestation
from protocols import device_messages
from tests.p2p_node.workloads.attestation_samples import (
    CHAIN,
    DRIVER,
    EVIDENCE,
    MEASUREMENTS,
    NONCE,
    NOW,
    SPECS,
    VBIOS,
    fingerprint,
)

SPEC = Path(__file__).parents[3] / "docs" / "spec" / "device.md"
ROOTS = f'roots = ["{fingerprint(CHAIN[-1]).hex()}"]\n'


def judge(text: str) -> AttestedDevice:
    policy = parse_policy(ROOTS + text)
    return verify_attestation(EVIDENCE, nonce=NONCE, now=NOW, policy=policy)


def refusal(text: str) -> str:
    with pytest.raises(AttestationRejected) as caught:
        judge(text)
    return str(caught.value)


def reference(values: dict[int, list[bytes]], driver: str = DRIVER, vbios: str = VBIOS) -> str:
    lines = [f'[[reference]]\ndriver = "{driver}"\nvbios = "{vbios}"\n[reference.measurements]']
    for index, accepted in values.items():
        lines.append(f"{index} = [{', '.join(repr(each.hex()) for each in accepted)}]")
    return "\n".join(lines) + "\n"


ACCEPTED = {index: [value] for index, value in MEASUREMENTS.items()}


def test_without_lists_the_verdict_says_so() -> None:
    device = judge("")
    assert (device.revocation_checked, device.measurements_checked) == (False, False)
    assert "revocation not checked, measurements not checked" in device.describe()


def test_roots_are_added_to_nvidias() -> None:
    assert parse_policy(ROOTS).roots == {NVIDIA_DEVICE_ROOT, fingerprint(CHAIN[-1])}
    assert parse_policy("") == Policy()


def test_certificate_that_is_not_listed_holds() -> None:
    device = judge('[revoked]\nserials = ["123"]\n')
    assert device.revocation_checked
    assert "revocation checked" in device.describe()
    assert judge("[revoked]\n").revocation_checked


@pytest.mark.parametrize("place", range(5))
def test_revoked_certificate_is_refused(place: int) -> None:
    serial = f"{SPECS[place].serial:X}"
    assert refusal(f'[revoked]\nserials = ["{serial}"]\n').startswith("certificate revoked")
    digest = fingerprint(CHAIN[place]).hex(":")
    assert refusal(f'[revoked]\nfingerprints = ["{digest}"]\n').startswith("certificate revoked")


def test_accepted_firmware_holds() -> None:
    assert judge(reference(ACCEPTED)).measurements_checked
    assert judge(reference({2: [bytes(48), MEASUREMENTS[2]]})).measurements_checked
    # One of two references for the same versions is enough.
    assert judge(reference({2: [bytes(48)]}) + reference(ACCEPTED)).measurements_checked


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (reference({2: [bytes(48)]}), "measurement not accepted: block 2"),
        (reference({2: []}), "measurement not accepted: block 2"),
        (reference({3: [bytes(48)]}), "measurement not accepted: block 3"),
        (reference(ACCEPTED, driver="1.2"), f"no reference measurements: {DRIVER} {VBIOS}"),
        (reference(ACCEPTED, vbios="1.2"), f"no reference measurements: {DRIVER} {VBIOS}"),
        ("reference = []", f"no reference measurements: {DRIVER} {VBIOS}"),
    ],
)
def test_other_firmware_is_refused(text: str, reason: str) -> None:
    assert refusal(text) == reason


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("=", "not TOML"),
        ("other = 1", "the file: found other, expected reference, revoked, roots"),
        ("roots = 1", "roots: found int, expected a list"),
        ('roots = ["12"]', "roots: found a value of another length"),
        ('roots = ["xy"]', "roots: found 'xy', expected hexadecimal digits"),
        ("revoked = 1", "revoked: found int, expected a table"),
        ("[revoked]\nserial = []", "revoked: found serial"),
        ("[revoked]\nserials = [1]", "revoked.serials: found 1, expected hexadecimal digits"),
        ("[revoked]\nfingerprints = ['ab']", "revoked.fingerprints: found a value"),
        ("[reference]\n", "reference: found dict, expected a list"),
        ("reference = [1]", "reference: found int, expected a table"),
        ("[[reference]]\nfoo = 1", "reference: found foo"),
        ("[[reference]]\ndriver = '1'\nvbios = '2'", "measurements: found NoneType"),
        ("[[reference]]\nvbios = '2'\nmeasurements = {}", "reference.driver: found None"),
        ("[[reference]]\ndriver = '1'\nmeasurements = {}", "reference.vbios: found None"),
        ("[[reference]]\nmeasurements = {x = []}", "measurements: found 'x'"),
        ("[[reference]]\nmeasurements = {256 = []}", "measurements: found '256'"),
        ("[[reference]]\nmeasurements = {1 = ['abc']}", "measurements.1: found an odd number"),
    ],
)
def test_file_that_cannot_be_meant_is_named(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="^" + problem.replace("[", "\\[")):
        parse_policy(text)
    path = tmp_path / "attestation.toml"
    path.write_text(text)
    with pytest.raises(PolicyError, match="attestation.toml: " + problem):
        read_policy(path)


def test_page_shows_a_file_that_can_be_meant() -> None:
    """And the root that is pinned, and the limits of NVML."""
    text = SPEC.read_text(encoding="utf-8")
    policy = parse_policy(text.partition("```toml\n")[2].partition("```")[0])
    assert policy.revoked_serials == {0x41431D480FE5E87274}
    assert policy.references is not None
    assert [len(value) for value in policy.references[0].measurements[2]] == [48]
    assert NVIDIA_DEVICE_ROOT.hex() in text
    assert device_messages.MAX_REPORT_BYTES == MAX_REPORT_BYTES
    assert pynvml.NVML_CC_GPU_ATTESTATION_REPORT_SIZE == MAX_REPORT_BYTES
    assert device_messages.MAX_CHAIN_BYTES == MAX_CHAIN_BYTES
    assert pynvml.NVML_GPU_ATTESTATION_CERT_CHAIN_SIZE == MAX_CHAIN_BYTES
    assert device_messages.MAX_CERTIFICATES == MAX_CERTIFICATES


def test_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "attestation.toml"
    assert read_policy(path) == Policy()
    path.write_text(ROOTS)
    assert read_policy(path) == parse_policy(ROOTS)


def test_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="directory"):
        read_policy(tmp_path)
    path = tmp_path / "attestation.toml"
    path.write_bytes(b"\xff")
    with pytest.raises(PolicyError, match="utf-8"):
        read_policy(path)
    path.write_bytes(b"#" * (MAX_POLICY_BYTES + 1))
    with pytest.raises(PolicyError, match="longer than"):
        read_policy(path)

"""Attestations: good ones, and everything that can be wrong with one."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from p2p_node.workloads.attestation.certificates import (
    MAX_CHAIN_BYTES,
    NVIDIA_DEVICE_ROOT,
    split_pem_chain,
)
from p2p_node.workloads.attestation.errors import AttestationRejected
from p2p_node.workloads.attestation.policy import Policy
from p2p_node.workloads.attestation.report import MAX_REPORT_BYTES, REQUEST_BYTES, parse_report
from p2p_node.workloads.attestation.verify import AttestedDevice, Evidence, verify_attestation
from tests.p2p_node.workloads.attestation_samples import (
    CHAIN,
    CHIP,
    DRIVER,
    END,
    EVIDENCE,
    LEAF,
    MEASUREMENTS,
    NONCE,
    NOW,
    OPAQUE,
    POLICY,
    ROOT,
    SPECS,
    START,
    VBIOS,
    assemble,
    block,
    change_one,
    fingerprint,
    key,
    make_chain,
    make_report,
    make_unsigned,
    opaque_field,
    pem,
    public_key_info,
    sign,
)


def verify(
    evidence: Evidence = EVIDENCE,
    *,
    nonce: bytes = NONCE,
    now: int = NOW,
    policy: Policy = POLICY,
) -> AttestedDevice:
    return verify_attestation(evidence, nonce=nonce, now=now, policy=policy)


def refusal(evidence: Evidence = EVIDENCE, **arguments: object) -> str:
    """Verify something that does not hold, and return the reason."""
    with pytest.raises(AttestationRejected) as caught:
        verify(evidence, **arguments)  # type: ignore[arg-type]
    return caught.value.reason


def with_chain(chain: tuple[bytes, ...]) -> Evidence:
    return Evidence(EVIDENCE.report, chain)


def with_report(report: bytes) -> Evidence:
    return Evidence(report, CHAIN)


# What holds


def test_good_evidence_names_the_device() -> None:
    device = verify()
    assert device == AttestedDevice(
        device_id=hashlib.sha256(public_key_info(key("chip"))).digest(),
        ueid="aa01",
        model=LEAF[0],
        driver=DRIVER,
        vbios=VBIOS,
        revocation_checked=False,
        measurements_checked=False,
    )
    assert "revocation not checked" in device.describe()


def test_one_chip_has_one_id_whatever_its_firmware() -> None:
    """Another firmware has another leaf, with another key and serial number."""
    other = replace(SPECS[0], serial=0xAA02, key=key("other firmware"))
    chain = (other.make(), *CHAIN[1:])
    evidence = Evidence(sign(make_unsigned(), key("other firmware")), chain)
    assert verify(evidence).ueid != verify().ueid
    assert verify(evidence).device_id == verify().device_id


def test_without_a_key_of_its_own_the_leaf_is_the_device() -> None:
    """An issuer without a serial number in its name may stand behind many devices."""
    nameless = (CHIP[0], None)
    changes = {0: {"issuer": nameless}, 1: {"name": nameless}}
    chain = make_chain(lambda at, spec: replace(spec, **changes.get(at, {})))  # type: ignore[arg-type]
    found = verify(with_chain(chain)).device_id
    assert found == hashlib.sha256(public_key_info(key("leaf"))).digest()


@pytest.mark.parametrize("now", [START, END])
def test_validity_includes_its_ends(now: int) -> None:
    verify(now=now)


def test_shorter_chain_to_the_pinned_root_holds() -> None:
    leaf = replace(SPECS[0], issuer=ROOT, issuer_key=key("root"))
    verify(with_chain((leaf.make(), CHAIN[-1])))


def test_report_without_fwid_and_versions_holds() -> None:
    device = verify(with_report(make_report(opaque=b"")))
    assert (device.driver, device.vbios) == ("", "")


def test_text_that_is_not_printable_is_not_shown() -> None:
    opaque = opaque_field(3, b"\x1b[31m\0") + opaque_field(6, b"short")
    device = verify(with_report(make_report(opaque=opaque)))
    assert (device.driver, device.vbios) == ("", "")


# Nonce, key, root


def test_wrong_nonce_is_refused() -> None:
    assert refusal(nonce=bytes(32)) == "wrong nonce"
    assert refusal(with_report(make_report(bytes(32)))) == "wrong nonce"


def test_report_of_another_key_is_refused() -> None:
    assert refusal(with_report(sign(make_unsigned(), key("chip")))) == "bad report signature"


def test_root_that_is_not_pinned_is_refused() -> None:
    mine = tuple(
        replace(spec, key=key(f"my {at}"), issuer_key=key(f"my {min(at + 1, 4)}")).make()
        for at, spec in enumerate(SPECS)
    )
    evidence = Evidence(sign(make_unsigned(), key("my 0")), mine)
    assert refusal(evidence) == "unknown root"
    verify(evidence, policy=Policy(roots=frozenset({fingerprint(mine[-1])})))
    # Its own chain with the genuine root at the end is not issued by that root.
    assert refusal(Evidence(evidence.report, (*mine[:-1], CHAIN[-1]))) == (
        "certificate not issued by the next"
    )


def test_only_nvidias_root_is_trusted_by_default() -> None:
    assert refusal(policy=Policy()) == "unknown root"
    assert Policy().roots == {NVIDIA_DEVICE_ROOT}


def test_chain_without_its_root_is_refused() -> None:
    assert refusal(with_chain(CHAIN[:-1])) == "unknown root"


# Time


@pytest.mark.parametrize("place", range(5))
def test_expired_certificate_is_refused(place: int) -> None:
    chain = change_one(place, end=NOW - 1)
    policy = Policy(roots=frozenset({fingerprint(chain[-1])}))
    assert refusal(with_chain(chain), policy=policy) == "certificate expired"


@pytest.mark.parametrize("place", range(5))
def test_certificate_of_the_future_is_refused(place: int) -> None:
    chain = change_one(place, start=NOW + 1)
    policy = Policy(roots=frozenset({fingerprint(chain[-1])}))
    assert refusal(with_chain(chain), policy=policy) == "certificate not valid yet"


# Chain


@pytest.mark.parametrize(
    ("chain", "reason"),
    [
        pytest.param((), "chain length", id="none"),
        pytest.param(CHAIN[:1], "chain length", id="leaf alone"),
        pytest.param((*CHAIN, CHAIN[-1]), "chain length", id="one too many"),
        pytest.param((CHAIN[0], *CHAIN[2:]), "certificate not issued by the next", id="gap"),
        pytest.param(
            (CHAIN[1], CHAIN[0], *CHAIN[2:]), "certificate not issued by the next", id="order"
        ),
        pytest.param((b"", *CHAIN[1:]), "bad certificate", id="empty certificate"),
        pytest.param((CHAIN[0] + b"\0", *CHAIN[1:]), "bad certificate", id="tail"),
        pytest.param((bytes(MAX_CHAIN_BYTES), *CHAIN[1:]), "chain oversized", id="oversized"),
        pytest.param(change_one(0, is_authority=True), "leaf is an authority", id="authority"),
        pytest.param(change_one(0, is_authority=False), None, id="no authority, said aloud"),
        pytest.param(change_one(0, signs_data=False), "key is not for signing reports", id="usage"),
        pytest.param(
            change_one(0, has_usage=False), "key is not for signing reports", id="no usage"
        ),
        pytest.param(change_one(1, is_authority=None), "issuer is no authority", id="no authority"),
        pytest.param(
            change_one(2, is_authority=False), "issuer is no authority", id="not an authority"
        ),
        pytest.param(
            change_one(3, signs_certificates=False),
            "issuer may not sign certificates",
            id="signs nothing",
        ),
        pytest.param(
            change_one(1, has_usage=False), "issuer may not sign certificates", id="says nothing"
        ),
        pytest.param(
            change_one(2, path_length=0), "chain longer than its issuer allows", id="path length"
        ),
        pytest.param(change_one(2, path_length=1), None, id="path length just right"),
        pytest.param(
            change_one(1, extra=(("1.2.3.4", True, b"\x05\0"),)),
            "critical extension not known",
            id="critical extension",
        ),
        pytest.param(change_one(1, extra=(("1.2.3.4", False, b"\x05\0"),)), None, id="other"),
        pytest.param(change_one(2, hash=hashes.SHA256), "signature of another kind", id="SHA-256"),
        pytest.param(
            change_one(0, issuer=("somebody else", None)),
            "certificate not issued by the next",
            id="other issuer's name",
        ),
        pytest.param(
            change_one(0, issuer_key=key("stranger")),
            "certificate not issued by the next",
            id="other issuer's key",
        ),
        pytest.param(change_one(0, extra=()), "firmware is not the leaf's", id="no FWID"),
        pytest.param(
            change_one(0, extra=(("2.23.133.5.4.1", False, b"\x30\0"),)),
            "firmware is not the leaf's",
            id="other FWID",
        ),
    ],
)
def test_chain(chain: tuple[bytes, ...], reason: str | None) -> None:
    if reason is None:
        verify(with_chain(chain))
    else:
        assert refusal(with_chain(chain)) == reason


def test_chain_extended_below_the_leaf_is_refused() -> None:
    """Who holds a leaf's key still cannot issue a leaf of his own."""
    mine = replace(SPECS[0], issuer=LEAF, issuer_key=key("leaf"), key=key("me"))
    chain = (mine.make(), *CHAIN[:2], *CHAIN[3:])
    assert refusal(Evidence(sign(make_unsigned(), key("me")), chain)) in (
        "certificate not issued by the next",
        "issuer is no authority",
    )
    leaf = replace(SPECS[0], issuer=ROOT, issuer_key=key("root"))
    chain = (mine.make(), leaf.make(), CHAIN[-1])
    evidence = Evidence(sign(make_unsigned(), key("me")), chain)
    assert refusal(evidence) == "issuer is no authority"


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lambda: ec.generate_private_key(ec.SECP256R1()), id="P-256"),
        pytest.param(lambda: rsa.generate_private_key(65537, 2048), id="RSA"),
    ],
)
def test_key_of_another_kind_is_refused(other: Callable[[], ec.EllipticCurvePrivateKey]) -> None:
    chain = (replace(SPECS[0], key=other()).make(), *CHAIN[1:])
    assert refusal(with_chain(chain)) == "key of another kind"


def test_key_on_an_unknown_curve_is_refused() -> None:
    """The library reads a key late, and says what it thinks of it in an exception of its own."""
    secp384r1, unknown = bytes.fromhex("06052b81040022"), bytes.fromhex("06052b81040063")
    unsigned = x509.load_der_x509_certificate(CHAIN[0]).tbs_certificate_bytes
    assert unsigned.count(secp384r1) == 1
    leaf = assemble(unsigned.replace(secp384r1, unknown), key("chip"))
    assert refusal(with_chain((leaf, *CHAIN[1:]))) == "bad certificate"
    verify(with_chain((assemble(unsigned, key("chip")), *CHAIN[1:])))


def test_extension_that_does_not_parse_is_refused() -> None:
    chain = change_one(0, extra=(("2.5.29.19", False, b"\xff"),))
    assert refusal(with_chain(chain)) == "bad certificate"


def test_pem_is_split_and_bounded() -> None:
    text = pem(CHAIN)
    assert split_pem_chain(text) == CHAIN
    assert split_pem_chain(text.rstrip()) == CHAIN
    for data, reason in (
        (b"", "chain is not PEM"),
        (text[:100], "chain is not PEM"),
        (text + bytes(MAX_CHAIN_BYTES), "chain oversized"),
    ):
        with pytest.raises(AttestationRejected) as caught:
            split_pem_chain(data)
        assert caught.value.reason == reason


# Report


@pytest.mark.parametrize("keep", range(len(EVIDENCE.report)))
def test_truncated_report_is_refused(keep: int) -> None:
    assert refusal(with_report(EVIDENCE.report[:keep])) == "report truncated"


def test_truncated_and_signed_again_is_refused() -> None:
    """The lengths within bind as well as the signature does."""
    unsigned = make_unsigned()
    for keep in range(REQUEST_BYTES, len(unsigned)):
        assert refusal(with_report(sign(unsigned[:keep]))).startswith("report")


def _record(*blocks: bytes) -> dict[str, object]:
    return {"record": b"".join(blocks), "blocks": len(blocks)}


GOOD = block(1, bytes(48))


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        pytest.param({"request": b"\x12\xe0\x01\xff"}, "report of another form", id="version"),
        pytest.param({"request": b"\x11\xe1\x01\xff"}, "report of another form", id="code"),
        pytest.param({"request": b"\x11\xe0\x00\xff"}, "report unsigned", id="unsigned"),
        pytest.param({"request": b"\x11\xe0\x01\x01"}, "report of another form", id="one block"),
        pytest.param({"response": b"\x12\x60\0\0"}, "report of another form", id="answer version"),
        pytest.param({"response": b"\x11\x7f\0\0"}, "report of another form", id="an SPDM error"),
        pytest.param({"blocks": 2}, "report has a tail", id="fewer blocks said"),
        pytest.param({"blocks": 4}, "report truncated", id="more blocks said"),
        pytest.param(_record(GOOD, GOOD), "bad measurement index", id="index twice"),
        pytest.param(_record(block(0, b"")), "bad measurement index", id="index 0"),
        pytest.param(_record(block(1, b"", 2)), "report of another form", id="not DMTF"),
        pytest.param(_record(b"\1\1\4\0" + b"\1\0\0x"), "report has a tail", id="block's tail"),
        pytest.param(_record(b"\1\1\2\0" + b"\1\0"), "report truncated", id="block's end"),
        pytest.param({"opaque": b"\3"}, "report truncated", id="field cut"),
        pytest.param({"opaque": opaque_field(3, b"1") * 2}, "opaque field twice", id="field twice"),
        pytest.param(
            {"opaque": opaque_field(20, b"")}, "firmware is not the leaf's", id="empty FWID"
        ),
        pytest.param(
            {"opaque": opaque_field(20, bytes(48))}, "firmware is not the leaf's", id="other FWID"
        ),
        pytest.param(
            {"opaque": opaque_field(20, OPAQUE[20][:47])},
            "firmware is not the leaf's",
            id="part of the FWID",
        ),
    ],
)
def test_report_of_another_form_is_refused(parts: dict[str, object], reason: str) -> None:
    assert refusal(with_report(make_report(**parts))) == reason


def test_oversized_report_is_refused_unread() -> None:
    assert refusal(with_report(bytes(MAX_REPORT_BYTES + 1))) == "report oversized"


def test_report_with_a_tail_is_refused() -> None:
    assert refusal(with_report(EVIDENCE.report + b"\0")) == "report has a tail"


def test_report_without_measurements_is_parsed() -> None:
    assert parse_report(make_report(**_record())).measurements == {}
    assert parse_report(EVIDENCE.report).measurements == MEASUREMENTS


# Any change


@given(data=st.data())
def test_any_changed_byte_is_refused(data: st.DataObject) -> None:
    parts = [EVIDENCE.report, *CHAIN]
    place = data.draw(st.integers(0, len(parts) - 1))
    at = data.draw(st.integers(0, len(parts[place]) - 1))
    flip = data.draw(st.integers(1, 255))
    changed = bytearray(parts[place])
    changed[at] ^= flip
    parts[place] = bytes(changed)
    refusal(Evidence(parts[0], tuple(parts[1:])))


def test_certificate_has_one_form() -> None:
    """A signature that ends with a 0 bit could also be written as one bit shorter."""
    leaf = b"\1"
    while leaf[-1] & 1:
        leaf = SPECS[0].make()
    verify(with_chain((leaf, *CHAIN[1:])))
    signature = x509.load_der_x509_certificate(leaf).signature
    at = len(leaf) - len(signature) - 1
    other = leaf[:at] + b"\1" + leaf[at + 1 :]
    assert x509.load_der_x509_certificate(other).signature == signature
    assert refusal(with_chain((other, *CHAIN[1:]))) == "bad certificate"


@given(report=st.binary(max_size=600), chain=st.lists(st.binary(max_size=600), max_size=6))
def test_arbitrary_bytes_are_refused(report: bytes, chain: list[bytes]) -> None:
    refusal(Evidence(report, tuple(chain)))
    refusal(Evidence(EVIDENCE.report, (*chain[:3], CHAIN[-1])))


# NVIDIA's own sample

SAMPLE_VARIABLE = "NVTRUST_SAMPLES"


@pytest.mark.skipif(
    SAMPLE_VARIABLE not in os.environ,
    reason=(
        f"{SAMPLE_VARIABLE} is not set; it names the folder samples of the local GPU verifier in "
        "a checkout of NVIDIA's nvtrust"
    ),
)
def test_nvidias_recorded_sample_holds() -> None:
    """A report and chain of a real H100, against the real pinned root."""
    folder = Path(os.environ[SAMPLE_VARIABLE])
    report = bytes.fromhex((folder / "hopperAttestationReport.txt").read_text().strip())
    chain = split_pem_chain((folder / "hopperCertChain.txt").read_bytes())
    nonce = report[4:36]
    device = verify(Evidence(report, chain), nonce=nonce, policy=Policy())
    assert device.ueid == "53c22ba15e5d68088282da074ed9fb37aa585771"
    assert (device.model, device.driver) == ("GH100 A01 GSP FMC LF", "550.90.07")
    assert device.vbios == "96.00.9f.00.01"
    assert len(parse_report(report).measurements) == 64
    assert refusal(Evidence(report, chain), policy=Policy()) == "wrong nonce"
    for at in range(0, len(report), 97):
        changed = report[:at] + bytes([report[at] ^ 1]) + report[at + 1 :]
        refusal(Evidence(changed, chain), nonce=changed[4:36], policy=Policy())

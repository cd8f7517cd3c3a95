"""The DID document, read by protobuf itself with peaq's schema."""

from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from chain.did import MachineCard, encode_base58, encode_did_document
from protocols.types import NetworkId, NodeKey, Wallet

# An address whose checksum is in EIP-55.
WALLET = Wallet(bytes.fromhex("5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"))
ADDRESS = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
CARD = MachineCard(9990, NetworkId(b"\x0a" * 32), WALLET, NodeKey(b"\x03" * 32))

SCHEMA = {
    "VerificationMethod": ("id", "type", "controller", "public_key_multibase"),
    "Signature": ("type", "issuer", "hash"),
    "Services": ("id", "type", "service_endpoint", "data"),
}


def document_class() -> Any:
    """did_document_format.proto of peaq-sdk 1.0.1, made into a class."""
    file = descriptor_pb2.FileDescriptorProto(
        name="did_document_format.proto", package="document", syntax="proto3"
    )
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in SCHEMA.items():
        message = file.message_type.add(name=name)
        for number, field in enumerate(fields, 1):
            message.field.add(
                name=field, number=number, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL
            )
    document = file.message_type.add(name="Document")
    for name, number, label, kind in (
        ("id", 1, kinds.LABEL_OPTIONAL, None),
        ("controller", 2, kinds.LABEL_OPTIONAL, None),
        ("verification_methods", 3, kinds.LABEL_REPEATED, "VerificationMethod"),
        ("signature", 4, kinds.LABEL_OPTIONAL, "Signature"),
        ("services", 5, kinds.LABEL_REPEATED, "Services"),
        ("authentications", 6, kinds.LABEL_REPEATED, None),
    ):
        field = document.field.add(name=name, number=number, label=label, type=kinds.TYPE_STRING)
        if kind is not None:
            field.type = kinds.TYPE_MESSAGE
            field.type_name = f".document.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("document.Document"))


def test_protobuf_reads_what_was_meant() -> None:
    document = document_class()()
    document.ParseFromString(bytes.fromhex(encode_did_document(CARD).decode("ascii")))
    did = f"did:peaq:{ADDRESS}"
    assert (document.id, document.controller) == (did, did)
    first, second = document.verification_methods
    assert (first.id, first.type, first.controller, first.public_key_multibase) == (
        f"{did}#keys-1",
        "EcdsaSecp256k1RecoveryMethod2020",
        did,
        f"eip155:9990:{ADDRESS}",
    )
    assert (second.id, second.type, second.controller) == (
        f"{did}#keys-2",
        "Ed25519VerificationKey2020",
        did,
    )
    assert second.public_key_multibase == CARD.key_text
    assert list(document.authentications) == [first.id, second.id]
    (service,) = document.services
    assert (service.id, service.type, service.data) == ("#kaisar", "KaisarProvider", "0a" * 32)
    assert service.service_endpoint == ""
    assert not document.HasField("signature")
    # Nothing is left over: protobuf writes the same.
    assert document.SerializeToString(deterministic=True).hex().encode() == encode_did_document(
        CARD
    )


def test_the_document_fits_into_the_attribute() -> None:
    assert len(encode_did_document(CARD)) <= 2560


@pytest.mark.parametrize(
    ("data", "text"),
    # draft-msporny-base58-03, section 5.
    [
        (b"Hello World!", "2NEpo7TZRRrLZSi2U"),
        (
            b"The quick brown fox jumps over the lazy dog.",
            "USm3fpXnKG5EUBx2ndxBDMPVciP5hGey2Jh4NDv6gmeo1LkMeiKrLJUUBk6Z",
        ),
        (bytes.fromhex("0000287fb4cd"), "11233QC4"),
        (b"", ""),
    ],
)
def test_base58(data: bytes, text: str) -> None:
    assert encode_base58(data) == text


def test_a_node_key_is_a_multikey() -> None:
    # did:key's own example of an Ed25519 key (w3c-ccg/did-method-key).
    key = bytes.fromhex("2e6fcce36701dc791488e0d0b1745cc1e33a4c1c9fcc41c63bd343dbbe0970e6")
    card = MachineCard(1, NetworkId(bytes(32)), WALLET, NodeKey(key))
    assert card.key_text == "z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"

"""What cannot even be said: the messages of a job have no room for it."""

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from bench.adversaries.world import SHAPE, Prover, make_job, name
from protocols.envelopes import ENVELOPE_OVERHEAD, open_envelope, seal
from protocols.errors import ForgedError, MalformedError, RemoteError
from protocols.host_proof import MAX_DEVICES, DeviceWork, decode_works, encode_work
from protocols.messages import Chains, Commitment, Openings, Passes
from protocols.types import Digest, NetworkId, NodeKey

NETWORK = NetworkId(name("network"))
MALLORY, BOB = SigningKey(name("mallory")), SigningKey(name("bob"))
WORK = encode_work(DeviceWork(0, SHAPE, 1, Prover(make_job(), 2).commitment))
COMMITMENT = Commitment(Digest(name("job")), (WORK,), ())
SEALED = seal(MALLORY, NETWORK, COMMITMENT)


def open_commitment(data: bytes) -> Commitment:
    """As a checker does that asked mallory."""
    signer = NodeKey(bytes(MALLORY.verify_key))
    return open_envelope(data, Commitment, NETWORK, signer=signer).message


def test_an_honest_commitment_is_read() -> None:
    assert open_commitment(SEALED) == COMMITMENT


def test_a_provider_says_nothing_of_itself() -> None:
    """No name, no time, no rate, no size of memory. Every number within is held against openings
    (bench.adversaries): whoever adds a field here has to say what checks it."""
    said = {kind.__name__: [each.name for each in fields(kind)] for kind in SPOKEN}

    assert said == {
        "Commitment": ["job", "devices", "receipts"],
        "Passes": ["job", "request", "devices"],
        "Chains": ["job", "request", "chains"],
        "Openings": ["job", "request", "rows", "passes", "chains"],
    }
    assert [each.name for each in fields(DeviceWork)] == ["device", "shape", "kept", "commitment"]


SPOKEN = (Commitment, Passes, Chains, Openings)


@pytest.mark.parametrize("kind", SPOKEN, ids=lambda kind: kind.__name__)
def test_what_is_too_long_is_refused_unread(kind: type[Commitment]) -> None:
    """By length alone: the bytes behind it are no message at all."""
    with pytest.raises(MalformedError, match="oversized"):
        open_envelope(bytes(kind.MAX_BYTES + ENVELOPE_OVERHEAD + 1), kind, NETWORK)


def test_another_ones_commitment_is_not_mallorys() -> None:
    with pytest.raises(ForgedError):
        open_commitment(seal(BOB, NETWORK, COMMITMENT))


def test_a_commitment_of_another_network_is_refused() -> None:
    with pytest.raises(MalformedError, match="wrong network"):
        open_commitment(seal(MALLORY, NetworkId(name("another network")), COMMITMENT))


@pytest.mark.parametrize(
    "devices",
    [
        (),
        (WORK, WORK),
        (encode_work(DeviceWork(1, SHAPE, 0, Prover(make_job(), 2).commitment)), WORK),
        tuple(number.to_bytes(4, "little") + WORK[4:] for number in range(MAX_DEVICES + 1)),
    ],
    ids=["none", "one_twice", "not_ascending", "too_many"],
)
def test_devices_are_counted_once(devices: tuple[bytes, ...]) -> None:
    with pytest.raises(MalformedError):
        decode_works(devices, SHAPE.k, SHAPE.n)


@given(st.integers(0, len(SEALED) - 1), st.integers(1, 255))
def test_no_changed_byte_is_accepted(position: int, difference: int) -> None:
    data = bytearray(SEALED)
    data[position] ^= difference

    with pytest.raises(RemoteError):
        open_commitment(bytes(data))


@given(st.binary(max_size=2000))
def test_bytes_that_nobody_wrote_are_refused(data: bytes) -> None:
    with pytest.raises(RemoteError):
        open_commitment(data)

"""tests/vectors/envelopes: every kind sealed, and one envelope spoiled in every way."""

from typing import Any

from tests.protocols import wire_reference as ref
from tests.vectors.builders.actors import CHAIN_ID, CONSENSUS, NETWORK, node, secret
from tests.vectors.builders.messages import TYPICAL
from tests.vectors.builders.spoilt import spoil

SPOILT_KIND = "Commitment"


def valid() -> dict[str, Any]:
    """A sealed message of each kind."""
    key = node("alice")
    cases = []
    for name, (kind, _, _) in ref.FORMS.items():
        body = ref.body(name, TYPICAL[name])
        cases.append(
            {
                "name": name,
                "kind": kind,
                "body": body.hex(),
                "signed_bytes": ref.signed_bytes(kind, NETWORK, body).hex(),
                "signature": ref.sign(key, kind, NETWORK, body).hex(),
                "envelope": ref.seal(key, NETWORK, name, TYPICAL[name]).hex(),
            }
        )
    return {
        "chain_id": CHAIN_ID,
        "consensus": CONSENSUS.hex(),
        "network": NETWORK.hex(),
        "private_seed": secret("alice's node").hex(),
        "signer": bytes(key.verify_key).hex(),
        "cases": cases,
    }


def invalid() -> dict[str, Any]:
    """Envelopes that are refused where a commitment of alice's is expected."""
    key = node("alice")
    return {
        "network": NETWORK.hex(),
        "expected": SPOILT_KIND,
        "cases": [
            {"name": name, "envelope": data.hex(), "reason": reason}
            for name, reason, data in spoil(SPOILT_KIND, TYPICAL[SPOILT_KIND], key)
        ],
    }


FILES = {"envelopes/valid.json": valid, "envelopes/invalid.json": invalid}
